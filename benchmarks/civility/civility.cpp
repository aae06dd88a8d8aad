// How a training step slows down when other processes keep the cores busy.
//
//   gradus_civility [other processes, default: one a core] [rounds, default 9]
//
// Each round times the step of an MLP (784-512-512-10, batch 128, AdamW) with the others stopped and with them
// running. With as many other processes as cores a fair scheduler leaves half of the machine, so 2 is what can be had;
// a pool whose threads wait for each other badly takes many times as long. Rounds in which a process that is not ours
// used the machine count for nothing and are left out. Linux only.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "gradus/models/mlp.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"

using namespace gradus;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// CPU seconds of this process, and of all processes of the machine.
double own_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }
double machine_seconds() {
  long user = 0, nice = 0, system = 0;
  if (auto* file = std::fopen("/proc/stat", "r")) {
    if (std::fscanf(file, "cpu %ld %ld %ld", &user, &nice, &system) != 3) user = 0;
    std::fclose(file);
  }
  return static_cast<double>(user + nice + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

/// Processes that do nothing but take time; stopped until told.
class OtherProcesses {
 public:
  explicit OtherProcesses(int count) {
    for (int i = 0; i < count; ++i) {
      auto child = fork();
      if (child == 0) {
        raise(SIGSTOP);
        for (volatile uint32_t x = 0;;) x = x + 1;
      }
      children_.push_back(child);
    }
  }
  ~OtherProcesses() {
    for (auto child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }
  OtherProcesses(const OtherProcesses&) = delete;
  OtherProcesses& operator=(const OtherProcesses&) = delete;

  void run(bool on) {
    for (auto child : children_) kill(child, on ? SIGCONT : SIGSTOP);
    usleep(50000);
  }

 private:
  std::vector<pid_t> children_;
};

struct Timing {
  double milliseconds, others_cpu;  // of a step; CPU seconds a second that are not ours
};

template <class Step>
Timing time_steps(Step&& step) {
  for (int i = 0; i < 5; ++i) step();
  auto start = now(), own = own_seconds(), machine = machine_seconds();
  int count = 0;
  for (; now() - start < 0.7; ++count) step();
  auto seconds = now() - start;
  return {1e3 * seconds / count, ((machine_seconds() - machine) - (own_seconds() - own)) / seconds};
}

}  // namespace

int main(int argc, char** argv) {
  auto cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  auto count = argc > 1 ? std::atoi(argv[1]) : cores, rounds = argc > 2 ? std::atoi(argv[2]) : 9;
  OtherProcesses others(count);
  models::Mlp<float> model({784, 512, 512, 10});
  optim::AdamW<float> adam(model, {.lr = 1e-3});
  auto images = randn<float>({128, 784});        // (128, 784)
  auto labels = randint<int64_t>(0, 10, {128});  // (128,)
  auto step = [&] {
    cross_entropy(model(images), labels).backward();
    adam.step();
    adam.zero_grad();
  };
  std::vector<double> ratios;
  for (int round = 0, tries = 0; round < rounds && tries < 20 * rounds; ++tries) {
    auto alone = time_steps(step);
    if (alone.others_cpu > 0.1) continue;
    others.run(true);
    auto beside = time_steps(step);
    others.run(false);
    auto after = time_steps(step);
    if (after.others_cpu > 0.1) continue;
    ratios.push_back(beside.milliseconds / (0.5 * (alone.milliseconds + after.milliseconds)));
    std::printf("alone %7.2f ms   beside %d busy processes %7.2f ms   ratio %.2f\n", alone.milliseconds, count,
                beside.milliseconds, ratios.back());
    std::fflush(stdout);
    ++round;
  }
  if (ratios.empty()) {
    std::puts("other programs kept the machine busy; nothing could be measured");
    return 1;
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("%d threads on %d cores, %d busy processes: median ratio %.2f of %zu rounds\n", num_threads(), cores,
              count, ratios[ratios.size() / 2], ratios.size());
}

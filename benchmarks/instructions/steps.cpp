// What `./run instructions` counts: a few training steps of one model on one thread, from fixed seeds.
//
//   gradus_instructions <model>     trains; callgrind counts what happens within gradus_counted_steps()
//   gradus_instructions --list      the models, and what made this program: counts depend on it
//
// Built for x86-64-v3 whatever the machine has, so that valgrind knows every instruction and counts compare.

#include <gnu/libc-version.h>

#include <Eigen/Core>
#include <functional>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "gradus/core/thread_pool.hpp"
#include "gradus/models/gpt.hpp"
#include "gradus/models/lenet.hpp"
#include "gradus/models/lstm_forecaster.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/tensor/creation.hpp"

using namespace gradus;

/// In C's way, so that its name is the same for every compiler and callgrind finds it.
extern "C" __attribute__((noinline)) void gradus_counted_steps(const std::function<void()>& step, int count) {
  for (int i = 0; i < count; ++i) step();
}

namespace {

using Step = std::function<void()>;

template <class Model, class Input, class Target, class Loss>
Step training(Model made, Input x, Target y, Loss loss_of) {
  auto model = std::make_shared<Model>(std::move(made));
  auto adam = std::make_shared<optim::AdamW<float>>(*model, optim::AdamWOptions{.lr = 1e-4});
  return [=] {
    auto loss = loss_of((*model)(x), y);
    loss.backward();
    adam->step();
    adam->zero_grad();
  };
}

Step classifier(auto model, const Shape& images) {
  auto labels = randint<int64_t>(0, 10, {images[0]});  // (n)
  return training(std::move(model), randn<float>(images), labels,
                  [](const Tensor<float>& y, const Tensor<int64_t>& label) { return cross_entropy(y, label); });
}

Step regression(auto model, const Shape& inputs, const Shape& targets) {
  return training(std::move(model), randn<float>(inputs), randn<float>(targets),
                  [](const Tensor<float>& y, const Tensor<float>& target) { return mse_loss(y, target); });
}

Step gpt() {
  models::Gpt<float> model({.vocabulary = 512, .context = 48, .layers = 2, .heads = 4, .width = 64, .dropout = 0});
  auto ids = randint<int64_t>(0, 512, {2, 48}), next = randint<int64_t>(0, 512, {2, 48});  // (2, 48) each
  return training(std::move(model), ids, next, [](const Tensor<float>& y, const Tensor<int64_t>& token) {
    return cross_entropy(flatten(y, 0, 1), flatten(token, 0));
  });
}

Step add_with_gradient() {
  auto a = randn<float>({4, 4}), b = randn<float>({4, 4});  // (4, 4) each
  a.set_requires_grad();
  b.set_requires_grad();
  return [=]() mutable {
    sum(a + b).backward();
    a.set_grad({});
    b.set_grad({});
  };
}

struct Workload {
  const char* name;
  Step (*make)();
  int counted = 1;
};

// Small, since valgrind computes fused multiply-adds lane by lane, but no kernel sees less than a full tile.
const std::vector<Workload> workloads = {
    {"mlp",
     [] {
       return classifier(models::Mlp<float>({784, 128, 128, 10}), {32, 784});
     }},
    {"deep_mlp",
     [] {
       return regression(models::Mlp<float>({28, 100, 100, 100, 100, 100, 1}), {50, 28}, {50, 1});
     }},
    {"lenet",
     [] {
       return classifier(models::LeNet<float>(), {2, 1, 28, 28});
     }},
    {"resnet9",
     [] {
       return classifier(models::ResNet9<float>(3, 10, 16), {2, 3, 16, 16});
     }},
    {"lstm",
     [] {
       return regression(models::LstmForecaster<float>(16, 14, {.hidden = 64}), {16, 10, 16}, {16, 14});
     }},
    {"gpt", gpt},
    {"tiny_mlp",
     [] {
       return regression(models::Mlp<float>({4, 8, 1}), {1, 4}, {1, 1});
     },
     100},
    {"add_4x4", add_with_gradient, 100},
};

int run(const std::string& name) {
  if (name == "--list") {
    for (const auto& workload : workloads) std::cout << workload.name << ' ' << workload.counted << '\n';
#if defined(__clang__)
    std::cout << "clang " << __clang_version__;
#else
    std::cout << "g++ " << __VERSION__;
#endif
    std::cout << ", Eigen " << EIGEN_WORLD_VERSION << '.' << EIGEN_MAJOR_VERSION << '.' << EIGEN_MINOR_VERSION
              << ", glibc " << gnu_get_libc_version() << std::endl;
    return 0;
  }
  for (const auto& workload : workloads) {
    if (name != workload.name) continue;
    set_num_threads(1);
    manual_seed(1);
    auto step = workload.make();
    for (int i = 0; i < 2; ++i) step();  // buffers come from the system in the first
    gradus_counted_steps(step, workload.counted);
    return 0;
  }
  std::cerr << "usage: gradus_instructions --list | <one of its models>\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc == 2 ? argv[1] : "");
  } catch (const std::exception& error) {
    std::cerr << "gradus_instructions: " << error.what() << '\n';
    return 1;
  }
}

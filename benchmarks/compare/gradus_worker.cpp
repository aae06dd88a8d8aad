// The Gradus side of `./run compare`: trains one workload from given weights on given batches, a few steps at a time.
//
//   gradus_compare <workload> <threads> <folder> [float | bf16]
//   gradus_compare peak <threads>
//
// The folder holds <workload>.weights.safetensors and <workload>.batches.safetensors (x0, y0, x1, ...). Each line on
// standard input is a number of steps; the answer is one line of JSON with their milliseconds and losses, the most
// memory that this process ever held, and what it held before there was a model.

#include <chrono>
#include <fstream>
#include <iostream>

#include "benchmarks/compare/gradus_steps.hpp"
#include "benchmarks/peak.hpp"

using namespace gradus;

namespace {

/// A line of Linux's account of this process: "VmHWM" is the most memory it held, "VmRSS" what it holds.
int64_t status_kb(const std::string& line) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == line + ":" && status >> word) return std::stoll(word);
  }
  return 0;
}

int print_peaks(int threads) {
  std::cout << "{\"float\":" << bench::peak_float_flops(threads) << ",\"bf16\":" << bench::peak_bf16_flops(threads)
            << ",\"read\":" << bench::peak_read_bytes(threads) << "}" << std::endl;
  return 0;
}

int run(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "peak") return print_peaks(std::stoi(arguments[1]));
  auto precision = arguments.size() == 4 ? arguments[3] : "float";
  if (arguments.size() < 3 || arguments.size() > 4 || (precision != "float" && precision != "bf16")) {
    std::cerr << "usage: gradus_compare <workload> <threads> <folder> [float | bf16]\n"
                 "       gradus_compare peak <threads>\n";
    return 2;
  }
  set_num_threads(std::stoi(arguments[1]));
  auto held_before = status_kb("VmRSS");
  auto stem = arguments[2] + "/" + arguments[0];
#if defined(GRADUS_ONLY)  // a program of one workload, in float
  auto step = compare::make_step<float>(arguments[0], stem);
#else
  auto step = precision == "float" ? compare::make_step<float>(arguments[0], stem)
                                   : compare::make_step<bf16>(arguments[0], stem);
#endif
  int64_t done = 0;
  for (int64_t count = 0; std::cin >> count;) {
    auto before = memory_stats().system_allocations;
    std::string times, losses;
    for (int64_t i = 0; i < count; ++i, ++done) {
      auto start = std::chrono::steady_clock::now();
      auto loss = step(done);
      auto milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      times += (i > 0 ? "," : "") + join(milliseconds);
      losses += (i > 0 ? "," : "") + join(loss);
    }
    auto allocations = memory_stats().system_allocations - before;
    std::cout << "{\"ms\":[" << times << "],\"losses\":[" << losses << "],\"peak_kb\":" << status_kb("VmHWM")
              << ",\"before_kb\":" << held_before << ",\"system_allocations\":" << allocations << "}" << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "gradus_compare: " << error.what() << '\n';
    return 1;
  }
}

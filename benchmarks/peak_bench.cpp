// The machine's own limits as benchmarks, at one thread and at all: what of_peak is a share of.
#include <cstdlib>

#include "benchmarks/measure.hpp"

using namespace gradus;

namespace {

void show(const char* what, int threads, double bench::Peak::*rate, const char* unit) {
  auto run = [=](benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(bench::peak(threads));
    if (bench::peak(threads).*rate > 0) state.counters[unit] = bench::peak(threads).*rate;
  };
  benchmark::RegisterBenchmark(join("peak/", what, "/threads:", threads).c_str(), run)->Iterations(1);
}

const bench::AtStart peak_registered([] {
  if (auto* threads = std::getenv("GRADUS_BENCH_THREADS")) set_num_threads(std::atoi(threads));
  auto all = num_threads();
  for (int threads = 1; threads <= all; threads += std::max(1, all - 1)) {
    show("float", threads, &bench::Peak::float_flop, "FLOP/s");
    show("double", threads, &bench::Peak::double_flop, "FLOP/s");
    show("bf16_dot", threads, &bench::Peak::bf16_flop, "FLOP/s");
    show("read", threads, &bench::Peak::read, "B/s");
    show("copy", threads, &bench::Peak::copy, "B/s");
  }
});

}  // namespace

// Microbenchmarks in a line each: what is timed, on which inputs, and how much work it is.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/peak.hpp"
#include "gradus/autograd/autograd.hpp"
#include "gradus/core/thread_pool.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::bench {

/// Of one run; becomes the rate of the counters FLOP and B, whose G/s are GFLOP/s and GB/s, and of_peak: the least time
/// that the machine needs for it, as a share of the time taken.
struct Work {
  double flop = 0;
  double read = 0, written = 0;  ///< bytes, of what must come from memory and go there at least
  double Peak::*flop_peak = &Peak::float_flop;

  /// A loop that writes is as fast as a copy; what it reads beyond that comes at the rate of reading.
  double least_seconds(const Peak& peak) const {
    auto copied = std::min(read, written);
    auto memory = (copied + written) / peak.copy + (read - copied) / peak.read;
    return std::max(flop > 0 ? flop / (peak.*flop_peak) : 0, memory);
  }
};

template <Floating T>
using TensorsOf = std::vector<Tensor<T>>;
using Tensors = TensorsOf<float>;

/// Registers a benchmark. setup() is called when its turn comes and gives the function that is timed.
template <class Setup>
void time(const std::string& name, Work work, Setup setup) {
  auto run = [=](benchmark::State& state) {
    auto& best = peak(num_threads());
    auto timed = setup();
    timed();  // fills the memory cache
    for (auto _ : state) timed();
    using benchmark::Counter;
    auto rate = [&](const char* unit, double amount) {
      if (amount > 0) state.counters[unit] = Counter(amount, Counter::kIsIterationInvariantRate);
    };
    rate("FLOP", work.flop);
    rate("B", work.read + work.written);
    rate("of_peak", work.least_seconds(best));
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

/// name/forward: f(inputs), nothing recorded. name/backward: the gradients of all inputs.
template <Floating T = float, class F>
void time_operator(const std::string& name, Work forward, Work backward, const std::vector<Shape>& shapes, F f) {
  auto inputs = [shapes] {
    manual_seed(1);
    TensorsOf<T> tensors;
    for (const auto& shape : shapes) tensors.push_back(rand<T>(shape, 0.25, 1.0));
    return tensors;
  };
  time(name + "/forward", forward, [=] {
    return [=, x = inputs()] {
      NoGradGuard guard;
      benchmark::DoNotOptimize(f(x).data());
    };
  });
  time(name + "/backward", backward, [=] {
    auto x = inputs();
    for (auto& one : x) one.set_requires_grad();
    auto y = f(x);
    return [=, dy = rand<T>(y.shape())] {
      auto gradients = grad(y, x, {.retain_graph = true}, dy);
      benchmark::DoNotOptimize(gradients[0].data());
    };
  });
}

inline double bytes_of(const Shape& shape) { return 4.0 * static_cast<double>(shape.numel()); }
/// "32x3x28x28".
inline std::string sizes(const Shape& shape) {
  std::string text;
  for (auto size : shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(size);
  }
  return text;
}

/// Calls a function before main.
struct AtStart {
  template <class Registration>
  explicit AtStart(Registration registration) {
    registration();
  }
};

}  // namespace gradus::bench

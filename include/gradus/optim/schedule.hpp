// Learning rates that change from step to step.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>

#include "gradus/core/error.hpp"

namespace gradus::optim::inline GRADUS_BUILD {

struct CosineOptions {
  int64_t steps = 0;        ///< of the whole training, warm-up included
  int64_t warmup = 0;       ///< steps in which the rate rises evenly from almost nothing
  double final_factor = 0;  ///< share of the highest rate that is left at the end
};

/// A factor a step: rises evenly, then falls along half a cosine (Loshchilov and Hutter, 2017). Step i of the rise has
/// (i + 1) / warmup, so that no step is lost.
inline std::function<double(int64_t)> cosine(const CosineOptions& options) {
  require<ValueError>(options.warmup >= 0 && options.steps > options.warmup, "cosine: ", options.steps, " steps with ",
                      options.warmup, " of warm-up, but there must be more steps than warm-up");
  return [options](int64_t step) {
    if (step < options.warmup) return static_cast<double>(step + 1) / static_cast<double>(options.warmup);
    auto falling = static_cast<double>(options.steps - options.warmup);
    auto done = std::min(1.0, static_cast<double>(step - options.warmup) / falling);
    return options.final_factor + (1 - options.final_factor) * 0.5 * (1 + std::cos(std::numbers::pi * done));
  };
}

/// Sets an optimizer's learning rate for each step: the rate that it was made with, times factor(step), steps counted
/// from 0. Call step() after the optimizer's.
///   optim::Schedule schedule(adam, optim::cosine({.steps = 1000, .warmup = 100}));
template <class Optimizer>
class Schedule {
 public:
  Schedule(Optimizer& optimizer, std::function<double(int64_t)> factor)
      : optimizer_(&optimizer), factor_(std::move(factor)), lr_(optimizer.lr()) {
    apply();
  }

  void step() {
    ++steps_;
    apply();
  }
  /// Calls of step() so far.
  int64_t steps() const { return steps_; }

  /// Internal: what a checkpoint holds.
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    visitor("steps", steps_);
    visitor("lr", lr_);
  }

 private:
  void apply() { optimizer_->set_lr(lr_ * factor_(steps_)); }

  Optimizer* optimizer_;
  std::function<double(int64_t)> factor_;
  double lr_;
  int64_t steps_ = 0;
};

}  // namespace gradus::optim::inline GRADUS_BUILD

// The running mean of numbers with weights, such as the loss of an epoch whose last batch is smaller.
#pragma once

#include <cstdint>
#include <limits>

#include "gradus/core/config.hpp"

namespace gradus::metrics::inline GRADUS_BUILD {

class Mean {
 public:
  /// `weight`: how many samples the value is the mean of.
  void add(double value, double weight = 1) {
    sum_ += value * weight;
    weight_ += weight;
  }
  /// NaN before the first value.
  double value() const { return weight_ > 0 ? sum_ / weight_ : std::numeric_limits<double>::quiet_NaN(); }
  double weight() const { return weight_; }
  void reset() { *this = {}; }

  /// Internal: what a checkpoint holds.
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    visitor("sum", sum_);
    visitor("weight", weight_);
  }

 private:
  double sum_ = 0, weight_ = 0;
};

}  // namespace gradus::metrics::inline GRADUS_BUILD

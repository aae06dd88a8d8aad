// Finds the operator that makes the first NaN or infinity, forward or backward.
#pragma once

#include <cmath>
#include <string>
#include <unordered_map>

#include "gradus/autograd/node.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// "nan in 2 of 6 elements, first at (0, 1)"; empty when all are sound.
template <Floating T>
GRADUS_COLD std::string describe_anomaly(const TensorImpl& x, bool infinities) {
  auto dense = allocate_impl(x.dtype, x.shape, Device::cpu());
  copy_elements(*dense, x);
  auto* values = reinterpret_cast<const T*>(dense->data());
  int64_t bad = 0, first = 0;
  for (int64_t i = 0; i < x.numel; ++i) {
    auto value = static_cast<Compute<T>>(values[i]);
    if (std::isfinite(value) || (!infinities && !std::isnan(value))) continue;
    if (bad++ == 0) first = i;
  }
  if (bad == 0) return "";
  auto value = static_cast<Compute<T>>(values[first]);
  auto position = x.shape;
  for (auto axis = x.shape.rank() - 1; axis >= 0; --axis) {
    position[axis] = first % x.shape[axis];
    first /= x.shape[axis];
  }
  return join(std::isnan(value) ? "nan"
              : value > 0       ? "inf"
                                : "-inf",
              " in ", bad, " of ", x.numel, " elements, first at ", position);
}

GRADUS_COLD inline std::string describe_anomaly(const TensorImpl& x, bool infinities) {
  switch (x.dtype) {
    case DType::f32:
      return describe_anomaly<float>(x, infinities);
    case DType::f64:
      return describe_anomaly<double>(x, infinities);
    case DType::bf16:
      return describe_anomaly<bf16>(x, infinities);
    case DType::f16:
      return describe_anomaly<f16>(x, infinities);
    default:
      return "";
  }
}

class AnomalyCheck final : public AnomalyWatch {
 public:
  explicit AnomalyCheck(bool infinities) : infinities_(infinities) {}

  GRADUS_COLD void check_output(const char* op, const TensorImpl& y) override {
    if (y.node && layer != nullptr) layers_.emplace(y.node->sequence, *layer);
    if (*running_backward() != 0) return;  // gradients are checked where they are delivered, with what they are of
    auto problem = describe_anomaly(y, infinities_);
    require<AnomalyError>(problem.empty(), op, ": the result has ", problem);
  }
  GRADUS_COLD void check_gradient(const char* op, uint64_t sequence, const TensorImpl& gradient) override {
    auto problem = describe_anomaly(gradient, infinities_);
    if (problem.empty()) return;
    auto tensor = layers_.find(sequence);
    auto where = tensor == layers_.end() ? std::string() : tensor->second.substr(0, tensor->second.rfind('.'));
    fail<AnomalyError>({"backward of '", op, "'", where.empty() ? "" : " in ", where, ": a gradient has ", problem});
  }

 private:
  bool infinities_;
  std::unordered_map<uint64_t, std::string> layers_;  // by the sequence number of an operator's node
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

struct AnomalyOptions {
  bool infinities = true;  ///< false: NaN only, where infinities are meant, as in masks
};

/// While one lives, every operator of this thread is checked, forward and backward; the first result or gradient that
/// holds a NaN or an infinity throws AnomalyError, which names the operator, the place and, for layers of a model that
/// an optimizer or train() has walked, the layer. Slow: for finding a fault, not for training.
///   AnomalyGuard guard; auto loss = f(model(x)); loss.backward();
class AnomalyGuard {
 public:
  explicit AnomalyGuard(AnomalyOptions options = {}) : watch_(options.infinities) {
    before_ = std::exchange(detail::anomaly_watch(), &watch_);
  }
  ~AnomalyGuard() { detail::anomaly_watch() = before_; }
  AnomalyGuard(const AnomalyGuard&) = delete;
  AnomalyGuard& operator=(const AnomalyGuard&) = delete;

 private:
  detail::AnomalyCheck watch_;
  detail::AnomalyWatch* before_;
};

}  // namespace gradus::inline GRADUS_BUILD

// Finds the operator that makes the first NaN or infinity, forward or backward.
#pragma once

#include <cmath>
#include <string>
#include <unordered_map>

#include "gradus/autograd/node.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

struct AnomalyWatch {
  bool infinities;
  const std::string* layer = nullptr;                ///< path of a tensor of the layer that computes now
  std::unordered_map<uint64_t, std::string> layers;  ///< by the sequence number of an operator's node
};

/// Null: nobody watches on this thread.
inline AnomalyWatch*& anomaly_watch() {
  thread_local AnomalyWatch* watch = nullptr;
  return watch;
}

/// "nan in 2 of 6 elements, first at (0, 1)"; empty when all are sound.
template <Floating T>
std::string describe_anomaly(const TensorImpl& x, bool infinities) {
  auto dense = allocate_impl(x.dtype, x.shape, x.storage->device());
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
    default:
      return "";
  }
}

GRADUS_COLD inline void check_output(const char* op, const TensorImpl& y) {
  auto& watch = *anomaly_watch();
  if (y.node && watch.layer != nullptr) watch.layers.emplace(y.node->sequence, *watch.layer);
  if (*running_backward() != 0) return;  // gradients are checked where they are delivered, with what they are of
  auto problem = describe_anomaly(y, watch.infinities);
  require<AnomalyError>(problem.empty(), op, ": the result has ", problem);
}
/// Called with every result of a differentiable operator.
inline void watch_output(const char* op, const TensorRef& y) {
  if (anomaly_watch() != nullptr) [[unlikely]]
    check_output(op, *y);
}

/// A gradient that the operator with this sequence number hands to one of its inputs.
GRADUS_COLD inline void watch_gradient(const char* op, uint64_t sequence, const TensorImpl& gradient) {
  auto& watch = *anomaly_watch();
  auto problem = describe_anomaly(gradient, watch.infinities);
  if (problem.empty()) return;
  auto tensor = watch.layers.find(sequence);
  auto layer = tensor == watch.layers.end() ? std::string() : tensor->second.substr(0, tensor->second.rfind('.'));
  fail<AnomalyError>({"backward of '", op, "'", layer.empty() ? "" : " in ", layer, ": a gradient has ", problem});
}

/// Tells the watch which layer computes now.
class WatchedLayer {
 public:
  explicit WatchedLayer(const std::string& path_of_tensor) {
    if (auto* watch = anomaly_watch(); watch != nullptr) [[unlikely]]
      before_ = std::exchange((watch_ = watch)->layer, &path_of_tensor);
  }
  ~WatchedLayer() {
    if (watch_ != nullptr) watch_->layer = before_;
  }
  WatchedLayer(const WatchedLayer&) = delete;
  WatchedLayer& operator=(const WatchedLayer&) = delete;

 private:
  AnomalyWatch* watch_ = nullptr;
  const std::string* before_ = nullptr;
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
  explicit AnomalyGuard(AnomalyOptions options = {}) : watch_{options.infinities, nullptr, {}} {
    before_ = std::exchange(detail::anomaly_watch(), &watch_);
  }
  ~AnomalyGuard() { detail::anomaly_watch() = before_; }
  AnomalyGuard(const AnomalyGuard&) = delete;
  AnomalyGuard& operator=(const AnomalyGuard&) = delete;

 private:
  detail::AnomalyWatch watch_;
  detail::AnomalyWatch* before_;
};

}  // namespace gradus::inline GRADUS_BUILD

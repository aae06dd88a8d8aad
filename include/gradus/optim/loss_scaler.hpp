// Losses that are scaled up before backward(), so that small gradients do not vanish in half precision.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/optim/clip.hpp"

namespace gradus::optim::detail::inline GRADUS_BUILD {

template <Floating T>
bool all_finite(const Tensor<T>& x) {
  std::atomic<bool> finite{true};
  auto* from = x.data();
  parallel_for(x.numel(), 16384, [&](int64_t first, int64_t last) {
    auto here = true;
    for (auto i = first; i < last; ++i) here &= std::isfinite(static_cast<Compute<T>>(from[i]));
    if (!here) finite = false;
  });
  return finite;
}

/// Multiplies gradients by `factor`; false when one was not finite before.
template <Floating T>
bool unscale_gradients(const std::vector<Tensor<T>>& gradients, double factor) {
  if (gradients.empty()) return true;
  auto device = gradients.front().device();
  for (const auto& gradient : gradients) {
    require<DeviceError>(gradient.device() == device, "LossScaler: gradients on ", device, " and ", gradient.device(),
                         "; move the model with to(model, device) before backward()");
  }
#if defined(GRADUS_CUDA)
  if (!device.is_cpu()) {
    std::vector<CardPart> parts;
    for (const auto& gradient : gradients) {
      parts.push_back({nullptr, nullptr, gradient.impl()->data(), {}, gradient.numel(), {}});
      if (factor != 1) gradient.impl()->storage->bump("unscale");
    }
    return unscale_on_card("LossScaler", device, dtype_of<T>, parts, factor).item() == 0;
  }
#endif
  auto finite = true;
  for (auto gradient : gradients) {
    finite = all_finite(gradient) && finite;
    if (factor == 1) continue;
    change_elements(gradient, [scale = static_cast<Compute<T>>(factor)](Compute<T> g) { return g * scale; });
  }
  return finite;
}

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

namespace gradus::optim::inline GRADUS_BUILD {

struct LossScalerOptions {
  double init_scale = 65536;
  double growth_factor = 2;     ///< of the scale, after growth_interval steps without an overflow
  double backoff_factor = 0.5;  ///< of the scale, after an overflow
  int64_t growth_interval = 2000;
};

/// Multiplies losses by a scale, and takes it out of the gradients again (Micikevicius et al., 2018; options and
/// numbers as torch.amp.GradScaler's). A step with a gradient that is not finite is left out and lowers the scale; many
/// without raise it.
///
///     optim::AdamW<f16> adam(model);
///     optim::LossScaler scaler;
///     ...
///       scaler.scale(cross_entropy(cast<float>(model(x)), labels)).backward();
///       scaler.step(adam);
///       adam.zero_grad();
///
/// The optimizer takes the scale out in float, so that nothing is lost. A loss that is computed in f16 itself passes no
/// gradient above 65504 on: cast to float before it. On a GPU, step() waits once for the answer whether all gradients
/// are finite, so it cannot be part of a captured step.
class LossScaler {
 public:
  explicit LossScaler(const LossScalerOptions& options = {}) : options_(options), scale_(options.init_scale) {
    require<ValueError>(scale_ > 0 && std::isfinite(scale_), "LossScaler: init_scale is ", scale_,
                        ", but must be above 0 and finite");
    require<ValueError>(options.growth_factor >= 1 && options.backoff_factor > 0 && options.backoff_factor < 1,
                        "LossScaler: growth_factor is ", options.growth_factor, " and backoff_factor ",
                        options.backoff_factor, ", but must be at least 1, and between 0 and 1");
    require<ValueError>(options.growth_interval > 0, "LossScaler: growth_interval is ", options.growth_interval,
                        ", but must be above 0");
  }

  /// The scale now.
  double scale() const { return scale_; }
  /// The loss times the scale, in float for a loss of two bytes. For backward(); look at the loss itself for its value.
  template <Floating T>
  Tensor<Compute<T>> scale(const Tensor<T>& loss) const {
    if constexpr (HalfWidth<T>) return cast<float>(loss) * scale_;
    else return loss * scale_;
  }

  /// The step of one optimizer, or of several that have their gradients from one loss: all or none. Then sets the scale
  /// for the next. False when a gradient is not finite: nothing was changed. AutogradError when there is no gradient.
  template <class... Optimizers>
  bool step(Optimizers&... optimizers) {
    auto finite = finite_;
    auto look = [&](auto& optimizer) {
      auto gradients = optimizer.dense_gradients();
      if (!is_unscaled(&optimizer)) finite = detail::unscale_gradients(gradients, 1) && finite;
      return !gradients.empty();
    };
    auto any = (static_cast<int>(look(optimizers)) + ...) > 0;
    require<AutogradError>(any, "LossScaler: no parameter has a gradient; call scale(loss).backward() before step()");
    if (finite) (step_one(optimizers), ...);
    unscaled_.clear();
    finite_ = true;
    update(finite);
    return finite;
  }

  /// Takes the scale out of the optimizer's gradients before step(), for those who look at them or change them.
  /// Gradients of f16 below 2^-25 become 0 by that; clip_grad_norm below needs none of it.
  template <class Optimizer>
  void unscale(Optimizer& optimizer) {
    require<ValueError>(
        !is_unscaled(&optimizer),
        "LossScaler: the gradients of this optimizer are unscaled already; call unscale() once, between "
        "backward() and step()");
    NoGradGuard guard;
    auto gradients = optimizer.dense_gradients();
    for (const auto& gradient : gradients)
      require<AutogradError>(!gradient.requires_grad(),
                             "LossScaler: a gradient is part of a graph; call unscale() "
                             "before asking for its derivatives, or detach it");
    finite_ = detail::unscale_gradients(gradients, 1 / scale_) && finite_;
    unscaled_.push_back(&optimizer);
  }

  /// optim::clip_grad_norm of gradients that still hold the scale: the norm without it, and the limit, too.
  template <class Model>
  double clip_grad_norm(Model& model, double max_norm) {
    require<ValueError>(unscaled_.empty(), "LossScaler: gradients are unscaled already; call optim::clip_grad_norm");
    return optim::clip_grad_norm(model, max_norm * scale_) / scale_;
  }

  /// Internal: what a checkpoint holds.
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    visitor("scale", scale_);
    visitor("growth_tracker", growth_tracker_);
  }

 private:
  bool is_unscaled(const void* optimizer) const {
    return std::find(unscaled_.begin(), unscaled_.end(), optimizer) != unscaled_.end();
  }
  template <class Optimizer>
  void step_one(Optimizer& optimizer) {
    struct Factor {
      Optimizer& of;
      ~Factor() { of.set_gradient_factor(1); }
    } factor{optimizer};
    optimizer.set_gradient_factor(is_unscaled(&optimizer) ? 1 : 1 / scale_);
    optimizer.step();
  }
  void update(bool finite) {
    growth_tracker_ = finite ? growth_tracker_ + 1 : 0;
    if (!finite) scale_ *= options_.backoff_factor;
    if (growth_tracker_ < options_.growth_interval) return;
    growth_tracker_ = 0;
    if (std::isfinite(static_cast<float>(scale_ * options_.growth_factor))) scale_ *= options_.growth_factor;
  }

  LossScalerOptions options_;
  double scale_;
  int64_t growth_tracker_ = 0;         // steps without an overflow since the scale changed
  std::vector<const void*> unscaled_;  // optimizers
  bool finite_ = true;                 // what unscale() saw
};

}  // namespace gradus::optim::inline GRADUS_BUILD

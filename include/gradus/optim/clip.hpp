// Limits to gradients, between backward() and step().
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "gradus/autograd/parameter.hpp"
#include "gradus/core/thread_pool.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/pointwise.hpp"
#include "gradus/optim/sweep_cuda.hpp"
#endif

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// f(gradient (contiguous), of each parameter that has one).
template <class Model, class F>
void for_each_gradient(const char* name, Model& model, F&& f) {
  NoGradGuard guard;
  gradus::detail::for_each_model_tensor(model, [&](const std::string& path, auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (Part::trained) {
      auto gradient = part.grad();
      if (!gradient.defined()) return;
      require<AutogradError>(!gradient.requires_grad(), name, ": the gradient of ", path,
                             " is part of a graph; clip before asking for its derivatives, or detach it");
      if (!gradient.is_contiguous()) {
        gradient = gradient.clone();
        Tensor<typename Part::value_type>(part.tensor()).set_grad(gradient);
      }
      f(gradient);
    }
  });
}

/// Sum of squares, in double, from chunks that depend on the size alone.
template <Floating T>
double sum_of_squares(const Tensor<T>& x) {
  constexpr int64_t chunk = 16384;
  auto n = x.numel();
  std::vector<double> partial(static_cast<size_t>((n + chunk - 1) / chunk));
  auto* from = x.data();
  parallel_for(n, chunk, [&](int64_t first, int64_t last) {
    for (; first < last; first += chunk) {
      double sums[4] = {0, 0, 0, 0};
      auto end = std::min(last, first + chunk);
      for (auto i = first; i < end; ++i) {
        auto value = static_cast<double>(from[i]);
        sums[i % 4] += value * value;
      }
      partial[static_cast<size_t>(first / chunk)] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  });
  double total = 0;
  for (auto part : partial) total += part;
  return total;
}

/// x = f(x) for every element.
template <Floating T, class F>
void change_elements(Tensor<T>& x, F&& f) {
  auto* to = x.mutable_data();
  parallel_for(x.numel(), 16384, [&](int64_t first, int64_t last) {
    for (auto i = first; i < last; ++i) to[i] = static_cast<T>(f(static_cast<Compute<T>>(to[i])));
  });
}

#if defined(GRADUS_CUDA)
/// Clips gradients of one element type on a GPU; false, and nothing was done, when they are not all of one and there.
template <class Model>
bool clip_by_kernels(Model& model, double max_norm, Tensor<double>& result) {
  std::vector<CardPart> parts;
  std::vector<gradus::detail::TensorRef> kept;
  auto uniform = true;
  for_each_gradient("clip_grad_norm", model, [&](const auto& gradient) {
    const auto& first = *(kept.empty() ? gradient.impl() : kept.front());
    uniform = uniform && gradient.impl()->dtype == first.dtype && gradient.device() == first.storage->device() &&
              !gradient.device().is_cpu();
    parts.push_back({nullptr, nullptr, gradient.impl()->data(), {}, gradient.numel(), {}});
    kept.push_back(gradient.impl());
  });
  if (parts.empty() || !uniform) return false;
  for (const auto& gradient : kept) gradient->storage->bump("clip_grad_norm");
  const auto& first = *kept.front();
  result = clip_on_card("clip_grad_norm", first.storage->device(), first.dtype, parts, max_norm);
  return true;
}
#endif

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

namespace gradus::optim::inline GRADUS_BUILD {

/// The norm of all gradients before they were clipped: a double. On a GPU the host waits for it only when it is read.
class GradientNorm {
 public:
  GradientNorm(double value) : value_(value) {}  // NOLINT: stands for its number
#if defined(GRADUS_CUDA)
  explicit GradientNorm(Tensor<double> there) : there_(std::move(there)) {}
#endif
  operator double() const {  // NOLINT
#if defined(GRADUS_CUDA)
    if (there_.defined()) return there_(0);
#endif
    return value_;
  }

 private:
  double value_ = 0;
#if defined(GRADUS_CUDA)
  Tensor<double> there_;  // (2,)
#endif
};

/// Scales all gradients of the model by one factor so that their common Euclidean norm is at most max_norm (Pascanu et
/// al., 2013; the factor is max_norm / (norm + 1e-6), as in torch.nn.utils.clip_grad_norm_). Returns the norm before.
/// A norm that is not finite is returned and changes nothing: skip that step, or look for its cause.
template <class Model>
GradientNorm clip_grad_norm(Model& model, double max_norm) {
  require<ValueError>(max_norm > 0, "clip_grad_norm: max_norm is ", max_norm, ", but must be above 0");
#if defined(GRADUS_CUDA)
  Tensor<double> there;
  if (detail::clip_by_kernels(model, max_norm, there)) return GradientNorm(there);
#endif
  double squares = 0;
  detail::for_each_gradient("clip_grad_norm", model, [&](const auto& gradient) {
    squares += detail::sum_of_squares(gradient.to(Device::cpu()));
  });
  auto norm = std::sqrt(squares), factor = max_norm / (norm + 1e-6);
  if (!(factor < 1) || !std::isfinite(norm)) return norm;
  detail::for_each_gradient("clip_grad_norm", model, [&](auto& gradient) {
#if defined(GRADUS_CUDA)
    if (!gradient.device().is_cpu()) return static_cast<void>(gradient.copy_(gradient * factor));
#endif
    using C = Compute<typename std::remove_cvref_t<decltype(gradient)>::value_type>;
    detail::change_elements(gradient, [scale = static_cast<C>(factor)](C g) { return g * scale; });
  });
  return norm;
}

/// Puts every element of every gradient into [-limit, limit]; NaN stays.
template <class Model>
void clip_grad_value(Model& model, double limit) {
  require<ValueError>(limit > 0, "clip_grad_value: limit is ", limit, ", but must be above 0");
  detail::for_each_gradient("clip_grad_value", model, [&](auto& gradient) {
#if defined(GRADUS_CUDA)
    if (!gradient.device().is_cpu())
      return static_cast<void>(gradient.copy_(maximum(minimum(gradient, limit), -limit)));
#endif
    using C = Compute<typename std::remove_cvref_t<decltype(gradient)>::value_type>;
    detail::change_elements(gradient, [top = static_cast<C>(limit)](C g) {
      return g > top ? top : g < -top ? -top : g;
    });
  });
}

}  // namespace gradus::optim::inline GRADUS_BUILD

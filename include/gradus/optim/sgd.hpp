#pragma once

#include "gradus/optim/optimizer.hpp"

namespace gradus::optim::inline GRADUS_BUILD {

struct SgdOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;  ///< adds weight_decay * parameter to the gradient
  bool nesterov = false;
  /// For parameters of 2 bytes: keep no exact values in float; round each result up or down at random instead, so that
  /// small steps are not lost on average. Draws from the thread's generator.
  bool stochastic_rounding = false;
};

}  // namespace gradus::optim::inline GRADUS_BUILD

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// The step of one register of parameters computed in C. Numbers: learning rate, momentum, weight decay, 1 - dampening,
/// and as truth values: there is momentum, nesterov, this is the parameter's first step.
template <class C>
struct SgdRule {
  static constexpr int number = 1;
  using S = gradus::detail::Simd<C>;
  S minus_lr, momentum, decay, fresh;
  bool moving, nesterov, first;

  explicit SgdRule(const std::array<double, 8>& n)
      : minus_lr(-n[0]),
        momentum(n[1]),
        decay(n[2]),
        fresh(n[3]),
        moving(n[4] != 0),
        nesterov(n[5] != 0),
        first(n[6] != 0) {}

  GRADUS_INLINE S operator()(const S& p, S g, std::array<S, 1>& state) const {
    g = fma(decay, p, g);
    if (moving) {
      state[0] = first ? g : fma(momentum, state[0], fresh * g);
      g = nesterov ? fma(momentum, state[0], g) : state[0];
    }
    return fma(minus_lr, g, p);
  }
};

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

namespace gradus::optim::inline GRADUS_BUILD {

/// Stochastic gradient descent, with momentum as in PyTorch: v = momentum v + (1 - dampening) g (v = g in the first
/// step), p = p - lr v; nesterov steps by g + momentum v (Sutskever et al., 2013). zero_grad() clears the gradients,
/// lr() and set_lr() read and set the learning rate.
template <Floating T = float>
class SGD : public detail::Optimizer<T, 1, SgdOptions> {
 public:
  template <class Model>
  explicit SGD(Model& model, const SgdOptions& options = {}, const std::vector<ParameterGroup<SgdOptions>>& groups = {})
      : detail::Optimizer<T, 1, SgdOptions>("SGD", {"momentum_buffer"}, this->tensors_of(model), options, groups) {
    for (const auto& one : this->group_options()) {
      require<ValueError>(one.momentum >= 0 && one.weight_decay >= 0, "SGD: momentum is ", one.momentum,
                          " and weight_decay ", one.weight_decay, ", but neither may be negative");
      require<ValueError>(!one.nesterov || (one.momentum > 0 && one.dampening == 0),
                          "SGD: nesterov needs momentum above 0 and no dampening");
    }
  }

  /// Changes every parameter that has a gradient. ValueError when the model is gone.
  void step() {
    this->template sweep<detail::SgdRule<Compute<T>>>(
        [&](const auto& part) {
          const auto& options = this->group_options()[part.group];
          return std::array<double, 8>{this->group_lr(part.group),
                                       options.momentum,
                                       options.weight_decay,
                                       1 - options.dampening,
                                       options.momentum != 0 ? 1.0 : 0.0,
                                       options.nesterov ? 1.0 : 0.0,
                                       part.step == 1 ? 1.0 : 0.0,
                                       0.0};
        },
        [this] { step(); });
  }
};

template <class Model>
SGD(Model&, SgdOptions, std::vector<ParameterGroup<SgdOptions>>) -> SGD<float>;
template <class Model>
SGD(Model&, SgdOptions) -> SGD<float>;
template <class Model>
SGD(Model&) -> SGD<float>;

}  // namespace gradus::optim::inline GRADUS_BUILD

#pragma once

#include "gradus/optim/optimizer.hpp"

namespace gradus::optim::inline GRADUS_BUILD {

struct SgdOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;  ///< adds weight_decay * parameter to the gradient
  bool nesterov = false;
};

/// Stochastic gradient descent, with momentum as in PyTorch: v = momentum v + (1 - dampening) g (v = g in the first
/// step), p = p - lr v; nesterov steps by g + momentum v (Sutskever et al., 2013). zero_grad() clears the gradients,
/// lr() and set_lr() read and set the learning rate.
template <Floating T = float>
class SGD : public detail::Optimizer<T, 1> {
 public:
  template <class Model>
  explicit SGD(Model& model, SgdOptions options = {})
      : detail::Optimizer<T, 1>("SGD", model, options.lr), options_(options) {
    require<ValueError>(options.momentum >= 0 && options.weight_decay >= 0, "SGD: momentum is ", options.momentum,
                        " and weight_decay ", options.weight_decay, ", but neither may be negative");
    require<ValueError>(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
                        "SGD: nesterov needs momentum above 0 and no dampening");
  }

  /// Changes every parameter that has a gradient. ValueError when the model is gone.
  void step() {
    using S = gradus::detail::Simd<Compute<T>>;
    S lr(this->lr()), momentum(options_.momentum), decay(options_.weight_decay), fresh(1 - options_.dampening);
    auto moving = options_.momentum != 0, nesterov = options_.nesterov;
    this->sweep([=](const auto& part, const S& p, S g, auto& state) {
      g = fma(decay, p, g);
      if (moving) {
        state[0] = part.step == 1 ? g : fma(momentum, state[0], fresh * g);
        g = nesterov ? fma(momentum, state[0], g) : state[0];
      }
      return fma(-lr, g, p);
    });
  }

 private:
  SgdOptions options_;
};

template <class Model>
SGD(Model&, SgdOptions) -> SGD<float>;
template <class Model>
SGD(Model&) -> SGD<float>;

}  // namespace gradus::optim::inline GRADUS_BUILD

#pragma once

#include <cmath>

#include "gradus/optim/optimizer.hpp"

namespace gradus::optim::inline GRADUS_BUILD {

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;  ///< how long the means of gradient and squared gradient remember
  double eps = 1e-8;
  double weight_decay = 1e-2;  ///< shrinks parameters by lr * weight_decay a step, apart from the gradient
};

/// Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW.
/// zero_grad() clears the gradients, lr() and set_lr() read and set the learning rate.
template <Floating T = float>
class AdamW : public detail::Optimizer<T, 2> {
 public:
  template <class Model>
  explicit AdamW(Model& model, AdamWOptions options = {})
      : detail::Optimizer<T, 2>("AdamW", model, options.lr), options_(options) {
    auto in_range = [](double beta) { return beta >= 0 && beta < 1; };
    require<ValueError>(in_range(options.beta1) && in_range(options.beta2), "AdamW: beta1 is ", options.beta1,
                        " and beta2 ", options.beta2, ", but both must be in [0, 1)");
    require<ValueError>(options.eps >= 0 && options.weight_decay >= 0, "AdamW: eps is ", options.eps,
                        " and weight_decay ", options.weight_decay, ", but neither may be negative");
  }

  /// Changes every parameter that has a gradient. ValueError when the model is gone.
  void step() {
    using S = gradus::detail::Simd<Compute<T>>;
    S beta1(options_.beta1), beta2(options_.beta2), eps(options_.eps);
    S fresh1(1 - options_.beta1), fresh2(1 - options_.beta2), keep(1 - this->lr() * options_.weight_decay);
    // Parameters may be at different steps; the corrections of the common one are computed once.
    auto common = this->slots_.front().steps + 1;
    auto [rate, root] = corrections(common);
    this->sweep([&, rate = S(rate), root = S(root)](const auto& part, const S& p, const S& g, auto& state) {
      state[0] = fma(beta1, state[0], fresh1 * g);
      state[1] = fma(beta2, state[1], fresh2 * (g * g));
      if (part.step == common) [[likely]]
        return fma(-rate, state[0] / fma(sqrt(state[1]), root, eps), keep * p);
      auto [own_rate, own_root] = corrections(part.step);
      return fma(S(-own_rate), state[0] / fma(sqrt(state[1]), S(own_root), eps), keep * p);
    });
  }

 private:
  /// lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t).
  std::pair<double, double> corrections(int64_t t) const {
    auto steps = static_cast<double>(t);
    return {this->lr() / (1 - std::pow(options_.beta1, steps)), 1 / std::sqrt(1 - std::pow(options_.beta2, steps))};
  }

  AdamWOptions options_;
};

template <class Model>
AdamW(Model&, AdamWOptions) -> AdamW<float>;
template <class Model>
AdamW(Model&) -> AdamW<float>;

}  // namespace gradus::optim::inline GRADUS_BUILD

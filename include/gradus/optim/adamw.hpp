#pragma once

#include <cmath>

#include "gradus/optim/optimizer.hpp"

namespace gradus::optim::inline GRADUS_BUILD {

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;  ///< how long the means of gradient and squared gradient remember
  double eps = 1e-8;
  double weight_decay = 1e-2;  ///< shrinks parameters by lr * weight_decay a step, apart from the gradient
  /// For parameters of 2 bytes: keep no exact values in float; round each result up or down at random instead, so that
  /// small steps are not lost on average. Draws from the thread's generator.
  bool stochastic_rounding = false;
};

}  // namespace gradus::optim::inline GRADUS_BUILD

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// The step of one register of parameters computed in C. Numbers: beta1, beta2, 1 - beta1, 1 - beta2, eps, the
/// corrected learning rate, what corrects the root, and the share of the parameter that weight decay leaves.
template <class C>
struct AdamWRule {
  static constexpr int number = 0;
  using S = gradus::detail::Simd<C>;
  S beta1, beta2, fresh1, fresh2, eps, minus_rate, root, keep;

  explicit AdamWRule(const std::array<double, 8>& n)
      : beta1(n[0]), beta2(n[1]), fresh1(n[2]), fresh2(n[3]), eps(n[4]), minus_rate(-n[5]), root(n[6]), keep(n[7]) {}

  GRADUS_INLINE S operator()(const S& p, const S& g, std::array<S, 2>& state) const {
    state[0] = fma(beta1, state[0], fresh1 * g);
    state[1] = fma(beta2, state[1], fresh2 * (g * g));
    return fma(minus_rate, state[0] / fma(sqrt(state[1]), root, eps), keep * p);
  }
};

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

namespace gradus::optim::inline GRADUS_BUILD {

/// Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW.
/// zero_grad() clears the gradients, lr() and set_lr() read and set the learning rate.
template <Floating T = float>
class AdamW : public detail::Optimizer<T, 2, AdamWOptions> {
 public:
  template <class Model>
  explicit AdamW(Model& model, const AdamWOptions& options = {},
                 const std::vector<ParameterGroup<AdamWOptions>>& groups = {})
      : detail::Optimizer<T, 2, AdamWOptions>("AdamW", {"exp_avg", "exp_avg_sq"}, this->tensors_of(model), options,
                                              groups) {
    auto in_range = [](double beta) { return beta >= 0 && beta < 1; };
    for (const auto& one : this->group_options()) {
      require<ValueError>(in_range(one.beta1) && in_range(one.beta2), "AdamW: beta1 is ", one.beta1, " and beta2 ",
                          one.beta2, ", but both must be in [0, 1)");
      require<ValueError>(one.eps >= 0 && one.weight_decay >= 0, "AdamW: eps is ", one.eps, " and weight_decay ",
                          one.weight_decay, ", but neither may be negative");
    }
  }

  /// Changes every parameter that has a gradient. ValueError when the model is gone.
  void step() {
    // Parameters may be at different steps; the corrections of the common one are computed once.
    auto common = this->slots_.front().steps + 1;
    rates_.clear();
    roots_.clear();
    for (size_t group = 0; group < this->group_options().size(); ++group) {
      rates_.push_back(rate(group, common));
      roots_.push_back(root(group, common));
    }
    auto now = [&](const auto& part) {  // rate and root
      auto at_common = part.step == common;
      return std::pair(at_common ? rates_[part.group] : rate(part.group, part.step),
                       at_common ? roots_[part.group] : root(part.group, part.step));
    };
    this->template sweep<detail::AdamWRule<Compute<T>>>(
        [&](const auto& part) {
          const auto& options = this->group_options()[part.group];
          auto [rate_now, root_now] = now(part);
          return std::array<double, 8>{
              options.beta1, options.beta2, 1 - options.beta1, 1 - options.beta2,
              options.eps,   rate_now,      root_now,          1 - this->group_lr(part.group) * options.weight_decay};
        },
        [this] { step(); });
  }

 private:
  // What corrects the means' start at zero, in step t.
  double rate(size_t group, int64_t t) const {
    return this->group_lr(group) / (1 - std::pow(this->group_options()[group].beta1, static_cast<double>(t)));
  }
  double root(size_t group, int64_t t) const {
    return 1 / std::sqrt(1 - std::pow(this->group_options()[group].beta2, static_cast<double>(t)));
  }

  std::vector<double> rates_, roots_;  // of each group, at the common step
};

template <class Model>
AdamW(Model&, AdamWOptions, std::vector<ParameterGroup<AdamWOptions>>) -> AdamW<float>;
template <class Model>
AdamW(Model&, AdamWOptions) -> AdamW<float>;
template <class Model>
AdamW(Model&) -> AdamW<float>;

}  // namespace gradus::optim::inline GRADUS_BUILD

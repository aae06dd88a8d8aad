#pragma once

#include "gradus/nn/init.hpp"
#include "gradus/nn/layer_path.hpp"
#include "gradus/nn/low_rank.hpp"
#include "gradus/ops/product/linear.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct LinearOptions {
  bool bias = true;
};

/// Dense layer: x (..., in) -> x weight^T + bias (..., out). Weight (out, in), bias (out,), as torch.nn.Linear.
template <Floating T>
struct Linear {
  Parameter<T> weight, bias;
  Parameter<T> lora_A, lora_B;  ///< (rank, in), (out, rank); undefined unless add_lora made them
  LowRank<T> lora;
  Training training;  ///< for lora's dropout
  GRADUS_FIELDS(weight, bias, lora_A, lora_B, lora, training)

  Linear(int64_t in, int64_t out, LinearOptions options = {}) {
    require<ValueError>(in >= 0 && out >= 0, "Linear: ", in, " inputs and ", out, " outputs");
    weight = Parameter<T>(init::fan_in_uniform<T>({out, in}, in));
    if (options.bias) bias = Parameter<T>(init::fan_in_uniform<T>({out}, in));
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    return detail::in_layer_of(weight, [&] {
      auto y = linear(x, weight.tensor(), bias.tensor());
      return lora.add == nullptr ? y : lora.add(*this, x, y);
    });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

#pragma once

#include "gradus/nn/linear.hpp"
#include "gradus/ops/pointwise/swiglu.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// SwiGLU (Shazeer, 2020): down(silu(gate(x)) * up(x)), x (..., size) -> (..., size), without biases. The layers have
/// the names of Llama's.
template <Floating T>
struct GatedFeedForward {
  Linear<T> gate_proj, up_proj, down_proj;
  GRADUS_FIELDS(gate_proj, up_proj, down_proj)

  GatedFeedForward(int64_t size, int64_t hidden)
      : gate_proj(size, hidden, {.bias = false}),
        up_proj(size, hidden, {.bias = false}),
        down_proj(hidden, size, {.bias = false}) {}

  Tensor<T> operator()(const Tensor<T>& x) const { return down_proj(swiglu(gate_proj(x), up_proj(x))); }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

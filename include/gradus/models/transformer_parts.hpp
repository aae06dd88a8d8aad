// What the transformers share: starts, and the parts of encoders under Hugging Face's names.
#pragma once

#include "gradus/nn/layer_norm.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/multihead_attention.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/gelu.hpp"

namespace gradus::models::detail::inline GRADUS_BUILD {

/// A dense layer that starts normal with this deviation and a bias of 0.
template <Floating T>
nn::Linear<T> normal_linear(int64_t in, int64_t out, double deviation, bool bias = true) {
  nn::Linear<T> layer(in, out, {.bias = bias});
  layer.weight = Parameter<T>(nn::init::normal<T>({out, in}, deviation));
  if (bias) layer.bias = Parameter<T>(zeros<T>({out}));
  return layer;
}

/// Attention of tokens to themselves without the projection of the result: (n, tokens, width) -> the same.
template <Floating T>
struct SelfAttention {
  nn::Linear<T> query, key, value;
  GRADUS_FIELDS(query, key, value)

  explicit SelfAttention(int64_t width)
      : query(normal_linear<T>(width, width, 0.02)),
        key(normal_linear<T>(width, width, 0.02)),
        value(normal_linear<T>(width, width, 0.02)) {}

  Tensor<T> operator()(const Tensor<T>& x, int64_t heads, const nn::AttentionMask& mask, double dropped) const {
    auto options = nn::detail::attention_options<T>(mask);
    options.dropout = dropped;
    return join_heads(scaled_dot_product_attention(split_heads(query(x), heads), split_heads(key(x), heads),
                                                   split_heads(value(x), heads), options));
  }
};

/// A struct of one dense layer, which Hugging Face calls "dense".
template <Floating T>
struct Dense {
  nn::Linear<T> dense;
  GRADUS_FIELDS(dense)

  Dense(int64_t in, int64_t out) : dense(normal_linear<T>(in, out, 0.02)) {}
  Tensor<T> operator()(const Tensor<T>& x) const { return dense(x); }
};

}  // namespace gradus::models::detail::inline GRADUS_BUILD

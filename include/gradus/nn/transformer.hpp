#pragma once

#include <vector>

#include "gradus/nn/dropout.hpp"
#include "gradus/nn/layer_norm.hpp"
#include "gradus/nn/multihead_attention.hpp"
#include "gradus/nn/residual_stream.hpp"
#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/pointwise/relu.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

enum class Activation { relu, gelu };

struct TransformerOptions {
  int64_t heads = 8;
  int64_t feed_forward = 2048;  ///< size between the two dense layers
  double dropout = 0.1;         ///< while training: of weights of attention, of what is added, between the dense layers
  Activation activation = Activation::relu;
  double eps = 1e-5;         ///< of the norms
  bool batch_first = false;  ///< tensors are (n, tokens, size) instead of (tokens, n, size)
  bool norm_first = false;   ///< normalise what a part reads, not the sum with what it gives
  bool bias = true;
  bool recompute = false;  ///< keep only a layer's input, compute the rest again for the gradient
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

template <Floating T>
MultiheadAttention<T> transformer_attention(int64_t size, const TransformerOptions& options) {
  return MultiheadAttention<T>(
      size,
      {.heads = options.heads, .dropout = options.dropout, .bias = options.bias, .batch_first = options.batch_first});
}
template <Floating T>
Tensor<T> activate(Activation activation, const Tensor<T>& x) {
  return activation == Activation::gelu ? gelu(x) : relu(x);
}
/// x becomes x + part(norm(x)), or norm(x + part(x)).
template <Floating T, class F>
void residual(ResidualStream<T>& x, const LayerNorm<T>& norm, bool norm_first, F&& part) {
  if (norm_first) return x.add(part(x.normal(norm)));
  x.add(part(x.sum()));
  x = ResidualStream<T>(x.normal(norm));
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// A layer of an encoder (Vaswani et al., 2017): attention of the tokens to themselves and two dense layers, each added
/// to what it reads; x (tokens, n, size) -> the same shape. Names, shapes and start as
/// torch.nn.TransformerEncoderLayer.
template <Floating T>
struct TransformerEncoderLayer {
  TransformerOptions options;
  MultiheadAttention<T> self_attn;
  Linear<T> linear1, linear2;
  LayerNorm<T> norm1, norm2;
  Training training;
  GRADUS_FIELDS(options, self_attn, linear1, linear2, norm1, norm2, training)

  explicit TransformerEncoderLayer(int64_t size, const TransformerOptions& chosen = {})
      : options(chosen),
        self_attn(detail::transformer_attention<T>(size, chosen)),
        linear1(size, chosen.feed_forward, {.bias = chosen.bias}),
        linear2(chosen.feed_forward, size, {.bias = chosen.bias}),
        norm1(size, {.eps = chosen.eps, .bias = chosen.bias}),
        norm2(size, {.eps = chosen.eps, .bias = chosen.bias}) {}

  Tensor<T> operator()(const Tensor<T>& x, const AttentionMask& mask = {}) const {
    ResidualStream<T> stream(x);
    (*this)(stream, mask);
    return stream.sum();
  }
  void operator()(ResidualStream<T>& x, const AttentionMask& mask = {}) const {
    x.through(*this, options.recompute, [this, mask](ResidualStream<T>& stream) { once(stream, mask); });
  }

 private:
  Tensor<T> drop(const Tensor<T>& x) const { return dropout(x, options.dropout, training.on); }
  void once(ResidualStream<T>& x, const AttentionMask& mask) const {
    detail::residual(x, norm1, options.norm_first,
                     [&](const Tensor<T>& input) { return drop(self_attn(input, mask)); });
    detail::residual(x, norm2, options.norm_first, [&](const Tensor<T>& input) {
      return drop(linear2(drop(detail::activate(options.activation, linear1(input)))));
    });
  }
};

/// A layer of a decoder: as the encoder's, with attention to the encoder's result between; x (tokens, n, size), memory
/// (keys, n, size) -> x's shape. Names, shapes and start as torch.nn.TransformerDecoderLayer.
template <Floating T>
struct TransformerDecoderLayer {
  TransformerOptions options;
  MultiheadAttention<T> self_attn, multihead_attn;
  Linear<T> linear1, linear2;
  LayerNorm<T> norm1, norm2, norm3;
  Training training;
  GRADUS_FIELDS(options, self_attn, multihead_attn, linear1, linear2, norm1, norm2, norm3, training)

  explicit TransformerDecoderLayer(int64_t size, const TransformerOptions& chosen = {})
      : options(chosen),
        self_attn(detail::transformer_attention<T>(size, chosen)),
        multihead_attn(detail::transformer_attention<T>(size, chosen)),
        linear1(size, chosen.feed_forward, {.bias = chosen.bias}),
        linear2(chosen.feed_forward, size, {.bias = chosen.bias}),
        norm1(size, {.eps = chosen.eps, .bias = chosen.bias}),
        norm2(size, {.eps = chosen.eps, .bias = chosen.bias}),
        norm3(size, {.eps = chosen.eps, .bias = chosen.bias}) {
    require<ValueError>(!options.recompute,
                        "TransformerDecoderLayer: recompute is for layers that read one tensor; "
                        "wrap the layer in recompute() with its memory in the function");
  }

  /// `mask` is that of x to itself, usually {.causal = true}; `memory_mask` that of x to memory.
  Tensor<T> operator()(const Tensor<T>& x, const Tensor<T>& memory, const AttentionMask& mask = {.causal = true},
                       const AttentionMask& memory_mask = {}) const {
    ResidualStream<T> y(x);
    detail::residual(y, norm1, options.norm_first,
                     [&](const Tensor<T>& input) { return drop(self_attn(input, mask)); });
    detail::residual(y, norm2, options.norm_first,
                     [&](const Tensor<T>& input) { return drop(multihead_attn(input, memory, memory, memory_mask)); });
    detail::residual(y, norm3, options.norm_first, [&](const Tensor<T>& input) {
      return drop(linear2(drop(detail::activate(options.activation, linear1(input)))));
    });
    return y.sum();
  }

 private:
  Tensor<T> drop(const Tensor<T>& x) const { return dropout(x, options.dropout, training.on); }
};

/// Encoder layers one after the other, and a norm at the end where layers normalise first. Names as
/// torch.nn.TransformerEncoder: layers.0, layers.1, ..., norm.
template <Floating T>
struct TransformerEncoder {
  std::vector<TransformerEncoderLayer<T>> layers;
  std::optional<LayerNorm<T>> norm;
  GRADUS_FIELDS(layers, norm)

  TransformerEncoder(int64_t size, int64_t count, const TransformerOptions& options = {}) {
    for (int64_t i = 0; i < count; ++i) layers.emplace_back(size, options);
    if (options.norm_first) norm.emplace(size, LayerNormOptions{.eps = options.eps, .bias = options.bias});
  }

  Tensor<T> operator()(const Tensor<T>& x, const AttentionMask& mask = {}) const {
    ResidualStream<T> stream(x);
    for (const auto& layer : layers) layer(stream, mask);
    return norm ? stream.normal(*norm) : stream.sum();
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

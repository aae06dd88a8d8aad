#pragma once

#include "gradus/nn/linear.hpp"
#include "gradus/ops/attention/attention.hpp"
#include "gradus/ops/indexing/split.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/view/unflatten.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct MultiheadAttentionOptions {
  int64_t heads = 1;
  double dropout = 0;  ///< share of the weights that are dropped while training
  bool bias = true;
  int64_t key_size = 0, value_size = 0;  ///< of the vectors of key and value; 0: as the query's
  bool batch_first = false;              ///< tensors are (n, tokens, size) instead of (tokens, n, size)
};

/// Which tokens are seen; see AttentionOptions.
struct AttentionMask {
  bool causal = false;       ///< a query sees no key behind its own position
  Tensor<bool> mask = {};    ///< true where a query sees a key; broadcasts to (n, heads, queries, keys)
  Tensor<bool> tokens = {};  ///< (n, keys): true where there is a token, false for padding
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// What an operator takes. Both masks together need a tensor of their own.
template <Floating T>
AttentionOptions<T> attention_options(const AttentionMask& given) {
  AttentionOptions<T> options{.mask = given.mask, .causal = given.causal};
  if (!given.tokens.defined()) return options;
  require<ShapeError>(given.tokens.rank() == 2, "attention: the mask of tokens is ", given.tokens.shape(),
                      ", but must be (n, keys)");
  auto tokens = unsqueeze(unsqueeze(given.tokens, 1), 1);  // (n, 1, 1, keys)
  if (!given.mask.defined()) {
    options.mask = tokens;
    return options;
  }
  static_cast<void>(broadcast_shapes("attention mask", tokens.shape(), given.mask.shape()));
  options.mask = tokens && given.mask;
  return options;
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Attention of several heads with projections of query, key, value and result (Vaswani et al., 2017): query (tokens,
/// n, size), key (keys, n, key_size), value (keys, n, value_size) -> (tokens, n, size), see batch_first. The parameters
/// have the names, shapes and start of torch.nn.MultiheadAttention's: in_proj_weight (3 size, size), or with other
/// sizes of key or value q_proj_weight, k_proj_weight and v_proj_weight; in_proj_bias (3 size,); out_proj. The weights
/// of the attention itself are never made.
template <Floating T>
struct MultiheadAttention {
  int64_t size;
  MultiheadAttentionOptions options;
  Parameter<T> in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias;
  Linear<T> out_proj;
  Training training;
  GRADUS_FIELDS(size, options, in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, out_proj,
                training)

  MultiheadAttention(int64_t vector_size, const MultiheadAttentionOptions& chosen)
      : size(vector_size), options(chosen), out_proj(vector_size, vector_size, {.bias = chosen.bias}) {
    require<ValueError>(options.heads > 0 && size % options.heads == 0, "MultiheadAttention: ", size,
                        " numbers do not spread over ", options.heads, " heads");
    require<ValueError>(options.dropout >= 0 && options.dropout < 1, "MultiheadAttention: dropout is ", options.dropout,
                        ", but must be in [0, 1)");
    auto key = options.key_size > 0 ? options.key_size : size,
         value = options.value_size > 0 ? options.value_size : size;
    auto start = [&](int64_t rows, int64_t columns) {
      return Parameter<T>(init::xavier_uniform<T>({rows, columns}, columns, rows));
    };
    if (key == size && value == size) {
      in_proj_weight = start(3 * size, size);
    } else {
      q_proj_weight = start(size, size);
      k_proj_weight = start(size, key);
      v_proj_weight = start(size, value);
    }
    if (!options.bias) return;
    in_proj_bias = Parameter<T>(zeros<T>({3 * size}));
    out_proj.bias = Parameter<T>(zeros<T>({size}));
  }

  Tensor<T> operator()(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value,
                       const AttentionMask& mask = {}) const {
    return detail::in_layer_of(out_proj.weight, [&] { return run(query, key, value, mask); });
  }
  /// Of tokens to themselves.
  Tensor<T> operator()(const Tensor<T>& x, const AttentionMask& mask = {}) const { return (*this)(x, x, x, mask); }

 private:
  Tensor<T> run(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value, const AttentionMask& mask) const {
    for (const auto* x : {&query, &key, &value})
      require<ShapeError>(x->rank() == 3, "MultiheadAttention: an input is ", x->shape(), ", but must be ",
                          options.batch_first ? "(n, tokens, size)" : "(tokens, n, size)");
    auto [q, k, v] = project(query, key, value);
    auto heads = [&](const Tensor<T>& x) {
      return split_heads(options.batch_first ? x : transpose(x, 0, 1), options.heads);
    };
    auto chosen = detail::attention_options<T>(mask);
    chosen.dropout = training.on ? options.dropout : 0;
    auto y = join_heads(scaled_dot_product_attention(heads(q), heads(k), heads(v), chosen));  // (n, tokens, size)
    return out_proj(options.batch_first ? y : transpose(y, 0, 1));
  }

  std::array<Tensor<T>, 3> project(const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    const auto& bias = in_proj_bias.tensor();
    auto same = query.impl() == key.impl() && key.impl() == value.impl();
    if (same && in_proj_weight.defined())
      return split<3>(linear(query, in_proj_weight.tensor(), bias), {size, size, size}, -1);
    std::array<Tensor<T>, 3> weights = {q_proj_weight.tensor(), k_proj_weight.tensor(), v_proj_weight.tensor()}, biases;
    if (in_proj_weight.defined()) weights = split<3>(in_proj_weight.tensor(), {size, size, size});
    if (bias.defined()) biases = split<3>(bias, {size, size, size});
    return {linear(query, weights[0], biases[0]), linear(key, weights[1], biases[1]),
            linear(value, weights[2], biases[2])};
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

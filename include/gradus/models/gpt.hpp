#pragma once

#include <vector>

#include "gradus/models/transformer_parts.hpp"
#include "gradus/nn/embedding.hpp"
#include "gradus/nn/key_value_cache.hpp"
#include "gradus/nn/layer_norm.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/residual_stream.hpp"
#include "gradus/ops/attention/attention.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/indexing/split.hpp"
#include "gradus/ops/loss/linear_cross_entropy.hpp"
#include "gradus/ops/product/gelu_mlp.hpp"
#include "gradus/ops/view/unflatten.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// Those of the smallest GPT-2.
struct GptOptions {
  int64_t vocabulary = 50257, context = 1024;
  int64_t layers = 12, heads = 12, width = 768;
  double dropout = 0.1;    ///< while training: of embeddings, weights of attention, and what a block adds
  double eps = 1e-5;       ///< of the norms
  bool recompute = false;  ///< keep only the input of each block, compute the rest again for its gradient
};

}  // namespace gradus::models::inline GRADUS_BUILD

namespace gradus::models::detail::inline GRADUS_BUILD {

template <Floating T>
nn::Embedding<T> normal_embedding(int64_t count, int64_t size, double deviation) {
  nn::Embedding<T> table(count, 0);
  table.weight = Parameter<T>(nn::init::normal<T>({count, size}, deviation));
  return table;
}

/// The positions of `tokens` more tokens fit into the context.
inline void check_context(const char* model, int64_t seen, int64_t tokens, int64_t context) {
  require<ShapeError>(seen + tokens <= context, model, ": ", seen + tokens, " tokens, but the context holds ", context);
}

/// There is a token that follows each of the ids.
inline void check_next(const char* model, const Tensor<int64_t>& ids, const Tensor<int64_t>& next) {
  require<ShapeError>(ids.rank() == 2 && next.shape() == ids.shape(), model, ": ids are ", ids.shape(), " and next ",
                      next.shape(), ", but both must be (n, tokens)");
}

}  // namespace gradus::models::detail::inline GRADUS_BUILD

namespace gradus::models::inline GRADUS_BUILD {

template <Floating T>
struct GptAttention {
  nn::Linear<T> c_attn, c_proj;
  GRADUS_FIELDS(c_attn, c_proj)

  explicit GptAttention(const GptOptions& options)
      : c_attn(detail::normal_linear<T>(options.width, 3 * options.width, 0.02)),
        c_proj(detail::normal_linear<T>(options.width, options.width,
                                        0.02 / std::sqrt(2.0 * static_cast<double>(options.layers)))) {}

  Tensor<T> operator()(const Tensor<T>& x, int64_t heads, double dropped, nn::KeyValueCache<T>* cache) const {
    auto width = x.size(2);
    auto [q, k, v] = split<3>(c_attn(x), {width, width, width}, -1);  // (n, tokens, width)
    auto query = split_heads(q, heads), key = split_heads(k, heads), value = split_heads(v, heads);
    auto before = cache != nullptr ? cache->length() : 0;
    if (cache != nullptr) std::tie(key, value) = cache->append(key, value);
    auto y =
        scaled_dot_product_attention(query, key, value, {.causal = true, .first_query = before, .dropout = dropped});
    return c_proj(join_heads(y));  // (n, tokens, width)
  }
};

template <Floating T>
struct GptMlp {
  nn::Linear<T> c_fc, c_proj;
  GRADUS_FIELDS(c_fc, c_proj)

  explicit GptMlp(const GptOptions& options)
      : c_fc(detail::normal_linear<T>(options.width, 4 * options.width, 0.02)),
        c_proj(detail::normal_linear<T>(4 * options.width, options.width,
                                        0.02 / std::sqrt(2.0 * static_cast<double>(options.layers)))) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
#if defined(GRADUS_CUDA)
    if (!x.device().is_cpu() && cuda::detail::tails_fused() && c_fc.lora.add == nullptr && c_proj.lora.add == nullptr) {
      return nn::detail::in_layer_of(c_fc.weight, [&] {
        return gelu_mlp(x, c_fc.weight.tensor(), c_fc.bias.tensor(), c_proj.weight.tensor(), c_proj.bias.tensor());
      });
    }
#endif
    return c_proj(gelu_tanh(c_fc(x)));
  }
};

template <Floating T>
struct GptBlock {
  nn::LayerNorm<T> ln_1;
  GptAttention<T> attn;
  nn::LayerNorm<T> ln_2;
  GptMlp<T> mlp;
  GRADUS_FIELDS(ln_1, attn, ln_2, mlp)

  explicit GptBlock(const GptOptions& options)
      : ln_1(options.width, {.eps = options.eps}),
        attn(options),
        ln_2(options.width, {.eps = options.eps}),
        mlp(options) {}

  void operator()(nn::ResidualStream<T>& x, int64_t heads, double dropped, nn::KeyValueCache<T>* cache) const {
    x.add(dropout(attn(x.normal(ln_1), heads, dropped, cache), dropped));
    x.add(dropout(mlp(x.normal(ln_2)), dropped));
  }
};

/// GPT-2 (Radford et al., 2019): token ids (n, tokens) -> logits of the token that follows each, (n, tokens,
/// vocabulary). The names are Hugging Face's: wte, wpe, h.0.attn.c_attn, ..., ln_f; the output shares its weights with
/// wte. Dense weights are (out, in), where Hugging Face's files of GPT-2 hold (in, out).
template <Floating T = float>
struct Gpt {
  GptOptions options;
  nn::Embedding<T> wte, wpe;
  std::vector<GptBlock<T>> h;
  nn::LayerNorm<T> ln_f;
  Training training;
  GRADUS_FIELDS(options, wte, wpe, h, ln_f, training)

  explicit Gpt(const GptOptions& chosen = {})
      : options(chosen),
        wte(detail::normal_embedding<T>(chosen.vocabulary, chosen.width, 0.02)),
        wpe(detail::normal_embedding<T>(chosen.context, chosen.width, 0.01)),
        ln_f(chosen.width, {.eps = chosen.eps}) {
    require<ValueError>(options.heads > 0 && options.width % options.heads == 0, "Gpt: ", options.width,
                        " numbers do not spread over ", options.heads, " heads");
    for (int64_t i = 0; i < options.layers; ++i) h.emplace_back(options);
  }

  int64_t context() const { return options.context; }
  nn::DecoderCache<T> make_cache() const { return nn::DecoderCache<T>(options.layers); }

  /// With a cache the ids are those that follow what it holds.
  Tensor<T> operator()(const Tensor<int64_t>& ids, nn::DecoderCache<T>* cache = nullptr) const {
    return logits(hidden(ids, cache));
  }
  /// What logits() reads: (n, tokens) -> (n, tokens, width).
  Tensor<T> hidden(const Tensor<int64_t>& ids, nn::DecoderCache<T>* cache = nullptr) const {
    require<ShapeError>(ids.rank() == 2, "Gpt: ids are ", ids.shape(), ", but must be (n, tokens)");
    auto tokens = ids.size(1), before = cache != nullptr ? cache->length() : 0;
    detail::check_context("Gpt", before, tokens, options.context);
    auto dropped = training.on ? options.dropout : 0;
    auto x = wte(ids) + slice(wpe.weight.tensor(), 0, before, before + tokens);  // (n, tokens, width)
    nn::ResidualStream<T> stream(dropout(x, dropped));
    for (size_t i = 0; i < h.size(); ++i) {
      auto* of_layer = cache != nullptr ? &cache->layers[i] : nullptr;
      const auto& block = h[i];
      stream.through(block, options.recompute && cache == nullptr,
                     [&block, dropped, of_layer, heads = options.heads](nn::ResidualStream<T>& of_block) {
                       block(of_block, heads, dropped, of_layer);
                     });
    }
    return stream.normal(ln_f);
  }
  Tensor<T> logits(const Tensor<T>& x) const { return linear(x, wte.weight.tensor()); }
  /// Cross entropy of the tokens `next` (n, tokens), which follow the ids, without all their logits: a scalar.
  Tensor<T> loss(const Tensor<int64_t>& ids, const Tensor<int64_t>& next, LinearCrossEntropyOptions chosen = {}) const {
    detail::check_next("Gpt", ids, next);
    return linear_cross_entropy(flatten(hidden(ids), 0, 1), wte.weight.tensor(), flatten(next, 0), chosen);
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD

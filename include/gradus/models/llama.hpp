#pragma once

#include <optional>
#include <vector>

#include "gradus/models/gpt.hpp"
#include "gradus/nn/gated_feed_forward.hpp"
#include "gradus/nn/rms_norm.hpp"
#include "gradus/ops/attention/rotary.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct LlamaOptions {
  int64_t vocabulary = 32000, context = 2048;
  int64_t layers = 12, heads = 12,
          kv_heads = 12;  ///< heads in a row share keys and values where there are fewer of these
  int64_t width = 768, feed_forward = 2048;
  double eps = 1e-5;  ///< of the norms
  RotaryOptions rotary = {};
  int64_t window = 0;                ///< a token sees only so many before it (Mistral); 0: all
  bool tie_word_embeddings = false;  ///< the output shares its weights with the embedding
  bool recompute = false;            ///< keep only the input of each layer, compute the rest again for its gradient
};

template <Floating T>
struct LlamaAttention {
  nn::Linear<T> q_proj, k_proj, v_proj, o_proj;
  GRADUS_FIELDS(q_proj, k_proj, v_proj, o_proj)

  explicit LlamaAttention(const LlamaOptions& o)
      : q_proj(detail::normal_linear<T>(o.width, o.width, 0.02, false)),
        k_proj(detail::normal_linear<T>(o.width, o.width / o.heads * o.kv_heads, 0.02, false)),
        v_proj(detail::normal_linear<T>(o.width, o.width / o.heads * o.kv_heads, 0.02, false)),
        o_proj(detail::normal_linear<T>(o.width, o.width, 0.02, false)) {}

  Tensor<T> operator()(const Tensor<T>& x, const LlamaOptions& o, const RotaryTable<T>& table,
                       nn::KeyValueCache<T>* cache) const {
    auto before = cache != nullptr ? cache->length() : 0;
    auto query = rotary(split_heads(q_proj(x), o.heads), table, before);   // (n, heads, tokens, d)
    auto key = rotary(split_heads(k_proj(x), o.kv_heads), table, before);  // (n, kv_heads, tokens, d)
    auto value = split_heads(v_proj(x), o.kv_heads);
    if (cache != nullptr) std::tie(key, value) = cache->append(key, value);
    auto y =
        scaled_dot_product_attention(query, key, value, {.causal = true, .window = o.window, .first_query = before});
    return o_proj(join_heads(y));  // (n, tokens, width)
  }
};

template <Floating T>
struct LlamaLayer {
  LlamaAttention<T> self_attn;
  nn::GatedFeedForward<T> mlp;
  nn::RMSNorm<T> input_layernorm, post_attention_layernorm;
  GRADUS_FIELDS(self_attn, mlp, input_layernorm, post_attention_layernorm)

  explicit LlamaLayer(const LlamaOptions& o)
      : self_attn(o),
        mlp(o.width, o.feed_forward),
        input_layernorm(o.width, {.eps = o.eps}),
        post_attention_layernorm(o.width, {.eps = o.eps}) {}

  void operator()(nn::ResidualStream<T>& x, const LlamaOptions& o, const RotaryTable<T>& table,
                  nn::KeyValueCache<T>* cache) const {
    x.add(self_attn(x.normal(input_layernorm), o, table, cache));
    x.add(mlp(x.normal(post_attention_layernorm)));
  }
};

template <Floating T>
struct LlamaBody {
  nn::Embedding<T> embed_tokens;
  std::vector<LlamaLayer<T>> layers;
  nn::RMSNorm<T> norm;
  GRADUS_FIELDS(embed_tokens, layers, norm)

  explicit LlamaBody(const LlamaOptions& o)
      : embed_tokens(detail::normal_embedding<T>(o.vocabulary, o.width, 0.02)), norm(o.width, {.eps = o.eps}) {
    for (int64_t i = 0; i < o.layers; ++i) layers.emplace_back(o);
  }
};

/// Llama (Touvron et al., 2023): rotary positions, RMS norms, gated feed-forward layers, heads that may share keys and
/// values; token ids (n, tokens) -> logits of the token that follows each, (n, tokens, vocabulary). The names are
/// Hugging Face's: model.embed_tokens, model.layers.0.self_attn.q_proj, ..., model.norm, lm_head. TinyLlama, Mistral
/// and others of this shape fit too.
template <Floating T = float>
struct Llama {
  LlamaOptions options;
  LlamaBody<T> model;
  std::optional<nn::Linear<T>> lm_head;
  RotaryTable<T> table;
  GRADUS_FIELDS(options, model, lm_head, table)

  explicit Llama(const LlamaOptions& chosen = {}) : options(checked(chosen)), model(chosen) {
    if (!options.tie_word_embeddings)
      lm_head = detail::normal_linear<T>(options.width, options.vocabulary, 0.02, false);
    table = rotary_table<T>(options.context, options.width / options.heads, options.rotary);
  }

  int64_t context() const { return options.context; }
  nn::DecoderCache<T> make_cache() const { return nn::DecoderCache<T>(options.layers); }

  /// With a cache the ids are those that follow what it holds.
  Tensor<T> operator()(const Tensor<int64_t>& ids, nn::DecoderCache<T>* cache = nullptr) const {
    return logits(hidden(ids, cache));
  }
  /// What logits() reads: (n, tokens) -> (n, tokens, width).
  Tensor<T> hidden(const Tensor<int64_t>& ids, nn::DecoderCache<T>* cache = nullptr) const {
    require<ShapeError>(ids.rank() == 2, "Llama: ids are ", ids.shape(), ", but must be (n, tokens)");
    detail::check_context("Llama", cache != nullptr ? cache->length() : 0, ids.size(1), options.context);
    nn::ResidualStream<T> x(model.embed_tokens(ids));  // (n, tokens, width)
    for (size_t i = 0; i < model.layers.size(); ++i) {
      auto* of_layer = cache != nullptr ? &cache->layers[i] : nullptr;
      const auto& layer = model.layers[i];
      x.through(layer, options.recompute && cache == nullptr,
                [this, &layer, of_layer](nn::ResidualStream<T>& stream) { layer(stream, options, table, of_layer); });
    }
    return x.normal(model.norm);
  }
  Tensor<T> logits(const Tensor<T>& x) const {
    return lm_head ? (*lm_head)(x) : linear(x, model.embed_tokens.weight.tensor());
  }
  /// Cross entropy of the tokens `next` (n, tokens), which follow the ids, without all their logits: a scalar.
  Tensor<T> loss(const Tensor<int64_t>& ids, const Tensor<int64_t>& next, LinearCrossEntropyOptions chosen = {}) const {
    detail::check_next("Llama", ids, next);
    const auto& weight = lm_head ? lm_head->weight.tensor() : model.embed_tokens.weight.tensor();
    return linear_cross_entropy(flatten(hidden(ids), 0, 1), weight, flatten(next, 0), chosen);
  }

 private:
  static const LlamaOptions& checked(const LlamaOptions& o) {
    require<ValueError>(o.heads > 0 && o.width % o.heads == 0, "Llama: ", o.width, " numbers do not spread over ",
                        o.heads, " heads");
    require<ValueError>(o.kv_heads > 0 && o.heads % o.kv_heads == 0, "Llama: ", o.heads,
                        " heads cannot share the keys ", "of ", o.kv_heads);
    return o;
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD

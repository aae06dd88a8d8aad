#pragma once

#include <optional>
#include <vector>

#include "gradus/autograd/recompute.hpp"
#include "gradus/models/gpt.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/cast.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// Those of bert-base; MiniLM-L6 has 6 layers and a width of 384.
struct BertOptions {
  int64_t vocabulary = 30522, context = 512, types = 2;
  int64_t layers = 12, heads = 12, width = 768, feed_forward = 3072;
  double dropout = 0.1;    ///< while training
  double eps = 1e-12;      ///< of the norms
  bool pooler = true;      ///< a dense layer and tanh over the first token, see BertOutput
  bool recompute = false;  ///< keep only the input of each layer, compute the rest again for its gradient
};

template <Floating T>
struct BertEmbeddings {
  nn::Embedding<T> word_embeddings, position_embeddings, token_type_embeddings;
  nn::LayerNorm<T> LayerNorm;
  GRADUS_FIELDS(word_embeddings, position_embeddings, token_type_embeddings, LayerNorm)

  explicit BertEmbeddings(const BertOptions& o)
      : word_embeddings(detail::normal_embedding<T>(o.vocabulary, o.width, 0.02)),
        position_embeddings(detail::normal_embedding<T>(o.context, o.width, 0.02)),
        token_type_embeddings(detail::normal_embedding<T>(o.types, o.width, 0.02)),
        LayerNorm(o.width, {.eps = o.eps}) {}
};

/// A dense layer, dropout, and the norm of the sum with what went around it.
template <Floating T>
struct BertAddNorm {
  nn::Linear<T> dense;
  nn::LayerNorm<T> LayerNorm;
  GRADUS_FIELDS(dense, LayerNorm)

  BertAddNorm(int64_t in, int64_t out, double eps)
      : dense(detail::normal_linear<T>(in, out, 0.02)), LayerNorm(out, {.eps = eps}) {}
  Tensor<T> operator()(const Tensor<T>& x, const Tensor<T>& around, double dropped) const {
    return LayerNorm.of_sum(around, dropout(dense(x), dropped)).normal;
  }
};

template <Floating T>
struct BertAttention {
  detail::SelfAttention<T> self;
  BertAddNorm<T> output;
  GRADUS_FIELDS(self, output)
};

template <Floating T>
struct BertLayer {
  BertAttention<T> attention;
  detail::Dense<T> intermediate;
  BertAddNorm<T> output;
  GRADUS_FIELDS(attention, intermediate, output)

  explicit BertLayer(const BertOptions& o)
      : attention{detail::SelfAttention<T>(o.width), BertAddNorm<T>(o.width, o.width, o.eps)},
        intermediate(o.width, o.feed_forward),
        output(o.feed_forward, o.width, o.eps) {}

  Tensor<T> operator()(const Tensor<T>& x, int64_t heads, const nn::AttentionMask& mask, double dropped) const {
    auto y = attention.output(attention.self(x, heads, mask, dropped), x, dropped);
    return output(gelu(intermediate(y)), y, dropped);
  }
};

template <Floating T>
struct BertEncoder {
  std::vector<BertLayer<T>> layer;
  GRADUS_FIELDS(layer)
};

/// What a BERT gives.
template <Floating T>
struct BertOutput {
  Tensor<T> tokens;  ///< (n, tokens, width): the last layer
  Tensor<T> pooled;  ///< (n, width): tanh of a dense layer of the first token; undefined without a pooler
};

/// Encoder of texts (Devlin et al., 2019): token ids (n, tokens) -> BertOutput. Names as Hugging Face's BertModel:
/// embeddings.word_embeddings, encoder.layer.0.attention.self.query, ..., pooler.dense. MiniLM and the models of
/// sentence-transformers that have this shape fit too; see mean_pool for their embeddings.
template <Floating T = float>
struct Bert {
  BertOptions options;
  BertEmbeddings<T> embeddings;
  BertEncoder<T> encoder;
  std::optional<detail::Dense<T>> pooler;
  Training training;
  GRADUS_FIELDS(options, embeddings, encoder, pooler, training)

  explicit Bert(const BertOptions& o = {}) : options(o), embeddings(o) {
    require<ValueError>(o.heads > 0 && o.width % o.heads == 0, "Bert: ", o.width, " numbers do not spread over ",
                        o.heads, " heads");
    for (int64_t i = 0; i < o.layers; ++i) encoder.layer.emplace_back(o);
    if (o.pooler) pooler.emplace(o.width, o.width);
  }

  /// `seen` (n, tokens): true where there is a token, false for padding; undefined: all. `types` (n, tokens): which of
  /// two texts a token belongs to; undefined: 0.
  BertOutput<T> operator()(const Tensor<int64_t>& ids, const Tensor<bool>& seen = {},
                           const Tensor<int64_t>& types = {}) const {
    require<ShapeError>(ids.rank() == 2, "Bert: ids are ", ids.shape(), ", but must be (n, tokens)");
    require<ShapeError>(!seen.defined() || seen.shape() == ids.shape(), "Bert: ids are ", ids.shape(), " and seen ",
                        seen.defined() ? seen.shape() : Shape(), ", but both must have the same shape");
    auto tokens = ids.size(1);
    detail::check_context("Bert", 0, tokens, options.context);
    auto dropped = training.on ? options.dropout : 0;
    auto x = embeddings.word_embeddings(ids) +
             embeddings.token_type_embeddings(types.defined() ? types : zeros<int64_t>(ids.shape(), ids.device())) +
             slice(embeddings.position_embeddings.weight.tensor(), 0, 0, tokens);
    x = dropout(embeddings.LayerNorm(x), dropped);  // (n, tokens, width)
    nn::AttentionMask mask{.tokens = seen};
    for (const auto& layer : encoder.layer) {
      auto run = [&layer, mask, dropped, heads = options.heads](const Tensor<T>& input) {
        return layer(input, heads, mask, dropped);
      };
      x = options.recompute ? recompute(layer, x, run) : run(x);
    }
    return {x, pooler ? tanh((*pooler)(select(x, 1, 0))) : Tensor<T>()};
  }
};

/// The mean of the tokens that are there: tokens (n, tokens, width), seen (n, tokens) -> (n, width). What models of
/// sentence-transformers call an embedding, before it is divided by its length. A text without tokens gives 0.
template <Floating T>
Tensor<T> mean_pool(const Tensor<T>& tokens, const Tensor<bool>& seen) {
  require<ShapeError>(tokens.rank() == 3 && seen.shape() == Shape{tokens.size(0), tokens.size(1)},
                      "mean_pool: tokens are ", tokens.shape(), " and seen ", seen.shape(),
                      ", but they must be (n, tokens, width) and (n, tokens)");
  auto weight = unsqueeze(cast<T>(seen), 2);  // (n, tokens, 1)
  auto count = maximum(sum(weight, 1), 1.0);  // (n, 1)
  return sum(tokens * weight, 1) / count;
}

/// A BERT and a dense layer over its pooled output: token ids (n, tokens) -> logits (n, classes). Names as Hugging
/// Face's BertForSequenceClassification: bert.embeddings..., classifier.
template <Floating T = float>
struct BertClassifier {
  Bert<T> bert;
  nn::Linear<T> classifier;
  GRADUS_FIELDS(bert, classifier)

  BertClassifier(const BertOptions& o, int64_t classes)
      : bert(o), classifier(detail::normal_linear<T>(o.width, classes, 0.02)) {
    require<ValueError>(o.pooler, "BertClassifier: it reads the pooled output, so BertOptions::pooler must be true");
  }
  Tensor<T> operator()(const Tensor<int64_t>& ids, const Tensor<bool>& seen = {},
                       const Tensor<int64_t>& types = {}) const {
    auto pooled = bert(ids, seen, types).pooled;
    return classifier(dropout(pooled, bert.training.on ? bert.options.dropout : 0, bert.training.on));
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD

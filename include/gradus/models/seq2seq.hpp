#pragma once

#include "gradus/nn/embedding.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/lstm.hpp"
#include "gradus/ops/attention/attention.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/reduction/argmax.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct Seq2SeqOptions {
  int64_t embedding = 128, hidden = 256, layers = 1;
  double dropout = 0;  ///< while training: of embeddings, between layers, and of what the output reads
};

/// How Seq2Seq::greedy begins and ends.
struct GreedyOptions {
  int64_t begin = 1, end = 2;  ///< ids of the target's vocabulary
  int64_t max_steps = 64;
};

/// A source as the decoder sees it.
template <Floating T>
struct EncodedSource {
  Tensor<T> states;        ///< (n, source steps, hidden)
  Tensor<bool> mask;       ///< (n, 1, 1, source steps): true within a source; undefined: all are of one length
  nn::LstmState<T> state;  ///< where the decoder starts
};

/// What the decoder gives: `auto [logits, state] = model.decode(target, source, state);`
template <Floating T>
struct DecodedTarget {
  Tensor<T> logits;        ///< of the token that follows each: (n, steps, target vocabulary)
  nn::LstmState<T> state;  ///< where the next token goes on from
};

/// From a sequence of tokens to another (Sutskever et al., 2014): an LSTM reads the source, a second one goes on from
/// its state and writes the target; each state of the decoder looks back at those of the encoder with the general
/// attention of Luong et al. (2015). Targets begin with a token of their own, GreedyOptions::begin.
template <Floating T = float>
struct Seq2Seq {
  Seq2SeqOptions options;
  nn::Embedding<T> source_embedding, target_embedding;
  nn::LSTM<T> encoder, decoder;
  nn::Linear<T> score;    ///< a decoder's state -> what it looks for among the encoder's
  nn::Linear<T> combine;  ///< what was found and the state -> what the output reads
  nn::Linear<T> output;
  Training training;
  GRADUS_FIELDS(options, source_embedding, target_embedding, encoder, decoder, score, combine, output, training)

  Seq2Seq(int64_t source_vocabulary, int64_t target_vocabulary, const Seq2SeqOptions& chosen = {})
      : options(chosen),
        source_embedding(source_vocabulary, chosen.embedding),
        target_embedding(target_vocabulary, chosen.embedding),
        encoder(chosen.embedding, chosen.hidden, lstm_options()),
        decoder(chosen.embedding, chosen.hidden, lstm_options()),
        score(chosen.hidden, chosen.hidden, {.bias = false}),
        combine(2 * chosen.hidden, chosen.hidden, {.bias = false}),
        output(chosen.hidden, target_vocabulary) {}

  /// Teacher forcing: sources (n, source steps), targets (n, steps) that begin with `begin` -> logits of the token that
  /// follows each, (n, steps, target vocabulary). `lengths` (n,): how many tokens of each source count.
  Tensor<T> operator()(const Tensor<int64_t>& source, const Tensor<int64_t>& target,
                       const Tensor<int64_t>& lengths = {}) const {
    auto encoded = encode(source, lengths);
    return decode(target, encoded, encoded.state).logits;
  }

  EncodedSource<T> encode(const Tensor<int64_t>& source, const Tensor<int64_t>& lengths = {}) const {
    require<ShapeError>(source.rank() == 2, "Seq2Seq: sources are ", source.shape(), ", but must be (n, steps)");
    auto result = encoder(drop(source_embedding(source)), {}, lengths);
    if (!lengths.defined()) return {result.y, {}, result.state()};
    auto mask = arange<int64_t>(source.size(1)).to(lengths.device()) < unsqueeze(lengths, 1);  // (n, source steps)
    return {result.y, reshape(mask, {source.size(0), 1, 1, source.size(1)}), result.state()};
  }

  DecodedTarget<T> decode(const Tensor<int64_t>& target, const EncodedSource<T>& source,
                          const nn::LstmState<T>& state) const {
    require<ShapeError>(target.rank() == 2, "Seq2Seq: targets are ", target.shape(), ", but must be (n, steps)");
    auto result = decoder(drop(target_embedding(target)), state);  // y (n, steps, hidden)
    auto memory = unsqueeze(source.states, 1);                     // (n, 1, source steps, hidden)
    auto found = squeeze(
        scaled_dot_product_attention(unsqueeze(score(result.y), 1), memory, memory, {.mask = source.mask, .scale = 1}),
        1);                                                                      // (n, steps, hidden)
    auto read = tanh(combine(cat(std::vector<Tensor<T>>{found, result.y}, 2)));  // (n, steps, hidden)
    return {output(drop(read)), result.state()};
  }

  /// The likeliest token at each step, until all have ended: sources (n, source steps) -> (n, steps), without `begin`;
  /// behind its end a target holds `end`. Nothing is recorded; call eval(model) before.
  Tensor<int64_t> greedy(const Tensor<int64_t>& source, const GreedyOptions& greedy_options = {},
                         const Tensor<int64_t>& lengths = {}) const {
    NoGradGuard guard;
    auto n = source.size(0), end = greedy_options.end;
    auto encoded = encode(source, lengths);
    auto state = encoded.state;
    auto token = full<int64_t>({n, 1}, greedy_options.begin, source.device());
    auto ended = full<bool>({n, 1}, false, source.device());
    std::vector<Tensor<int64_t>> tokens;
    while (std::ssize(tokens) < greedy_options.max_steps) {
      auto step = decode(token, encoded, state);
      state = step.state;
      token = where(ended, end, argmax(step.logits, 2));  // (n, 1)
      tokens.push_back(token);
      ended = ended || token == end;
      auto flags = ended.to_vector();
      if (std::all_of(flags.begin(), flags.end(), [](bool flag) { return flag; })) break;
    }
    return tokens.empty() ? Tensor<int64_t>::empty({n, 0}) : cat(tokens, 1);
  }

 private:
  nn::LstmOptions lstm_options() const {
    return {.layers = options.layers, .batch_first = true, .dropout = options.dropout};
  }
  Tensor<T> drop(const Tensor<T>& x) const { return dropout(x, options.dropout, training.on); }
};

}  // namespace gradus::models::inline GRADUS_BUILD

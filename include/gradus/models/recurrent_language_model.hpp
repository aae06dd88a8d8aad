#pragma once

#include "gradus/nn/embedding.hpp"
#include "gradus/nn/gru.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/lstm.hpp"

namespace gradus::models::inline GRADUS_BUILD {

struct RecurrentLanguageModelOptions {
  int64_t embedding = 256, hidden = 256, layers = 2;
  double dropout = 0;  ///< while training: of embeddings, between layers, and of the last states
  bool tied = false;   ///< the output's weight is the embedding's (Press and Wolf, 2017); embedding must be hidden
};

/// What a recurrent language model gives: `auto [logits, state] = model.run(ids, state);`
template <Floating T, class State>
struct LanguageModelResult {
  Tensor<T> logits;  ///< of the token that follows each: (n, steps, vocabulary)
  State state;       ///< where the next tokens go on from
};

/// A language model of one or more recurrent layers (Mikolov et al., 2010): token ids (n, steps) -> logits of the token
/// that follows each, (n, steps, vocabulary). Layer is nn::LSTM<T>, nn::GRU<T> or nn::RNN<T>. Names are those of
/// PyTorch's word_language_model: encoder, rnn, decoder; tied, decoder.weight is not stored a second time.
template <Floating T = float, class Layer = nn::LSTM<T>>
struct RecurrentLanguageModel {
  using State = typename Layer::State;

  RecurrentLanguageModelOptions options;
  nn::Embedding<T> encoder;
  Layer rnn;
  nn::Linear<T> decoder;
  Training training;
  GRADUS_FIELDS(options, encoder, rnn, decoder, training)

  explicit RecurrentLanguageModel(int64_t vocabulary, const RecurrentLanguageModelOptions& chosen = {})
      : options(chosen),
        encoder(vocabulary, chosen.embedding),
        rnn(chosen.embedding, chosen.hidden, {.layers = chosen.layers, .batch_first = true, .dropout = chosen.dropout}),
        decoder(chosen.hidden, chosen.tied ? 0 : vocabulary) {
    require<ValueError>(!options.tied || options.embedding == options.hidden, "RecurrentLanguageModel: tied, but ",
                        options.embedding, " numbers of an embedding are not ", options.hidden, " hidden ones");
    encoder.weight = Parameter<T>(rand<T>({vocabulary, options.embedding}, -0.1, 0.1));
    decoder.weight = options.tied ? Parameter<T>() : Parameter<T>(rand<T>({vocabulary, options.hidden}, -0.1, 0.1));
    decoder.bias = Parameter<T>(zeros<T>({vocabulary}));
  }

  Tensor<T> operator()(const Tensor<int64_t>& ids) const { return run(ids).logits; }

  /// The same from a state on: of a text in pieces, or of one token after the other.
  LanguageModelResult<T, State> run(const Tensor<int64_t>& ids, const State& state = {}) const {
    require<ShapeError>(ids.rank() == 2, "RecurrentLanguageModel: ids are ", ids.shape(), ", but must be (n, steps)");
    auto drop = [&](const Tensor<T>& x) { return dropout(x, options.dropout, training.on); };
    auto result = rnn(drop(encoder(ids)), state);
    const auto& weight = options.tied ? encoder.weight : decoder.weight;  // (vocabulary, hidden)
    return {linear(drop(result.y), weight.tensor(), decoder.bias.tensor()), result.state()};
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD

// Recurrent models learn what they are for, in pieces and step by step too.
#include <array>
#include <cmath>

#include "gradus/models/recurrent_language_model.hpp"
#include "gradus/models/seq2seq.hpp"
#include "gradus/nn/rnn.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

constexpr int64_t begin_token = 1, end_token = 2, first_letter = 3, letter_count = 6, word_length = 5;

struct Words {
  Tensor<int64_t> source, target;  ///< (n, word_length), and reversed between begin and end: (n, word_length + 2)
};

Words random_words(int64_t n) {
  auto source = randint<int64_t>(first_letter, first_letter + letter_count, {n, word_length});
  std::vector<Tensor<int64_t>> columns = {full<int64_t>({n}, begin_token)};
  for (int64_t i = word_length - 1; i >= 0; --i) columns.push_back(select(source, 1, i));
  columns.push_back(full<int64_t>({n}, end_token));
  return {source, stack(columns, 1)};
}

Tensor<float> word_loss(const Tensor<float>& logits, const Tensor<int64_t>& tokens) {
  return cross_entropy(flatten(logits, 0, 1), flatten(contiguous(tokens), 0));
}

/// 0 1 2 0 1 3 0 1 2 ...: what follows 1 depends on what stood three places before.
Tensor<int64_t> pattern_text(int64_t n) {
  auto result = Tensor<int64_t>::empty({1, n});
  for (int64_t i = 0; i < n; ++i) result.set({0, i}, std::array{0, 1, 2, 0, 1, 3}[static_cast<size_t>(i % 6)]);
  return result;
}

template <class Model>
void check_learns_pattern(Model model) {
  optim::AdamW adam(model, {.lr = 2e-2});
  auto text = pattern_text(49);
  float loss_now = 0;
  for (int epoch = 0; epoch < 60; ++epoch) {
    typename Model::State state;
    for (int64_t from = 0; from < 48; from += 4) {  // some windows begin behind what tells 2 from 3
      auto [logits, next] = model.run(slice(text, 1, from, from + 4), state);
      auto loss = word_loss(logits, slice(text, 1, from + 1, from + 5));
      loss.backward();
      adam.step();
      adam.zero_grad();
      state = next.detach();
      loss_now = loss.item();
    }
  }
  CHECK(loss_now < 0.05f);
  NoGradGuard guard;
  auto step = model.run(slice(text, 1, 0, 12));
  std::vector<int64_t> written;
  while (written.size() < 12) {
    auto token = slice(argmax(step.logits, 2), 1, -1, step.logits.size(1));  // (1, 1)
    written.push_back(token.item());
    step = model.run(token, step.state);
  }
  CHECK(written == slice(text, 1, 12, 24).to_vector());
}

}  // namespace

TEST_CASE("a seq2seq model learns to write words backwards, the same every time") {
  manual_seed(1);
  models::Seq2Seq<float> model(first_letter + letter_count, first_letter + letter_count,
                               {.embedding = 16, .hidden = 32});
  optim::AdamW adam(model, {.lr = 1e-2});
  for (int step = 0; step < 150; ++step) {
    auto [source, target] = random_words(64);
    auto loss = word_loss(model(source, slice(target, 1, 0, word_length + 1)), slice(target, 1, 1, word_length + 2));
    loss.backward();
    adam.step();
    adam.zero_grad();
  }
  eval(model);
  auto [source, target] = random_words(100);
  auto written = model.greedy(source, {.begin = begin_token, .end = end_token, .max_steps = 10});
  CHECK(written.shape() == Shape{100, word_length + 1});
  auto right = written == slice(target, 1, 1, word_length + 2);
  auto flags = right.to_vector();
  CHECK(std::count(flags.begin(), flags.end(), true) >= 595);
}

TEST_CASE("seq2seq: what stands behind a source's end does not matter, and an empty source is one, too") {
  manual_seed(2);
  models::Seq2Seq<double> model(9, 9, {.embedding = 4, .hidden = 6, .layers = 2});
  auto lengths = tensor<int64_t>({2, 4, 0});
  auto source = tensor<int64_t>({{3, 4, 5, 6}, {3, 4, 5, 6}, {3, 4, 5, 6}});
  auto other = tensor<int64_t>({{3, 4, 8, 8}, {3, 4, 5, 6}, {8, 8, 8, 8}});
  auto target = tensor<int64_t>({{1, 3}, {1, 4}, {1, 5}});
  auto logits = model(source, target, lengths);
  CHECK(logits.shape() == Shape{3, 2, 9});
  CHECK(logits.to_vector() == model(other, target, lengths).to_vector());
  auto alone = model(tensor<int64_t>({{3, 4}}), slice(target, 0, 0, 1));
  CHECK(test::mismatch(slice(logits, 0, 0, 1), alone, {1e-14}) == "");
  for (auto value : logits.to_vector()) CHECK(std::isfinite(value));
}

TEST_CASE("seq2seq: one step at a time says what teacher forcing says, and greedy stops") {
  manual_seed(3);
  models::Seq2Seq<double> model(9, 9, {.embedding = 4, .hidden = 6, .layers = 2, .dropout = 0.5});
  eval(model);
  auto source = randint<int64_t>(3, 9, {3, 4}), target = randint<int64_t>(3, 9, {3, 5});
  auto whole = model(source, target);
  auto encoded = model.encode(source);
  auto state = encoded.state;
  for (int64_t t = 0; t < 5; ++t) {
    auto step = model.decode(slice(target, 1, t, t + 1), encoded, state);
    CHECK(test::mismatch(step.logits, slice(whole, 1, t, t + 1), {1e-14}) == "");
    state = step.state;
  }
  CHECK(model.greedy(source, {.max_steps = 0}).shape() == Shape{3, 0});
  no_grad([&] {
    auto bias = zeros<double>({9});
    bias.set({2}, 1e3);  // the end is likeliest
    Tensor<double>(model.output.bias.tensor()).copy_(bias);
  });
  CHECK(model.greedy(source).to_vector() == std::vector<int64_t>{2, 2, 2});
}

TEST_CASE("recurrent language models learn from windows whose state goes on, and write token by token") {
  manual_seed(4);
  check_learns_pattern(models::RecurrentLanguageModel<float>(4, {.embedding = 8, .hidden = 12, .layers = 1}));
  check_learns_pattern(models::RecurrentLanguageModel<float, nn::GRU<float>>(
      4, {.embedding = 12, .hidden = 12, .layers = 2, .tied = true}));
}

TEST_CASE("truncated backpropagation through time: a window's gradients are those from a constant state") {
  manual_seed(5);
  models::RecurrentLanguageModel<double> model(7, {.embedding = 3, .hidden = 4, .layers = 2});
  auto text = randint<int64_t>(0, 7, {2, 9});
  auto window = [&](int64_t from, const nn::LstmState<double>& state) {
    auto [logits, next] = model.run(slice(text, 1, from, from + 4), state);
    auto loss = cross_entropy(flatten(logits, 0, 1), flatten(contiguous(slice(text, 1, from + 1, from + 5)), 0));
    loss.backward();
    return next;
  };
  auto first = window(0, {});
  zero_grad(model);
  window(4, first.detach());
  std::vector<std::vector<double>> gradients;
  for (const auto& parameter : parameters<double>(model)) gradients.push_back(parameter.grad().to_vector());
  zero_grad(model);
  window(4, {first.h.detach().clone(), first.c.detach().clone()});
  for (size_t i = 0; const auto& parameter : parameters<double>(model))
    CHECK(parameter.grad().to_vector() == gradients[i++]);
  CHECK_FALSE(nn::LstmState<double>().detach().h.defined());
  CHECK_THROWS_AS(window(4, first), AutogradError);  // the first window's graph is gone
}

TEST_CASE("recurrent language models and seq2seq refuse what they cannot read") {
  test::check_error<ValueError>(
      [] { models::RecurrentLanguageModel<float>(9, {.embedding = 4, .hidden = 6, .tied = true}); },
      "RecurrentLanguageModel: tied, but 4 numbers of an embedding are not 6 hidden ones");
  models::RecurrentLanguageModel<float, nn::RNN<float>> model(9, {.embedding = 4, .hidden = 6, .layers = 1});
  test::check_error<ShapeError>([&] { model(zeros<int64_t>({3})); },
                                "RecurrentLanguageModel: ids are (3,), but must be (n, steps)");
  test::check_error<IndexError>(
      [&] {
        model(full<int64_t>({1, 2}, 9));
      },
      "embedding: id 9 at place 0 of 2 is out of range: weight is (9, 4), so ids must be in [0, 9)");
  models::Seq2Seq<float> translator(9, 9, {.embedding = 4, .hidden = 6});
  test::check_error<ShapeError>(
      [&] {
        translator(zeros<int64_t>({3}), zeros<int64_t>({1, 2}));
      },
      "Seq2Seq: sources are (3,), but must be (n, steps)");
  test::check_error<ShapeError>(
      [&] {
        translator(zeros<int64_t>({1, 3}), zeros<int64_t>({2}));
      },
      "Seq2Seq: targets are (2,), but must be (n, steps)");
}

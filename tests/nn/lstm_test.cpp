#include "gradus/nn/lstm.hpp"

#include "gradus/nn/gru.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/summary.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/nn/named_shapes.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

struct Forecaster {
  nn::LSTM<float> lstm{3, 8, {.layers = 2, .batch_first = true}};
  nn::Linear<float> output{8, 1};
  GRADUS_FIELDS(lstm, output)
  Tensor<float> operator()(const Tensor<float>& x) const {  // (n, steps, 3) -> (n, 1)
    auto [y, h, c] = lstm(x);
    return output(select(h, 0, 1));
  }
};

}  // namespace

TEST_CASE("LSTM: parameters have PyTorch's names and shapes") {
  CHECK(test::named_shapes(nn::LSTM<float>(3, 5)) == std::vector<std::string>{"weight_ih_l0 (20, 3)",
                                                                              "weight_hh_l0 (20, 5)",
                                                                              "bias_ih_l0 (20,)", "bias_hh_l0 (20,)"});
  CHECK(
      test::named_shapes(nn::LSTM<float>(3, 5, {.layers = 2, .bias = false, .bidirectional = true, .projection = 2})) ==
      std::vector<std::string>{"weight_ih_l0 (20, 3)", "weight_hh_l0 (20, 2)", "weight_hr_l0 (2, 5)",
                               "weight_ih_l0_reverse (20, 3)", "weight_hh_l0_reverse (20, 2)",
                               "weight_hr_l0_reverse (2, 5)", "weight_ih_l1 (20, 4)", "weight_hh_l1 (20, 2)",
                               "weight_hr_l1 (2, 5)", "weight_ih_l1_reverse (20, 4)", "weight_hh_l1_reverse (20, 2)",
                               "weight_hr_l1_reverse (2, 5)"});
  manual_seed(1);
  nn::LSTM<float> lstm(3, 16);
  for (const auto& parameter : parameters(lstm)) {
    for (auto value : parameter.to_vector()) CHECK(std::abs(value) <= 0.25f);  // 1 / sqrt(16)
  }
}

TEST_CASE("LSTM: shapes of what it gives") {
  nn::LSTM<float> lstm(3, 5, {.layers = 2, .bidirectional = true});
  auto [y, h, c] = lstm(randn<float>({4, 2, 3}));
  CHECK(y.shape() == Shape{4, 2, 10});
  CHECK(h.shape() == Shape{4, 2, 5});
  CHECK(c.shape() == Shape{4, 2, 5});
  nn::LSTM<float> first(3, 5, {.batch_first = true, .projection = 4});
  auto result = first(randn<float>({2, 7, 3}));
  CHECK(result.y.shape() == Shape{2, 7, 4});
  CHECK(result.h.shape() == Shape{1, 2, 4});
  CHECK(result.c.shape() == Shape{1, 2, 5});
}

TEST_CASE("LSTM: one step at a time, and each sequence on its own, gives the bits of the whole") {
  manual_seed(2);
  nn::LSTM<float> lstm(3, 20, {.layers = 2, .projection = 17});
  auto x = randn<float>({6, 45, 3});
  auto whole = lstm(x);
  nn::LstmState<float> state;
  for (int64_t t = 0; t < 6; ++t) {
    auto [y, h, c] = lstm(slice(x, 0, t, t + 1), state);
    CHECK(select(y, 0, 0).to_vector() == select(whole.y, 0, t).to_vector());
    state = {h, c};
  }
  CHECK(state.h.to_vector() == whole.h.to_vector());
  CHECK(state.c.to_vector() == whole.c.to_vector());
  auto alone = lstm(slice(x, 1, 41, 42));
  CHECK(alone.y.to_vector() == slice(whole.y, 1, 41, 42).to_vector());
}

TEST_CASE("LSTM: layers read the ones before, in both directions") {
  manual_seed(3);
  nn::LSTM<float> lstm(3, 5, {.layers = 2, .bidirectional = true});
  auto x = randn<float>({4, 2, 3}), zero = zeros<float>({2, 5});
  auto lengths = tensor<int64_t>({4, 2});
  auto y = x;
  for (size_t layer = 0; layer < 2; ++layer) {
    auto forth = gradus::lstm(y, zero, zero, lstm.cells[2 * layer].parameters(), {.lengths = lengths});
    auto back =
        gradus::lstm(y, zero, zero, lstm.cells[2 * layer + 1].parameters(), {.reverse = true, .lengths = lengths});
    y = cat(std::vector{forth[0], back[0]}, 2);
  }
  CHECK(lstm(x, {}, lengths).y.to_vector() == y.to_vector());
}

TEST_CASE("LSTM: drops states between layers while it trains, and only there") {
  manual_seed(4);
  nn::LSTM<float> two(3, 5, {.layers = 2, .dropout = 0.5}), one(3, 5, {.dropout = 0.5});
  auto x = randn<float>({4, 2, 3});
  CHECK(two(x).y.to_vector() != two(x).y.to_vector());
  CHECK(one(x).y.to_vector() == one(x).y.to_vector());
  eval(two);
  CHECK(two(x).y.to_vector() == two(x).y.to_vector());
}

TEST_CASE("LSTM: a forecaster learns, is a value, and its errors name it") {
  manual_seed(5);
  Forecaster model;
  optim::AdamW adam(model, {.lr = 1e-2});
  auto x = randn<float>({32, 6, 3});
  auto wanted = slice(select(x, 1, 5), 1, 0, 1) - slice(select(x, 1, 2), 1, 0, 1);  // (32, 1): looks back three steps
  auto first = 0.0f, last = 0.0f;
  for (int step = 0; step < 150; ++step) {
    auto loss = mse_loss(model(x), wanted);
    loss.backward();
    adam.step();
    adam.zero_grad();
    (step == 0 ? first : last) = loss.item();
  }
  CHECK(last < 0.05f * first);
  auto copy = model;
  for (auto& parameter : parameters(copy)) no_grad([&] { parameter.fill_(0); });
  CHECK(model(x).to_vector() != copy(x).to_vector());
  copy = model;
  CHECK(model(x).to_vector() == copy(x).to_vector());
  CHECK(summary(nn::LSTM<float>(3, 8, {.bias = false})).find("LSTM  weight_ih_l0 (32, 3), weight_hh_l0 (32, 8)  ") !=
        std::string::npos);
  test::check_error<ShapeError>(
      [&] {
        model(zeros<float>({2, 6, 4}));
      },
      "Forecaster.lstm: lstm: input is (6, 2, 4) and weight_ih (32, 3), but that must be (4 hidden, 4)");
}

TEST_CASE("what LSTM refuses") {
  test::check_error<ValueError>(
      [] { nn::LSTM<float>(3, 0); },
      "LSTM: 3 inputs, 0 hidden and 1 layers, but there must be at least one of the last two");
  test::check_error<ValueError>([] { nn::LSTM<float>(3, 5, {.projection = 5}); },
                                "LSTM: a projection to 5 of 5 hidden, but it must be smaller");
  test::check_error<ValueError>([] { nn::LSTM<float>(3, 5, {.dropout = 1}); },
                                "LSTM: dropout is 1, but must be in [0, 1)");
  nn::LSTM<float> lstm(3, 5);
  test::check_error<ShapeError>(
      [&] {
        lstm(zeros<float>({4, 3}));
      },
      "LSTM: input is (4, 3), but must be (steps, n, in)");
  test::check_error<ShapeError>(
      [&] {
        lstm(zeros<float>({4, 2, 3}), {.h = zeros<float>({2, 5})});
      },
      "LSTM: the state h is (2, 5), but must be (layers * directions, n, size) = (1, 2, 5)");
}

TEST_CASE("LSTM: where no gradient will be asked for, the gates of one step are kept at a time") {
  manual_seed(6);
  nn::LSTM<float> lstm(3, 16);
  nn::GRU<float> gru(3, 16);
  auto x = randn<float>({200, 8, 3});
  auto peak_of = [&](auto run) {
    auto before = memory_stats().bytes_in_use;
    reset_peak_memory();
    auto y = run();
    return std::pair(y.to_vector(), memory_stats().peak_bytes - before);
  };
  auto check = [&](const auto& layer) {
    auto [want, much] = peak_of([&] { return layer(x).y; });
    auto [got, little] = peak_of([&] { return no_grad([&] { return layer(x).y; }); });
    CHECK(got == want);
    CHECK(2 * little < much);
  };
  check(lstm);
  check(gru);
}

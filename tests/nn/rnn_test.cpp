#include "gradus/nn/rnn.hpp"

#include "gradus/nn/recurrent_cells.hpp"
#include "tests/nn/named_shapes.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

struct StepByStep {
  nn::LSTMCell<float> cell{3, 5};
  nn::RNNCell<float> plain{5, 4};
  GRADUS_FIELDS(cell, plain)
};

}  // namespace

TEST_CASE("RNN: parameters have PyTorch's names and shapes") {
  CHECK(test::named_shapes(nn::RNN<float>(3, 5, {.layers = 2, .bidirectional = true})) ==
        std::vector<std::string>{"weight_ih_l0 (5, 3)", "weight_hh_l0 (5, 5)", "bias_ih_l0 (5,)", "bias_hh_l0 (5,)",
                                 "weight_ih_l0_reverse (5, 3)", "weight_hh_l0_reverse (5, 5)",
                                 "bias_ih_l0_reverse (5,)", "bias_hh_l0_reverse (5,)", "weight_ih_l1 (5, 10)",
                                 "weight_hh_l1 (5, 5)", "bias_ih_l1 (5,)", "bias_hh_l1 (5,)",
                                 "weight_ih_l1_reverse (5, 10)", "weight_hh_l1_reverse (5, 5)",
                                 "bias_ih_l1_reverse (5,)", "bias_hh_l1_reverse (5,)"});
}

TEST_CASE("RNN: one step at a time, and each sequence on its own, gives the bits of the whole") {
  manual_seed(2);
  nn::RNN<float> rnn(3, 20, {.layers = 2});
  auto x = randn<float>({6, 45, 3});
  auto whole = rnn(x);
  Tensor<float> state;
  for (int64_t t = 0; t < 6; ++t) {
    auto [y, h] = rnn(slice(x, 0, t, t + 1), state);
    CHECK(select(y, 0, 0).to_vector() == select(whole.y, 0, t).to_vector());
    state = h;
  }
  CHECK(state.to_vector() == whole.h.to_vector());
  CHECK(rnn(slice(x, 1, 41, 42)).y.to_vector() == slice(whole.y, 1, 41, 42).to_vector());
}

TEST_CASE("RNN: drops states between layers while it trains") {
  manual_seed(4);
  nn::RNN<float> rnn(3, 5, {.layers = 2, .dropout = 0.5});
  auto x = randn<float>({4, 2, 3});
  CHECK(rnn(x).y.to_vector() != rnn(x).y.to_vector());
  eval(rnn);
  CHECK(rnn(x).y.to_vector() == rnn(x).y.to_vector());
}

TEST_CASE("recurrent cells: names, a start of zeros, and the steps of a layer with the same weights") {
  manual_seed(3);
  CHECK(test::named_shapes(StepByStep()) == std::vector<std::string>{"cell.weight_ih (20, 3)", "cell.weight_hh (20, 5)",
                                                                     "cell.bias_ih (20,)", "cell.bias_hh (20,)",
                                                                     "plain.weight_ih (4, 5)", "plain.weight_hh (4, 4)",
                                                                     "plain.bias_ih (4,)", "plain.bias_hh (4,)"});
  CHECK(test::named_shapes(nn::GRUCell<float>(3, 5, {.bias = false})) ==
        std::vector<std::string>{"weight_ih (15, 3)", "weight_hh (15, 5)"});
  nn::LSTM<float> layer(3, 5);
  nn::LSTMCell<float> cell(3, 5);
  cell.weight_ih = layer.cells[0].weight_ih;
  cell.weight_hh = layer.cells[0].weight_hh;
  cell.bias_ih = layer.cells[0].bias_ih;
  cell.bias_hh = layer.cells[0].bias_hh;
  auto x = randn<float>({4, 2, 3});
  auto whole = layer(x);
  nn::LstmState<float> state;
  for (int64_t t = 0; t < 4; ++t) {
    state = cell(select(x, 0, t), state);
    CHECK(state.h.to_vector() == select(whole.y, 0, t).to_vector());
  }
  CHECK(state.c.to_vector() == whole.c.to_vector());
  nn::GRUCell<float> gru(3, 5);
  CHECK(gru(select(x, 0, 0)).to_vector() == gru(select(x, 0, 0), zeros<float>({2, 5})).to_vector());
  nn::RNNCell<float> rnn(3, 5);
  CHECK(rnn(select(x, 0, 0)).to_vector() == rnn(select(x, 0, 0), zeros<float>({2, 5})).to_vector());
}

TEST_CASE("what RNN and the cells refuse") {
  test::check_error<ValueError>([] { nn::RNN<float>(3, 0); },
                                "RNN: 3 inputs, 0 hidden and 1 layers, but there must be at least one of the last two");
  test::check_error<ValueError>(
      [] { nn::LSTMCell<float>(-1, 3); },
      "LSTMCell: -1 inputs, 3 hidden and 1 layers, but there must be at least one of the last two");
  nn::RNN<float> rnn(3, 5);
  test::check_error<ShapeError>([&] { rnn(zeros<float>({4, 3})); }, "RNN: input is (4, 3), but must be (steps, n, in)");
  StepByStep model;
  train(model);
  test::check_error<ShapeError>(
      [&] {
        model.cell(zeros<float>({4, 2, 3}));
      },
      "StepByStep.cell: LSTMCell: input is (4, 2, 3), but must be (n, in)");
  test::check_error<ShapeError>(
      [&] {
        model.cell(zeros<float>({2, 3}), {.h = zeros<float>({2, 4})});
      },
      "StepByStep.cell: lstm: h0 is (2, 4), but must be (2, 5) beside weight_ih (20, 3) and input (1, 2, 3)");
}

#include "gradus/nn/gru.hpp"

#include "gradus/nn/linear.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/nn/named_shapes.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

struct Counter {
  nn::GRU<float> gru{1, 12, {.batch_first = true}};
  nn::Linear<float> output{12, 1};
  GRADUS_FIELDS(gru, output)
  Tensor<float> operator()(const Tensor<float>& x) const {  // (n, steps, 1) -> (n, 1)
    return output(select(gru(x).h, 0, 0));
  }
};

}  // namespace

TEST_CASE("GRU: parameters have PyTorch's names and shapes") {
  CHECK(test::named_shapes(nn::GRU<float>(3, 5)) == std::vector<std::string>{"weight_ih_l0 (15, 3)",
                                                                             "weight_hh_l0 (15, 5)", "bias_ih_l0 (15,)",
                                                                             "bias_hh_l0 (15,)"});
  CHECK(test::named_shapes(nn::GRU<float>(3, 5, {.layers = 2, .bias = false, .bidirectional = true})) ==
        std::vector<std::string>{"weight_ih_l0 (15, 3)", "weight_hh_l0 (15, 5)", "weight_ih_l0_reverse (15, 3)",
                                 "weight_hh_l0_reverse (15, 5)", "weight_ih_l1 (15, 10)", "weight_hh_l1 (15, 5)",
                                 "weight_ih_l1_reverse (15, 10)", "weight_hh_l1_reverse (15, 5)"});
}

TEST_CASE("GRU: one step at a time, and each sequence on its own, gives the bits of the whole") {
  manual_seed(2);
  nn::GRU<float> gru(3, 20, {.layers = 2});
  auto x = randn<float>({6, 45, 3});
  auto whole = gru(x);
  Tensor<float> state;
  for (int64_t t = 0; t < 6; ++t) {
    auto [y, h] = gru(slice(x, 0, t, t + 1), state);
    CHECK(select(y, 0, 0).to_vector() == select(whole.y, 0, t).to_vector());
    state = h;
  }
  CHECK(state.to_vector() == whole.h.to_vector());
  auto alone = gru(slice(x, 1, 41, 42));
  CHECK(alone.y.to_vector() == slice(whole.y, 1, 41, 42).to_vector());
}

TEST_CASE("GRU: layers read the ones before, in both directions, up to each sequence's end") {
  manual_seed(3);
  nn::GRU<float> layers(3, 5, {.layers = 2, .batch_first = true, .bidirectional = true});
  auto x = randn<float>({2, 4, 3}), zero = zeros<float>({2, 5});
  auto lengths = tensor<int64_t>({4, 2});
  auto y = transpose(x, 0, 1);
  for (size_t layer = 0; layer < 2; ++layer) {
    auto forth = gru(y, zero, layers.cells[2 * layer].parameters(), {.lengths = lengths});
    auto back = gru(y, zero, layers.cells[2 * layer + 1].parameters(), {.reverse = true, .lengths = lengths});
    y = cat(std::vector{forth[0], back[0]}, 2);
  }
  auto result = layers(x, {}, lengths);
  CHECK(result.y.to_vector() == transpose(y, 0, 1).to_vector());
  CHECK(result.h.shape() == Shape{4, 2, 5});
}

TEST_CASE("GRU: drops states between layers while it trains") {
  manual_seed(4);
  nn::GRU<float> gru(3, 5, {.layers = 2, .dropout = 0.5});
  auto x = randn<float>({4, 2, 3});
  CHECK(gru(x).y.to_vector() != gru(x).y.to_vector());
  eval(gru);
  CHECK(gru(x).y.to_vector() == gru(x).y.to_vector());
}

TEST_CASE("GRU: learns to add up a sequence, and its errors name it") {
  manual_seed(5);
  Counter model;
  optim::AdamW adam(model, {.lr = 3e-2});
  auto x = rand<float>({64, 5, 1});
  auto wanted = sum(x, 1);  // (64, 1)
  auto first = 0.0f, last = 0.0f;
  for (int step = 0; step < 200; ++step) {
    auto loss = mse_loss(model(x), wanted);
    loss.backward();
    adam.step();
    adam.zero_grad();
    (step == 0 ? first : last) = loss.item();
  }
  CHECK(last < 0.05f * first);
  test::check_error<ShapeError>(
      [&] {
        model(zeros<float>({2, 6, 4}));
      },
      "Counter.gru: gru: input is (6, 2, 4) and weight_ih (36, 1), but that must be (3 hidden, 4)");
}

TEST_CASE("what GRU refuses") {
  test::check_error<ValueError>([] { nn::GRU<float>(3, 5, {.layers = 0}); },
                                "GRU: 3 inputs, 5 hidden and 0 layers, but there must be at least one of the last two");
  test::check_error<ValueError>([] { nn::GRU<float>(3, 5, {.dropout = -1}); },
                                "GRU: dropout is -1, but must be in [0, 1)");
  nn::GRU<float> gru(3, 5, {.batch_first = true});
  test::check_error<ShapeError>([&] { gru(zeros<float>({4, 3})); }, "GRU: input is (4, 3), but must be (n, steps, in)");
  test::check_error<ShapeError>(
      [&] {
        gru(zeros<float>({2, 4, 3}), zeros<float>({1, 3, 5}));
      },
      "GRU: the state h is (1, 3, 5), but must be (layers * directions, n, size) = (1, 2, 5)");
}

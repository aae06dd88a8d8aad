#include "gradus/nn/inspect.hpp"

#include "gradus/models/lenet.hpp"
#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/recurrent_cells.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/index_select.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

/// Two outputs, two inputs, one of them whole numbers; a part that one output does without.
struct Branches {
  Parameter<float> table{ones<float>({5, 3})};
  nn::Linear<float> shared{3, 4}, unused{4, 2};
  GRADUS_FIELDS(table, shared, unused)

  std::pair<Tensor<float>, Tensor<float>> operator()(const Tensor<float>& x, const Tensor<int64_t>& index) const {
    auto words = index_select(table.tensor(), 0, index);             // (2, 3)
    auto both = cat<float>({shared(x), shared(words)});              // (4, 4)
    return {both, matmul(transpose(shared.weight.tensor()), both)};  // (4, 4) and (3, 4)
  }
};

struct Twins {
  nn::Conv2d<float> grouped{4, 6, {.kernel = {3, 2}, .stride = 2, .groups = 2, .bias = false}};
  nn::BatchNorm2d<float> norm{6};
  nn::Dropout drop{0.5};
  GRADUS_FIELDS(grouped, norm, drop)

  Tensor<float> operator()(const Tensor<float>& x) { return drop(relu(norm(grouped(x)))); }
};

const nn::OperatorRow& row_of(const nn::Inspection& inspection, std::string_view op, int skip = 0) {
  for (const auto& row : inspection.rows) {
    if (row.op == op && skip-- == 0) return row;
  }
  FAIL("no row of " << op << " in\n" << to_string(inspection));
  return inspection.rows[0];
}

}  // namespace

TEST_CASE("inspect: LeNet's operators, counted by hand") {
  models::LeNet<float> model;
  auto found = inspect(model, zeros<float>({2, 1, 28, 28}));
  CHECK(found.parameters == 421'642);
  // Outputs times the length of the sum behind each: n out h w (in kh kw) and n out in.
  CHECK(row_of(found, "conv2d").multiply_adds == 2 * 32 * 28 * 28 * (1 * 3 * 3));
  CHECK(row_of(found, "conv2d", 1).multiply_adds == 2 * 64 * 14 * 14 * (32 * 3 * 3));
  CHECK(row_of(found, "linear").multiply_adds == 2 * 128 * 3136);
  CHECK(row_of(found, "linear", 1).multiply_adds == 2 * 10 * 128);
  CHECK(found.multiply_adds == 2 * 4'241'152);
  CHECK(found.unused.empty());
  CHECK('\n' + summary(model, zeros<float>({2, 1, 28, 28})) == R"(
LeNet on (2, 1, 28, 28)
--------------------------------------------------------------
layer   operator    output           parameters  multiply-adds
--------------------------------------------------------------
conv1   conv2d      (2, 32, 28, 28)         320          452 k
        relu        (2, 32, 28, 28)
        max_pool2d  (2, 32, 14, 14)
conv2   conv2d      (2, 64, 14, 14)      18,496         7.23 M
        relu        (2, 64, 14, 14)
        max_pool2d  (2, 64, 7, 7)
        reshape     (2, 3136)
hidden  linear      (2, 128)            401,536          803 k
        relu        (2, 128)
output  linear      (2, 10)               1,290         2.56 k
--------------------------------------------------------------
total                                   421,642         8.48 M
)");
}

TEST_CASE("inspect: groups and strides, without side effects") {
  Twins model;
  model.norm.training.on = false;  // frozen by its user
  auto state = default_generator().offset();
  auto mean = model.norm.running_mean.tensor().clone();
  Tensor<float> weight = model.grouped.weight.tensor();
  weight.set_requires_grad(false);
  auto found = no_grad([&] { return inspect(model, ones<float>({3, 4, 9, 9})); });
  // (9 - 3) / 2 + 1 = 4 rows and (9 - 2) / 2 + 1 = 4 columns, two input channels a group
  CHECK(row_of(found, "conv2d").output == Shape{3, 6, 4, 4});
  CHECK(row_of(found, "conv2d").layer == "grouped");
  CHECK(row_of(found, "conv2d").parameters == 6 * 2 * 3 * 2);
  CHECK(found.multiply_adds == 3 * 6 * 4 * 4 * (2 * 3 * 2));
  CHECK(row_of(found, "batch_norm").layer == "norm");
  CHECK(row_of(found, "batch_norm").parameters == 2 * 6);
  CHECK(found.rows.back().op == "relu");  // dropout rests
  CHECK(!weight.requires_grad());
  CHECK(model.norm.weight.tensor().requires_grad());
  CHECK(!model.norm.weight.grad().defined());
  CHECK(model.norm.running_mean.tensor().to_vector() == mean.to_vector());
  CHECK(!model.norm.training.on);
  CHECK(model.drop.training.on);
  CHECK(default_generator().offset() == state);
  CHECK(grad_enabled());
}

TEST_CASE("inspect: shared weights, tables, several inputs and outputs, parts that are not used") {
  Branches model;
  auto found = inspect(model, ones<float>({2, 3}), tensor<int64_t>({4, 0}));
  CHECK('\n' + to_string(found) == R"(
Branches on (2, 3), (2,)
-------------------------------------------------------
layer   operator      output  parameters  multiply-adds
-------------------------------------------------------
table   index_select  (2, 3)          15
shared  linear        (2, 4)          16             24
shared  linear        (2, 4)                         24
        cat           (4, 4)
shared  permute       (3, 4)
        matmul        (3, 4)                         48
-------------------------------------------------------
total                                 41             96
not used for this output: unused.weight unused.bias
)");
  CHECK(found.multiply_adds == 2 * (2 * 4 * 3) + 3 * 4 * 4);
}

TEST_CASE("inspect: an operator of the user's own, and layers erased in a Sequential") {
  auto half = [](const Tensor<double>& x) {
    return differentiable("half", no_grad([&] { return x * 0.5; }),
                          wrt(x, [](const Tensor<double>& dy) { return dy * 0.5; }));
  };
  auto found = inspect(nn::Sequential<double>(nn::Linear<double>(3, 2), half), ones<double>({5, 4, 3}));
  CHECK(row_of(found, "half").output == Shape{5, 4, 2});
  CHECK(row_of(found, "linear").layer == "0");
  CHECK(row_of(found, "linear").multiply_adds == 20 * 3 * 2);
}

TEST_CASE("inspect: recurrent layers multiply with every weight in each step") {
  auto x = ones<float>({7, 2, 3});
  nn::LSTM<float> both(3, 5, {.layers = 2, .bidirectional = true, .projection = 4});
  auto lstm = inspect(both, x);
  CHECK(row_of(lstm, "lstm").multiply_adds == 14 * (20 * 3 + 20 * 4 + 4 * 5));
  CHECK(lstm.multiply_adds == 14 * 2 * (20 * 3 + 20 * 4 + 4 * 5 + 20 * 8 + 20 * 4 + 4 * 5));
  auto gru = inspect(nn::GRU<float>(3, 5), x);
  CHECK(row_of(gru, "gru").output == Shape{7, 2, 5});
  CHECK(gru.multiply_adds == 14 * (15 * 3 + 15 * 5));
  CHECK(inspect(nn::RNN<float>(3, 5, {.bias = false}), x).multiply_adds == 14 * (5 * 3 + 5 * 5));
  CHECK(inspect(nn::LSTMCell<float>(3, 5), ones<float>({2, 3})).multiply_adds == 2 * (20 * 3 + 20 * 5));
}

TEST_CASE("inspect: errors leave the model as it was") {
  models::LeNet<float> model;
  check_error<ShapeError>(
      [&] {
        inspect(model, ones<float>({1, 3, 28, 28}));
      },
      "LeNet.conv1: conv2d: input is (1, 3, 28, 28) and weight is (32, 1, 3, 3) with 1 group(s): the "
      "input's channels must be 1, and the weight's first size a multiple of 1");
  Twins twins;
  CHECK_THROWS_AS(inspect(twins, ones<float>({1, 4, 1, 1})), ShapeError);
  CHECK(twins.norm.training.on);
  auto identity = nn::Sequential<float>([](const Tensor<float>& x) { return x.detach(); });
  check_error<AutogradError>([&] { inspect(identity, ones<float>({1})); },
                             "inspect: Sequential recorded nothing: no operator leads from a sample or a parameter to "
                             "its output");
}

TEST_CASE("readable_count") {
  CHECK(nn::readable_count(0) == "0");
  CHECK(nn::readable_count(999) == "999");
  CHECK(nn::readable_count(1000) == "1.00 k");
  CHECK(nn::readable_count(9'994) == "9.99 k");
  CHECK(nn::readable_count(9'996) == "10.0 k");
  CHECK(nn::readable_count(99'960) == "100 k");
  CHECK(nn::readable_count(999'400) == "999 k");
  CHECK(nn::readable_count(999'600) == "1.00 M");
  CHECK(nn::readable_count(1'234'567'890) == "1.23 G");
  CHECK(nn::readable_count(INT64_MAX) == "9.22 E");
}

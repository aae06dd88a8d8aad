// Whole recurrent layers and cells against PyTorch's: values and gradients from the same weights.
#include "gradus/nn/recurrent_cells.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def check(name, layer, shape, *state_shapes, lengths=None):
    layer = fill_hashed(layer)
    x = hashed(1000, shape, -1, 1).requires_grad_()
    state = tuple(hashed(1001 + i, s, -1, 1).requires_grad_() for i, s in enumerate(state_shapes))
    packed = x
    if lengths:
        first = layer.batch_first
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=first, enforce_sorted=False)
    got = layer(packed, state if len(state) == 2 else state[0])
    if lengths:
        total = shape[1 if first else 0]
        y = rnn.pad_packed_sequence(got[0], batch_first=first, total_length=total)[0]
        got = (y, got[1])
    flat = lambda v: [v] if isinstance(v, torch.Tensor) else [part for item in v for part in flat(item)]
    outputs = flat(got)
    loss = sum((y * hashed(2000 + i, tuple(y.shape), -1, 1)).sum() for i, y in enumerate(outputs))
    gradients = torch.autograd.grad(loss, [x, *state, *layer.parameters()])
    everything = torch.cat([part.detach().flatten() for part in (*outputs, *gradients)])
    case(name, lambda: everything, order=0)

nn = torch.nn
check("LSTM", nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True, proj_size=2), (3, 4, 3), (4, 3, 2), (4, 3, 5),
      lengths=[2, 4, 1])
check("LSTM without bias", nn.LSTM(3, 5, 3, bias=False), (4, 2, 3), (3, 2, 5), (3, 2, 5))
check("GRU", nn.GRU(3, 5, 2, batch_first=True, bidirectional=True), (3, 4, 3), (4, 3, 5), lengths=[2, 4, 1])
check("RNN", nn.RNN(3, 5, 2, batch_first=True, bidirectional=True), (3, 4, 3), (4, 3, 5), lengths=[2, 4, 1])
check("RNN with relu", nn.RNN(3, 5, 2, nonlinearity="relu"), (4, 2, 3), (2, 2, 5))
check("LSTMCell", nn.LSTMCell(3, 5), (4, 3), (4, 5), (4, 5))
check("GRUCell", nn.GRUCell(3, 5, bias=False), (4, 3), (4, 5))
check("RNNCell", nn.RNNCell(3, 5), (4, 3), (4, 5))
check("RNNCell with relu", nn.RNNCell(3, 5, nonlinearity="relu"), (4, 3), (4, 5))
*/

using namespace gradus;

namespace {

using Doubles = std::vector<Tensor<double>>;

/// run(layer, x, states) gives the layer's outputs; they and all gradients must be PyTorch's.
template <class Layer, class Run>
void check_layer(const std::string& name, Layer layer, const Shape& shape, const std::vector<Shape>& states, Run run) {
  test::fill_hashed<double>(layer);
  Doubles inputs = {test::hashed<double>(1000, shape, -1, 1)};
  for (size_t i = 0; i < states.size(); ++i)
    inputs.push_back(test::hashed<double>(static_cast<uint32_t>(1001 + i), states[i], -1, 1));
  for (auto& input : inputs) input.set_requires_grad();
  Doubles outputs = run(layer, inputs[0], Doubles(inputs.begin() + 1, inputs.end()));
  auto loss = zeros<double>({});
  for (size_t i = 0; i < outputs.size(); ++i)
    loss = loss + sum(outputs[i] * test::hashed<double>(static_cast<uint32_t>(2000 + i), outputs[i].shape(), -1, 1));
  loss.backward();
  for (const auto& input : inputs) outputs.push_back(input.grad());
  for (const auto& parameter : parameters<double>(layer)) outputs.push_back(parameter.grad());
  Doubles flat;
  for (const auto& part : outputs) flat.push_back(reshape(part.detach(), {part.numel()}));
  INFO(name);
  CHECK(test::mismatch(cat(flat), test::golden_cases(name, __FILE__)[0].output, {.relative = 1e-12}) == "");
}

}  // namespace

TEST_CASE("recurrent layers of every kind have PyTorch's values and gradients") {
  auto lengths = tensor<int64_t>({2, 4, 1});
  auto plain = [](const auto& layer, const Tensor<double>& x, const Doubles& state) {
    auto [y, h] = layer(x, state[0]);
    return Doubles{y, h};
  };
  auto packed = [&](const auto& layer, const Tensor<double>& x, const Doubles& state) {
    auto [y, h] = layer(x, state[0], lengths);
    return Doubles{y, h};
  };
  check_layer("LSTM",
              nn::LSTM<double>(3, 5, {.layers = 2, .batch_first = true, .bidirectional = true, .projection = 2}),
              {3, 4, 3}, {{4, 3, 2}, {4, 3, 5}}, [&](const auto& layer, const Tensor<double>& x, const Doubles& state) {
                auto [y, h, c] = layer(x, {state[0], state[1]}, lengths);
                return Doubles{y, h, c};
              });
  check_layer("LSTM without bias", nn::LSTM<double>(3, 5, {.layers = 3, .bias = false}), {4, 2, 3},
              {{3, 2, 5}, {3, 2, 5}}, [](const auto& layer, const Tensor<double>& x, const Doubles& state) {
                auto [y, h, c] = layer(x, {state[0], state[1]});
                return Doubles{y, h, c};
              });
  check_layer("GRU", nn::GRU<double>(3, 5, {.layers = 2, .batch_first = true, .bidirectional = true}), {3, 4, 3},
              {{4, 3, 5}}, packed);
  check_layer("RNN", nn::RNN<double>(3, 5, {.layers = 2, .batch_first = true, .bidirectional = true}), {3, 4, 3},
              {{4, 3, 5}}, packed);
  check_layer("RNN with relu", nn::RNN<double>(3, 5, {.layers = 2, .nonlinearity = Nonlinearity::relu}), {4, 2, 3},
              {{2, 2, 5}}, plain);
}

TEST_CASE("recurrent cells have PyTorch's values and gradients") {
  auto step = [](const auto& cell, const Tensor<double>& x, const Doubles& state) {
    return Doubles{cell(x, state[0])};
  };
  check_layer("LSTMCell", nn::LSTMCell<double>(3, 5), {4, 3}, {{4, 5}, {4, 5}},
              [](const auto& cell, const Tensor<double>& x, const Doubles& state) {
                auto [h, c] = cell(x, {state[0], state[1]});
                return Doubles{h, c};
              });
  check_layer("GRUCell", nn::GRUCell<double>(3, 5, {.bias = false}), {4, 3}, {{4, 5}}, step);
  check_layer("RNNCell", nn::RNNCell<double>(3, 5), {4, 3}, {{4, 5}}, step);
  check_layer("RNNCell with relu", nn::RNNCell<double>(3, 5, {.nonlinearity = Nonlinearity::relu}), {4, 3}, {{4, 5}},
              step);
}

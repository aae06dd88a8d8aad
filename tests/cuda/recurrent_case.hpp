// What tests of recurrent layers on a card share: results and gradients of a layer.
#pragma once

#include <string>
#include <vector>

#include "gradus/gradus.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

#if defined(GRADUS_CUDA)
namespace gradus::test {

enum class RecurrentCell { lstm, gru, rnn_tanh, rnn_relu };

struct RecurrentCase {
  int64_t steps, n, in, hidden;
  bool biases = true, last_only = false;
  SequenceOptions options = {};
  int64_t projected = 0;  ///< of an LSTM: the size of its states; 0: no projection
};

/// Results and gradients of all that a recurrent layer reads, on the CPU. Its parameters do not begin where memory of a
/// card does, with `shifted`.
template <Floating T>
std::vector<Tensor<double>> recur(RecurrentCell cell, const RecurrentCase& c, Device device, bool shifted = false) {
  uint32_t seed = 0;
  std::vector<Tensor<T>> leaves;
  auto leaf = [&](const Shape& shape) {
    auto x = hashed<T>(++seed, shape, -0.7, 0.7).to(device);
    if (shifted) {
      auto longer = zeros<T>({shape.numel() + 1}, device);
      auto inside = reshape(slice(longer, 0, 1, shape.numel() + 1), shape);
      inside.copy_(x);
      x = inside;
    }
    x.set_requires_grad(true);
    leaves.push_back(x);
    return x;
  };
  auto out = c.projected > 0 ? c.projected : c.hidden;
  auto width = c.hidden * (cell == RecurrentCell::lstm ? 4 : cell == RecurrentCell::gru ? 3 : 1);
  auto x = leaf({c.steps, c.n, c.in}), h0 = leaf({c.n, out}), w_ih = leaf({width, c.in}), w_hh = leaf({width, out});
  Tensor<T> b_ih, b_hh, w_hr;
  if (c.biases) {
    b_ih = leaf({width});
    b_hh = leaf({width});
  }
  if (c.projected > 0) w_hr = leaf({out, c.hidden});
  std::vector<Tensor<T>> results;
  if (cell == RecurrentCell::lstm) {
    auto [y, h, cells] = lstm(x, h0, leaf({c.n, c.hidden}), LstmParameters<T>{w_ih, w_hh, b_ih, b_hh, w_hr}, c.options);
    results = {y, h, cells};
  } else if (cell == RecurrentCell::gru) {
    auto [y, h] = gru(x, h0, GruParameters<T>{w_ih, w_hh, b_ih, b_hh}, c.options);
    results = {y, h};
  } else {
    auto rule = cell == RecurrentCell::rnn_relu ? Nonlinearity::relu : Nonlinearity::tanh;
    auto [y, h] = rnn(x, h0, RnnParameters<T>{w_ih, w_hh, b_ih, b_hh}, rule, c.options);
    results = {y, h};
  }
  Tensor<T> loss;
  for (size_t i = c.last_only ? 1 : 0; i < results.size(); ++i) {
    auto part = sum(results[i] * hashed<T>(++seed, results[i].shape(), -1, 1).to(device));
    loss = loss.defined() ? loss + part : part;
  }
  loss.backward();
  std::vector<Tensor<double>> all;
  for (const auto& one : results) all.push_back(cast<double>(one.detach().to(Device::cpu())));
  for (const auto& one : leaves) all.push_back(cast<double>(one.grad().to(Device::cpu())));
  return all;
}

/// What rounding of T may make of results and gradients of some steps.
template <Floating T>
constexpr double recurrent_tolerance() {
  return dtype_of<T> == DType::f64 ? 1e-12 : dtype_of<T> == DType::f32 ? 1e-5 : dtype_of<T> == DType::f16 ? 0.01 : 0.06;
}

template <Floating T>
void check_same(const std::vector<Tensor<double>>& here, const std::vector<Tensor<double>>& there) {
  REQUIRE(here.size() == there.size());
  for (size_t i = 0; i < here.size(); ++i) {
    INFO("result or gradient " << i);
    auto x = here[i].to_vector(), y = there[i].to_vector();
    REQUIRE(x.size() == y.size());
    for (size_t k = 0; k < x.size(); ++k)
      if (!(std::abs(x[k] - y[k]) <= recurrent_tolerance<T>() * (1 + std::abs(x[k])))) CHECK(x[k] == y[k]);
  }
}

/// How often the kernels of a library ran for an operator.
inline int64_t library_calls(const std::vector<cuda::KernelTime>& times, const std::string& op) {
  int64_t count = 0;
  for (const auto& time : times)
    if (time.op == op && time.kernel == "library") count += time.count;
  return count;
}

}  // namespace gradus::test
#endif

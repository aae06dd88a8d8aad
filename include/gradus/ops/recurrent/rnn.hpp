#pragma once

#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/product/linear.hpp"
#include "gradus/ops/recurrent/rnn_kernel.hpp"
#include "gradus/ops/recurrent/sequence_options.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/slice.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::inline GRADUS_BUILD {

/// The parameters of one plain recurrent layer, in PyTorch's layout. Biases may be undefined.
template <Floating T>
struct RnnParameters {
  Tensor<T> weight_ih;         ///< (hidden, in)
  Tensor<T> weight_hh;         ///< (hidden, hidden)
  Tensor<T> bias_ih, bias_hh;  ///< (hidden,)
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
using RnnTensors = std::array<Tensor<T>, 6>;  // x, h0, weight_ih, weight_hh, bias_ih, bias_hh

template <Floating T>
SequenceShape rnn_shape(const RnnTensors<T>& in, const SequenceOptions& direction) {
  const auto& [x, h0, w_ih, w_hh, b_ih, b_hh] = in;
  auto hidden = check_sequence("rnn", 1, x, w_ih), n = x.size(1);
  auto check = [&](const char* name, const Tensor<T>& part, const Shape& wanted) {
    check_sequence_part("rnn", name, part, wanted, x, w_ih);
  };
  require<ShapeError>(w_hh.defined() && h0.defined(), "rnn: weight_hh and h0 must be given");
  check("weight_hh", w_hh, {hidden, hidden});
  check("bias_ih", b_ih, {hidden});
  check("bias_hh", b_hh, {hidden});
  check("h0", h0, {n, hidden});
  const auto* lengths = check_lengths("rnn", direction.lengths, x.size(0), n);
  return {x.size(0), n, x.size(2), hidden, hidden, direction.reverse, lengths};
}

/// The gradients in ordinary operators, which can be differentiated again: the definition, step by step.
template <Floating T>
RnnTensors<T> rnn_gradient_by_operators(const std::array<Tensor<T>, 2>& dys, const RnnTensors<T>& in, Nonlinearity f,
                                        const SequenceOptions& direction, const SequenceShape& s) {
  const auto& [x, h0, w_ih, w_hh, b_ih, b_hh] = in;
  auto runs = [&](int64_t t) {  // (n, 1)
    return direction.lengths.defined() ? unsqueeze(direction.lengths, 1) > t
                                       : full<bool>({s.batch, 1}, true, x.device());
  };
  auto zero = zeros<T>({s.batch, s.hidden}, x.device());
  std::vector<Tensor<T>> states{h0}, made;  // made: also where a sequence has ended
  for (int64_t k = 0; k < s.steps; ++k) {
    auto sums = linear(select(x, 0, s.at(k)), w_ih, b_ih) + linear(states.back(), w_hh, b_hh);  // (n, hidden)
    made.push_back(f == Nonlinearity::tanh ? tanh(sums) : relu(sums));
    states.push_back(where(runs(s.at(k)), made.back(), states.back()));
  }
  auto dh = dys[1].defined() ? dys[1] : zero;
  auto dw_ih = zeros<T>(w_ih.shape(), x.device()), dw_hh = zeros<T>(w_hh.shape(), x.device()),
       db = zeros<T>({s.hidden}, x.device());
  std::vector<Tensor<T>> dx(static_cast<size_t>(s.steps));
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k);
    auto i = static_cast<size_t>(k);
    auto on = runs(t);
    if (dys[0].defined()) dh = dh + where(on, select(dys[0], 0, t), zero);
    auto d_state = where(on, dh, zero);
    auto d_sums = f == Nonlinearity::tanh ? d_state * (1.0 - made[i] * made[i]) : where(made[i] <= 0.0, zero, d_state);
    dx[static_cast<size_t>(t)] = matmul(d_sums, w_ih);
    dw_ih = dw_ih + matmul(transpose(d_sums), select(x, 0, t));
    dw_hh = dw_hh + matmul(transpose(d_sums), states[i]);
    db = db + sum(d_sums, 0);
    dh = where(on, matmul(d_sums, w_hh), dh);
  }
  return {stack(dx), dh, dw_ih, dw_hh, db, db};
}

template <Floating T>
std::array<Tensor<T>, 2> run_rnn(const Tensor<T>& x, const Tensor<T>& h0, const RnnParameters<T>& p, Nonlinearity f,
                                 const SequenceOptions& given) {
  auto direction = given.own(x.device());
  RnnTensors<T> in = {x, h0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh};
  auto s = rnn_shape(in, direction);  // points to direction's lengths
  auto device = x.device();
  auto states = Tensor<T>::empty({s.steps, s.batch, s.hidden}, device);
  RnnTensors<T> dense;
  std::transform(in.begin(), in.end(), dense.begin(), [](const auto& part) { return dense_or_undefined(part); });
  auto weights_of = [](const RnnTensors<T>& of) {
    return RnnWeights<T>{of[2].data(), of[3].data(), data_or_null(of[4]), data_or_null(of[5])};
  };
  run_on(device, [&](auto... card) {
    rnn_forward<T>(card..., s, dense[0].data(), dense[1].data(), weights_of(dense), f, memory_or_null(states));
  });
  auto y = shown_states(s, states), h = select(states, 0, s.at(s.steps - 1)).clone();
  auto kept_states = saved(states.detach());  // y is an output
  std::array<Saved<T>, 6> kept;
  std::transform(in.begin(), in.end(), kept.begin(), [](const auto& part) { return saved(part); });
  auto gradient = [kept, direction, s, f, device, kept_states, weights_of](const std::array<Tensor<T>, 2>& dys,
                                                                           const std::array<bool, 6>& wanted) {
    RnnTensors<T> of, to;
    std::transform(kept.begin(), kept.end(), of.begin(), [](const auto& part) { return part(); });
    if (grad_enabled()) return std::tuple_cat(rnn_gradient_by_operators(dys, of, f, direction, s));
    for (size_t i = 0; i < of.size(); ++i) {
      of[i] = dense_or_undefined(of[i]);
      if (wanted[i] && i < 4) to[i] = Tensor<T>::empty(of[i].shape(), device);
    }
    auto d_sums = Tensor<T>::empty({s.steps * s.batch, s.hidden}, device);
    auto dy = dense_or_undefined(dys[0]), dh = dense_or_undefined(dys[1]);
    run_on(device, [&](auto... card) {
      rnn_backward<T>(card..., s, of[0].data(), of[1].data(), weights_of(of), f, kept_states().data(), data_or_null(dy),
                      data_or_null(dh),
                      {memory_or_null(d_sums), memory_or_null(to[0]), memory_or_null(to[1]), memory_or_null(to[2]),
                       memory_or_null(to[3])});
    });
    if (wanted[4] || wanted[5]) to[4] = to[5] = sum(d_sums, 0);
    return std::tuple_cat(to);
  };
  return differentiable("rnn", std::array<Tensor<T>, 2>{y, h},
                        inputs(x, h0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh), std::move(gradient));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// One plain recurrent layer (Elman, 1990) over whole sequences, state = tanh(x w_ih^T + b_ih + state w_hh^T + b_hh) or
/// relu of that: x (steps, n, in), first state h0 (n, hidden) -> states of all steps (steps, n, hidden), the last state
/// (n, hidden). A sequence that is shorter than `steps` keeps its state from its end on, and its states there are 0. As
/// torch.nn.RNN with one layer and direction. On the CPU a step gives the same bits within a sequence and on its own,
/// and whatever else is in the batch.
template <Floating T>
std::array<Tensor<T>, 2> rnn(const Tensor<T>& x, const Tensor<T>& h0, const RnnParameters<T>& parameters,
                             Nonlinearity nonlinearity = Nonlinearity::tanh, const SequenceOptions& options = {}) {
  return detail::run_rnn(x, h0, parameters, nonlinearity, options);
}

}  // namespace gradus::inline GRADUS_BUILD

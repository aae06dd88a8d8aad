#pragma once

#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/sigmoid.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/product/linear.hpp"
#include "gradus/ops/recurrent/lstm_kernel.hpp"
#include "gradus/ops/recurrent/sequence_options.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/recurrent/recurrent_cudnn.hpp"
#endif
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/slice.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::inline GRADUS_BUILD {

/// The parameters of one LSTM, in PyTorch's layout: gates in the order input, forget, cell, output. Biases and
/// projection may be undefined.
template <Floating T>
struct LstmParameters {
  Tensor<T> weight_ih;         ///< (4 hidden, in)
  Tensor<T> weight_hh;         ///< (4 hidden, out)
  Tensor<T> bias_ih, bias_hh;  ///< (4 hidden,)
  Tensor<T> weight_hr;         ///< (out, hidden): a projection; without it out is hidden
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
using LstmTensors = std::array<Tensor<T>, 8>;  // x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr

template <Floating T>
SequenceShape lstm_shape(const LstmTensors<T>& in, const SequenceOptions& direction) {
  const auto& [x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr] = in;
  auto width = check_sequence("lstm", 4, x, w_ih), hidden = width / 4, n = x.size(1);
  auto out = w_hr.defined() && w_hr.rank() == 2 ? w_hr.size(0) : hidden;
  auto check = [&](const char* name, const Tensor<T>& part, const Shape& wanted) {
    check_sequence_part("lstm", name, part, wanted, x, w_ih);
  };
  require<ShapeError>(w_hh.defined() && h0.defined() && c0.defined(), "lstm: weight_hh, h0 and c0 must be given");
  check("weight_hr", w_hr, {out, hidden});
  check("weight_hh", w_hh, {width, out});
  check("bias_ih", b_ih, {width});
  check("bias_hh", b_hh, {width});
  check("h0", h0, {n, out});
  check("c0", c0, {n, hidden});
  const auto* lengths = check_lengths("lstm", direction.lengths, x.size(0), n);
  return {x.size(0), n, x.size(2), hidden, out, direction.reverse, lengths};
}

/// The gradients in ordinary operators, which can be differentiated again: the definition, step by step.
template <Floating T>
LstmTensors<T> lstm_gradient_by_operators(const std::array<Tensor<T>, 3>& dys, const LstmTensors<T>& in,
                                          const SequenceOptions& direction, const SequenceShape& s) {
  const auto& [x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr] = in;
  auto gate = [&](const Tensor<T>& all, int64_t k) { return slice(all, 1, k * s.hidden, (k + 1) * s.hidden); };
  auto runs = [&](int64_t t) {  // (n, 1)
    return direction.lengths.defined() ? unsqueeze(direction.lengths, 1) > t
                                       : full<bool>({s.batch, 1}, true, x.device());
  };
  auto zero_out = zeros<T>({s.batch, s.out}, x.device()), zero_hidden = zeros<T>({s.batch, s.hidden}, x.device());
  std::vector<Tensor<T>> i, f, g, o, cells{c0}, states{h0}, ready, shown;
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k);
    auto gates = linear(select(x, 0, t), w_ih, b_ih) + linear(states.back(), w_hh, b_hh);  // (n, 4 hidden)
    i.push_back(sigmoid(gate(gates, 0)));
    f.push_back(sigmoid(gate(gates, 1)));
    g.push_back(tanh(gate(gates, 2)));
    o.push_back(sigmoid(gate(gates, 3)));
    auto cell = f.back() * cells.back() + i.back() * g.back();  // (n, hidden)
    shown.push_back(tanh(cell));
    ready.push_back(o.back() * shown.back());
    auto state = w_hr.defined() ? linear(ready.back(), w_hr) : ready.back();  // (n, out)
    states.push_back(where(runs(t), state, states.back()));
    cells.push_back(where(runs(t), cell, cells.back()));
  }
  auto or_zero = [](const Tensor<T>& dy, const Tensor<T>& zero) { return dy.defined() ? dy : zero; };
  auto dh = or_zero(dys[1], zero_out), dc = or_zero(dys[2], zero_hidden);
  auto dw_ih = zeros<T>(w_ih.shape(), x.device()), dw_hh = zeros<T>(w_hh.shape(), x.device()),
       db = zeros<T>({4 * s.hidden}, x.device());
  auto dw_hr = w_hr.defined() ? zeros<T>(w_hr.shape(), x.device()) : Tensor<T>();
  std::vector<Tensor<T>> dx(static_cast<size_t>(s.steps));
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k);
    auto n = static_cast<size_t>(k);
    auto on = runs(t);
    if (dys[0].defined()) dh = dh + where(on, select(dys[0], 0, t), zero_out);
    auto d_state = where(on, dh, zero_out);
    auto d_ready = w_hr.defined() ? matmul(d_state, w_hr) : d_state;
    if (w_hr.defined()) dw_hr = dw_hr + matmul(transpose(d_state), ready[n]);
    auto d_cell = where(on, dc, zero_hidden) + d_ready * o[n] * (1.0 - shown[n] * shown[n]);
    auto d_gates =
        cat(std::vector<Tensor<T>>{d_cell * g[n] * i[n] * (1.0 - i[n]), d_cell * cells[n] * f[n] * (1.0 - f[n]),
                                   d_cell * i[n] * (1.0 - g[n] * g[n]), d_ready * shown[n] * o[n] * (1.0 - o[n])},
            1);  // (n, 4 hidden)
    dx[static_cast<size_t>(t)] = matmul(d_gates, w_ih);
    dw_ih = dw_ih + matmul(transpose(d_gates), select(x, 0, t));
    dw_hh = dw_hh + matmul(transpose(d_gates), states[n]);
    db = db + sum(d_gates, 0);
    dh = where(on, matmul(d_gates, w_hh), dh);
    dc = where(on, d_cell * f[n], dc);
  }
  return {stack(dx), dh, dc, dw_ih, dw_hh, db, db, dw_hr};
}

template <Floating T>
std::array<Tensor<T>, 3> run_lstm(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& c0,
                                  const LstmParameters<T>& parameters, const SequenceOptions& given) {
  auto direction = given.own(x.device());
  const auto& p = parameters;
  LstmTensors<T> in = {x, h0, c0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh, p.weight_hr};
  auto s = lstm_shape(in, direction);  // points to direction's lengths
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu() && !p.weight_hr.defined()) {
    using ByCudnn = RecurrentByCudnn<T>;
    typename ByCudnn::Tensors given_parts = {x, h0, c0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh};
    if (auto* plan = ByCudnn::plan_of(ByCudnn::Cell::lstm, given_parts, direction, s.hidden); plan != nullptr) {
      auto r = ByCudnn::forward(*plan, given_parts, records(in));
      auto results = std::array<Tensor<T>, 3>{r.y, r.h, r.c};
      std::array<Saved<T>, 7> kept;
      std::transform(given_parts.begin(), given_parts.end(), kept.begin(),
                     [](const auto& part) { return saved(part); });
      auto gradient = [plan, kept, direction, s, y = saved(r.y.detach()), weights = r.weights, reserve = r.reserve](
                          const std::array<Tensor<T>, 3>& dys, const std::array<bool, 7>&) {
        typename ByCudnn::Tensors of;
        std::transform(kept.begin(), kept.end(), of.begin(), [](const auto& part) { return part(); });
        if (grad_enabled()) {
          auto to =
              lstm_gradient_by_operators<T>(dys, {of[0], of[1], of[2], of[3], of[4], of[5], of[6], {}}, direction, s);
          return std::tuple(to[0], to[1], to[2], to[3], to[4], to[5], to[6]);
        }
        return std::tuple_cat(ByCudnn::backward(*plan, of, {y(), {}, {}, reserve, weights}, dys));
      };
      return differentiable("lstm", results, inputs(x, h0, c0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh),
                            std::move(gradient));
    }
  }
#endif
  auto device = x.device();
  auto projects = p.weight_hr.defined(), keep = records(in);
  auto gates = Tensor<T>::empty({keep || !device.is_cpu() ? s.steps : 1, s.batch, 4 * s.hidden}, device),
       cells = Tensor<T>::empty({s.steps, s.batch, s.hidden}, device), ready = Tensor<T>::empty(cells.shape(), device);
  auto states = projects ? Tensor<T>::empty({s.steps, s.batch, s.out}, device) : ready;
  LstmTensors<T> dense;
  std::transform(in.begin(), in.end(), dense.begin(), [](const auto& part) { return dense_or_undefined(part); });
  auto weights_of = [](const LstmTensors<T>& of) {
    return LstmWeights<T>{of[3].data(), of[4].data(), data_or_null(of[5]), data_or_null(of[6]), data_or_null(of[7])};
  };
  run_on(device, [&](auto... card) {
    lstm_forward<T>(
        card..., s, dense[0].data(), dense[1].data(), dense[2].data(), weights_of(dense),
        {memory_or_null(gates), memory_or_null(cells), memory_or_null(ready), memory_or_null(states), keep});
  });
  auto last = s.at(s.steps - 1);
  auto y = shown_states(s, states);
  auto h = select(states, 0, last).clone(), c = select(cells, 0, last).clone();
  auto kept_states = saved(states.detach()), kept_ready = projects ? saved(ready) : kept_states;  // y is an output
  std::array<Saved<T>, 8> kept;
  std::transform(in.begin(), in.end(), kept.begin(), [](const auto& part) { return saved(part); });
  auto gradient = [kept, direction, s, device, gates, cells, kept_ready, kept_states, weights_of](
                      const std::array<Tensor<T>, 3>& dys, const std::array<bool, 8>& wanted) {
    LstmTensors<T> of, to;
    std::transform(kept.begin(), kept.end(), of.begin(), [](const auto& part) { return part(); });
    if (grad_enabled()) return std::tuple_cat(lstm_gradient_by_operators(dys, of, direction, s));
    for (size_t i = 0; i < of.size(); ++i) {
      of[i] = dense_or_undefined(of[i]);
      if (wanted[i] && i != 5 && i != 6) to[i] = Tensor<T>::empty(of[i].shape(), device);
    }
    auto d_gates = Tensor<T>::empty({s.steps * s.batch, 4 * s.hidden}, device);
    std::array<Tensor<T>, 3> dense_dys;
    std::transform(dys.begin(), dys.end(), dense_dys.begin(), [](const auto& dy) { return dense_or_undefined(dy); });
    run_on(device, [&](auto... card) {
      lstm_backward<T>(card..., s, of[0].data(), of[1].data(), of[2].data(), weights_of(of),
                       {gates.data(), cells.data(), kept_ready().data(), kept_states().data()},
                       data_or_null(dense_dys[0]), data_or_null(dense_dys[1]), data_or_null(dense_dys[2]),
                       {memory_or_null(d_gates), memory_or_null(to[0]), memory_or_null(to[1]), memory_or_null(to[2]),
                        memory_or_null(to[3]), memory_or_null(to[4]), memory_or_null(to[7])});
    });
    if (wanted[5] || wanted[6]) to[5] = to[6] = sum(d_gates, 0);
    return std::tuple_cat(to);
  };
  return differentiable("lstm", std::array<Tensor<T>, 3>{y, h, c},
                        inputs(x, h0, c0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh, p.weight_hr),
                        std::move(gradient));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// One layer of a long short-term memory (Hochreiter and Schmidhuber, 1997) over whole sequences: x (steps, n, in),
/// first state h0 (n, out) and cell c0 (n, hidden) -> states of all steps (steps, n, out), the last state (n, out), the
/// last cell (n, hidden). A sequence that is shorter than `steps` keeps its state from its end on, and its states there
/// are 0. As torch.nn.LSTM with one layer and direction. On the CPU a step gives the same bits within a sequence and on
/// its own, and whatever else is in the batch.
template <Floating T>
std::array<Tensor<T>, 3> lstm(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& c0,
                              const LstmParameters<T>& parameters, const SequenceOptions& direction = {}) {
  return detail::run_lstm(x, h0, c0, parameters, direction);
}

}  // namespace gradus::inline GRADUS_BUILD

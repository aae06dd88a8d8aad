#pragma once

#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/sigmoid.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/pointwise/where.hpp"
#include "gradus/ops/product/linear.hpp"
#include "gradus/ops/recurrent/gru_kernel.hpp"
#include "gradus/ops/recurrent/sequence_options.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/recurrent/recurrent_cudnn.hpp"
#endif
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/slice.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::inline GRADUS_BUILD {

/// The parameters of one GRU, in PyTorch's layout: gates in the order reset, update, new. Biases may be undefined.
template <Floating T>
struct GruParameters {
  Tensor<T> weight_ih;         ///< (3 hidden, in)
  Tensor<T> weight_hh;         ///< (3 hidden, hidden)
  Tensor<T> bias_ih, bias_hh;  ///< (3 hidden,)
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
using GruTensors = std::array<Tensor<T>, 6>;  // x, h0, weight_ih, weight_hh, bias_ih, bias_hh

template <Floating T>
SequenceShape gru_shape(const GruTensors<T>& in, const SequenceOptions& direction) {
  const auto& [x, h0, w_ih, w_hh, b_ih, b_hh] = in;
  auto width = check_sequence("gru", 3, x, w_ih), hidden = width / 3, n = x.size(1);
  auto check = [&](const char* name, const Tensor<T>& part, const Shape& wanted) {
    check_sequence_part("gru", name, part, wanted, x, w_ih);
  };
  require<ShapeError>(w_hh.defined() && h0.defined(), "gru: weight_hh and h0 must be given");
  check("weight_hh", w_hh, {width, hidden});
  check("bias_ih", b_ih, {width});
  check("bias_hh", b_hh, {width});
  check("h0", h0, {n, hidden});
  const auto* lengths = check_lengths("gru", direction.lengths, x.size(0), n);
  return {x.size(0), n, x.size(2), hidden, hidden, direction.reverse, lengths};
}

/// The gradients in ordinary operators, which can be differentiated again: the definition, step by step.
template <Floating T>
GruTensors<T> gru_gradient_by_operators(const std::array<Tensor<T>, 2>& dys, const GruTensors<T>& in,
                                        const SequenceOptions& direction, const SequenceShape& s) {
  const auto& [x, h0, w_ih, w_hh, b_ih, b_hh] = in;
  auto gate = [&](const Tensor<T>& all, int64_t k) { return slice(all, 1, k * s.hidden, (k + 1) * s.hidden); };
  auto runs = [&](int64_t t) {  // (n, 1)
    return direction.lengths.defined() ? unsqueeze(direction.lengths, 1) > t
                                       : full<bool>({s.batch, 1}, true, x.device());
  };
  auto zero = zeros<T>({s.batch, s.hidden}, x.device());
  std::vector<Tensor<T>> r, z, q, n, states{h0};
  for (int64_t k = 0; k < s.steps; ++k) {
    auto t = s.at(k);
    auto from_input = linear(select(x, 0, t), w_ih, b_ih), from_state = linear(states.back(), w_hh, b_hh);
    r.push_back(sigmoid(gate(from_input, 0) + gate(from_state, 0)));
    z.push_back(sigmoid(gate(from_input, 1) + gate(from_state, 1)));
    q.push_back(gate(from_state, 2));
    n.push_back(tanh(gate(from_input, 2) + r.back() * q.back()));
    auto state = (1.0 - z.back()) * n.back() + z.back() * states.back();  // (n, hidden)
    states.push_back(where(runs(t), state, states.back()));
  }
  auto dh = dys[1].defined() ? dys[1] : zero;
  auto dw_ih = zeros<T>(w_ih.shape(), x.device()), dw_hh = zeros<T>(w_hh.shape(), x.device()),
       db_ih = zeros<T>({3 * s.hidden}, x.device()), db_hh = db_ih;
  std::vector<Tensor<T>> dx(static_cast<size_t>(s.steps));
  for (auto k = s.steps - 1; k >= 0; --k) {
    auto t = s.at(k);
    auto i = static_cast<size_t>(k);
    auto on = runs(t);
    if (dys[0].defined()) dh = dh + where(on, select(dys[0], 0, t), zero);
    auto d_state = where(on, dh, zero);
    auto dn = d_state * (1.0 - z[i]) * (1.0 - n[i] * n[i]);
    auto dz = d_state * (states[i] - n[i]) * z[i] * (1.0 - z[i]);
    auto dr = dn * q[i] * r[i] * (1.0 - r[i]);
    auto d_input = cat(std::vector<Tensor<T>>{dr, dz, dn}, 1),
         d_recurrent = cat(std::vector<Tensor<T>>{dr, dz, dn * r[i]}, 1);
    dx[static_cast<size_t>(t)] = matmul(d_input, w_ih);
    dw_ih = dw_ih + matmul(transpose(d_input), select(x, 0, t));
    dw_hh = dw_hh + matmul(transpose(d_recurrent), states[i]);
    db_ih = db_ih + sum(d_input, 0);
    db_hh = db_hh + sum(d_recurrent, 0);
    dh = where(on, d_state * z[i] + matmul(d_recurrent, w_hh), dh);
  }
  return {stack(dx), dh, dw_ih, dw_hh, db_ih, db_hh};
}

template <Floating T>
std::array<Tensor<T>, 2> run_gru(const Tensor<T>& x, const Tensor<T>& h0, const GruParameters<T>& p,
                                 const SequenceOptions& given) {
  auto direction = given.own(x.device());
  GruTensors<T> in = {x, h0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh};
  auto s = gru_shape(in, direction);  // points to direction's lengths
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    using ByCudnn = RecurrentByCudnn<T>;
    typename ByCudnn::Tensors given_parts = {x, h0, {}, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh};
    if (auto* plan = ByCudnn::plan_of(ByCudnn::Cell::gru, given_parts, direction, s.hidden); plan != nullptr) {
      auto r = ByCudnn::forward(*plan, given_parts, records(in));
      std::array<Saved<T>, 6> kept;
      std::transform(in.begin(), in.end(), kept.begin(), [](const auto& part) { return saved(part); });
      auto gradient = [plan, kept, direction, s, y = saved(r.y.detach()), weights = r.weights, reserve = r.reserve](
                          const std::array<Tensor<T>, 2>& dys, const std::array<bool, 6>&) {
        GruTensors<T> of;
        std::transform(kept.begin(), kept.end(), of.begin(), [](const auto& part) { return part(); });
        if (grad_enabled()) return std::tuple_cat(gru_gradient_by_operators(dys, of, direction, s));
        auto to = ByCudnn::backward(*plan, {of[0], of[1], {}, of[2], of[3], of[4], of[5]},
                                    {y(), {}, {}, reserve, weights}, {dys[0], dys[1], {}});
        return std::tuple(to[0], to[1], to[3], to[4], to[5], to[6]);
      };
      return differentiable("gru", std::array<Tensor<T>, 2>{r.y, r.h},
                            inputs(x, h0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh), std::move(gradient));
    }
  }
#endif
  auto device = x.device();
  auto keep = records(in);
  auto gates = Tensor<T>::empty({keep || !device.is_cpu() ? s.steps : 1, s.batch, 3 * s.hidden}, device),
       inner = Tensor<T>::empty({keep ? s.steps : 1, s.batch, s.hidden}, device),
       states = Tensor<T>::empty({s.steps, s.batch, s.hidden}, device);
  GruTensors<T> dense;
  std::transform(in.begin(), in.end(), dense.begin(), [](const auto& part) { return dense_or_undefined(part); });
  auto weights_of = [](const GruTensors<T>& of) {
    return GruWeights<T>{of[2].data(), of[3].data(), data_or_null(of[4]), data_or_null(of[5])};
  };
  run_on(device, [&](auto... card) {
    gru_forward<T>(card..., s, dense[0].data(), dense[1].data(), weights_of(dense),
                   {memory_or_null(gates), memory_or_null(inner), memory_or_null(states), keep});
  });
  auto y = shown_states(s, states), h = select(states, 0, s.at(s.steps - 1)).clone();
  auto kept_states = saved(states.detach());  // y is an output
  std::array<Saved<T>, 6> kept;
  std::transform(in.begin(), in.end(), kept.begin(), [](const auto& part) { return saved(part); });
  auto gradient = [kept, direction, s, device, gates, inner, kept_states, weights_of](
                      const std::array<Tensor<T>, 2>& dys, const std::array<bool, 6>& wanted) {
    GruTensors<T> of, to;
    std::transform(kept.begin(), kept.end(), of.begin(), [](const auto& part) { return part(); });
    if (grad_enabled()) return std::tuple_cat(gru_gradient_by_operators(dys, of, direction, s));
    for (size_t i = 0; i < of.size(); ++i) {
      of[i] = dense_or_undefined(of[i]);
      if (wanted[i] && i < 4) to[i] = Tensor<T>::empty(of[i].shape(), device);
    }
    auto from_input = Tensor<T>::empty({s.steps * s.batch, 3 * s.hidden}, device),
         from_state = Tensor<T>::empty(from_input.shape(), device);
    auto dy = dense_or_undefined(dys[0]), dh = dense_or_undefined(dys[1]);
    run_on(device, [&](auto... card) {
      gru_backward<T>(card..., s, of[0].data(), of[1].data(), weights_of(of),
                      {gates.data(), inner.data(), kept_states().data()}, data_or_null(dy), data_or_null(dh),
                      {memory_or_null(from_input), memory_or_null(from_state), memory_or_null(to[0]),
                       memory_or_null(to[1]), memory_or_null(to[2]), memory_or_null(to[3])});
    });
    if (wanted[4]) to[4] = sum(from_input, 0);
    if (wanted[5]) to[5] = sum(from_state, 0);
    return std::tuple_cat(to);
  };
  return differentiable("gru", std::array<Tensor<T>, 2>{y, h},
                        inputs(x, h0, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh), std::move(gradient));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// One layer of gated recurrent units (Cho et al., 2014) over whole sequences: x (steps, n, in), first state h0 (n,
/// hidden) -> states of all steps (steps, n, hidden), the last state (n, hidden). A sequence that is shorter than
/// `steps` keeps its state from its end on, and its states there are 0. As torch.nn.GRU with one layer and direction.
/// On the CPU a step gives the same bits within a sequence and on its own, and whatever else is in the batch.
template <Floating T>
std::array<Tensor<T>, 2> gru(const Tensor<T>& x, const Tensor<T>& h0, const GruParameters<T>& parameters,
                             const SequenceOptions& options = {}) {
  return detail::run_gru(x, h0, parameters, options);
}

}  // namespace gradus::inline GRADUS_BUILD

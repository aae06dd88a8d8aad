// One recurrent layer over whole sequences on a GPU, by cuDNN.
#pragma once

#include "gradus/device/cuda/cublaslt.hpp"
#include "gradus/device/cuda/cudnn_rnn.hpp"
#include "gradus/ops/recurrent/sequence_options.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

template <Floating T>
class RecurrentByCudnn {
 public:
  using Cell = cuda::detail::RnnCell;
  using Plan = cuda::detail::RnnPlan;
  /// What a layer reads: x, h0, c0 (undefined where there are no cells), weight_ih, weight_hh, bias_ih, bias_hh.
  using Tensors = std::array<Tensor<T>, 7>;
  struct Result {
    Tensor<T> y, h, c;        ///< (steps, n, hidden), (n, hidden); c undefined where there are no cells
    Tensor<uint8_t> reserve;  ///< what cuDNN keeps for backward; undefined when nothing will ask
    Tensor<uint8_t> weights;  ///< packed
  };

  /// Null where cuDNN does not do it: sequences of different lengths, those that run back, and shapes it refuses.
  static Plan* plan_of(Cell cell, const Tensors& in, const SequenceOptions& direction, int64_t hidden) {
    const auto& [x, h0, c0, w_ih, w_hh, b_ih, b_hh] = in;
    if (direction.reverse || direction.lengths.defined() || b_ih.defined() != b_hh.defined() || x.numel() == 0)
      return nullptr;
    constexpr auto most = int64_t{1} << 30;  // cuDNN counts in 32 bits
    if (x.size(0) * x.size(1) > most || x.size(2) > most || hidden > most) return nullptr;
    return Plan::of(x.device(), {dtype_of<T>, cell, x.size(0), x.size(1), x.size(2), hidden, b_ih.defined(),
                                 cuda::detail::tf32_allowed()});
  }

  static Result forward(Plan& plan, const Tensors& in, bool keep) {
    auto dense = densed(in);
    const auto& [x, h0, c0, w_ih, w_hh, b_ih, b_hh] = dense;
    auto device = x.device();
    Result r{Tensor<T>::empty({x.size(0), x.size(1), h0.size(1)}, device),
             Tensor<T>::empty(h0.shape(), device),
             {},
             {},
             Tensor<uint8_t>::empty({static_cast<int64_t>(plan.weight_bytes())}, device)};
    if (c0.defined()) r.c = Tensor<T>::empty(c0.shape(), device);
    if (keep) r.reserve = Tensor<uint8_t>::empty({static_cast<int64_t>(plan.reserve_bytes())}, device);
    auto& context = cuda::detail::Context::of(device);
    for (const auto& piece : plan.pieces()) {
      const auto* from = reinterpret_cast<const char*>(dense[static_cast<size_t>(3 + piece.tensor)].data());
      context.on_device(r.weights.impl()->data() + piece.packed, from + piece.plain, piece.bytes, "recurrent layer");
    }
    plan.forward({x.data(), h0.data(), data_or_null(c0), r.weights.data(), r.y.impl()->data(), r.h.impl()->data(),
                  memory_or_null(r.c), keep ? r.reserve.impl()->data() : nullptr});
    return r;
  }

  /// Gradients of all inputs, from those of y, h and c, of which any may be undefined.
  static Tensors backward(Plan& plan, const Tensors& in, const Result& r, const std::array<Tensor<T>, 3>& dys) {
    auto dense = densed(in);
    const auto& [x, h0, c0, w_ih, w_hh, b_ih, b_hh] = dense;
    auto device = x.device();
    auto dy = dys[0].defined() ? contiguous(dys[0]) : zeros<T>(r.y.shape(), device);
    auto dh = dense_or_undefined(dys[1]), dc = dense_or_undefined(dys[2]);
    Tensors to;
    for (size_t i = 0; i < to.size(); ++i)
      if (dense[i].defined()) to[i] = Tensor<T>::empty(dense[i].shape(), device);
    auto dweights = zeros<uint8_t>(r.weights.shape(), device);
    auto reserve = r.reserve.clone();  // is changed, and backward may run again
    plan.backward({x.data(), h0.data(), data_or_null(c0), r.weights.data(), r.y.data(), dy.data(), data_or_null(dh),
                   data_or_null(dc), memory_or_null(to[0]), memory_or_null(to[1]), memory_or_null(to[2]),
                   dweights.impl()->data(), reserve.impl()->data()});
    auto& context = cuda::detail::Context::of(device);
    for (const auto& piece : plan.pieces()) {
      auto* target = to[static_cast<size_t>(3 + piece.tensor)].impl()->data();
      context.on_device(target + piece.plain, dweights.impl()->data() + piece.packed, piece.bytes, "recurrent layer");
    }
    return to;
  }

 private:
  static Tensors densed(const Tensors& in) {
    Tensors dense;
    std::transform(in.begin(), in.end(), dense.begin(), [](const auto& part) { return dense_or_undefined(part); });
    return dense;
  }
};

}  // namespace gradus::detail::inline GRADUS_BUILD

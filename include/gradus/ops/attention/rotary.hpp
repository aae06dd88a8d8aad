#pragma once

#include <cmath>

#include "gradus/autograd/differentiable.hpp"
#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/attention/attention_backward.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/attention/rotary_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

/// Which angles positions turn by: frequency i of size / 2 turns by theta^(-2 i / size) a position.
struct RotaryOptions {
  double theta = 10000;
  double scale = 1;  ///< positions are divided by this, to reach further than a model was trained for
};

/// Cosines and sines of the angles, each (positions, size / 2).
template <Floating T>
struct RotaryTable {
  Tensor<T> cosines, sines;
  mutable Tensor<T> moved_cosines = {}, moved_sines = {};  ///< the same on the GPU that asked last
};

/// The angles of `positions` positions for rotary over `size` numbers of each head.
template <Floating T>
RotaryTable<T> rotary_table(int64_t positions, int64_t size, const RotaryOptions& options = {}) {
  require<ValueError>(positions >= 0 && size >= 0 && size % 2 == 0, "rotary_table: ", positions, " positions of ", size,
                      " numbers, but their count must be even");
  auto half = size / 2;
  RotaryTable<T> table{Tensor<T>::empty({positions, half}), Tensor<T>::empty({positions, half})};
  auto *cosines = table.cosines.mutable_data(), *sines = table.sines.mutable_data();
  for (int64_t i = 0; i < positions * half; ++i) {
    auto frequency = std::pow(options.theta, -2.0 * static_cast<double>(i % half) / static_cast<double>(size));
    auto angle = static_cast<double>(i / half) / options.scale * frequency;
    cosines[i] = static_cast<T>(static_cast<Compute<T>>(std::cos(angle)));
    sines[i] = static_cast<T>(static_cast<Compute<T>>(std::sin(angle)));
  }
  return table;
}

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// The table on a device, copied there once.
template <Floating T>
RotaryTable<T> table_on(const RotaryTable<T>& table, Device device) {
  if (table.cosines.device() == device) return {table.cosines, table.sines};
  if (!table.moved_cosines.defined() || table.moved_cosines.device() != device) {
    table.moved_cosines = table.cosines.to(device);
    table.moved_sines = table.sines.to(device);
  }
  return {table.moved_cosines, table.moved_sines};
}

/// One head's numbers of one token, (size), whose first 2 half are turned.
template <Floating T>
void turn_row(const T* x, int64_t size, const T* cosines, const T* sines, int64_t half, int sign, T* y) {
  using C = Compute<T>;
  Simd<C> flip(sign);
  for (int64_t i = 0; i < half; i += simd_lanes) {
    auto count = std::min<int64_t>(simd_lanes, half - i);
    auto a = load_some<C>(x + i, count), b = load_some<C>(x + half + i, count);
    auto c = load_some<C>(cosines + i, count), s = load_some<C>(sines + i, count) * flip;
    store_some(a * c - b * s, y + i, count);
    store_some(b * c + a * s, y + half + i, count);
  }
  std::copy(x + 2 * half, x + size, y + 2 * half);
}

/// Turns by the angles, or back with sign -1: its own gradient.
template <Floating T>
Tensor<T> turn_heads(const Tensor<T>& x_in, const RotaryTable<T>& table, int64_t first, int sign) {
  auto x = x_in.strides()[3] == 1 ? x_in : contiguous(x_in);
  auto n = x.size(0), heads = x.size(1), tokens = x.size(2), size = x.size(3), half = table.cosines.size(1);
  auto y = empty_by_rows<T>(n, heads, tokens, size, x.device());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto there = table_on(table, x.device());
    const auto& strides = x.strides();
    cuda::detail::launch_each("rotary", x.device(), cuda_rotary, {dtype_of<T>}, "turn_heads", y.numel(), y.numel(),
                              CudaDivisor(heads), CudaDivisor(tokens), CudaDivisor(size), half, first,
                              static_cast<Compute<T>>(sign), strides[0], strides[1], strides[2], y.impl()->data(),
                              x.data(), there.cosines.data(), there.sines.data());
  } else
#endif
    parallel_for(n * tokens, std::max<int64_t>(1, 4096 / std::max<int64_t>(heads * size, 1)),
                 [&](int64_t from, int64_t to) {
                   for (auto row = from; row < to; ++row) {
                     auto sample = row / tokens, token = row % tokens;
                     auto *cosines = table.cosines.data() + (first + token) * half,
                          *sines = table.sines.data() + (first + token) * half;
                     for (int64_t head = 0; head < heads; ++head) {
                       auto in = head_view(x, sample, head);
                       turn_row<T>(in.data + token * in.row, size, cosines, sines, half, sign,
                                   reinterpret_cast<T*>(y.impl()->data()) + (row * heads + head) * size);
                     }
                   }
                 });
  return differentiable(
      "rotary", y, wrt(x, [table, first, sign](const Tensor<T>& dy) { return turn_heads(dy, table, first, -sign); }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Rotary position embedding (Su et al., 2021): turns pairs of numbers i and i + half of each head of x (n, heads,
/// tokens, d) by the angle of the token's position; token 0 stands at position `first`. What lies behind the table's
/// size is passed on. The pairs are those of Hugging Face's Llama. The result lies in memory as (n, tokens, heads, d).
template <Floating T>
Tensor<T> rotary(const Tensor<T>& x, const RotaryTable<T>& table, int64_t first = 0) {
  require<ShapeError>(x.rank() == 4 && 2 * table.cosines.size(1) <= x.size(3), "rotary: x is ", x.shape(),
                      " and the table ", table.cosines.shape(),
                      ", but they must be (n, heads, tokens, d) and (positions, at most d / 2)");
  require<IndexError>(first >= 0 && first + x.size(2) <= table.cosines.size(0), "rotary: positions ", first, " to ",
                      first + x.size(2) - 1, ", but the table holds ", table.cosines.size(0));
  return detail::turn_heads(x, table, first, 1);
}

}  // namespace gradus::inline GRADUS_BUILD

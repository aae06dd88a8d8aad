// softmax and log_softmax on a GPU: a warp or a block a row.
#pragma once

#include "gradus/device/cuda/rows_on_card.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_softmax_text = R"cuda(
template <int W, int P>
GRADUS_DEVICE void softmax_rows(const Team& team, int64 rows, int64 n, int logarithm, T* y, const T* x) {
  for (int64 row = team.first; row < rows; row += team.step) {
    T* to = y + row * n;
    Row<W, P> r;
    r.fetch(team, n, x + row * n);
    const C lowest = -from_infinity(C(0));
    C top = lowest, total = 0;
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> pack = r.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) top = maximum(top, pack.at[k]);
    });
    top = team_reduce<Largest>(team, top, lowest);
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> pack = r.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) total += exp(pack.at[k] - top);
    });
    const C log_sum = log(team_reduce<Sum>(team, total, C(0)));
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      Pack<C, W> pack = r.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C value = (pack.at[k] - top) - log_sum;
        pack.at[k] = logarithm ? value : exp(value);
      }
      store_pack(to + i, narrow_pack<T>(pack));
    });
  }
}
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_softmax(int64 rows, int64 n, int by_warps, int logarithm, T* y, const T* x) {
  const Team team = team_of(by_warps != 0);
  if (number > 0) softmax_rows<wide, number / wide>(team, rows, n, logarithm, y, x);
  else if (in_packs(n, x, static_cast<const T*>(y))) softmax_rows<wide, 0>(team, rows, n, logarithm, y, x);
  else softmax_rows<1, 0>(team, rows, n, logarithm, y, x);
}

// dx = y (dy - sum(dy y)), or of log_softmax dy - exp(y) sum(dy).
template <int W, int P>
GRADUS_DEVICE void softmax_gradient_rows(const Team& team, int64 rows, int64 n, int logarithm, T* dx, const T* y,
                                         const T* dy) {
  for (int64 row = team.first; row < rows; row += team.step) {
    T* to = dx + row * n;
    Row<W, P> values, slopes;
    values.fetch(team, n, y + row * n);
    slopes.fetch(team, n, dy + row * n);
    C total = 0;
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> value = values.pack(p, i), slope = slopes.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) total += logarithm ? slope.at[k] : slope.at[k] * value.at[k];
    });
    total = team_reduce<Sum>(team, total, C(0));
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> value = values.pack(p, i);
      Pack<C, W> slope = slopes.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k)
        slope.at[k] = logarithm ? slope.at[k] - exp(value.at[k]) * total : value.at[k] * (slope.at[k] - total);
      store_pack(to + i, narrow_pack<T>(slope));
    });
  }
}
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_softmax_gradient(int64 rows, int64 n, int by_warps, int logarithm, T* dx, const T* y, const T* dy) {
  const Team team = team_of(by_warps != 0);
  if (number > 0) softmax_gradient_rows<wide, number / wide>(team, rows, n, logarithm, dx, y, dy);
  else if (in_packs(n, y, dy, static_cast<const T*>(dx)))
    softmax_gradient_rows<wide, 0>(team, rows, n, logarithm, dx, y, dy);
  else softmax_gradient_rows<1, 0>(team, rows, n, logarithm, dx, y, dy);
}
)cuda";

inline std::string_view cuda_softmax() {
  static const auto text = join(cuda_rows_text, cuda_softmax_text);
  return text;
}

/// x and y (rows, n), dense.
template <Floating T>
void softmax_on_card(const char* op, const Tensor<T>& x, Tensor<T>& y, int64_t n, bool logarithm) {
  auto* to = y.impl()->data();
  RowsOnCard<T> rows("softmax", cuda_softmax(), x.numel() / std::max<int64_t>(n, 1), n, {x.data(), to});
  cuda::detail::launch(op, x.device(), rows.text, {dtype_of<T>}, "block_softmax", rows.grid(), rows.rows, n,
                       rows.by_warps ? 1 : 0, logarithm ? 1 : 0, to, x.data());
}
template <Floating T>
Tensor<T> softmax_gradient_on_card(const char* op, const Tensor<T>& y, const Tensor<T>& dy, int64_t n, bool logarithm) {
  auto dx = Tensor<T>::empty(y.shape(), y.device(), op);
  auto* to = dx.impl()->data();
  RowsOnCard<T> rows("softmax", cuda_softmax(), y.numel() / std::max<int64_t>(n, 1), n, {y.data(), dy.data(), to});
  cuda::detail::launch(op, y.device(), rows.text, {dtype_of<T>}, "block_softmax_gradient", rows.grid(), rows.rows, n,
                       rows.by_warps ? 1 : 0, logarithm ? 1 : 0, to, y.data(), dy.data());
  return dx;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

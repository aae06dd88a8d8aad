// layer_norm and rms_norm on a GPU.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/reduction/reduce.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_rows_text = R"cuda(
// visit(i, x[i]) for the elements of a row that are this thread's, W side by side.
template <int W, class Visit>
GRADUS_DEVICE void each_of_row(const Team& team, const T* row, int64 n, const Visit& visit) {
  for (int64 i = team.lane * W; i < n; i += team.size * W) {
    const Pack<T, W> pack = load_pack<W>(row + i);
#pragma unroll
    for (int k = 0; k < W; ++k) visit(i + k, widen(pack.at[k]));
  }
}
template <int W>
GRADUS_DEVICE Pack<C, W> weights_of(const T* weight, int64 i, C missing) {
  Pack<C, W> result;
#pragma unroll
  for (int k = 0; k < W; ++k) result.at[k] = missing;
  if (weight == 0) return result;
  const Pack<T, W> pack = load_pack<W>(weight + i);
#pragma unroll
  for (int k = 0; k < W; ++k) result.at[k] = widen(pack.at[k]);
  return result;
}

// Of layer norm a row's moments are its mean and 1 / sqrt(variance + eps); of rms norm there is no mean. A row is read
// three times, twice out of the cache.
template <int W>
GRADUS_DEVICE void norm_rows(const Team& team, int64 rows, int64 n, int rms, C eps, T* y, C* moments, const T* x,
                             const T* weight, const T* bias) {
  for (int64 row = team.first; row < rows; row += team.step) {
    const T* from = x + row * n;
    C mean = 0;
    if (!rms) {
      each_of_row<W>(team, from, n, [&](int64, C v) { mean += v; });
      mean = team_reduce<Sum>(team, mean, C(0)) / C(n);
    }
    C squares = 0;
    each_of_row<W>(team, from, n, [&](int64, C v) { squares += (v - mean) * (v - mean); });
    const C inverse = C(1) / sqrt(team_reduce<Sum>(team, squares, C(0)) / C(n) + eps);
    for (int64 i = team.lane * W; i < n; i += team.size * W) {
      const Pack<T, W> pack = load_pack<W>(from + i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1)), shift = weights_of<W>(bias, i, C(0));
      Pack<T, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k)
        result.at[k] = narrow<T>((widen(pack.at[k]) - mean) * inverse * scale.at[k] + shift.at[k]);
      store_pack(y + row * n + i, result);
    }
    if (team.lane == 0) {
      if (rms) {
        moments[row] = inverse;
      } else {
        moments[2 * row] = mean;
        moments[2 * row + 1] = inverse;
      }
    }
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL block_norm(int64 rows, int64 n, int by_warps, int rms, C eps, T* y, C* moments, const T* x,
                         const T* weight, const T* bias) {
  const Team team = team_of(by_warps != 0);
  if (in_packs(n, x, static_cast<const T*>(y), weight, bias))
    norm_rows<16 / sizeof(T)>(team, rows, n, rms, eps, y, moments, x, weight, bias);
  else norm_rows<1>(team, rows, n, rms, eps, y, moments, x, weight, bias);
}

template <int W>
GRADUS_DEVICE void norm_gradient_rows(const Team& team, int64 rows, int64 n, int rms, T* dx, const T* dy, const T* x,
                                      const T* weight, const C* moments) {
  for (int64 row = team.first; row < rows; row += team.step) {
    const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
    const T *slopes = dy + row * n, *from = x + row * n;
    C plain = 0, scaled = 0;
    for (int64 i = team.lane * W; i < n; i += team.size * W) {
      const Pack<T, W> d = load_pack<W>(slopes + i), v = load_pack<W>(from + i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1));
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C g = widen(d.at[k]) * scale.at[k];
        plain += g;
        scaled += g * ((widen(v.at[k]) - mean) * inverse);
      }
    }
    plain = rms ? C(0) : team_reduce<Sum>(team, plain, C(0)) / C(n);
    scaled = team_reduce<Sum>(team, scaled, C(0)) / C(n);
    for (int64 i = team.lane * W; i < n; i += team.size * W) {
      const Pack<T, W> d = load_pack<W>(slopes + i), v = load_pack<W>(from + i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1));
      Pack<T, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C normal = (widen(v.at[k]) - mean) * inverse;
        result.at[k] = narrow<T>((widen(d.at[k]) * scale.at[k] - plain - normal * scaled) * inverse);
      }
      store_pack(dx + row * n + i, result);
    }
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL block_norm_gradient(int64 rows, int64 n, int by_warps, int rms, T* dx, const T* dy, const T* x,
                                  const T* weight, const C* moments) {
  const Team team = team_of(by_warps != 0);
  if (in_packs(n, x, static_cast<const T*>(dx), dy, weight))
    norm_gradient_rows<16 / sizeof(T)>(team, rows, n, rms, dx, dy, x, weight, moments);
  else norm_gradient_rows<1>(team, rows, n, rms, dx, dy, x, weight, moments);
}

// Sums over some rows for the gradients of weight and bias: partial (2, parts, n). W columns a thread.
template <int W>
GRADUS_DEVICE void norm_parameter_sums(int64 rows, int64 n, int64 parts, int rms, C* partial, const T* dy, const T* x,
                                       const C* moments) {
  const int64 columns = n / W;
  GRADUS_EACH(task, parts * columns) {
    const int64 part = task / columns, column = (task - part * columns) * W, last = rows * (part + 1) / parts;
    C weights[W], biases[W];
#pragma unroll
    for (int k = 0; k < W; ++k) weights[k] = biases[k] = C(0);
    for (int64 row = rows * part / parts; row < last; ++row) {
      const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
      const Pack<T, W> d = load_pack<W>(dy + row * n + column), v = load_pack<W>(x + row * n + column);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C g = widen(d.at[k]);
        weights[k] += g * ((widen(v.at[k]) - mean) * inverse);
        biases[k] += g;
      }
    }
#pragma unroll
    for (int k = 0; k < W; ++k) {
      partial[part * n + column + k] = weights[k];
      partial[(parts + part) * n + column + k] = biases[k];
    }
  }
}
// Four blocks a multiprocessor is all that is launched of it; where it aims at more, the compiler spills registers.
GRADUS_WIDE(T, 0)
extern "C" __global__ void __launch_bounds__(256, 4)
norm_parameters(int64 rows, int64 n, int64 parts, int rms, C* partial, const T* dy, const T* x, const C* moments) {
  if (in_packs(n, dy, x)) norm_parameter_sums<16 / sizeof(T)>(rows, n, parts, rms, partial, dy, x, moments);
  else norm_parameter_sums<1>(rows, n, parts, rms, partial, dy, x, moments);
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_norm_rows{"norm_rows", cuda_norm_rows_text};

/// Whether a warp each goes through rows of n elements, or a block each.
inline bool rows_by_warps(int64_t n) { return n <= 4096; }
inline int64_t row_blocks(int64_t rows, int64_t n) { return rows_by_warps(n) ? (rows + 7) / 8 : rows; }

/// y and the moments of rows of x (rows, n).
template <Floating T>
void norm_on_card(const char* op, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, bool rms,
                  double eps, int64_t n, Tensor<T>& y, Tensor<Compute<T>>& moments) {
  auto rows = moments.size(0);
  cuda::detail::launch_blocks(op, x.device(), cuda_norm_rows, {dtype_of<T>}, "block_norm", row_blocks(rows, n), rows, n,
                              rows_by_warps(n) ? 1 : 0, rms ? 1 : 0, static_cast<Compute<T>>(eps), y.impl()->data(),
                              moments.impl()->data(), x.data(), data_or_null(weight), data_or_null(bias));
}
/// Gradients of x and, when wanted, of weight and bias, (n,) each.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> norm_gradient_on_card(const char* op, const Tensor<T>& dy,
                                                                  const Tensor<T>& x, const Tensor<T>& weight,
                                                                  const Tensor<Compute<T>>& moments, bool rms,
                                                                  int64_t n, bool parameters_wanted) {
  using C = Compute<T>;
  auto device = x.device();
  auto rows = moments.size(0);
  auto dx = Tensor<T>::empty(x.shape(), device);
  cuda::detail::launch_blocks(op, device, cuda_norm_rows, {dtype_of<T>}, "block_norm_gradient", row_blocks(rows, n),
                              rows, n, rows_by_warps(n) ? 1 : 0, rms ? 1 : 0, dx.impl()->data(), dy.data(), x.data(),
                              data_or_null(weight), moments.data());
  if (!parameters_wanted) return {dx, {}, {}};
  // As many parts as fill a card with a thread for every 16 bytes of a row, whatever the card: the same bits on each.
  auto columns = std::max<int64_t>(1, n * int64_t{sizeof(T)} / 16);
  auto parts = std::clamp<int64_t>(rows / 16, 1, std::max<int64_t>(1, 131072 / columns));
  auto partial = Tensor<C>::empty({2, parts, n}, device);
  cuda::detail::launch_each(op, device, cuda_norm_rows, {dtype_of<T>}, "norm_parameters", parts * columns, rows, n,
                            parts, rms ? 1 : 0, partial.impl()->data(), dy.data(), x.data(), moments.data());
  NoGradGuard guard;
  auto sums = cast<T>(reduce<SumReducer<C>>(op, partial, 1, false));  // (2, n)
  return {dx, select(sums, 0, 0), select(sums, 0, 1)};
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// layer_norm and rms_norm on a GPU, also of a sum that is made in the same pass.
#pragma once

#include "gradus/device/cuda/rows_on_card.hpp"
#include "gradus/ops/norm/norm_totals_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_rows_text = R"cuda(
// Of layer norm a row's moments are its mean and 1 / sqrt(variance + eps); of rms norm there is no mean. Where `added`
// is not null, it is of sum = x + added.
template <int W, int P>
GRADUS_DEVICE void norm_rows(const Team& team, int64 rows, int64 n, int rms, C eps, T* sum, T* y, C* moments,
                             const T* x, const T* added, const T* weight, const T* bias) {
  Row<W, P> scales, shifts;
  scales.fetch(team, n, weight, C(1));
  shifts.fetch(team, n, bias);
  for (int64 row = team.first; row < rows; row += team.step) {
    const int64 at = row * n;
    Row<W, P> r, more;
    r.fetch(team, n, x + at);
    more.fetch(team, n, added != 0 ? added + at : added);
    C mean = 0;
    if (P > 0 || added != 0 || !rms) {
      each_pack<W, P>(team, n, [&](int p, Column<P> i) {
        Pack<C, W> values = r.pack(p, i);
        if (added != 0) {
          const Pack<C, W> others = more.pack(p, i);
#pragma unroll
          for (int k = 0; k < W; ++k) values.at[k] += others.at[k];
          r.kept[p] = narrow_pack<T>(values);
          store_pack(sum + at + i, r.kept[p]);
          values = widen_pack(r.kept[p]);
        }
#pragma unroll
        for (int k = 0; k < W; ++k) mean += values.at[k];
      });
    }
    if (added != 0) r.from = sum + at;
    mean = rms ? C(0) : team_reduce<Sum>(team, mean, C(0)) / C(n);
    C squares = 0;
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> values = r.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) squares += (values.at[k] - mean) * (values.at[k] - mean);
    });
    const C inverse = C(1) / sqrt(team_reduce<Sum>(team, squares, C(0)) / C(n) + eps);
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> scale = scales.pack(p, i), shift = shifts.pack(p, i);
      Pack<C, W> values = r.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) values.at[k] = (values.at[k] - mean) * inverse * scale.at[k] + shift.at[k];
      store_pack(y + at + i, narrow_pack<T>(values));
    });
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
extern "C" __global__ void __launch_bounds__(256, 2)
block_norm(int64 rows, int64 n, int by_warps, int rms, C eps, T* sum, T* y, C* moments, const T* x, const T* added,
           const T* weight, const T* bias) {
  const Team team = team_of(by_warps != 0);
  if (number > 0)
    norm_rows<wide, number / wide>(team, rows, n, rms, eps, sum, y, moments, x, added, weight, bias);
  else if (in_packs(n, x, static_cast<const T*>(y), weight, bias) && in_packs(n, added, static_cast<const T*>(sum)))
    norm_rows<wide, 0>(team, rows, n, rms, eps, sum, y, moments, x, added, weight, bias);
  else norm_rows<1, 0>(team, rows, n, rms, eps, sum, y, moments, x, added, weight, bias);
}

// Over the rows of a block, the sums that its threads have for their columns: to (n,).
template <int W, int P>
GRADUS_DEVICE void sum_of_block(const Team& team, int64 n, const C* own, C* to) {
  if (!team.is_warp) {  // then no two threads have the same
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
#pragma unroll
      for (int k = 0; k < W; ++k) to[i + k] = own[p * W + k];
    });
    return;
  }
  __shared__ C of_warps[8][32 * W];
#pragma unroll
  for (int p = 0; p < P; ++p) {
#pragma unroll
    for (int k = 0; k < W; ++k) of_warps[threadIdx.x / 32][team.lane * W + k] = own[p * W + k];
    __syncthreads();
    const int64 column = p * 32 * W + static_cast<int64>(threadIdx.x);
    if (threadIdx.x < 32 * W && column < n) {
      C sum = 0;
#pragma unroll
      for (int warp = 0; warp < 8; ++warp) sum += of_warps[warp][threadIdx.x];
      to[column] = sum;
    }
    __syncthreads();
  }
}

// dx, and `past` to it where that is not null. Where rows are kept and `partial` is not null, the sums over each block's
// rows for the gradients of weight and, of layer norm, bias: partial (2 or 1, blocks, n).
template <int W, int P>
GRADUS_DEVICE void norm_gradient_rows(const Team& team, int64 rows, int64 n, int rms, T* dx, C* partial, const T* dy,
                                      const T* x, const T* past, const T* weight, const C* moments) {
  C weights[P > 0 ? P * W : 1], biases[P > 0 ? P * W : 1];
#pragma unroll
  for (int k = 0; k < P * W; ++k) weights[k] = biases[k] = C(0);
  Row<W, 0> scales;  // read again, out of the cache: there are no registers left
  scales.fetch(team, n, weight, C(1));
  for (int64 row = team.first; row < rows; row += team.step) {
    const int64 at = row * n;
    const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
    Row<W, P> slopes, values, beside;
    slopes.fetch(team, n, dy + at);
    values.fetch(team, n, x + at);
    beside.fetch(team, n, past != 0 ? past + at : past);
    C plain = 0, scaled = 0;
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> d = slopes.pack(p, i), v = values.pack(p, i), scale = scales.pack(0, i);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C slope = d.at[k], normal = (v.at[k] - mean) * inverse;
        if (P > 0) {
          weights[p * W + k] += slope * normal;
          biases[p * W + k] += slope;
        }
        plain += slope * scale.at[k];
        scaled += slope * scale.at[k] * normal;
      }
    });
    plain = rms ? C(0) : team_reduce<Sum>(team, plain, C(0)) / C(n);
    scaled = team_reduce<Sum>(team, scaled, C(0)) / C(n);
    each_pack<W, P>(team, n, [&](int p, Column<P> i) {
      const Pack<C, W> d = slopes.pack(p, i), v = values.pack(p, i);
      const Pack<C, W> scale = scales.pack(0, i), more = beside.pack(p, i);
      Pack<C, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C normal = (v.at[k] - mean) * inverse;
        result.at[k] = (d.at[k] * scale.at[k] - plain - normal * scaled) * inverse + more.at[k];
      }
      store_pack(dx + at + i, narrow_pack<T>(result));
    });
  }
  if (P == 0 || partial == 0) return;
  sum_of_block<W, P>(team, n, weights, partial + blockIdx.x * n);
  if (!rms) sum_of_block<W, P>(team, n, biases, partial + (gridDim.x + blockIdx.x) * n);
}
// Two blocks a multiprocessor, whatever T is: one computes while the other waits for memory.
GRADUS_WIDE(T, T)
extern "C" __global__ void __launch_bounds__(256, 2)
block_norm_gradient(int64 rows, int64 n, int by_warps, int rms, T* dx, C* partial, const T* dy, const T* x,
                    const T* past, const T* weight, const C* moments) {
  const Team team = team_of(by_warps != 0);
  if (number > 0)
    norm_gradient_rows<wide, number / wide>(team, rows, n, rms, dx, partial, dy, x, past, weight, moments);
  else if (in_packs(n, x, static_cast<const T*>(dx), dy, weight) && in_packs(n, past))
    norm_gradient_rows<wide, 0>(team, rows, n, rms, dx, partial, dy, x, past, weight, moments);
  else norm_gradient_rows<1, 0>(team, rows, n, rms, dx, partial, dy, x, past, weight, moments);
}
)cuda";

inline std::string_view cuda_norm_rows() {
  static const auto text = join(cuda_rows_text, cuda_norm_rows_text);
  return text;
}

inline constexpr std::string_view cuda_norm_parameters_text = R"cuda(
// Where rows are not kept: sums over some of them for the gradients of weight and bias, partial (2, parts, n). W columns
// a thread.
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
      const Words<T, W> slopes = load_pack<W>(dy + row * n + column), values = load_pack<W>(x + row * n + column);
      const Pack<C, W> d = widen_pack(slopes), v = widen_pack(values);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        weights[k] += d.at[k] * ((v.at[k] - mean) * inverse);
        biases[k] += d.at[k];
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
inline constexpr cuda::detail::KernelText cuda_norm_parameters{"norm_parameters", cuda_norm_parameters_text};

/// With two sums and two operands for each element that a thread keeps.
template <class T>
RowsOnCard<T> norm_rows_on_card(int64_t count, int64_t n, std::initializer_list<const void*> places) {
  return {"norm_rows", cuda_norm_rows(), count, n, places, sizeof(T) == 8 ? 8 : sizeof(T) == 4 ? 16 : 24};
}

/// y and the moments of rows of x (rows, n), or of sum = x + added, where added is defined.
template <Floating T>
void norm_on_card(const char* op, const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight,
                  const Tensor<T>& bias, bool rms, double eps, int64_t n, Tensor<T>& sum, Tensor<T>& y,
                  Tensor<Compute<T>>& moments) {
  auto *of_added = data_or_null(added), *weights = data_or_null(weight), *biases = data_or_null(bias);
  auto *to_sum = sum.impl()->data(), *to = y.impl()->data();
  auto rows = norm_rows_on_card<T>(moments.size(0), n, {x.data(), of_added, weights, biases, to_sum, to});
  cuda::detail::launch(op, x.device(), rows.text, {dtype_of<T>}, "block_norm", rows.grid(), rows.rows, n,
                       rows.by_warps ? 1 : 0, rms ? 1 : 0, static_cast<Compute<T>>(eps), to_sum, to,
                       moments.impl()->data(), x.data(), of_added, weights, biases);
}
/// dx, `past` (may be undefined) added to it, and, when wanted, the gradients of weight and, of layer norm, bias: (n,)
/// each. dx may be past.
template <Floating T>
std::array<Tensor<T>, 2> norm_gradient_on_card(const char* op, const Tensor<T>& dy, const Tensor<T>& past,
                                               const Tensor<T>& x, const Tensor<T>& weight,
                                               const Tensor<Compute<T>>& moments, bool rms, int64_t n,
                                               bool parameters_wanted, Tensor<T>& dx) {
  using C = Compute<T>;
  auto device = x.device();
  auto *of_past = data_or_null(past), *weights = data_or_null(weight);
  auto* to = dx.impl()->data();
  auto rows = norm_rows_on_card<T>(moments.size(0), n, {dy.data(), of_past, x.data(), weights, to});
  auto sums_here = rows.keeps() && parameters_wanted;
  auto grid = sums_here ? rows.summing_grid() : rows.grid();
  // As many parts as fill a card with a thread for every 16 bytes of a row, whatever the card: the same bits on each.
  auto columns = std::max<int64_t>(1, n * int64_t{sizeof(T)} / 16);
  auto parts = sums_here ? grid.blocks : std::clamp<int64_t>(rows.rows / 16, 1, std::max<int64_t>(1, 131072 / columns));
  auto partial = parameters_wanted ? Tensor<C>::empty({sums_here && rms ? 1 : 2, parts, n}, device) : Tensor<C>();
  auto* to_partial = memory_or_null(partial);
  cuda::detail::launch(op, device, rows.text, {dtype_of<T>}, "block_norm_gradient", grid, rows.rows, n,
                       rows.by_warps ? 1 : 0, rms ? 1 : 0, to, to_partial, dy.data(), x.data(), of_past, weights,
                       moments.data());
  if (!parameters_wanted) return {};
  if (!sums_here) {
    cuda::detail::launch_each(op, device, cuda_norm_parameters, {dtype_of<T>}, "norm_parameters", parts * columns,
                              rows.rows, n, parts, rms ? 1 : 0, to_partial, dy.data(), x.data(), moments.data());
  }
  auto dw = Tensor<T>::empty({n}, device), db = rms ? Tensor<T>() : Tensor<T>::empty({n}, device);
  norm_totals_on_card<T>(op, partial, {}, dw, db);
  return {dw, db};
}

}  // namespace gradus::detail::inline GRADUS_BUILD

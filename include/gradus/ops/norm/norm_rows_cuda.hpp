// layer_norm and rms_norm on a GPU, also of a sum that is made in the same pass.
#pragma once

#include "gradus/ops/norm/norm_totals_cuda.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_norm_rows_text = R"cuda(
// A thread keeps its part of a row, at most `number` elements, in registers: memory is read once. Number 0 is for rows
// that are longer or do not lie in packs: they are read again, out of the cache.
const int wide = 16 / static_cast<int>(sizeof(T));

// visit(p, i) for the packs of a row that are this thread's: W elements from i on, kept as number p of P.
template <int W, int P, class Visit>
GRADUS_DEVICE void each_pack(const Team& team, int64 n, const Visit& visit) {
  if (P > 0) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const int64 i = (p * team.size + team.lane) * W;
      if (i < n) visit(p, i);
    }
  } else {
    for (int64 i = team.lane * W; i < n; i += team.size * W) visit(0, i);
  }
}
template <int W, int P>
struct Row {
  Pack<T, W> kept[P > 0 ? P : 1];
  const T* from;
  __device__ __forceinline__ Pack<T, W> pack(int p, int64 i) const {
    return P > 0 ? kept[p] : load_pack<W>(from + i);
  }
};
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

// Of layer norm a row's moments are its mean and 1 / sqrt(variance + eps); of rms norm there is no mean. Where `added`
// is not null, it is of sum = x + added.
template <int W, int P>
GRADUS_DEVICE void norm_rows(const Team& team, int64 rows, int64 n, int rms, C eps, T* sum, T* y, C* moments,
                             const T* x, const T* added, const T* weight, const T* bias) {
  for (int64 row = team.first; row < rows; row += team.step) {
    const int64 at = row * n;
    Row<W, P> r;
    r.from = (added != 0 ? static_cast<const T*>(sum) : x) + at;
    C mean = 0;
    if (P > 0 || added != 0 || !rms) {
      each_pack<W, P>(team, n, [&](int p, int64 i) {
        Pack<T, W> pack = load_pack<W>(x + at + i);
        if (added != 0) {
          const Pack<T, W> more = load_pack<W>(added + at + i);
#pragma unroll
          for (int k = 0; k < W; ++k) pack.at[k] = narrow<T>(widen(pack.at[k]) + widen(more.at[k]));
          store_pack(sum + at + i, pack);
        }
        r.kept[p] = pack;
#pragma unroll
        for (int k = 0; k < W; ++k) mean += widen(pack.at[k]);
      });
    }
    mean = rms ? C(0) : team_reduce<Sum>(team, mean, C(0)) / C(n);
    C squares = 0;
    each_pack<W, P>(team, n, [&](int p, int64 i) {
      const Pack<T, W> pack = r.pack(p, i);
#pragma unroll
      for (int k = 0; k < W; ++k) squares += (widen(pack.at[k]) - mean) * (widen(pack.at[k]) - mean);
    });
    const C inverse = C(1) / sqrt(team_reduce<Sum>(team, squares, C(0)) / C(n) + eps);
    each_pack<W, P>(team, n, [&](int p, int64 i) {
      const Pack<T, W> pack = r.pack(p, i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1)), shift = weights_of<W>(bias, i, C(0));
      Pack<T, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k)
        result.at[k] = narrow<T>((widen(pack.at[k]) - mean) * inverse * scale.at[k] + shift.at[k]);
      store_pack(y + at + i, result);
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
    each_pack<W, P>(team, n, [&](int p, int64 i) {
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
  for (int64 row = team.first; row < rows; row += team.step) {
    const int64 at = row * n;
    const C mean = rms ? C(0) : moments[2 * row], inverse = rms ? moments[row] : moments[2 * row + 1];
    Row<W, P> slopes, values;
    slopes.from = dy + at;
    values.from = x + at;
    if (P > 0) {
      each_pack<W, P>(team, n, [&](int p, int64 i) {
        slopes.kept[p] = load_pack<W>(dy + at + i);
        values.kept[p] = load_pack<W>(x + at + i);
      });
    }
    C plain = 0, scaled = 0;
    each_pack<W, P>(team, n, [&](int p, int64 i) {
      const Pack<T, W> d = slopes.pack(p, i), v = values.pack(p, i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1));
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C slope = widen(d.at[k]), normal = (widen(v.at[k]) - mean) * inverse;
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
    each_pack<W, P>(team, n, [&](int p, int64 i) {
      const Pack<T, W> d = slopes.pack(p, i), v = values.pack(p, i);
      const Pack<C, W> scale = weights_of<W>(weight, i, C(1));
      const Pack<C, W> more = weights_of<W>(past != 0 ? past + at : past, i, C(0));
      Pack<T, W> result;
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const C normal = (widen(v.at[k]) - mean) * inverse;
        result.at[k] =
            narrow<T>((widen(d.at[k]) * scale.at[k] - plain - normal * scaled) * inverse + more.at[k]);
      }
      store_pack(dx + at + i, result);
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
inline constexpr cuda::detail::KernelText cuda_norm_parameters{"norm_parameters", cuda_norm_parameters_text};

/// How rows of n elements of T are gone through: by a warp or a block each, with so many elements of a row kept in a
/// thread's registers, or none where rows are too long or do not lie in packs of 16 bytes.
template <class T>
struct RowsOnCard {
  int64_t rows;
  bool by_warps;
  int threads = 256;  ///< of a block
  cuda::detail::KernelText text{"norm_rows", cuda_norm_rows_text, false, 0};

  /// `places`: where rows and parameters are, or null.
  RowsOnCard(int64_t count, int64_t n, std::initializer_list<const void*> places) : rows(count), by_warps(n <= 4096) {
    auto is_aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
    if (n * int64_t{sizeof(T)} % 16 != 0 || !std::all_of(places.begin(), places.end(), is_aligned)) return;
    // For each element a thread has two sums and two operands in registers, of which there are 128.
    constexpr int64_t most = sizeof(T) == 8 ? 8 : sizeof(T) == 4 ? 16 : 24;
    if (n > 256 * most) return;
    by_warps = n <= 32 * most;
    if (n <= 128 * 8) threads = 128;  // the rest of a larger block would be idle
    if (by_warps) threads = 256;
    auto across = by_warps ? 32 : threads;
    text.number = static_cast<int>(std::max<int64_t>(1, (n + 8 * across - 1) / (8 * across)) * 8);
  }

  bool keeps() const { return text.number > 0; }
  cuda::detail::Grid grid() const {
    return {std::min(by_warps ? (rows + 7) / 8 : rows, cuda::detail::most_blocks), threads};
  }
  /// Several rows for each warp or block, so that there are few sums; by the shape alone, for the same bits everywhere.
  cuda::detail::Grid summing_grid() const { return {std::clamp<int64_t>(rows / (by_warps ? 16 : 4), 1, 512), threads}; }
};

/// y and the moments of rows of x (rows, n), or of sum = x + added, where added is defined.
template <Floating T>
void norm_on_card(const char* op, const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight,
                  const Tensor<T>& bias, bool rms, double eps, int64_t n, Tensor<T>& sum, Tensor<T>& y,
                  Tensor<Compute<T>>& moments) {
  auto *of_added = data_or_null(added), *weights = data_or_null(weight), *biases = data_or_null(bias);
  auto *to_sum = sum.impl()->data(), *to = y.impl()->data();
  RowsOnCard<T> rows(moments.size(0), n, {x.data(), of_added, weights, biases, to_sum, to});
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
  RowsOnCard<T> rows(moments.size(0), n, {dy.data(), of_past, x.data(), weights, to});
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

// Whole slices by index, and its gradient.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/indexing/places.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/indexing/indexing_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

template <Element T>
Tensor<T> index_select(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index);
template <Floating T>
Tensor<T> index_add(const Tensor<T>& x, int64_t axis, const Tensor<int64_t>& index, int64_t size);

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

inline void check_index_shape(const char* op, const Tensor<int64_t>& index) {
  require<ShapeError>(index.rank() == 1, op, ": index is ", index.shape(), ", but must be (count,)");
}
inline void check_index_device(const char* op, const Tensor<int64_t>& index, Device device) {
  require_device(op, device, index);
}

/// The index (count,) as positions from 0 to the size of the axis.
inline void read_positions(const char* op, const Tensor<int64_t>& index_in, int64_t axis, const Shape& shape,
                           int64_t* positions) {
  check_index_shape(op, index_in);
  auto index = contiguous(index_in);
  read_places({op, shape, axis, 1}, index.data(), index.numel(), 0, 0, positions);
}

/// Row (o, i) of y (outer, count, inner) = row (o, positions[i]) of x (outer, size, inner).
template <class T>
void select_rows(const T* x, const AxisSplit& split, const int64_t* positions, int64_t count, T* y) {
  auto inner = split.inner, bytes = inner * static_cast<int64_t>(sizeof(T)), rows = split.outer * count;
  auto streamed = is_streamed(rows * bytes) && bytes % 64 == 0;
  if (bytes == 0) return;
  parallel_for(rows, std::max<int64_t>(1, elements_per_chunk / inner), [&](int64_t first, int64_t last) {
    auto i = first % count;
    auto* from = x + first / count * split.size * inner;
    for (auto* to = y + first * inner; to != y + last * inner; to += inner) {
      if (inner == 1) *to = from[positions[i]];
      else put_bytes(to, from + positions[i] * inner, bytes, streamed);
      if (++i < count) continue;
      i = 0;
      from += split.size * inner;
    }
    if (streamed) stream_fence();
  });
}

/// The slices that go to each position, in order: those of position p are slices[starts[p]] to slices[starts[p + 1]].
struct SlicesByPosition {
  Scratch<int64_t> starts, slices;

  SlicesByPosition(const int64_t* positions, int64_t count, int64_t size) : starts(size + 1), slices(count) {
    std::fill_n(starts.data(), size + 1, int64_t{0});
    for (int64_t i = 0; i < count; ++i) ++starts[positions[i]];
    int64_t before = 0;
    for (int64_t p = 0; p <= size; ++p) before += std::exchange(starts[p], before);
    for (int64_t i = 0; i < count; ++i) slices[starts[positions[i]]++] = i;
    for (int64_t p = size; p > 0; --p) starts[p] = starts[p - 1];  // each stands where the next one begins
    starts[0] = 0;
  }
};

/// add_rows for rows shorter than a register.
template <class T>
void add_short_rows(const T* x, int64_t count, const int64_t* positions, const AxisSplit& split, T* y) {
  using C = Compute<T>;
  auto inner = split.inner, to_slice = split.size * inner, from_slice = count * inner;
  auto grain = std::max<int64_t>(1, elements_per_chunk / std::max<int64_t>(1, to_slice + from_slice));
  parallel_for(split.outer, grain, [&](int64_t first, int64_t last) {
    for (auto outer = first; outer < last; ++outer) {
      auto* to = y + outer * to_slice;
      auto* from = x + outer * from_slice;
      std::fill_n(to, to_slice, T(0));
      for (int64_t i = 0; i < count; ++i) {
        auto* sum = to + positions[i] * inner;
        for (int64_t k = 0; k < inner; ++k) sum[k] = static_cast<T>(static_cast<C>(sum[k]) + static_cast<C>(*from++));
      }
    }
  });
}

/// Row (o, p) of y (outer, size, inner) = the sum of rows (o, i) of x (outer, count, inner) that go to p.
template <class T>
void add_rows(const T* x, int64_t count, const SlicesByPosition& of, const AxisSplit& split, T* y) {
  using C = Compute<T>;
  constexpr int64_t width = 2048;
  auto inner = split.inner, strips = (inner + width - 1) / width;
  auto streamed = is_streamed(split.outer * split.size * inner * static_cast<int64_t>(sizeof(T)));
  auto grain = std::max<int64_t>(1, elements_per_chunk / std::max<int64_t>(1, std::min(width, inner)));
  parallel_for(split.outer * split.size * strips, grain, [&](int64_t first, int64_t last) {
    alignas(64) C sums[width];
    alignas(64) T rounded[width];
    for (auto unit = first; unit < last; ++unit) {
      auto row = unit / strips, column = unit % strips * width, n = std::min(width, inner - column);
      auto position = row % split.size;
      auto* slices = of.slices.data() + of.starts[position];
      auto* from = x + row / split.size * count * inner + column;
      auto some = of.starts[position + 1] - of.starts[position];
      if (some == 0) std::fill_n(sums, n, C(0));
      for (int64_t i = 0; i < some; ++i) {
        auto* one = from + slices[i] * inner;
        if (unit + 1 < last && i + 1 == some && of.starts[position] + some < count)  // most likely what comes next
          fetch_ahead(from + slices[some] * inner, n * static_cast<int64_t>(sizeof(T)));
        for_each_register(one, n, C(0), [&](int64_t k, const Simd<C>& value, int64_t lanes) GRADUS_INLINE_LAMBDA {
          store_some(i == 0 ? value + C(0) : load_some<C>(sums + k, lanes) + value, sums + k, lanes);
        });
      }
      const T* result = rounded;
      if constexpr (std::is_same_v<T, C>) result = sums;
      else convert_run(sums, n, rounded);
      put_bytes(y + row * inner + column, result, n * static_cast<int64_t>(sizeof(T)), streamed);
    }
    if (streamed) stream_fence();
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// The slices of x along `axis` whose positions stand in `index` (count,); negative ones count from the end. As
/// torch.index_select. Throws IndexError for a position out of range.
template <Element T>
Tensor<T> index_select(const Tensor<T>& x_in, int64_t axis, const Tensor<int64_t>& index) {
  auto a = normalize_axis("index_select", axis, x_in.rank());
  auto x = contiguous(x_in);
  detail::AxisSplit split(x.shape(), a);
  auto shape = x.shape();
  auto count = shape[a] = index.numel();
  auto y = Tensor<T>::empty(shape, x.device(), "index_select");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    detail::check_index_shape("index_select", index);
    detail::check_index_device("index_select", index, x.device());
    detail::index_select_on_card("index_select", *x.impl(), *contiguous(index).impl(), *y.impl(), split.size,
                                 split.inner, -split.size);
  } else
#endif
  {
    detail::Scratch<int64_t> positions(count);
    detail::read_positions("index_select", index, a, x.shape(), positions.data());
    detail::select_rows(x.data(), split, positions.data(), count, to);
  }
  return detail::record_view("index_select", y, x, [a, index, size = split.size](const Tensor<T>& dy) {
    if constexpr (Floating<T>) return index_add(dy, a, index, size);
    else return dy;
  });
}

/// Zeros with `size` slices along `axis`, plus slice i of x at position index[i]: the transpose of index_select.
template <Floating T>
Tensor<T> index_add(const Tensor<T>& x_in, int64_t axis, const Tensor<int64_t>& index, int64_t size) {
  auto a = normalize_axis("index_add", axis, x_in.rank());
  auto x = contiguous(x_in);
  require<ShapeError>(index.rank() == 1 && index.numel() == x.shape()[a], "index_add: index is ", index.shape(),
                      " but x is ", x.shape(), ": index must be (", x.shape()[a], ",)");
  auto shape = x.shape();
  shape[a] = size;
  detail::AxisSplit split(shape, a);
  auto y = Tensor<T>::empty(shape, x.device(), "index_add");
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto zero = T(0);
    detail::fill_elements(*y.impl(), &zero);
    detail::check_index_device("index_add", index, x.device());
    detail::index_add_on_card("index_add", *x.impl(), contiguous(index), *y.impl(), size, split.inner);
  } else
#endif
  {
    auto count = index.numel();
    detail::Scratch<int64_t> positions(count);
    detail::read_positions("index_add", index, a, shape, positions.data());
    auto* to = reinterpret_cast<T*>(y.impl()->data());
    if (split.inner < detail::simd_lanes) {
      detail::add_short_rows(x.data(), count, positions.data(), split, to);
    } else {
      detail::SlicesByPosition by_position(positions.data(), count, size);
      detail::add_rows(x.data(), count, by_position, split, to);
    }
  }
  return differentiable("index_add", y, wrt(x, [a, index](const Tensor<T>& dy) { return index_select(dy, a, index); }));
}

}  // namespace gradus::inline GRADUS_BUILD

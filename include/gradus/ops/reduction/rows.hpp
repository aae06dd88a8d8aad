// Reductions whose kernels read whole rows.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/reduction/reduce_shape.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// x's axes, those first that are kept.
inline Shape reduced_last(int rank, const Axes& axes) {
  Shape order, last;
  for (int i = 0; i < rank; ++i) {
    auto is_reduced = std::any_of(axes.begin(), axes.end(), [&](int64_t a) { return a == i || a + rank == i; });
    (is_reduced ? last : order).push_back(i);
  }
  for (auto axis : last) order.push_back(axis);
  return order;
}
inline bool reduces_last_axes(int rank, const Axes& axes) {
  auto order = reduced_last(rank, axes);
  return std::is_sorted(order.begin(), order.end());
}

/// f(x, n, shape) with x dense and its reduced axes last, so that the n elements of each output lie behind each other,
/// and the shape of the result.
template <Floating T, class F>
Tensor<T> over_rows(const char* op, const Tensor<T>& x, const Axes& axes, bool keep_dims, F&& f) {
  ReduceShape split(op, x.shape(), x.strides(), axes);
  auto ordered = reduces_last_axes(x.rank(), axes) ? x : permute(x, reduced_last(x.rank(), axes));
  return f(contiguous(ordered), split.reduced.numel(), keep_dims ? split.keep_dims : split.kept);
}

/// body(row, from, to) for pieces of all rows of n elements; `streamed`: what they write goes past the caches.
inline constexpr int64_t row_piece = 65536;
template <class Body>
void for_row_pieces(int64_t rows, int64_t n, bool streamed, Body&& body) {
  auto pieces = std::max<int64_t>(1, (n + row_piece - 1) / row_piece);
  auto one = [&](int64_t i) {
    auto from = i % pieces * row_piece;
    body(i / pieces, from, std::min(n, from + row_piece));
  };
  for_rows(rows * pieces, std::min(n, row_piece), one, streamed);
}

/// result(row, what(row, 0, n)) for each row. Where rows are few and long, each is cut into at most 32 parts, and
/// what(row, from, to) of its parts are merged in their order.
template <class What, class Result>
void reduce_rows(int64_t rows, int64_t n, What&& what, Result&& result) {
  constexpr int64_t grain = 32768;
  auto parts = std::clamp<int64_t>(n / grain / std::max<int64_t>(rows / 4, 1), 1, 32);
  if (parts == 1) return for_rows(rows, n, [&](int64_t row) { result(row, what(row, int64_t{0}, n)); });
  Scratch<decltype(what(rows, n, n))> partial(rows * parts);
  for_rows(rows * parts, n / parts, [&](int64_t i) {
    auto part = i % parts;
    partial[i] = what(i / parts, n * part / parts, n * (part + 1) / parts);
  });
  for (int64_t row = 0; row < rows; ++row) {
    auto whole = partial[row * parts];
    for (int64_t part = 1; part < parts; ++part) whole.merge(partial[row * parts + part]);
    result(row, whole);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD

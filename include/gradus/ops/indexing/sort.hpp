#pragma once

#include <algorithm>
#include <bit>

#include "gradus/ops/indexing/gather.hpp"
#include "gradus/ops/view/permute.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/indexing/sort_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

struct SortOptions {
  bool descending = false;
};
struct TopkOptions {
  bool largest = true;  ///< else the smallest
};

/// Elements in order, and where along the axis they stood.
template <Element T>
struct Sorted {
  Tensor<T> values;
  Tensor<int64_t> indices;
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// An unsigned number in the order of x, where -0 is 0 and NaN is above all; `flip` reverses it.
template <Numeric T>
uint64_t sort_key(T x, bool flip) {
  constexpr auto sign = uint64_t{1} << 63;
  uint64_t key;
  if constexpr (Floating<T>) {
    auto value = static_cast<double>(x) + 0.0;
    auto bits = std::bit_cast<uint64_t>(value);
    key = value != value ? ~uint64_t{0} : (bits & sign) != 0 ? ~bits : bits | sign;
  } else {
    key = static_cast<uint64_t>(static_cast<int64_t>(x)) ^ sign;
  }
  return flip ? ~key : key;
}

struct SortEntry {
  uint64_t key;
  int64_t place;
  bool operator<(const SortEntry& other) const {
    return key < other.key || (key == other.key && place < other.place);  // equals keep their order
  }
};

/// Places of the first `keep` elements of each row of x (rows, n), in order: (rows, keep). x is dense.
template <Numeric T>
Tensor<int64_t> first_places(const char* op, const Tensor<T>& x, int64_t keep, bool descending) {
  auto rows = x.size(0), n = x.size(1);
  if (rows * keep == 0) return Tensor<int64_t>::empty({rows, keep}, x.device(), op);
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) return first_places_on_card(op, x, keep, descending);
#endif
  auto places = Tensor<int64_t>::empty({rows, keep}, x.device(), op);
  auto* to = places.mutable_data();
  auto* from = x.data();
  parallel_for(rows, std::max<int64_t>(1, 2048 / n), [&](int64_t first, int64_t last) {
    Scratch<SortEntry> entries(n);
    auto *begin = entries.data(), *kept = begin + keep, *end = begin + n;
    for (auto row = first; row < last; ++row) {
      for (int64_t i = 0; i < n; ++i) begin[i] = {sort_key(from[row * n + i], descending), i};
      if (kept != end) std::nth_element(begin, kept, end);
      std::sort(begin, kept);
      for (int64_t i = 0; i < keep; ++i) to[row * keep + i] = begin[i].place;
    }
  });
  return places;
}

/// The same along any axis, which has `keep` elements then.
template <Numeric T>
Tensor<int64_t> first_places_along(const char* op, const Tensor<T>& x, int axis, int64_t keep, bool descending) {
  auto last = contiguous(transpose(x.detach(), axis, -1));
  auto n = x.size(axis);
  auto rows = n == 0 ? 0 : x.numel() / n;
  auto shape = last.shape();
  shape[x.rank() - 1] = keep;
  auto places = reshape(first_places(op, reshape(last, {rows, n}), keep, descending), shape);
  return contiguous(transpose(places, axis, -1));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Positions along an axis in the order of their elements, ascending unless .descending; equals keep their order, and
/// NaN counts as largest. Shape of x. As torch.argsort with stable=True.
template <Numeric T>
Tensor<int64_t> argsort(const Tensor<T>& x, int64_t axis = -1, const SortOptions& options = {}) {
  auto a = normalize_axis("argsort", axis, x.rank());
  return detail::first_places_along("argsort", x, a, x.size(a), options.descending);
}

/// The elements along an axis in order, and their positions: {values, indices} of the shape of x, see argsort. The
/// gradient goes back to where each element stood. As torch.sort with stable=True.
template <Numeric T>
Sorted<T> sort(const Tensor<T>& x, int64_t axis = -1, const SortOptions& options = {}) {
  auto a = normalize_axis("sort", axis, x.rank());
  auto places = detail::first_places_along("sort", x, a, x.size(a), options.descending);
  return {gather(x, a, places), places};
}

/// The k largest elements along an axis, from the largest on, or with {.largest = false} the smallest from the smallest
/// on, and their positions; of equal ones the first. NaN counts as largest. The axis has k elements then. As
/// torch.topk. Throws ValueError unless 0 <= k <= the axis's size.
template <Numeric T>
Sorted<T> topk(const Tensor<T>& x, int64_t k, int64_t axis = -1, const TopkOptions& options = {}) {
  auto a = normalize_axis("topk", axis, x.rank());
  require<ValueError>(k >= 0 && k <= x.size(a), "topk: k is ", k, ", but axis ", axis, " of shape ", x.shape(), " has ",
                      x.size(a), " elements");
  auto places = detail::first_places_along("topk", x, a, k, options.largest);
  return {gather(x, a, places), places};
}

}  // namespace gradus::inline GRADUS_BUILD

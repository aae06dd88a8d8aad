// Order of rows on a GPU: chunks of 1024 are sorted by a block each, and then merged, or only their beginnings kept.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_sort_text = R"cuda(
typedef unsigned long long Key;

// Unsigned numbers in the order of x: -0 is 0, and NaN is above all.
GRADUS_DEVICE Key ordered(float x) {
  unsigned bits;
  x += 0.0f;
  memcpy(&bits, &x, sizeof(bits));
  return x != x ? ~0ull : static_cast<Key>(bits >> 31 ? ~bits : bits | 0x80000000u);
}
GRADUS_DEVICE Key ordered(double x) {
  Key bits;
  x += 0.0;
  memcpy(&bits, &x, sizeof(bits));
  return x != x ? ~0ull : bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}
GRADUS_DEVICE Key ordered(int64 x) { return static_cast<Key>(x) ^ 0x8000000000000000ull; }
GRADUS_DEVICE Key ordered(int x) { return ordered(static_cast<int64>(x)); }
// `flip` reverses the order.
GRADUS_DEVICE Key key_of(T x, int flip) {
  const Key key = ordered(widen(x));
  return flip ? ~key : key;
}
// Equals keep their order.
GRADUS_DEVICE bool before(Key a, int64 place_a, Key b, int64 place_b) {
  return a < b || (a == b && place_a < place_b);
}

// Of x (rows, n) the elements at `places` (rows, count), or all n where there are none. Each chunk of 1024 is sorted by
// a bitonic network (Batcher, 1968) over `width` of them, a power of two that is enough for the longest; the first
// `kept` places of each are written: to (rows, those of all chunks).
GRADUS_KERNEL sort_chunks(int64 rows, int64 n, int64 count, int64 kept, int width, int flip, int64* to, const T* x,
                          const int64* places) {
  __shared__ Key keys[1024];
  __shared__ int64 own[1024];
  const int64 chunks = (count + 1023) / 1024, last = count - (chunks - 1) * 1024;
  const int64 length = (chunks - 1) * kept + (last < kept ? last : kept);
  for (int64 task = blockIdx.x; task < rows * chunks; task += gridDim.x) {
    const int64 row = task / chunks, chunk = task - row * chunks, first = chunk * 1024;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      const int64 at = first + i;
      const int64 place = at >= count ? n + at : places == 0 ? at : places[row * count + at];
      keys[i] = at < count ? key_of(x[row * n + place], flip) : ~0ull;  // what fills up the chunk comes last
      own[i] = place;
    }
    __syncthreads();
    for (int sorted = 2; sorted <= width; sorted *= 2) {
      for (int apart = sorted / 2; apart > 0; apart /= 2) {
        for (int t = threadIdx.x; t < width / 2; t += blockDim.x) {
          const int i = 2 * apart * (t / apart) + t % apart, j = i + apart;
          const Key a = keys[i], b = keys[j];
          const int64 place_a = own[i], place_b = own[j];
          if (before(b, place_b, a, place_a) != ((i & sorted) == 0)) continue;
          keys[i] = b;
          keys[j] = a;
          own[i] = place_b;
          own[j] = place_a;
        }
        __syncthreads();
      }
    }
    const int64 size = chunk == chunks - 1 ? last : 1024;
    for (int i = threadIdx.x; i < size && i < kept; i += blockDim.x) to[row * length + chunk * kept + i] = own[i];
    __syncthreads();
  }
}

// Runs of places (total / n rows of n) that are sorted each, `run` long, are merged in pairs: a place goes as far from
// the pair's beginning as places of its own run and of the other are before it.
GRADUS_KERNEL merge_runs(int64 total, int64 n, int64 run, int flip, int64* to, const T* x, const int64* places) {
  GRADUS_EACH(i, total) {
    const int64 row = i / n, at = i - row * n, pair = at / (2 * run) * 2 * run;
    const bool second = at >= pair + run;
    const int64* order = places + row * n;
    const T* values = x + row * n;
    const int64 place = order[at];
    const Key key = key_of(values[place], flip);
    const int64 begin = second ? pair : pair + run < n ? pair + run : n;  // of the other run
    int64 low = begin, high = begin + run < n ? begin + run : n;
    while (low < high) {
      const int64 middle = (low + high) / 2;
      if (before(key_of(values[order[middle]], flip), order[middle], key, place)) low = middle + 1;
      else high = middle;
    }
    to[row * n + (second ? at - run : at) + low - begin] = place;
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_sort{"sort", cuda_sort_text};

/// Places of the first `keep` elements of each row of x (rows, n), in order: (rows, keep). All sizes are positive.
template <Numeric T>
Tensor<int64_t> first_places_on_card(const char* op, const Tensor<T>& x, int64_t keep, bool descending) {
  constexpr int64_t chunk = 1024;
  auto rows = x.size(0), n = x.size(1);
  auto flip = descending ? 1 : 0;
  auto chunks_of = [](int64_t count) { return (count + chunk - 1) / chunk; };
  auto sorted = [&](const Tensor<int64_t>& places, int64_t count, int64_t kept) {
    auto chunks = chunks_of(count);
    auto to = Tensor<int64_t>::empty({rows, (chunks - 1) * kept + std::min(kept, count - (chunks - 1) * chunk)},
                                     x.device(), op);
    int width = 2;
    while (width < std::min(count, chunk)) width *= 2;
    cuda::detail::launch_blocks(op, x.device(), cuda_sort, {dtype_of<T>}, "sort_chunks", rows * chunks, rows, n, count,
                                kept, width, flip, to.impl()->data(), x.data(), data_or_null(places));
    return to;
  };
  if (keep <= chunk / 2 || n <= chunk) {  // what is not among the first of its chunk is not among those of the row
    auto places = sorted({}, n, keep);
    while (places.size(1) > keep) places = sorted(places, places.size(1), keep);
    return places;
  }
  auto places = sorted({}, n, chunk);
  for (auto run = chunk; run < n; run *= 2) {
    auto to = Tensor<int64_t>::empty({rows, n}, x.device(), op);
    cuda::detail::launch_each(op, x.device(), cuda_sort, {dtype_of<T>}, "merge_runs", rows * n, rows * n, n, run, flip,
                              to.impl()->data(), x.data(), places.data());
    places = to;
  }
  return contiguous(slice(places, 1, 0, keep));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

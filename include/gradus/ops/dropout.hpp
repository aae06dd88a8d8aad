#pragma once

#include <memory>

#include "gradus/device/cpu/philox_lanes.hpp"
#include "gradus/ops/view/reshape.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/live_stream.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

#if defined(GRADUS_CUDA)
inline constexpr std::string_view cuda_dropout_text = R"cuda(
GRADUS_WIDE(8, 8)
GRADUS_KERNEL dropout(int64 count, unsigned long long seed, unsigned long long offset, unsigned bound, C scale, T* y,
                      const T* x) {
  GRADUS_EACH(quad, (count + 3) / 4) {
    const int64 first = 4 * quad;
    unsigned random[4];
    random_words(seed, offset, quad, random);
    if (first + 4 <= count && in_packs(0, x, static_cast<const T*>(y))) {
      Words<T, 4> words;
      load_words<sizeof(words)>(&words, x + first);
      Pack<C, 4> pack = widen_pack(words);
#pragma unroll
      for (int k = 0; k < 4; ++k) pack.at[k] = (random[k] >> 8) < bound ? C(0) : pack.at[k] * scale;
      words = narrow_pack<T>(pack);
      store_words<sizeof(words)>(y + first, &words);
    } else {
      for (int k = 0; k < 4 && first + k < count; ++k)
        y[first + k] = narrow<T>((random[k] >> 8) < bound ? C(0) : widen(x[first + k]) * scale);
    }
  }
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_dropout{"dropout", cuda_dropout_text};
#endif

/// to[i] = from[i] * scale for i in [first, last) where the upper bits of word i reach the bound, else 0; `first` is a
/// multiple of 4.
template <Floating T>
void drop_elements(const T* from, int64_t first, int64_t last, const RandomStream& stream, uint32_t bound, double scale,
                   T* to) {
  using C = Compute<T>;
  uint32_t words[philox_words];
  for (auto i = first; i < last; i += philox_words) {
    // Making words takes so long that the processor does not see the next elements coming.
    auto* ahead = reinterpret_cast<const char*>(from + std::min(i + 2 * philox_words, last));
    for (int64_t byte = 0; byte < philox_words * int64_t{sizeof(T)}; byte += 64) __builtin_prefetch(ahead + byte);
    philox_fill(stream, i, words);
    auto n = std::min(philox_words, last - i);
    for (int64_t k = 0; k < n; ++k) {  // computed in any case: a branch on chance is guessed wrong half the time
      auto value = static_cast<T>(static_cast<C>(from[i + k]) * static_cast<C>(scale));
      to[i + k] = (words[k] >> 8) < bound ? T(0) : value;
    }
  }
}

/// x / (1 - p) where word i of the stream lets element i pass, else 0. Linear, so its gradient is itself. `live`: the
/// stream of each replay where the step is captured, else null.
template <Floating T>
Tensor<T> drop(const Tensor<T>& x_in, double p, const RandomStream& stream,
               const std::shared_ptr<const RandomStream>& live = nullptr) {
  auto x = contiguous(x_in);
  auto y = Tensor<T>::empty(x.shape(), x.device(), "dropout");
  auto* to = reinterpret_cast<T*>(y.impl()->data());
  auto scale = 1 / (1 - p);
  auto bound = static_cast<uint32_t>(p * 0x1p24);  // of the 24 upper bits of a word, as RandomStream::uniform
#if defined(GRADUS_CUDA)
  if (!x.device().is_cpu()) {
    auto blocks = cuda::detail::Context::of(x.device()).blocks_for((x.numel() + 3) / 4, 256);
    auto refresh = [live](int64_t&, uint64_t& seed, uint64_t& offset, auto&...) {
      if (live != nullptr) std::tie(seed, offset) = std::tie(live->seed, live->offset);
    };
    cuda::detail::launch_refreshed("dropout", x.device(), cuda_dropout, {dtype_of<T>}, "dropout", {blocks}, refresh,
                                   x.numel(), stream.seed, stream.offset, bound, static_cast<Compute<T>>(scale), to,
                                   x.data());
  } else
#endif
    parallel_for(x.numel(), 16 * philox_words, [&](int64_t first, int64_t last) {
      drop_elements<T>(x.data(), first, last, stream, bound, scale, to);
    });
  return differentiable("dropout", y,
                        wrt(x, [p, stream, live](const Tensor<T>& dy) { return drop(dy, p, stream, live); }));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Sets each element to 0 with probability p and divides the others by 1 - p (Srivastava et al., 2014). Draws from the
/// thread's generator. Without `training`, and for p = 0, it is x itself.
template <Floating T>
Tensor<T> dropout(const Tensor<T>& x, double p = 0.5, bool training = true) {
  require<ValueError>(p >= 0 && p < 1, "dropout: p is ", p, ", but must be in [0, 1)");
  if (!training || p == 0) return x;
  auto stream = default_generator().reserve(x.numel());
#if defined(GRADUS_CUDA)
  if (auto live = detail::live_stream("dropout", x.device(), stream, x.numel()))
    return detail::drop(x, p, stream, live);
#endif
  return detail::drop(x, p, stream);
}

}  // namespace gradus::inline GRADUS_BUILD

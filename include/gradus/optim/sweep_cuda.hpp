// An optimizer's step on a GPU: a few launches for all parameters together.
#pragma once

#include <memory>
#include <tuple>
#include <vector>

#include "gradus/core/rng.hpp"
#include "gradus/device/cuda/context.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// One parameter in a launch; the same bytes in the text below.
struct CardPart {
  void* parameter;
  void* master;  ///< null where T computes as itself
  const void* gradient;
  void* states[2];
  int64_t n;
  double numbers[8];   ///< what the rule reads
  int64_t words = -1;  ///< number of its first random word, a multiple of 4; -1: results are rounded to nearest
};
inline constexpr int card_parts = 24;  ///< in one launch: they are its arguments, of which 4 KB are allowed
struct CardParts {
  CardPart parts[card_parts];
  int64_t ends[card_parts];  ///< in blocks of card_block elements
  int32_t count, rule;
  double factor;          ///< of the gradients
  uint64_t seed, offset;  ///< of the random words
};
inline constexpr int64_t card_block = 2048;
static_assert(sizeof(CardParts) <= 4000);

enum class CardRule : int32_t { adamw, sgd };

inline constexpr std::string_view cuda_sweep_text = R"cuda(
struct Part {
  T* parameter;
  C* master;
  const T* gradient;
  C* states[2];
  int64 n;
  double numbers[8];
  int64 words;
};
struct Parts {
  Part parts[24];
  int64 ends[24];
  int count, rule;
  double factor;
  unsigned long long seed, offset;
};
// To one of the two neighbours, by a random word. NaN and infinities stay.
template <class N>
struct AtRandom {
  static __device__ __forceinline__ N round(C x, unsigned) { return narrow<N>(x); }
};
template <>
struct AtRandom<bf16> {
  static __device__ __forceinline__ bf16 round(float x, unsigned word) {
    if (x != x) return narrow<bf16>(x);
    unsigned bits;
    memcpy(&bits, &x, sizeof(bits));
    return bf16{static_cast<unsigned short>((bits >> 16) + (word < bits << 16))};
  }
};
template <>
struct AtRandom<f16> {
  static __device__ __forceinline__ f16 round(float x, unsigned word) {
    unsigned bits;
    memcpy(&bits, &x, sizeof(bits));
    const unsigned size = bits & 0x7fffffffu, exponent = size >> 23;
    if (size >= 0x47800000u) return narrow<f16>(x);
    // Steps of f16 in the upper half, the part that is cut off in the lower.
    unsigned long long steps = size - 0x38000000u;
    if (size >= 0x38800000u) steps <<= 19;
    else steps = (size & 0x7fffffull | 0x800000ull) << 32 >> (exponent > 63 ? 126 - exponent : 63);
    const unsigned rounded = static_cast<unsigned>(steps >> 32) + (word < static_cast<unsigned>(steps));
    return f16{static_cast<unsigned short>(bits >> 16 & 0x8000u | rounded)};
  }
};
// Adam with decoupled weight decay; numbers: beta1, beta2, 1 - beta1, 1 - beta2, eps, rate, root, keep.
GRADUS_DEVICE C adamw(const C (&numbers)[8], C x, C g, C& first, C& second) {
  first = numbers[0] * first + numbers[2] * g;
  second = numbers[1] * second + numbers[3] * (g * g);
  return numbers[7] * x - numbers[5] * (first / (sqrt(second) * numbers[6] + numbers[4]));
}
// numbers: lr, momentum, decay, 1 - dampening, moves, nesterov, first step.
GRADUS_DEVICE C sgd(const C (&numbers)[8], C x, C g, C& velocity) {
  g = numbers[2] * x + g;
  if (numbers[4] != 0) {
    velocity = numbers[6] != 0 ? g : numbers[1] * velocity + numbers[3] * g;
    g = numbers[5] != 0 ? numbers[1] * velocity + g : velocity;
  }
  return x - numbers[0] * g;
}
// The part that a block works on, and its first element there.
GRADUS_DEVICE const Part& part_of_block(const Parts& all, int64& first) {
  int which = 0;
  while (which + 1 < all.count && static_cast<int64>(blockIdx.x) >= all.ends[which]) ++which;
  first = (blockIdx.x - (which > 0 ? all.ends[which - 1] : 0)) * 2048;
  return all.parts[which];
}
// W elements a thread at a time.
template <int W>
GRADUS_DEVICE void sweep_part(const Parts& all, const Part& p, int64 first) {
  // As they are computed with: a conversion from double takes as long as sixteen products.
  const C factor = C(all.factor);
  C numbers[8];
#pragma unroll
  for (int k = 0; k < 8; ++k) numbers[k] = C(p.numbers[k]);
  for (int64 i = first + threadIdx.x * W; i < first + 2048 && i < p.n; i += blockDim.x * W) {
    const Words<T, W> slopes = load_pack<W>(p.gradient + i);
    const bool at_random = sizeof(T) == 2 && p.words >= 0;
    unsigned words[4];
    if (at_random && W == 4) random_words(all.seed, all.offset, (p.words + i) / 4, words);
    else if (at_random) words[0] = random_word(all.seed, all.offset, p.words + i);
    Pack<C, W> x, a = widen_pack(load_pack<W>(p.states[0] + i)), b = a;
    if (p.states[1] != 0) b = widen_pack(load_pack<W>(p.states[1] + i));
    if (p.master != 0) {
      x = widen_pack(load_pack<W>(p.master + i));
    } else {
      x = widen_pack(load_pack<W>(p.parameter + i));
    }
    const Pack<C, W> g = widen_pack(slopes);
    if (all.rule == 0) {
#pragma unroll
      for (int k = 0; k < W; ++k) x.at[k] = adamw(numbers, x.at[k], g.at[k] * factor, a.at[k], b.at[k]);
    } else {
#pragma unroll
      for (int k = 0; k < W; ++k) x.at[k] = sgd(numbers, x.at[k], g.at[k] * factor, a.at[k]);
    }
    Words<T, W> values = narrow_pack<T>(x);
    if (at_random) {
      T rounded[W];
#pragma unroll
      for (int k = 0; k < W; ++k) rounded[k] = AtRandom<T>::round(x.at[k], words[W == 4 ? k : 0]);
      memcpy(&values, rounded, sizeof(values));
    }
    store_pack(p.states[0] + i, a);
    if (p.states[1] != 0) store_pack(p.states[1] + i, b);
    if (p.master != 0) store_pack(p.master + i, x);
    store_pack(p.parameter + i, values);
  }
}
GRADUS_WIDE(C, C)
GRADUS_KERNEL sweep(const __grid_constant__ Parts all) {
  int64 first;
  const Part& p = part_of_block(all, first);
  const int wide = 16 / sizeof(C);
  if (p.n % wide == 0 && in_packs(0, p.gradient, static_cast<const T*>(p.parameter)) &&
      in_packs(0, p.master, p.states[0], p.states[1]))
    sweep_part<wide>(all, p, first);
  else sweep_part<1>(all, p, first);
}
template <int W>
GRADUS_DEVICE C squares_of_part(const Part& p, int64 first) {
  C sum = 0;
  for (int64 i = first + threadIdx.x * W; i < first + 2048 && i < p.n; i += blockDim.x * W) {
    const Pack<C, W> pack = widen_pack(load_pack<W>(p.gradient + i));
#pragma unroll
    for (int k = 0; k < W; ++k) sum += pack.at[k] * pack.at[k];
  }
  return sum;
}
// Sums of squares of the gradients, one a block of 2048 elements.
GRADUS_WIDE(T, 0)
GRADUS_KERNEL block_squares(const __grid_constant__ Parts all, C* partial) {
  int64 first;
  const Part& p = part_of_block(all, first);
  C sum = in_packs(p.n, p.gradient) ? squares_of_part<16 / sizeof(T)>(p, first) : squares_of_part<1>(p, first);
  sum = block_reduce<Sum>(sum, C(0));
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
// result: the norm of all gradients, and the factor that brings it down to at most `most`; 1 when it is not finite.
GRADUS_KERNEL block_norm_and_factor(int64 count, double most, const C* partial, double* result) {
  double sum = 0;
  for (int64 i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
  sum = block_reduce<Sum>(sum, 0.0);
  if (threadIdx.x != 0) return;
  const double norm = sqrt(sum), factor = most / (norm + 1e-6);
  result[0] = norm;
  result[1] = factor < 1 && norm < from_infinity(0.0) ? factor : 1.0;
}
// found: set to 1 by gradients that are not finite.
GRADUS_KERNEL unscale(const __grid_constant__ Parts all, double factor, int* found) {
  int64 first;
  const Part& p = part_of_block(all, first);
  for (int64 i = first + threadIdx.x; i < first + 2048 && i < p.n; i += blockDim.x) {
    const C g = widen(p.gradient[i]);
    if (!(g - g == 0)) atomicCAS(found, 0, 1);
    if (factor != 1) const_cast<T*>(p.gradient)[i] = narrow<T>(g * C(factor));
  }
}
template <int W>
GRADUS_DEVICE void scale_part(const Part& p, int64 first, C factor) {
  for (int64 i = first + threadIdx.x * W; i < first + 2048 && i < p.n; i += blockDim.x * W) {
    Pack<C, W> pack = widen_pack(load_pack<W>(p.gradient + i));
#pragma unroll
    for (int k = 0; k < W; ++k) pack.at[k] *= factor;
    store_pack(const_cast<T*>(p.gradient) + i, narrow_pack<T>(pack));
  }
}
GRADUS_WIDE(T, T)
GRADUS_KERNEL scale_gradients(const __grid_constant__ Parts all, const double* result) {
  const C factor = static_cast<C>(result[1]);
  if (factor == C(1)) return;
  int64 first;
  const Part& p = part_of_block(all, first);
  if (in_packs(p.n, p.gradient)) scale_part<16 / sizeof(T)>(p, first, factor);
  else scale_part<1>(p, first, factor);
}
)cuda";
inline constexpr gradus::cuda::detail::KernelText cuda_sweep{"sweep", cuda_sweep_text};

/// run(parts of one launch, its blocks, number of its first part) for as many launches as the parts take.
template <class Run>
void for_card_launches(const std::vector<CardPart>& parts, Run&& run) {
  CardParts launch{};
  int64_t blocks = 0;
  size_t first = 0;
  auto flush = [&] {
    if (launch.count > 0) run(launch, blocks, first);
    first += static_cast<size_t>(launch.count);
    launch.count = 0;
    blocks = 0;
  };
  for (const auto& part : parts) {
    launch.parts[launch.count] = part;
    blocks += (part.n + card_block - 1) / card_block;
    launch.ends[launch.count] = blocks;
    if (++launch.count == card_parts) flush();
  }
  flush();
}

/// Updates all parts, whose memory is on `device`. Where the step is captured, the numbers of each replay are those of
/// `live`, and its random words those of `live_stream`.
inline void sweep_on_card(const char* op, Device device, DType type, CardRule rule, const std::vector<CardPart>& parts,
                          const std::shared_ptr<std::vector<CardPart>>& live, double gradient_factor,
                          const RandomStream& stream, const std::shared_ptr<const RandomStream>& live_stream) {
  for_card_launches(parts, [&](CardParts& launch, int64_t blocks, size_t first) {
    launch.rule = static_cast<int32_t>(rule);
    launch.factor = gradient_factor;
    std::tie(launch.seed, launch.offset) = std::tie(stream.seed, stream.offset);
    auto refresh = [live, live_stream, first](CardParts& some) {
      if (live_stream != nullptr) std::tie(some.seed, some.offset) = std::tie(live_stream->seed, live_stream->offset);
      for (size_t i = 0; live != nullptr && i < static_cast<size_t>(some.count); ++i)
        std::copy_n((*live)[first + i].numbers, 8, some.parts[i].numbers);
    };
    gradus::cuda::detail::launch_refreshed(op, device, cuda_sweep, {type}, "sweep", {blocks}, refresh, launch);
  });
}

/// Multiplies the gradients of all parts by `factor`. result (1,): 1 when one was not finite before, else 0.
inline Tensor<int32_t> unscale_on_card(const char* op, Device device, DType type, const std::vector<CardPart>& parts,
                                       double factor) {
  auto found = Tensor<int32_t>::empty({1}, device);
  found.zero_();
  for_card_launches(parts, [&](const CardParts& launch, int64_t here, size_t) {
    gradus::cuda::detail::launch(op, device, cuda_sweep, {type}, "unscale", {here}, launch, factor,
                                 found.impl()->data());
  });
  return found;
}

/// Scales the gradients of all parts so that their common norm is at most `most`. result (2,), double: the norm before,
/// and the factor. The host does not wait.
inline Tensor<double> clip_on_card(const char* op, Device device, DType type, const std::vector<CardPart>& parts,
                                   double most) {
  auto computed = type == DType::f64 ? DType::f64 : DType::f32;
  int64_t blocks = 0;
  for (const auto& part : parts) blocks += (part.n + card_block - 1) / card_block;
  auto partial = gradus::detail::allocate_impl(computed, {blocks}, device);
  auto result = Tensor<double>::empty({2}, device);
  auto* to = partial->data();
  for_card_launches(parts, [&](const CardParts& launch, int64_t here, size_t) {
    gradus::cuda::detail::launch(op, device, cuda_sweep, {type}, "block_squares", {here}, launch, to);
    to += here * size_of(computed);
  });
  gradus::cuda::detail::launch(op, device, cuda_sweep, {type}, "block_norm_and_factor", {1}, blocks, most,
                               partial->data(), result.impl()->data());
  for_card_launches(parts, [&](const CardParts& launch, int64_t here, size_t) {
    gradus::cuda::detail::launch(op, device, cuda_sweep, {type}, "scale_gradients", {here}, launch, result.data());
  });
  return result;
}

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

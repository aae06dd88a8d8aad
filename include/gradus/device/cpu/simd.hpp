// Simd<C>: a register of 16 lanes, held as however many Eigen packets that takes (one on AVX-512 for float),
// and Mask<C>, the result of comparing two. All lanes are computed alike, from their own operands only.
#pragma once

#include <Eigen/Core>  // packets, and the machine's intrinsics
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "gradus/core/dtype.hpp"
#include "gradus/device/cpu/compiled.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr int simd_lanes = 16;

/// Bytes of the machine's registers, as Eigen sees them.
inline constexpr int register_bytes = sizeof(Eigen::internal::packet_traits<float>::type) >= 16
                                          ? sizeof(Eigen::internal::packet_traits<float>::type)
                                          : 16;

/// The compiler's vector of C in one register; float and double vectors are Eigen's packets.
template <class C>
struct PacketOf {
  typedef C type __attribute__((vector_size(register_bytes)));
};
template <class C>
using Packet = typename PacketOf<C>::type;

/// A packet anywhere in memory. Moving all packets of a register at once, by memcpy, is slow: g++ takes the way over
/// the stack, in pieces that are smaller than a packet.
template <class C>
struct PacketInMemoryOf {
  typedef C type __attribute__((vector_size(register_bytes), aligned(alignof(C)), may_alias));
};
template <class C>
using PacketInMemory = typename PacketInMemoryOf<C>::type;

/// As many bytes as a packet of C has numbers, anywhere in memory: truth values.
template <class C>
struct BytesInMemoryOf {
  typedef int8_t type __attribute__((vector_size(register_bytes / sizeof(C)), aligned(1), may_alias));
};

/// The whole number of C's size, for bit patterns and masks.
template <class C>
using Bits = std::conditional_t<sizeof(C) == 4, int32_t, int64_t>;

/// The type in which packets of C are added and multiplied: whole numbers wrap, and only unsigned ones may.
template <class C>
struct WrappingOf {
  using type = C;
};
template <std::integral C>
struct WrappingOf<C> {
  using type = std::make_unsigned_t<C>;
};

template <class C>
class Mask {
 public:
  static constexpr int packet_lanes = register_bytes / static_cast<int>(sizeof(C));
  static constexpr int packets = simd_lanes / packet_lanes;
  using P = Packet<Bits<C>>;  // all ones where true
  using Bytes = typename BytesInMemoryOf<C>::type;

  P p[packets];

  GRADUS_INLINE Mask() = default;
  GRADUS_INLINE Mask(bool value) {
    GRADUS_UNROLL
    for (auto& packet : p) packet = P{} - (value ? 1 : 0);
  }
  template <class D>
  requires(!std::is_same_v<C, D>) GRADUS_INLINE Mask(const Mask<D>& other) {
    bool lanes[simd_lanes];
    other.store(lanes);
    *this = from_bools(lanes);
  }
  static GRADUS_INLINE Mask from_bools(const bool* from) {
    Mask mask;
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) {
      auto bytes = *reinterpret_cast<const Bytes*>(from + k * packet_lanes);
      mask.p[k] = P{} - __builtin_convertvector(bytes, P);
    }
    return mask;
  }
  GRADUS_INLINE void store(bool* to) const {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k)
      *reinterpret_cast<Bytes*>(to + k * packet_lanes) = __builtin_convertvector(P{} - p[k], Bytes);
  }
  GRADUS_INLINE bool lane(int i) const { return p[i / packet_lanes][i % packet_lanes] != 0; }

  friend GRADUS_INLINE Mask operator&&(Mask a, const Mask& b) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] &= b.p[k];
    return a;
  }
  friend GRADUS_INLINE Mask operator||(Mask a, const Mask& b) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] |= b.p[k];
    return a;
  }
  friend GRADUS_INLINE Mask operator!(Mask a) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = ~a.p[k];
    return a;
  }
};

template <class C>
class Simd {
 public:
  static constexpr int packet_lanes = register_bytes / static_cast<int>(sizeof(C));
  static constexpr int packets = simd_lanes / packet_lanes;
  using P = Packet<C>;
  using W = typename WrappingOf<C>::type;

  P p[packets];

  GRADUS_INLINE Simd() = default;
  /// Every lane the same number, converted to C: literals in formulas.
  template <class N>
  requires std::is_arithmetic_v<N> GRADUS_INLINE Simd(N value) {
    GRADUS_UNROLL
    for (auto& packet : p) packet = static_cast<C>(value) - P{};  // x - 0 is x, for -0 and NaN too
  }

  /// 16 elements of any type that computes in C.
  template <Element T>
  static GRADUS_INLINE Simd load(const T* from) {
    static_assert(std::is_same_v<Compute<T>, C>);
    Simd x;
    if constexpr (std::is_same_v<T, C>) {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k)
        x.p[k] = reinterpret_cast<P>(*reinterpret_cast<const PacketInMemory<C>*>(from + k * packet_lanes));
    } else if constexpr (HalfWidth<T>) {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k) x.p[k] = widen(from + k * packet_lanes);
    } else {
      alignas(64) C lanes[simd_lanes];
      for (int i = 0; i < simd_lanes; ++i) lanes[i] = static_cast<C>(from[i]);
      __builtin_memcpy(x.p, lanes, sizeof(lanes));
    }
    return x;
  }
  /// bf16 and f16 round to nearest even and keep NaN; small integers wrap.
  template <Element T>
  GRADUS_INLINE void store(T* to) const {
    if constexpr (std::is_same_v<T, C>) {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k)
        *reinterpret_cast<PacketInMemory<C>*>(to + k * packet_lanes) = reinterpret_cast<PacketInMemory<C>>(p[k]);
    } else if constexpr (HalfWidth<T>) {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k) narrow(p[k], to + k * packet_lanes);
    } else {
      alignas(64) C lanes[simd_lanes];
      __builtin_memcpy(lanes, p, sizeof(lanes));
      for (int i = 0; i < simd_lanes; ++i) to[i] = static_cast<T>(lanes[i]);
    }
  }
  GRADUS_INLINE C lane(int i) const { return p[i / packet_lanes][i % packet_lanes]; }

  friend GRADUS_INLINE Simd operator+(Simd a, const Simd& b) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = reinterpret_cast<P>(wrapping(a.p[k]) + wrapping(b.p[k]));
    return a;
  }
  friend GRADUS_INLINE Simd operator-(Simd a, const Simd& b) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = reinterpret_cast<P>(wrapping(a.p[k]) - wrapping(b.p[k]));
    return a;
  }
  friend GRADUS_INLINE Simd operator*(Simd a, const Simd& b) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = reinterpret_cast<P>(wrapping(a.p[k]) * wrapping(b.p[k]));
    return a;
  }
  /// Whole numbers are cut towards 0; x / 0 is 0, and the lowest number / -1 wraps.
  friend GRADUS_INLINE Simd operator/(Simd a, const Simd& b) {
    if constexpr (std::is_integral_v<C>) {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k) {
        for (int i = 0; i < packet_lanes; ++i) {
          auto divisor = b.p[k][i];
          a.p[k][i] = divisor == 0    ? C(0)
                      : divisor == -1 ? static_cast<C>(W(0) - static_cast<W>(a.p[k][i]))
                                      : static_cast<C>(a.p[k][i] / divisor);
        }
      }
    } else {
      GRADUS_UNROLL
      for (int k = 0; k < packets; ++k) a.p[k] /= b.p[k];
    }
    return a;
  }
  friend GRADUS_INLINE Simd operator-(Simd a) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = reinterpret_cast<P>(-wrapping(a.p[k]));
    return a;
  }
  /// a * b + c, rounded once where the machine can.
  friend GRADUS_INLINE Simd fma(Simd a, const Simd& b, const Simd& c) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = Eigen::internal::pmadd<P>(a.p[k], b.p[k], c.p[k]);
    return a;
  }

  friend GRADUS_INLINE Mask<C> operator<(const Simd& a, const Simd& b) {
    return compare(a, b, [](P x, P y) GRADUS_INLINE_LAMBDA { return x < y; });
  }
  friend GRADUS_INLINE Mask<C> operator<=(const Simd& a, const Simd& b) {
    return compare(a, b, [](P x, P y) GRADUS_INLINE_LAMBDA { return x <= y; });
  }
  friend GRADUS_INLINE Mask<C> operator>(const Simd& a, const Simd& b) { return b < a; }
  friend GRADUS_INLINE Mask<C> operator>=(const Simd& a, const Simd& b) { return b <= a; }
  friend GRADUS_INLINE Mask<C> operator==(const Simd& a, const Simd& b) {
    return compare(a, b, [](P x, P y) GRADUS_INLINE_LAMBDA { return x == y; });
  }
  friend GRADUS_INLINE Mask<C> operator!=(const Simd& a, const Simd& b) {
    return compare(a, b, [](P x, P y) GRADUS_INLINE_LAMBDA { return x != y; });
  }

  /// a where the condition holds, else b.
  static GRADUS_INLINE Simd select(const Mask<C>& condition, Simd a, const Simd& b) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = condition.p[k] ? a.p[k] : b.p[k];
    return a;
  }

  /// The larger; NaN if either is.
  friend GRADUS_INLINE Simd maximum(const Simd& a, const Simd& b) {
    if constexpr (std::is_integral_v<C>) return select(a > b, a, b);
    else return select(a > b || a != a, a, b);
  }
  friend GRADUS_INLINE Simd minimum(const Simd& a, const Simd& b) {
    if constexpr (std::is_integral_v<C>) return select(a < b, a, b);
    else return select(a < b || a != a, a, b);
  }
  friend GRADUS_INLINE Simd abs(Simd a) {
    if constexpr (std::is_integral_v<C>) return select(a < Simd(0), -a, a);
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) {
      a.p[k] = reinterpret_cast<P>(reinterpret_cast<Packet<Bits<C>>>(a.p[k]) & std::numeric_limits<Bits<C>>::max());
    }
    return a;
  }
  friend GRADUS_INLINE Simd sqrt(Simd a) {
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) a.p[k] = exact_sqrt(a.p[k]);
    return a;
  }

 private:
  typedef uint16_t Halves __attribute__((vector_size(register_bytes / 2)));
  typedef uint16_t HalvesInMemory __attribute__((vector_size(register_bytes / 2), aligned(2), may_alias));

  static GRADUS_INLINE Packet<W> wrapping(P x) { return reinterpret_cast<Packet<W>>(x); }

  /// Eigen's psqrt is approximate on AVX-512 (and NaN at infinity) unless EIGEN_FAST_MATH is 0.
  static GRADUS_INLINE P exact_sqrt(P x) {
#if defined(__AVX512F__)  // the masked forms: g++ 12 warns of its own unmasked ones
    if constexpr (std::is_same_v<C, float>) return _mm512_mask_sqrt_ps(x, 0xffff, x);
    if constexpr (std::is_same_v<C, double>) return _mm512_mask_sqrt_pd(x, 0xff, x);
#elif defined(__AVX__)
    if constexpr (std::is_same_v<C, float>) return _mm256_sqrt_ps(x);
    if constexpr (std::is_same_v<C, double>) return _mm256_sqrt_pd(x);
#elif defined(__SSE2__)
    if constexpr (std::is_same_v<C, float>) return _mm_sqrt_ps(x);
    if constexpr (std::is_same_v<C, double>) return _mm_sqrt_pd(x);
#else
    for (int i = 0; i < packet_lanes; ++i) x[i] = std::sqrt(x[i]);
    return x;
#endif
  }

  /// A packet of float from and to bf16. By whole numbers, not by vcvtneps2bf16, which takes denormals for 0: the same
  /// bits as one element converted by itself, on every machine.
  static GRADUS_INLINE P widen(const bf16* from) {
#if defined(__AVX512F__)  // g++ 12 takes a longer way from the compiler's vectors, and warns of unmasked intrinsics
    auto halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return reinterpret_cast<P>(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, halves), 16));
#else
    auto halves = *reinterpret_cast<const HalvesInMemory*>(from);
    return reinterpret_cast<P>(__builtin_convertvector(halves, Packet<uint32_t>) << 16);
#endif
  }
  static GRADUS_INLINE void narrow(P x, bf16* to) {
    auto word = reinterpret_cast<Packet<uint32_t>>(x);
    auto upper = word >> 16;
    auto rounded = (word + 0x7fffu + (upper & 1u)) >> 16;
    auto chosen = x != x ? upper | 0x40u : rounded;
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(chosen)));
#else
    *reinterpret_cast<HalvesInMemory*>(to) = __builtin_convertvector(chosen, Halves);
#endif
  }

  /// A packet of float from and to f16, by the machine's conversion where it has one.
  static GRADUS_INLINE P widen(const f16* from) {
#if defined(__AVX512F__)
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
    P x;
    for (int i = 0; i < packet_lanes; ++i) x[i] = from[i];
    return x;
#endif
  }
  static GRADUS_INLINE void narrow(P x, f16* to) {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_maskz_cvtps_ph(0xffff, x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < packet_lanes; ++i) to[i] = f16(x[i]);
#endif
  }

  template <class F>
  static GRADUS_INLINE Mask<C> compare(const Simd& a, const Simd& b, F f) {
    Mask<C> mask;
    GRADUS_UNROLL
    for (int k = 0; k < packets; ++k) mask.p[k] = reinterpret_cast<typename Mask<C>::P>(f(a.p[k], b.p[k]));
    return mask;
  }
};

/// a where the condition holds, else b; either may be a number.
template <class C>
GRADUS_INLINE Simd<C> where(const Mask<C>& condition, const std::type_identity_t<Simd<C>>& a,
                            const std::type_identity_t<Simd<C>>& b) {
  return Simd<C>::select(condition, a, b);
}
}  // namespace gradus::detail::inline GRADUS_BUILD

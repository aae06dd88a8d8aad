// The beginning of every CUDA C++ program that Gradus compiles at run time: types, element conversion and 16-byte
// packs. It includes nothing, because a machine that runs kernels need not have the toolkit's headers.
#pragma once

#include <string_view>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_prelude = R"cuda(
#define GRADUS_DEVICE static __device__ __forceinline__
// Before a kernel that, where memory is aligned, reads and writes 16 bytes at once, or as many as eight elements have: of
// these types, or this number of bytes; 0: nothing. Tests look for it in what the compiler makes.
#define GRADUS_WIDE(reads, writes)

namespace gradus {

typedef long long int64;

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};

GRADUS_DEVICE float from_bits(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}
GRADUS_DEVICE double from_bits(unsigned long long bits) {
  double x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// widen: an element as it is computed with. narrow: a result as it is stored; bf16 and f16 round to nearest even.
GRADUS_DEVICE float widen(float x) { return x; }
GRADUS_DEVICE double widen(double x) { return x; }
GRADUS_DEVICE float widen(bf16 x) { return from_bits(static_cast<unsigned>(x.bits) << 16); }
GRADUS_DEVICE float widen(f16 x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#else
  const unsigned size = x.bits & 0x7fffu, sign = (x.bits & 0x8000u) << 16;
  if (size < 0x400u) return from_bits(sign | 0x3f800000u) * (static_cast<float>(size) * (1.0f / 16777216));
  return from_bits(sign | (size < 0x7c00u ? (size << 13) + 0x38000000u : 0x7f800000u | size << 13));
#endif
}
GRADUS_DEVICE int widen(int x) { return x; }
GRADUS_DEVICE int64 widen(int64 x) { return x; }
GRADUS_DEVICE int widen(unsigned char x) { return x; }
GRADUS_DEVICE bool widen(bool x) { return x; }

template <class T>
struct Narrow {
  template <class C>
  static __device__ __forceinline__ T from(C x) {
    return static_cast<T>(x);
  }
};
template <>
struct Narrow<bf16> {
  // The bits of low, and above them those of high.
  static __device__ __forceinline__ unsigned two(float low, float high) {
#ifdef __CUDA_ARCH__
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    return from(low).bits | static_cast<unsigned>(from(high).bits) << 16;
#endif
  }
  static __device__ __forceinline__ bf16 from(float x) {
#ifdef __CUDA_ARCH__
    return bf16{static_cast<unsigned short>(two(x, 0))};
#else
    unsigned word;
    memcpy(&word, &x, sizeof(x));
    if (x != x) return bf16{static_cast<unsigned short>(word >> 16 | 0x40u)};
    return bf16{static_cast<unsigned short>((word + 0x7fffu + (word >> 16 & 1u)) >> 16)};
#endif
  }
};
template <>
struct Narrow<f16> {
  static __device__ __forceinline__ unsigned two(float low, float high) {
#ifdef __CUDA_ARCH__
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    return from(low).bits | static_cast<unsigned>(from(high).bits) << 16;
#endif
  }
  static __device__ __forceinline__ f16 from(float x) {
#ifdef __CUDA_ARCH__
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return f16{bits};
#else
    unsigned word;
    memcpy(&word, &x, sizeof(x));
    const unsigned sign = word >> 16 & 0x8000u, size = word & 0x7fffffffu;
    if (size > 0x7f800000u) return f16{static_cast<unsigned short>(sign | 0x7e00u)};
    if (size >= 0x477ff000u) return f16{static_cast<unsigned short>(sign | 0x7c00u)};
    if (size >= 0x38800000u)
      return f16{static_cast<unsigned short>(sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13)};
    const float shifted = from_bits(size) + 0.5f;  // there floats are 2^-24 apart
    memcpy(&word, &shifted, sizeof(word));
    return f16{static_cast<unsigned short>(sign | (word - 0x3f000000u))};
#endif
  }
};
template <class T, class C>
GRADUS_DEVICE T narrow(C x) {
  return Narrow<T>::from(x);
}

// The type that moves so many bytes with one instruction.
template <int bytes>
struct Word;
template <>
struct Word<1> {
  typedef unsigned char type;
};
template <>
struct Word<2> {
  typedef unsigned short type;
};
template <>
struct Word<4> {
  typedef unsigned type;
};
template <>
struct Word<8> {
  typedef uint2 type;
};
template <>
struct Word<16> {
  typedef uint4 type;
};

// N numbers that a thread computes with.
template <class C, int N>
struct Pack {
  C at[N];
};
// N elements as they lie in memory, side by side and aligned to their size together. They are words where they fill any:
// the compiler takes elements of two bytes apart when they are moved about.
template <class T, int N, bool fill = N * sizeof(T) % 4 == 0>
struct Words {
  unsigned at[N * sizeof(T) / 4];
};
template <class T, int N>
struct Words<T, N, false> {
  T at[N];
};
// As widen and narrow; two elements of bf16 or f16 in fewer instructions than one after the other.
template <class T, int N, bool fill>
GRADUS_DEVICE auto widen_pack(const Words<T, N, fill>& words) {
  T elements[N];
  memcpy(elements, words.at, sizeof(elements));
  Pack<decltype(widen(T())), N> pack;
#pragma unroll
  for (int k = 0; k < N; ++k) pack.at[k] = widen(elements[k]);
  return pack;
}
template <int N>
GRADUS_DEVICE Pack<float, N> widen_pack(const Words<bf16, N, true>& words) {
  Pack<float, N> pack;
#pragma unroll
  for (int k = 0; k < N / 2; ++k) {
    pack.at[2 * k] = from_bits(words.at[k] << 16);
    pack.at[2 * k + 1] = from_bits(words.at[k] & 0xffff0000u);
  }
  return pack;
}
template <int N, class C>
GRADUS_DEVICE Pack<C, N> widen_pack(const Pack<C, N>& pack) {
  return pack;
}
template <class T, int N, class C>
GRADUS_DEVICE Words<T, N> narrow_pack(const Pack<C, N>& pack) {
  Words<T, N> words;
  if constexpr (sizeof(T) == 2 && N % 2 == 0) {
#pragma unroll
    for (int k = 0; k < N / 2; ++k) words.at[k] = Narrow<T>::two(pack.at[2 * k], pack.at[2 * k + 1]);
  } else {
    T elements[N];
#pragma unroll
    for (int k = 0; k < N; ++k) elements[k] = narrow<T>(pack.at[k]);
    memcpy(words.at, elements, sizeof(elements));
  }
  return words;
}
template <int N, class T>
GRADUS_DEVICE Words<T, N> load_pack(const T* from) {
  auto word = *reinterpret_cast<const typename Word<N * sizeof(T)>::type*>(from);
  Words<T, N> words;
  memcpy(&words, &word, sizeof(words));
  return words;
}
// One instruction: the compiler may take a store of 16 bytes apart, which makes four of it.
template <class W>
GRADUS_DEVICE void store_word(W* to, W word) {
  *to = word;
}
#ifdef __CUDA_ARCH__
GRADUS_DEVICE void store_word(uint2* to, uint2 word) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "r"(word.x), "r"(word.y)
               : "memory");
}
GRADUS_DEVICE void store_word(uint4* to, uint4 word) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(word.x),
               "r"(word.y), "r"(word.z), "r"(word.w)
               : "memory");
}
#endif
// All of a pack's bytes.
template <class T, class P>
GRADUS_DEVICE void store_pack(T* to, const P& pack) {
  typename Word<sizeof(P)>::type word;
  memcpy(&word, &pack, sizeof(pack));
  store_word(reinterpret_cast<typename Word<sizeof(P)>::type*>(to), word);
}

// `bytes` bytes, a multiple of 8 and aligned to 16 if it is one of 16, in as few instructions as possible.
template <int bytes>
GRADUS_DEVICE void load_words(void* to, const void* from) {
  typedef typename Word<bytes % 16 == 0 ? 16 : 8>::type Piece;
#pragma unroll
  for (int k = 0; k < bytes / static_cast<int>(sizeof(Piece)); ++k) {
    Piece piece = reinterpret_cast<const Piece*>(from)[k];
    memcpy(static_cast<char*>(to) + k * sizeof(Piece), &piece, sizeof(Piece));
  }
}
template <int bytes>
GRADUS_DEVICE void store_words(void* to, const void* from) {
  typedef typename Word<bytes % 16 == 0 ? 16 : 8>::type Piece;
#pragma unroll
  for (int k = 0; k < bytes / static_cast<int>(sizeof(Piece)); ++k) {
    Piece piece;
    memcpy(&piece, static_cast<const char*>(from) + k * sizeof(Piece), sizeof(Piece));
    store_word(reinterpret_cast<Piece*>(to) + k, piece);
  }
}

// use(i, load(i)) for i = first, first + step, ... below last, N at once: what is read of all N is asked for before anything
// is written. The compiler would not dare, since what is written may lie where is read.
template <int N, class Load, class Use>
GRADUS_DEVICE void in_bunches(int64 first, int64 last, int64 step, const Load& load, const Use& use) {
#pragma unroll 1
  for (int64 i = first; i < last; i += N * step) {
    decltype(load(i)) got[N];
#pragma unroll
    for (int n = 0; n < N; ++n) {
      if (n == 0 || i + n * step < last) got[n] = load(i + n * step);
    }
#pragma unroll
    for (int n = 0; n < N; ++n) {
      if (n == 0 || i + n * step < last) use(i + n * step, got[n]);
    }
  }
}

}  // namespace gradus
)cuda";

}  // namespace gradus::detail::inline GRADUS_BUILD

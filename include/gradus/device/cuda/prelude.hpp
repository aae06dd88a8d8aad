// The beginning of every CUDA C++ program that Gradus compiles at run time: types, element conversion, 16-byte
// packs and the mathematics of formulas, with the CPU's values at NaN, infinities and zeros. It includes nothing,
// because a machine that runs kernels need not have the toolkit's headers.
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
  static __device__ __forceinline__ bf16 from(float x) {
#ifdef __CUDA_ARCH__
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(0.0f), "f"(x));
    return bf16{static_cast<unsigned short>(both)};
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

// A rectifier leaves what lies between low and high, and NaN; z is what it is given. passed: what dy passes back.
template <class C>
GRADUS_DEVICE C rectified(C z, C low, C high) {
  return z <= low ? low : z >= high ? high : z;
}
template <class C>
GRADUS_DEVICE C passed(C dy, C z, C low, C high) {
  return z <= low || z >= high ? C(0) : dy;
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

// N elements that lie side by side, aligned to their size together.
template <class T, int N>
struct Pack {
  T at[N];
};
template <int N, class T>
GRADUS_DEVICE Pack<T, N> load_pack(const T* from) {
  auto word = *reinterpret_cast<const typename Word<N * sizeof(T)>::type*>(from);
  Pack<T, N> pack;
  memcpy(&pack, &word, sizeof(pack));
  return pack;
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
template <int N, class T>
GRADUS_DEVICE void store_pack(T* to, const Pack<T, N>& pack) {
  typename Word<N * sizeof(T)>::type word;
  memcpy(&word, &pack, sizeof(pack));
  store_word(reinterpret_cast<typename Word<N * sizeof(T)>::type*>(to), word);
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

// Whole numbers wrap; a quotient is cut towards 0, and x / 0 is 0.
GRADUS_DEVICE int add(int a, int b) { return static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)); }
GRADUS_DEVICE int subtract(int a, int b) {
  return static_cast<int>(static_cast<unsigned>(a) - static_cast<unsigned>(b));
}
GRADUS_DEVICE int multiply(int a, int b) {
  return static_cast<int>(static_cast<unsigned>(a) * static_cast<unsigned>(b));
}
GRADUS_DEVICE int64 add(int64 a, int64 b) {
  return static_cast<int64>(static_cast<unsigned long long>(a) + static_cast<unsigned long long>(b));
}
GRADUS_DEVICE int64 subtract(int64 a, int64 b) {
  return static_cast<int64>(static_cast<unsigned long long>(a) - static_cast<unsigned long long>(b));
}
GRADUS_DEVICE int64 multiply(int64 a, int64 b) {
  return static_cast<int64>(static_cast<unsigned long long>(a) * static_cast<unsigned long long>(b));
}
template <class I>
GRADUS_DEVICE I negate(I a) {
  return subtract(I(0), a);
}
template <class I>
GRADUS_DEVICE I divide(I a, I b) {
  return b == 0 ? I(0) : b == -1 ? negate(a) : a / b;
}
GRADUS_DEVICE int abs(int a) { return a < 0 ? negate(a) : a; }
GRADUS_DEVICE int64 abs(int64 a) { return a < 0 ? negate(a) : a; }

// The larger or smaller of two whole numbers; of two others, NaN if either is.
GRADUS_DEVICE int maximum(int a, int b) { return a > b ? a : b; }
GRADUS_DEVICE int64 maximum(int64 a, int64 b) { return a > b ? a : b; }
GRADUS_DEVICE float maximum(float a, float b) { return a > b || a != a ? a : b; }
GRADUS_DEVICE double maximum(double a, double b) { return a > b || a != a ? a : b; }
GRADUS_DEVICE int minimum(int a, int b) { return a < b ? a : b; }
GRADUS_DEVICE int64 minimum(int64 a, int64 b) { return a < b ? a : b; }
GRADUS_DEVICE float minimum(float a, float b) { return a < b || a != a ? a : b; }
GRADUS_DEVICE double minimum(double a, double b) { return a < b || a != a ? a : b; }

GRADUS_DEVICE float from_infinity(float) { return from_bits(0x7f800000u); }
GRADUS_DEVICE double from_infinity(double) { return from_bits(0x7ff0000000000000ull); }

GRADUS_DEVICE float abs(float x) { return ::fabsf(x); }
GRADUS_DEVICE double abs(double x) { return ::fabs(x); }
GRADUS_DEVICE float floor(float x) { return ::floorf(x); }
GRADUS_DEVICE double floor(double x) { return ::floor(x); }
GRADUS_DEVICE float sqrt(float x) { return ::sqrtf(x); }
GRADUS_DEVICE double sqrt(double x) { return ::sqrt(x); }
GRADUS_DEVICE float exp(float x) { return ::expf(x); }
GRADUS_DEVICE double exp(double x) { return ::exp(x); }
GRADUS_DEVICE float expm1(float x) { return ::expm1f(x); }
GRADUS_DEVICE double expm1(double x) { return ::expm1(x); }
GRADUS_DEVICE float log(float x) { return ::logf(x); }
GRADUS_DEVICE double log(double x) { return ::log(x); }
GRADUS_DEVICE float log1p(float x) { return ::log1pf(x); }
GRADUS_DEVICE double log1p(double x) { return ::log1p(x); }
GRADUS_DEVICE float tanh(float x) { return ::tanhf(x); }
GRADUS_DEVICE double tanh(double x) { return ::tanh(x); }
GRADUS_DEVICE float sigmoid(float x) { return 1.0f / (::expf(-x) + 1.0f); }
GRADUS_DEVICE double sigmoid(double x) { return 1.0 / (::exp(-x) + 1.0); }
GRADUS_DEVICE float erf(float x) { return ::erff(x); }
GRADUS_DEVICE double erf(double x) { return ::erf(x); }
GRADUS_DEVICE float sin(float x) { return ::sinf(x); }
GRADUS_DEVICE double sin(double x) { return ::sin(x); }
GRADUS_DEVICE float cos(float x) { return ::cosf(x); }
GRADUS_DEVICE double cos(double x) { return ::cos(x); }
GRADUS_DEVICE float pow(float x, float y) { return ::powf(x, y); }
GRADUS_DEVICE double pow(double x, double y) { return ::pow(x, y); }

}  // namespace gradus
)cuda";

/// Follows cuda_prelude in the programs of kernels that work in blocks: sums over warps and blocks, random words, and
/// what a kernel does about an index out of range.
inline constexpr std::string_view cuda_blocks = R"cuda(
namespace gradus {

#define GRADUS_EACH(i, count) \
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < (count); \
       i += static_cast<int64>(gridDim.x) * blockDim.x)

struct Sum {
  template <class X>
  static __device__ __forceinline__ X of(X a, X b) {
    return a + b;
  }
};
struct Largest {
  template <class X>
  static __device__ __forceinline__ X of(X a, X b) {
    return maximum(a, b);
  }
};
struct Smallest {
  template <class X>
  static __device__ __forceinline__ X of(X a, X b) {
    return minimum(a, b);
  }
};

// Of 32 threads; each gets the result.
template <class Op, class X>
GRADUS_DEVICE X warp_reduce(X x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, distance));
  return x;
}
// Of all threads of a block, a multiple of 32 and at most 1024; each gets the result.
template <class Op, class X>
GRADUS_DEVICE X block_reduce(X x, X identity) {
  __shared__ X parts[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  x = warp_reduce<Op>(x);
  if (lane == 0) parts[warp] = x;
  __syncthreads();
  x = warp_reduce<Op>(lane < static_cast<int>(blockDim.x / 32) ? parts[lane] : identity);
  __syncthreads();
  return x;
}

// Threads that share a row: with by_warps a warp, else all of a block.
struct Team {
  bool is_warp;
  int lane, size;
  int64 first, step;  // of the rows that it goes through
};
GRADUS_DEVICE Team team_of(bool by_warps) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  Team team;
  team.is_warp = by_warps;
  team.lane = by_warps ? threadIdx.x % 32 : threadIdx.x;
  team.size = by_warps ? 32 : blockDim.x;
  team.first = by_warps ? static_cast<int64>(blockIdx.x) * warps + threadIdx.x / 32 : blockIdx.x;
  team.step = by_warps ? static_cast<int64>(gridDim.x) * warps : gridDim.x;
  return team;
}
template <class Op, class X>
GRADUS_DEVICE X team_reduce(const Team& team, X x, X identity) {
  return team.is_warp ? warp_reduce<Op>(x) : block_reduce<Op>(x, identity);
}

// How many elements one load of 16 bytes takes of rows of n elements that begin at these places: 16 / sizeof(T), or 1.
template <class T>
GRADUS_DEVICE bool in_packs(int64 n, const T* a, const T* b = 0, const T* c = 0, const T* d = 0) {
  const unsigned long long bits = reinterpret_cast<unsigned long long>(a) | reinterpret_cast<unsigned long long>(b) |
                                  reinterpret_cast<unsigned long long>(c) | reinterpret_cast<unsigned long long>(d);
  return n % (16 / static_cast<int>(sizeof(T))) == 0 && bits % 16 == 0;
}

// Words 4 quad to 4 quad + 3 of a random stream, as RandomStream::word on the host.
GRADUS_DEVICE void random_words(unsigned long long seed, unsigned long long offset, int64 quad, unsigned* words) {
  const unsigned long long counter = offset + static_cast<unsigned long long>(quad);
  unsigned key0 = static_cast<unsigned>(seed), key1 = static_cast<unsigned>(seed >> 32);
  unsigned c0 = static_cast<unsigned>(counter), c1 = static_cast<unsigned>(counter >> 32), c2 = 0, c3 = 0;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    const unsigned n0 = static_cast<unsigned>(p1 >> 32) ^ c1 ^ key0, n2 = static_cast<unsigned>(p0 >> 32) ^ c3 ^ key1;
    c0 = n0, c1 = static_cast<unsigned>(p1), c2 = n2, c3 = static_cast<unsigned>(p0);
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}
GRADUS_DEVICE unsigned random_word(unsigned long long seed, unsigned long long offset, int64 i) {
  unsigned words[4];
  random_words(seed, offset, i / 4, words);
  const int which = static_cast<int>(i & 3);
  return which == 0 ? words[0] : which == 1 ? words[1] : which == 2 ? words[2] : words[3];
}

struct Fault {
  int64 op, value, bound, lowest;
};
// `index` counted from the front; what is out of range is told to the host and read as 0. One thread tells: the host
// reads when all have ended.
GRADUS_DEVICE int64 checked_index(int64 index, int64 bound, int64 lowest, Fault* fault, int64 op) {
  if (index >= lowest && index < bound) return index < 0 ? index + bound : index;
  if (atomicCAS(reinterpret_cast<unsigned long long*>(&fault->op), 0ull, static_cast<unsigned long long>(op)) == 0) {
    fault->value = index;
    fault->bound = bound;
    fault->lowest = lowest;
  }
  return 0;
}
GRADUS_DEVICE int64 checked_index(int64 index, int64 bound, Fault* fault, int64 op) {
  return checked_index(index, bound, -bound, fault, op);
}

}  // namespace gradus
)cuda";

}  // namespace gradus::detail::inline GRADUS_BUILD

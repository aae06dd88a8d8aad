// What kernels that work in blocks of threads share, as CUDA C++ text: sums over warps and blocks, teams, random words.
#pragma once

#include <string_view>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Follows cuda_functions in the programs of kernels that work in blocks: sums over warps and blocks, random words, and
/// what a kernel does about an index out of range.
inline constexpr std::string_view cuda_blocks = R"cuda(
namespace gradus {

#define GRADUS_EACH(i, count) \
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < (count); \
       i += static_cast<int64>(gridDim.x) * blockDim.x)

// n / size for n from 0 on: CudaDivisor on the host.
struct Divisor {
  int64 size;
  unsigned long long factor;
  int64 shift;
  __device__ int64 of(int64 n) const { return size == 1 ? n : __umul64hi(n, factor) >> shift; }
};

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

// Whether rows of n elements that begin at these places can be read 16 bytes at a time.
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

// What this machine reaches at most: multiply-adds in registers alone, reading memory, copying it.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "gradus/device/cpu/stream.hpp"

namespace gradus::bench {

/// Calls work(thread) on so many threads, each for its own; seconds until the last one is done, the best of five.
template <class Work>
double best_seconds(int threads, Work work) {
  double best = HUGE_VAL;
  for (int round = 0; round < 5; ++round) {
    auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back([&, i] { work(i); });
    work(0);
    for (auto& other : others) other.join();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

/// Keeps a value, and what made it, in the program.
template <class V>
void keep(V& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

/// Independent chains of sum = multiply_add(sum): their number hides the latency of two units on today's cores.
template <class Register, class MultiplyAdd>
double peak_flops(int threads, double flop_each, Register zero, MultiplyAdd multiply_add) {
  constexpr size_t chains = 12;
  constexpr int64_t rounds = 16'000'000;  // some 20 ms
  auto seconds = best_seconds(threads, [&](int) {
    Register sums[chains];
    GRADUS_UNROLL
    for (auto& sum : sums) {
      auto start = zero;
      keep(start);  // or chains that begin alike would be one
      sum = start;
    }
    for (int64_t i = 0; i < rounds; ++i) {
      GRADUS_UNROLL
      for (auto& sum : sums) sum = multiply_add(sum);
    }
    auto total = zero;  // what keep() sees would be stored in each round
    GRADUS_UNROLL
    for (auto& sum : sums) total = total + sum;
    keep(total);
  });
  return flop_each * chains * static_cast<double>(rounds) * threads / seconds;
}

/// Floating-point operations a second by multiply-adds of C in the widest registers that Eigen knows here; a
/// multiply-add counts as two.
template <class C>
double peak_multiply_adds(int threads) {
  using Packet = typename Eigen::internal::packet_traits<C>::type;
  auto a = Eigen::internal::pset1<Packet>(C(1e-3)), b = Eigen::internal::pset1<Packet>(C(2e-3));
  keep(a), keep(b);
  return peak_flops(threads, 2.0 * sizeof(Packet) / sizeof(C), Eigen::internal::pset1<Packet>(C(0)),
                    [=](Packet sum) { return Eigen::internal::pmadd(a, b, sum); });
}
inline double peak_float_flops(int threads) { return peak_multiply_adds<float>(threads); }

/// The same by dot products of bf16 pairs with sums in float; 0 where the processor, or what this is compiled for, has
/// none.
inline double peak_bf16_flops([[maybe_unused]] int threads) {
#if defined(__AVX512BF16__)
  __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3f), _mm512_set1_ps(1e-3f));
  keep(a);
  return peak_flops(threads, 64, _mm512_setzero_ps(), [=](__m512 sum) { return _mm512_dpbf16_ps(sum, a, a); });
#else
  return 0;
#endif
}

/// Floats of an array that no cache holds.
inline constexpr size_t beyond_caches = size_t{32} << 20;
using Arrays = std::vector<std::vector<float>>;
inline Arrays arrays(int count) { return Arrays(static_cast<size_t>(count), std::vector<float>(beyond_caches, 1.0f)); }

/// Bytes a second that are read from memory, 128 MiB for each thread.
inline double peak_read_bytes(int threads, const Arrays& memory) {
  using Packet = Eigen::internal::packet_traits<float>::type;
  constexpr size_t lanes = sizeof(Packet) / sizeof(float);
  auto seconds = best_seconds(threads, [&](int thread) {
    const auto* from = memory[static_cast<size_t>(thread)].data();
    Packet sums[8];
    for (auto& sum : sums) sum = Eigen::internal::pset1<Packet>(0.0f);
    for (size_t i = 0; i < beyond_caches; i += 8 * lanes) {
      GRADUS_UNROLL
      for (size_t k = 0; k < 8; ++k)
        sums[k] = Eigen::internal::padd(sums[k], Eigen::internal::ploadu<Packet>(from + i + k * lanes));
    }
    auto total = sums[0];
    for (size_t k = 1; k < 8; ++k) total = total + sums[k];
    keep(total);
  });
  return static_cast<double>(beyond_caches * sizeof(float)) * threads / seconds;
}
inline double peak_read_bytes(int threads) { return peak_read_bytes(threads, arrays(threads)); }

/// Bytes a second that are read and written, together, when half of each array is copied to its other half, the better
/// of stores through the caches and past them.
inline double peak_copy_bytes(int threads, Arrays& memory) {
  constexpr auto bytes = static_cast<int64_t>(beyond_caches * sizeof(float) / 2);
  auto copy = [&](auto move) {
    return best_seconds(threads, [&](int thread) {
      auto* from = reinterpret_cast<char*>(memory[static_cast<size_t>(thread)].data());
      auto* to = from + (bytes - 4096) / 64 * 64 + 64 - reinterpret_cast<uintptr_t>(from) % 64;
      move(to, from, bytes - 8192);
    });
  };
  auto stored = copy([](char* to, const char* from, int64_t n) { std::memcpy(to, from, static_cast<size_t>(n)); });
  auto streamed = copy([](char* to, const char* from, int64_t n) {
    gradus::detail::stream_out(to, from, n);
    gradus::detail::stream_fence();
  });
  return 2.0 * static_cast<double>(bytes - 8192) * threads / std::min(stored, streamed);
}

/// All of it, of so many threads together. A multiply-add is two operations; bytes read and written are both counted.
struct Peak {
  double float_flop = 0, double_flop = 0, bf16_flop = 0, read = 0, copy = 0;
};

/// Measured when first asked for this number of threads, in about a second.
inline const Peak& peak(int threads) {
  static std::map<int, Peak> known;
  auto [at, is_new] = known.try_emplace(threads);
  if (is_new) {
    auto memory = arrays(threads);
    at->second = {peak_float_flops(threads), peak_multiply_adds<double>(threads), peak_bf16_flops(threads),
                  peak_read_bytes(threads, memory), peak_copy_bytes(threads, memory)};
  }
  return at->second;
}

}  // namespace gradus::bench

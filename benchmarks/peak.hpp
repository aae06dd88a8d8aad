// What this machine reaches at most: multiply-adds in registers alone, and reading memory.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>

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
    for (auto& sum : sums) sum = zero;
    for (int64_t i = 0; i < rounds; ++i) {
      for (auto& sum : sums) sum = multiply_add(sum);
    }
    auto total = zero;  // what keep() sees would be stored in each round
    for (auto& sum : sums) total = total + sum;
    keep(total);
  });
  return flop_each * chains * static_cast<double>(rounds) * threads / seconds;
}

/// Floating-point operations a second by multiply-adds of floats in the widest registers that Eigen knows here; a
/// multiply-add counts as two.
inline double peak_float_flops(int threads) {
  using Packet = Eigen::internal::packet_traits<float>::type;
  auto a = Eigen::internal::pset1<Packet>(1e-3f), b = Eigen::internal::pset1<Packet>(2e-3f);
  keep(a), keep(b);
  return peak_flops(threads, 2.0 * sizeof(Packet) / sizeof(float), Eigen::internal::pset1<Packet>(0.0f),
                    [=](const Packet& sum) { return Eigen::internal::pmadd(a, b, sum); });
}

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

/// Bytes a second that are read from memory, 256 MiB for each thread.
inline double peak_read_bytes(int threads) {
  using Packet = Eigen::internal::packet_traits<float>::type;
  constexpr size_t lanes = sizeof(Packet) / sizeof(float), count = size_t{64} << 20;
  std::vector<std::vector<float>> memory(static_cast<size_t>(threads), std::vector<float>(count, 1.0f));
  auto seconds = best_seconds(threads, [&](int thread) {
    const auto* from = memory[static_cast<size_t>(thread)].data();
    Packet sums[8];
    for (auto& sum : sums) sum = Eigen::internal::pset1<Packet>(0.0f);
    for (size_t i = 0; i < count; i += 8 * lanes) {
      for (size_t k = 0; k < 8; ++k)
        sums[k] = Eigen::internal::padd(sums[k], Eigen::internal::ploadu<Packet>(from + i + k * lanes));
    }
    auto total = sums[0];
    for (size_t k = 1; k < 8; ++k) total = total + sums[k];
    keep(total);
  });
  return static_cast<double>(count * sizeof(float)) * threads / seconds;
}

}  // namespace gradus::bench

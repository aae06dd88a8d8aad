// Results that no cache can hold go straight to memory. A plain store first reads the line that it overwrites, so a
// loop that reads one array and writes another moves three for two; past the caches it moves two.
#pragma once

#include <Eigen/Core>  // the machine's intrinsics
#include <cstdint>
#include <cstring>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// From here on a result is too large for the last cache of most machines, and whoever reads it next finds its
/// beginning gone in any case. Less stays in the cache, where the next operator finds it.
inline constexpr int64_t streamed_bytes = int64_t{32} << 20;

/// Whether a result of so many bytes goes past the caches. Its bits are the same either way.
inline constexpr bool is_streamed([[maybe_unused]] int64_t bytes) {
#if defined(__SSE2__)
  return bytes >= streamed_bytes;
#else
  return false;
#endif
}

/// Bytes of the buffer on the stack in which a loop gathers what it then streams. So few that the processor reads for
/// the next block while it still streams this one: 8192 took a quarter more time.
inline constexpr int64_t stream_block = 1024;

/// Copies `bytes` bytes from a buffer in the cache past the caches. `to` is aligned to 64 bytes, or to 32 for as
/// many bytes. The loop that calls it
/// ends with stream_fence().
inline void stream_out(char* to, const char* from, int64_t bytes) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 64 <= bytes; i += 64) {
    _mm512_stream_ps(reinterpret_cast<float*>(to + i), _mm512_loadu_ps(reinterpret_cast<const float*>(from + i)));
  }
#endif
#if defined(__AVX__)
  for (; i + 32 <= bytes; i += 32) {
    _mm256_stream_ps(reinterpret_cast<float*>(to + i), _mm256_loadu_ps(reinterpret_cast<const float*>(from + i)));
  }
#elif defined(__SSE2__)
  for (; i + 16 <= bytes; i += 16) {
    _mm_stream_ps(reinterpret_cast<float*>(to + i), _mm_loadu_ps(reinterpret_cast<const float*>(from + i)));
  }
#endif
  std::memcpy(to + i, from + i, static_cast<size_t>(bytes - i));
}

/// Asks for lines of memory that are read soon, so many bytes further on: beyond the end is no error. A loop that
/// gathers a block in the cache and then streams it out reads nothing meanwhile; asked for before, what the next block
/// needs arrives in that time.
GRADUS_INLINE void fetch_ahead(const void* from, int64_t bytes, int64_t further = 0) {
  auto at = reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(further);
  for (int64_t i = 0; i < bytes; i += 64)
    __builtin_prefetch(reinterpret_cast<const void*>(at + static_cast<uintptr_t>(i)));
}

/// Before another thread may read what was streamed.
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace gradus::detail::inline GRADUS_BUILD

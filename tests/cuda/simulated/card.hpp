// A card that is not there: what stands behind libcuda, libnvrtc and libcublasLt when a program is told to open these
// (GRADUS_CUDA_LIBRARIES). Device memory is host memory that the host may not touch, streams run as late as the rules
// allow, and kernels are the same CUDA text compiled for the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace simulated {

using Pointer = unsigned long long;

// Answers of the driver.
enum Result {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  invalid_context = 201,
  invalid_handle = 400,
  not_found = 500,
  illegal_address = 700,
  launch_failed = 719,
  capture_unsupported = 900,
  capture_invalidated = 901,
  capture_isolation = 905,
};

/// Puts work at the end of a stream's queue. It runs when somebody waits, or by the seed's chance before.
int enqueue(void* stream, std::function<void()> work);
/// Runs everything that waits in a stream, and what that depends on.
int drain(void* stream);
/// Whether all of [at, at + bytes) lies within one block of device memory.
bool is_device_memory(const void* at, size_t bytes);
/// Ten times the major number and the minor one; GRADUS_SIMULATED_CAPABILITY chooses.
int capability();
/// Prints what went wrong and ends the program: mistakes that a card would punish or, worse, not notice.
[[noreturn]] void mistake(const std::string& text);
/// What kernels may read and write is told to check.cpp: all addresses once, then what is allocated and freed.
void watch_arena(char* begin, size_t bytes);
void memory_begins(const char* at, size_t bytes);
void memory_ends(const char* at, size_t bytes);
/// While one of these lives, device memory can be read and written.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};
/// Every function begins with it: counts the call, and gives what it must answer instead of its work when a fault is
/// set (faults.hpp, or GRADUS_SIMULATED_FAIL=cuLaunchKernel:3:719 for the third call), else 0. What frees, frees all
/// the same.
int injected(const char* function);
/// One more, or one less, of what the caller must give back.
void count_object(const char* kind, int by);

/// IEEE half precision, read and written.
inline float from_half(uint16_t bits) {
  auto exponent = bits >> 10 & 31, fraction = bits & 1023;
  auto size = exponent == 31  ? (fraction == 0 ? HUGE_VALF : std::nanf(""))
              : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return (bits & 0x8000) != 0 ? -size : size;
}
inline uint16_t to_half(float x) {
  auto sign = std::signbit(x) ? 0x8000 : 0;
  auto size = std::fabs(x);
  if (std::isnan(x)) return 0x7e00;
  if (size >= 65520) return static_cast<uint16_t>(sign | 0x7c00);
  auto exponent = std::max(std::ilogb(size), -14);
  auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));  // 1024 in those that are normal
  return static_cast<uint16_t>(sign | ((exponent + 14) * 1024 + steps));
}

/// With GRADUS_SIMULATED_ROOFLINE the card computes nothing and touches no memory, but counts what a real one would
/// have to do (roofline.cpp).
bool computes_nothing();
enum class Arithmetic { bf16, tf32, f32, f64 };
/// What one launch moves and does.
void count_work(double bytes, double operations = 0, Arithmetic arithmetic = Arithmetic::f32);
struct DoneWork {
  double bytes = 0, operations = 0, seconds = 0;
};
DoneWork work_so_far();
/// Between two events, in milliseconds or what gradus_simulated_clock asked for.
float elapsed(const DoneWork& from, const DoneWork& to);

}  // namespace simulated

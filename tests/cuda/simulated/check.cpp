// What kernels may not do. They are compiled with the instrumentation of the compiler's thread sanitizer, which calls a
// function before each access to memory that others can see; here it meets our functions, not the sanitizer's. They ask
// whether a card would allow the access, and whether it is in order with those of other threads. What the language
// leaves undefined is told by the compiler's other sanitizer, whose reports end here too.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "tests/cuda/simulated/block.hpp"
#include "tests/cuda/simulated/card.hpp"

// The address sanitizer's, where it is there: it learns which device memory is allocated.
extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(const volatile void* at, size_t bytes);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* at, size_t bytes);
}

namespace simulated {

/// The last accesses to one byte.
struct Cell {
  Moment write, read;
};

namespace {

constexpr size_t page = 4096;

// Beside the number of a thread, a moment can hold:
constexpr Moment thread_bits = 1023;
constexpr Moment threads_of_warp = 1 << 10;  ///< several threads of the thread's warp
constexpr Moment warps_of_block = 1 << 11;   ///< threads of several warps
constexpr Moment blocks_of_grid = 1 << 12;   ///< threads of several blocks
constexpr Moment atomic = 1 << 13;           ///< by an atomic operation

struct Arena {
  uintptr_t begin = 0, bytes = 0;
  uint16_t* valid = nullptr;  ///< of each page: how many bytes, from its first on, are allocated
  Cell* cells = nullptr;      ///< of each byte
} arena;

enum class Access { read, write, atomic };
enum class Space { device, shared };

const char* text_of(Access how, bool past) {
  switch (how) {
    case Access::read:
      return past ? "read" : "reads";
    case Access::write:
      return past ? "wrote" : "writes";
    default:
      return past ? "changed by an atomic operation" : "changes by an atomic operation";
  }
}
std::string place_of(uintptr_t at) {
  char text[32];
  std::snprintf(text, sizeof(text), "%#llx", static_cast<unsigned long long>(at));
  return text;
}

/// Whether what was done then, by others, is not in order with what the running thread does now.
template <Space space>
bool races(Moment then) {
  if (then < now.launch) return false;
  if (space == Space::device && (then < now.block || (then & blocks_of_grid) != 0)) return true;
  if (then < now.barrier) return false;
  const auto thread = static_cast<unsigned>(then & thread_bits);
  if ((then & warps_of_block) != 0 || thread / 32 != now.thread / 32) return true;
  return then >= now.warp && ((then & threads_of_warp) != 0 || thread != now.thread);
}

/// Now, and who else did the same since the last barrier or, in another block, since the launch.
template <Space space>
Moment with_others(Moment then) {
  Moment others = 0;
  if (then < now.launch) return now.mine;
  if (space == Space::device && (then < now.block || (then & blocks_of_grid) != 0)) others |= blocks_of_grid;
  if (then >= now.barrier) {
    const auto thread = static_cast<unsigned>(then & thread_bits);
    if ((then & warps_of_block) != 0 || thread / 32 != now.thread / 32) others |= warps_of_block;
    else if (then >= now.warp && ((then & threads_of_warp) != 0 || thread != now.thread)) others |= threads_of_warp;
  }
  return now.mine | others;
}

template <Space space>
[[noreturn]] void tell_race(Access how, uintptr_t at, size_t bytes, Moment then, Access other) {
  std::string text = space == Space::shared ? "a race on shared memory: " : "a race on device memory: ";
  text += text_of(how, false);
  text += " " + std::to_string(bytes) + " bytes at " + place_of(at) + " that ";
  if (space == Space::device && (then < now.block || (then & blocks_of_grid) != 0)) text += "another block";
  else if ((then & (warps_of_block | threads_of_warp)) != 0) text += "other threads of the block";
  else text += "thread " + std::to_string(then & thread_bits) + " of the block";
  text += std::string(" ") + text_of(other, true) + ", without a barrier between";
  mistake_in_kernel(text);
}

template <Space space, Access how>
void check_cells(Cell* cell, uintptr_t at, size_t bytes) {
  const Moment mine = now.mine;
  for (size_t i = 0; i < bytes; ++i, ++cell) {
    // The thread's own, after which any other thread's access would have been told.
    if (how != Access::atomic && (cell->write == mine || (how == Access::read && cell->read == mine))) continue;
    const Moment write = cell->write;
    if (space == Space::shared && how != Access::write && write < now.block)
      mistake_in_kernel("reads " + std::to_string(bytes) + " bytes of shared memory at " + place_of(at) +
                        " that no thread of the block has written");
    const bool atomics = how == Access::atomic && (write & atomic) != 0;
    if (!atomics && races<space>(write))
      tell_race<space>(how, at, bytes, write, (write & atomic) != 0 ? Access::atomic : Access::write);
    if constexpr (how == Access::read) {
      cell->read = with_others<space>(cell->read);
    } else {
      if (races<space>(cell->read)) tell_race<space>(how, at, bytes, cell->read, Access::read);
      cell->write = how == Access::atomic ? (atomics ? with_others<space>(write) : mine) | atomic : mine;
    }
  }
}

/// Whether [at, at + bytes) is allocated, device memory or pinned memory of the host.
bool allocated(uintptr_t at, size_t bytes) {
  while (bytes > 0) {
    const auto offset = at - arena.begin;
    if (offset >= arena.bytes) return false;
    const auto within = offset % page, here = std::min(bytes, page - within);
    if (within + here > arena.valid[offset / page]) return false;
    at += here;
    bytes -= here;
  }
  return true;
}

[[noreturn]] void tell_no_memory(const char* how, uintptr_t at, size_t bytes) {
  auto text = std::string(how) + " " + std::to_string(bytes) + " bytes at " + place_of(at) + ", which ";
  if (at - arena.begin < arena.bytes) text += "is no allocated device memory: out of range, or freed";
  else if (at < page) text += "is near the null pointer";
  else text += "is the host's memory, or another thread's";
  mistake_in_kernel(text);
}

template <Access how>
void check(const void* pointer, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(pointer);
  if (now.kernel == nullptr || at - now.stack < now.stack_bytes) return;
  if (const auto offset = at - arena.begin; offset < arena.bytes) [[likely]] {
    if (!allocated(at, bytes)) tell_no_memory(text_of(how, false), at, bytes);
    return check_cells<Space::device, how>(arena.cells + offset, at, bytes);
  }
  const auto shared = reinterpret_cast<uintptr_t>(now.kernel->shared_begin),
             shared_end = reinterpret_cast<uintptr_t>(now.kernel->shared_end);
  if (at >= shared && at + bytes <= shared_end)
    return check_cells<Space::shared, how>(now.shared + (at - shared), at, bytes);
  // Constants lie in the kernel's shared object; nobody can write them.
  if (at >= reinterpret_cast<uintptr_t>(now.kernel->image_begin) &&
      at + bytes <= reinterpret_cast<uintptr_t>(now.kernel->image_end))
    return;
  for (const auto* dim : {&gridDim, &blockDim, &blockIdx, &threadIdx})
    if (how == Access::read && at - reinterpret_cast<uintptr_t>(dim) < sizeof(Dim)) return;
  tell_no_memory(text_of(how, false), at, bytes);
}

template <Access how>
void check_aligned(const void* pointer, size_t bytes) {
  // How a thread's own variables are copied about is the compiler's choice, and another one's on a card.
  if (reinterpret_cast<uintptr_t>(pointer) - now.stack < now.stack_bytes) return;
  if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0)
    mistake_in_kernel("a misaligned access: " + std::string(text_of(how, false)) + " " + std::to_string(bytes) +
                      " bytes at " + place_of(reinterpret_cast<uintptr_t>(pointer)));
  check<how>(pointer, bytes);
}

/// Memory whose pages are there once they are touched.
template <class T>
T* reserve(size_t count) {
  auto* at =
      mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) mistake("no addresses for what is known of the simulated card's memory");
  return static_cast<T*>(at);
}

}  // namespace

void watch_arena(char* begin, size_t bytes) {
  arena.begin = reinterpret_cast<uintptr_t>(begin);
  arena.bytes = bytes;
  arena.valid = reserve<uint16_t>(bytes / page);
  arena.cells = reserve<Cell>(bytes);
}
void memory_begins(const char* at, size_t bytes) {
  if (computes_nothing()) return;
  if (&__asan_poison_memory_region != nullptr) {
    __asan_poison_memory_region(at, (bytes + page - 1) / page * page);
    __asan_unpoison_memory_region(at, bytes);
  }
  auto* valid = arena.valid + (reinterpret_cast<uintptr_t>(at) - arena.begin) / page;
  for (; bytes > 0; ++valid) {
    const auto here = std::min(bytes, page);
    *valid = static_cast<uint16_t>(here);
    bytes -= here;
  }
}
void memory_ends(const char* at, size_t bytes) {
  if (computes_nothing()) return;
  const auto offset = reinterpret_cast<uintptr_t>(at) - arena.begin, pages = (bytes + page - 1) / page;
  std::memset(arena.valid + offset / page, 0, pages * sizeof(uint16_t));
  madvise(arena.cells + offset, pages * page * sizeof(Cell), MADV_DONTNEED);
}

Cell* cells_of_shared(const Kernel& kernel) {
  static std::map<char*, std::vector<Cell>> all;
  auto& cells = all[kernel.shared_begin];
  cells.resize(static_cast<size_t>(kernel.shared_end - kernel.shared_begin));
  return cells.data();
}

}  // namespace simulated

using namespace simulated;

extern "C" {

#define GRADUS_HOOKS(bytes)                                                                  \
  void __tsan_read##bytes(void* at) { check_aligned<Access::read>(at, bytes); }              \
  void __tsan_write##bytes(void* at) { check_aligned<Access::write>(at, bytes); }            \
  void __tsan_unaligned_read##bytes(void* at) { check<Access::read>(at, bytes); }            \
  void __tsan_unaligned_write##bytes(void* at) { check<Access::write>(at, bytes); }          \
  void __tsan_volatile_read##bytes(void* at) { check_aligned<Access::read>(at, bytes); }     \
  void __tsan_volatile_write##bytes(void* at) { check_aligned<Access::write>(at, bytes); }   \
  void __tsan_unaligned_volatile_read##bytes(void* at) { check<Access::read>(at, bytes); }   \
  void __tsan_unaligned_volatile_write##bytes(void* at) { check<Access::write>(at, bytes); } \
  void __tsan_read_write##bytes(void* at) {                                                  \
    check_aligned<Access::read>(at, bytes);                                                  \
    check<Access::write>(at, bytes);                                                         \
  }                                                                                          \
  void __tsan_unaligned_read_write##bytes(void* at) {                                        \
    check<Access::read>(at, bytes);                                                          \
    check<Access::write>(at, bytes);                                                         \
  }
GRADUS_HOOKS(1)
GRADUS_HOOKS(2)
GRADUS_HOOKS(4)
GRADUS_HOOKS(8)
GRADUS_HOOKS(16)

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* at, size_t bytes) { check<Access::read>(at, bytes); }
void __tsan_write_range(void* at, size_t bytes) { check<Access::write>(at, bytes); }
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  check<Access::read>(from, bytes);
  check<Access::write>(to, bytes);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  check<Access::read>(from, bytes);
  check<Access::write>(to, bytes);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
  check<Access::write>(to, bytes);
  return std::memset(to, value, bytes);
}
/// Called before an atomic operation, which nothing interrupts.
void gradus_atomic(void* at, size_t bytes) { check_aligned<Access::atomic>(at, bytes); }

// Each report begins with a place in the kernel's text.
struct UndefinedBehaviour {
  const char* file;
  unsigned line, column;
};
[[noreturn]] static void tell_undefined(const UndefinedBehaviour* what, const std::string& text) {
  mistake_in_kernel(text + " (" + what->file + ":" + std::to_string(what->line) + ")");
}
struct MisalignedAccess {
  UndefinedBehaviour place;
  const void* type;
  unsigned char log_alignment, kind;
};
[[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(const MisalignedAccess* what, uintptr_t at) {
  tell_undefined(&what->place, "a misaligned access: " + place_of(at) + " is no multiple of " +
                                   std::to_string(1u << what->log_alignment));
}
#define GRADUS_UNDEFINED(name, text) \
  [[noreturn]] void __ubsan_handle_##name##_abort(const UndefinedBehaviour* what, ...) { tell_undefined(what, text); }
GRADUS_UNDEFINED(add_overflow, "a sum overflows")
GRADUS_UNDEFINED(sub_overflow, "a difference overflows")
GRADUS_UNDEFINED(mul_overflow, "a product overflows")
GRADUS_UNDEFINED(negate_overflow, "a negation overflows")
GRADUS_UNDEFINED(divrem_overflow, "a quotient overflows, or its divisor is 0")
GRADUS_UNDEFINED(shift_out_of_bounds, "a shift is out of range")
GRADUS_UNDEFINED(out_of_bounds, "an index is outside of its array")
GRADUS_UNDEFINED(load_invalid_value, "a bool is neither true nor false")
[[noreturn]] void __ubsan_handle_builtin_unreachable(const UndefinedBehaviour* what) {
  tell_undefined(what, "what cannot be reached is reached");
}
[[noreturn]] void __ubsan_handle_missing_return(const UndefinedBehaviour* what) {
  tell_undefined(what, "a function ends without a result");
}

}  // extern "C"

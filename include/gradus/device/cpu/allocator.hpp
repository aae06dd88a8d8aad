// Caching, 64-byte aligned memory. Blocks given back are kept and handed out again, so that a steady
// training step takes nothing from the system. Where sizes change from step to step, as with texts, what is
// kept has a bound.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GRADUS_DETAIL_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)  // clang's way to say it
#define GRADUS_DETAIL_ADDRESS_SANITIZER
#endif
#endif
#if defined(GRADUS_DETAIL_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

#include "gradus/core/error.hpp"
#include "gradus/core/thread_pool.hpp"

namespace gradus::inline GRADUS_STABLE {

/// Memory could not be had; the text says how much was asked for and how much is held.
class GRADUS_SHARED OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

/// What the CPU allocator holds and has done so far.
struct MemoryStats {
  int64_t bytes_in_use = 0;        ///< handed out now
  int64_t peak_bytes = 0;          ///< the most that was handed out at one time
  int64_t bytes_cached = 0;        ///< given back by tensors, kept for the next
  int64_t system_allocations = 0;  ///< requests to the operating system since the start
};

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::detail::inline GRADUS_STABLE {

/// Size classes: multiples of 64 bytes up to 512, then eight steps an octave (at most 12.5 % unused).
inline int size_class(size_t bytes) {
  if (bytes <= 512) return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / 64);
  auto octave = static_cast<int>(std::bit_width(bytes - 1)) - 1;  // 2^octave < bytes <= 2^(octave + 1), octave >= 9
  return (octave - 9) * 8 + static_cast<int>((bytes - 1) >> (octave - 3));
}
inline size_t class_bytes(int index) {
  if (index < 8) return static_cast<size_t>(index + 1) * 64;
  auto octave = (index - 8) / 8 + 9, step = (index - 8) % 8;
  return (size_t{1} << octave) + (static_cast<size_t>(step + 1) << (octave - 3));
}

class GRADUS_SHARED CachingAllocator {
 public:
  static constexpr size_t alignment = 64;

  /// Made on first use, never destroyed: static tensors may outlive any static allocator.
  GRADUS_SHARED static CachingAllocator& instance() {
    static CachingAllocator* allocator = new CachingAllocator;
    return *allocator;
  }

  /// At least `bytes` bytes, aligned to 64. Throws OutOfMemoryError.
  void* allocate(size_t bytes) {
    if (bytes > max_bytes) out_of_memory(bytes);
    auto index = size_class(bytes);
    auto* block = take(index);
#if defined(GRADUS_DETAIL_ADDRESS_SANITIZER)  // what the size class adds is no one's to touch
    ASAN_POISON_MEMORY_REGION(static_cast<char*>(block) + bytes, class_bytes(index) - bytes);
#endif
    return hand_out(block, index, bytes);
  }

  /// `bytes` as it was asked for.
  void deallocate(void* block, size_t bytes) noexcept {
    auto index = size_class(bytes);
    in_use_.fetch_sub(static_cast<int64_t>(class_bytes(index)), std::memory_order_relaxed);
#if defined(GRADUS_DETAIL_ADDRESS_SANITIZER)
    to_system(block, index);  // no caching: the sanitizer is to see every stale access
#else
    auto& local = cache();
    if (index < local_classes && local.alive) {
      auto& list = local.lists[static_cast<size_t>(index)];
      if (list.count == local_blocks) spill(index, list);
      push(list, block);
      return;
    }
    std::lock_guard lock(mutex_);
    push(lists_[static_cast<size_t>(index)], block);
#endif
  }

  /// The same for what a kernel needs for itself. Chance decides which threads are at work at once, so what one thread
  /// of a parallel loop holds is there for each of them: a loop that ran once takes nothing from the system again.
  void* allocate_scratch(size_t bytes) {
#if defined(GRADUS_DETAIL_ADDRESS_SANITIZER)
    return allocate(bytes);
#else
    if (bytes > max_bytes) out_of_memory(bytes);
    auto index = size_class(bytes);
    auto& list = scratch_[static_cast<size_t>(index)];
    auto wanted = ++cache().scratch[static_cast<size_t>(index)];
    if (ThreadPool::in_chunk()) wanted *= ThreadPool::instance().threads();
    auto lock = lock_soon();
    while (list.head == nullptr || list.made < wanted) {
      ++list.made;
      lock.unlock();
      auto* block = from_system(class_bytes(index));
      lock.lock();
      push(list, block);
    }
    auto* block = pop(list);
    lock.unlock();
    return hand_out(block, index, bytes);
#endif
  }
  void deallocate_scratch(void* block, size_t bytes) noexcept {
#if defined(GRADUS_DETAIL_ADDRESS_SANITIZER)
    deallocate(block, bytes);
#else
    auto index = size_class(bytes);
    in_use_.fetch_sub(static_cast<int64_t>(class_bytes(index)), std::memory_order_relaxed);
    --cache().scratch[static_cast<size_t>(index)];
    auto lock = lock_soon();
    push(scratch_[static_cast<size_t>(index)], block);
#endif
  }

  /// Gives every cached block back to the system (those that other threads keep at hand excepted).
  void empty_cache() {
    auto& local = cache();
    for (int i = 0; i < local_classes; ++i) spill(i, local.lists[static_cast<size_t>(i)]);
    std::lock_guard lock(mutex_);
    for (int i = 0; i < classes; ++i) {
      auto& list = lists_[static_cast<size_t>(i)];
      while (list.head != nullptr) to_system(pop(list), i);
      auto& scratch = scratch_[static_cast<size_t>(i)];
      for (; scratch.head != nullptr; --scratch.made) to_system(pop(scratch), i);
    }
  }

  MemoryStats stats() const {
    auto in_use = in_use_.load();
    return {in_use, peak_.load(), held_.load() - in_use, system_.load()};
  }
  void reset_peak() { peak_.store(in_use_.load()); }

  /// Fills every new block with 0xff (NaN in all floating types), so that tests see what was never written.
  void set_poison(bool on) { poison_.store(on); }

 private:
  static constexpr size_t max_bytes = size_t{1} << 46;
  static constexpr int classes = 8 + 38 * 8;
  static constexpr int local_classes = 8 + 8 * 8;  // up to 128 KiB: kept by the thread, without a lock
  static constexpr int local_blocks = 32;

  struct List {
    void* head = nullptr;  // the first word of a free block points to the next
    int count = 0;
  };
  struct ScratchList : List {
    int made = 0;  // all there are, in use or not
  };
  struct Cache {
    std::array<List, local_classes> lists;
    std::array<int, classes> scratch{};  // what this thread holds now
    bool alive = true;
    ~Cache() {
      alive = false;
      for (int i = 0; i < local_classes; ++i) instance().spill(i, lists[static_cast<size_t>(i)]);
    }
  };

  CachingAllocator() {  // a child that forks while another thread is in here must find the lists whole
    pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                   [] { instance().mutex_.unlock(); });
  }

  /// The mutex is held for nanoseconds, but to sleep until it is free and be woken takes many microseconds, more than
  /// a chunk of a loop may take: so tries for a while.
  std::unique_lock<std::mutex> lock_soon() {
    std::unique_lock lock(mutex_, std::try_to_lock);
    for (int i = 0; i < 200 && !lock.owns_lock(); ++i) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      if (lock.try_lock()) return lock;
    }
    if (!lock.owns_lock()) lock.lock();
    return lock;
  }

  static Cache& cache() {
    thread_local Cache cache;
    return cache;
  }
  static void push(List& list, void* block) {
    std::memcpy(block, &list.head, sizeof(void*));
    list.head = block;
    ++list.count;
  }
  static void* pop(List& list) {
    auto* block = list.head;
    std::memcpy(&list.head, block, sizeof(void*));
    --list.count;
    return block;
  }

  void* take(int index) {
    auto& local = cache();
    if (index < local_classes && local.lists[static_cast<size_t>(index)].head != nullptr) {
      return pop(local.lists[static_cast<size_t>(index)]);
    }
    {
      std::lock_guard lock(mutex_);
      auto& list = lists_[static_cast<size_t>(index)];
      last_use_[static_cast<size_t>(index)] = ++clock_;
      if (list.head != nullptr) return pop(list);
      if (index >= local_classes) trim(static_cast<int64_t>(class_bytes(index)));
    }
    return from_system(class_bytes(index));
  }

  /// Before `bytes` more are taken from the system: gives cached blocks back, of the size used longest ago first, until
  /// with these half as much again is cached as was ever in use at one time. A step whose sizes are always the same
  /// needs less, networks of many layers without gradients nearly as much. The mutex is held.
  GRADUS_COLD void trim(int64_t bytes) noexcept {
    constexpr int64_t always = int64_t{512} << 20;
    auto peak = peak_.load(std::memory_order_relaxed);
    auto room = std::max(peak + peak / 2, always) - bytes;
    auto cached = [this] { return held_.load(std::memory_order_relaxed) - in_use_.load(std::memory_order_relaxed); };
    while (cached() > room) {
      int oldest = -1;
      for (int i = local_classes; i < classes; ++i) {
        if (lists_[static_cast<size_t>(i)].head == nullptr) continue;
        if (oldest < 0 || last_use_[static_cast<size_t>(i)] < last_use_[static_cast<size_t>(oldest)]) oldest = i;
      }
      if (oldest < 0) return;
      to_system(pop(lists_[static_cast<size_t>(oldest)]), oldest);
    }
  }

  /// Counts a block that goes out.
  void* hand_out(void* block, int index, size_t bytes) {
    auto size = static_cast<int64_t>(class_bytes(index));
    auto held = in_use_.fetch_add(size, std::memory_order_relaxed) + size;
    auto peak = peak_.load(std::memory_order_relaxed);
    while (held > peak && !peak_.compare_exchange_weak(peak, held, std::memory_order_relaxed)) {
    }
    if (poison_.load(std::memory_order_relaxed)) std::memset(block, 0xff, bytes);
    return block;
  }

  void spill(int index, List& list) noexcept {
    std::lock_guard lock(mutex_);
    while (list.head != nullptr) push(lists_[static_cast<size_t>(index)], pop(list));
  }

  void* from_system(size_t bytes) {
    constexpr size_t huge = size_t{2} << 20;
    auto aligned = bytes >= huge ? huge : alignment;
    auto* block = std::aligned_alloc(aligned, (bytes + aligned - 1) / aligned * aligned);
    if (block == nullptr) {
      empty_cache();
      block = std::aligned_alloc(aligned, (bytes + aligned - 1) / aligned * aligned);
    }
    if (block == nullptr) out_of_memory(bytes);
#if defined(__linux__)
    if (bytes >= huge) madvise(block, bytes, MADV_HUGEPAGE);
#endif
    system_.fetch_add(1, std::memory_order_relaxed);
    held_.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed);
    return block;
  }
  void to_system(void* block, int index) noexcept {
    held_.fetch_sub(static_cast<int64_t>(class_bytes(index)), std::memory_order_relaxed);
    std::free(block);
  }

  [[noreturn]] GRADUS_COLD void out_of_memory(size_t bytes) {
    fail<OutOfMemoryError>({"cpu memory: ", bytes, " bytes asked for, ", in_use_.load(),
                            " in use: try a smaller batch, no_grad for evaluation, or free tensors you keep"});
  }

  std::mutex mutex_;
  std::array<List, classes> lists_;
  std::array<ScratchList, classes> scratch_;
  std::array<uint64_t, classes> last_use_{};  // of lists_, by a clock that counts uses
  uint64_t clock_ = 0;
  std::atomic<int64_t> in_use_{0}, peak_{0}, held_{0}, system_{0};
  std::atomic<bool> poison_{false};
};

#if !defined(GRADUS_KERNEL_UNIT)
/// Made before main at the latest: a child that is forked while another thread makes it would wait for it for ever.
GRADUS_SHARED inline const CachingAllocator& allocator_at_start = CachingAllocator::instance();

#endif

/// What the kernel units of gradus::compiled take of the program's allocator; defined in the library's own unit.
void* scratch_of_program(size_t bytes);
void scratch_to_program(void* block, size_t bytes) noexcept;

/// Uninitialised memory for a kernel's own use, given back at the end of the scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : bytes_(static_cast<size_t>(count) * sizeof(T)), data_(static_cast<T*>(allocate(bytes_))) {}
  ~Scratch() { deallocate(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
#if defined(GRADUS_KERNEL_UNIT)
  static void* allocate(size_t bytes) { return scratch_of_program(bytes); }
  static void deallocate(void* block, size_t bytes) noexcept { scratch_to_program(block, bytes); }
#else
  static void* allocate(size_t bytes) { return CachingAllocator::instance().allocate_scratch(bytes); }
  static void deallocate(void* block, size_t bytes) noexcept {
    CachingAllocator::instance().deallocate_scratch(block, bytes);
  }
#endif

  size_t bytes_;
  T* data_;
};

/// Base of small objects (graph nodes, tensor handles) that are to come from the caching allocator too.
struct Pooled {
  static void* operator new(size_t bytes) { return CachingAllocator::instance().allocate(bytes); }
  static void operator delete(void* block, size_t bytes) { CachingAllocator::instance().deallocate(block, bytes); }
};

}  // namespace gradus::detail::inline GRADUS_STABLE

namespace gradus::inline GRADUS_STABLE {

/// Counters of the CPU allocator.
inline MemoryStats memory_stats() { return detail::CachingAllocator::instance().stats(); }
/// Makes the present use the peak, to measure what follows.
inline void reset_peak_memory() { detail::CachingAllocator::instance().reset_peak(); }
/// Gives cached memory back to the system.
inline void empty_cache() { detail::CachingAllocator::instance().empty_cache(); }

}  // namespace gradus::inline GRADUS_STABLE

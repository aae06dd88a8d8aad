// The memory of one card: blocks given back are kept, split and joined again, so that a steady training step asks the
// driver for nothing. All work of a card is in the order of its stream, so a block may be handed out again while the
// kernels that used it last are still waiting to run.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cuda/driver.hpp"

namespace gradus::cuda::inline GRADUS_STABLE {

/// What a card's memory and queue have done so far.
struct CudaStats {
  int64_t bytes_in_use = 0;        ///< in tensors now
  int64_t peak_bytes = 0;          ///< the most at one time since the last reset_peak()
  int64_t bytes_held = 0;          ///< taken from the driver, in use or kept for later
  int64_t driver_allocations = 0;  ///< requests to the driver since the start
  int64_t launches = 0;            ///< kernels
  int64_t copies = 0;              ///< between host and card
  int64_t waits = 0;               ///< times the host waited for the card
};

}  // namespace gradus::cuda::inline GRADUS_STABLE

namespace gradus::cuda::detail::inline GRADUS_STABLE {

class GRADUS_SHARED MemoryPool {
 public:
  static constexpr size_t alignment = 512;  ///< what the widest loads, cuBLASLt and cuDNN ask for, and more
  static constexpr int uploads = -1;        ///< the arena of what is sent beside the kernels

  MemoryPool(const Driver& driver, CudaStats& stats, int card, Handle stream)
      : driver_(driver), stats_(stats), card_(card), stream_(stream) {}

  /// Bytes that may be held at most; 0: what the card has.
  void set_limit(size_t bytes) { limit_ = bytes; }
  /// With false every block is one of the driver's own, of the size that was asked for, and given back at once: what
  /// watches the driver's memory then sees each tensor's bounds and life.
  void set_keep(bool keep) { keep_ = keep; }

  /// At least one byte, out of an arena. OutOfMemoryError when neither the kept blocks nor the driver have it.
  void* allocate(size_t bytes, int arena, const char* op) {
    auto size = std::max<size_t>(1, (bytes + alignment - 1) / alignment) * alignment;
    if (!keep_) size = std::max<size_t>(1, bytes);
    auto found = keep_ ? free_.lower_bound({arena, size, 0}) : free_.end();
    Block* block = nullptr;
    if (found != free_.end() && std::get<0>(*found) == arena && fits(size, std::get<1>(*found))) {
      block = blocks_.at(std::get<2>(*found)).get();
      free_.erase(found);
    } else {
      block = grow(size, arena, op);
    }
    split(*block, size);
    block->used = true;
    stats_.bytes_in_use += static_cast<int64_t>(block->size);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
    return reinterpret_cast<void*>(block->at);
  }

  void release(void* pointer) {
    auto& block = *blocks_.at(reinterpret_cast<DevicePointer>(pointer));
    stats_.bytes_in_use -= static_cast<int64_t>(block.size);
    block.used = false;
    join_next(block);
    auto* kept = &block;
    if (auto* before = block.before; before != nullptr && !before->used) {
      free_.erase(key(*before));
      join_next(*before);
      kept = before;
    }
    free_.insert(key(*kept));
    if (!keep_ && kept->arena <= 0 && kept->before == nullptr && kept->next == nullptr) give_back(*kept);
  }

  int arena_of(void* pointer) const { return blocks_.at(reinterpret_cast<DevicePointer>(pointer))->arena; }
  /// What is handed out from now on, and comes back, stays apart from all else: a captured graph keeps its addresses.
  /// 0 ends it.
  void use_arena(int arena) { arena_ = arena; }
  int arena() const { return arena_; }
  /// Blocks of an arena serve everybody again.
  void end_arena(int arena) {
    for (auto& [at, block] : blocks_) {
      if (block->arena != arena) continue;
      if (!block->used) free_.erase(key(*block));
      block->arena = 0;
      if (!block->used) free_.insert(key(*block));
    }
  }

  /// Gives what is not in use back to the driver. The card must have finished its work.
  void empty_cache() {
    for (auto at = blocks_.begin(); at != blocks_.end();) {
      auto& block = *(at++)->second;
      if (!block.used && block.before == nullptr && block.next == nullptr && block.arena <= 0) give_back(block);
    }
  }

 private:
  struct Block {
    DevicePointer at = 0;
    size_t size = 0;
    Block *before = nullptr, *next = nullptr;  ///< neighbours within what one request to the driver gave
    bool used = false;
    int arena = 0;
  };
  using Key = std::tuple<int, size_t, DevicePointer>;  // arena, size, address
  static Key key(const Block& block) { return {block.arena, block.size, block.at}; }

  /// A whole piece that is not in use.
  void give_back(Block& block) {
    if (driver_.release(block.at) != 0) return;  // what the driver does not take stays in use here
    free_.erase(key(block));
    stats_.bytes_held -= static_cast<int64_t>(block.size);
    blocks_.erase(DevicePointer{block.at});  // the key must outlive the block
  }

  static constexpr size_t small = size_t{1} << 20, megabytes2 = size_t{2} << 20, segment = size_t{20} << 20;

  /// A large block is not cut up for a small request, and not left half empty.
  static bool fits(size_t wanted, size_t size) {
    if (wanted <= small) return size <= segment;
    return size <= wanted + std::max(wanted / 2, segment) || size <= 2 * segment;
  }

  Block* grow(size_t wanted, int arena, const char* op) {
    auto size = !keep_            ? wanted
                : wanted <= small ? megabytes2
                                  : std::max(segment, (wanted + megabytes2 - 1) / megabytes2 * megabytes2);
    DevicePointer at = 0;
    auto within = [&](size_t bytes) { return limit_ == 0 || static_cast<size_t>(stats_.bytes_held) + bytes <= limit_; };
    auto ask = [&](size_t bytes) {
      if (!within(bytes)) return Driver::error_out_of_memory;
      ++stats_.driver_allocations;
      return driver_.allocate(&at, bytes);
    };
    auto result = ask(size);
    if (result == Driver::error_out_of_memory && arena_ == 0) {
      driver_.check(driver_.stream_synchronize(stream_), "cuStreamSynchronize", op);
      empty_cache();
      result = ask(size);
      if (result == Driver::error_out_of_memory && size != wanted) result = ask(size = wanted);
    }
    if (result == Driver::error_out_of_memory) out_of_memory(wanted, op);
    driver_.check(result, "cuMemAlloc", op);
    stats_.bytes_held += static_cast<int64_t>(size);
    auto& block = blocks_[at];
    block = std::make_unique<Block>();
    block->at = at;
    block->size = size;
    block->arena = arena;
    return block.get();
  }

  [[noreturn]] void out_of_memory(size_t wanted, const char* op) const {
    size_t free = 0, total = limit_;
    auto known = limit_ != 0 || driver_.memory_info(&free, &total) == 0;
    throw OutOfMemoryError(join("cuMemAlloc for ", op, ": cuda:", card_, " is out of memory: ", wanted,
                                " bytes were asked for, ", stats_.bytes_in_use, " are in use by tensors and ",
                                stats_.bytes_held, " held in all", known ? join(", of ", total) : "",
                                Driver::less_memory));
  }

  void split(Block& block, size_t size) {
    auto rest = block.size - size;
    if (rest < (block.size <= megabytes2 ? alignment : small)) return;
    auto other = std::make_unique<Block>();
    other->at = block.at + size;
    other->size = rest;
    other->arena = block.arena;
    other->before = &block;
    other->next = block.next;
    if (block.next != nullptr) block.next->before = other.get();
    block.next = other.get();
    block.size = size;
    free_.insert(key(*other));
    blocks_[other->at] = std::move(other);
  }

  void join_next(Block& block) {
    auto* next = block.next;
    if (next == nullptr || next->used) return;
    free_.erase(key(*next));
    block.size += next->size;
    block.next = next->next;
    if (block.next != nullptr) block.next->before = &block;
    blocks_.erase(next->at);
  }

  const Driver& driver_;
  CudaStats& stats_;
  int card_;
  Handle stream_;
  size_t limit_ = 0;
  bool keep_ = true;
  int arena_ = 0;
  std::set<Key> free_;
  std::unordered_map<DevicePointer, std::unique_ptr<Block>> blocks_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

// Data on its way from the host to a card beside the kernels that run there: a stream of its own, and pinned memory in
// between. A loader's background thread sends batches so.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "gradus/device/cuda/driver.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// What this thread sends to cards goes by Uploads, and memory that it asks for comes out of the uploads' own.
GRADUS_SHARED inline thread_local bool uploading = false;

/// While it lives, this thread's copies to cards are uploads.
class UploadScope {
 public:
  UploadScope() : before_(std::exchange(uploading, true)) {}
  UploadScope(const UploadScope&) = delete;
  ~UploadScope() { uploading = before_; }

 private:
  bool before_;
};

class GRADUS_SHARED Uploads {
 public:
  Uploads(const Driver& driver, Handle compute) : driver_(driver), compute_(compute) {}

  /// The host's memory may be changed as soon as it returns. Kernels see the data behind await().
  void send(void* to, const void* from, size_t bytes, const char* op) {
    std::lock_guard lock(sending_);
    start();
    if (std::lock_guard events(mutex_); reused_) {
      driver_.check(driver_.stream_wait(stream_, given_back_, 0), "cuStreamWaitEvent", op);
      reused_ = false;
    }
    const auto* at = static_cast<const char*>(from);
    auto target = reinterpret_cast<DevicePointer>(to);
    for (size_t done = 0; done < bytes;) {
      auto& chunk = chunks_[next_++ % chunks_.size()];
      auto count = std::min(bytes - done, chunk_bytes);
      const void* source = at + done;
      if (chunk.memory != nullptr) {
        driver_.check(driver_.event_synchronize(chunk.sent), "cuEventSynchronize", op);
        source = std::memcpy(chunk.memory, source, count);
      }
      driver_.check(driver_.to_device(target + done, source, count, stream_), "cuMemcpyHtoDAsync", op);
      if (auto answer = driver_.event_record(chunk.sent, stream_); answer != 0) {
        driver_.stream_synchronize(stream_);  // before the chunk is written again
        driver_.check(answer, "cuEventRecord", op);
      }
      done += count;
    }
  }
  /// A number for all that was sent so far; 0: nothing.
  uint64_t ticket() {
    std::lock_guard lock(sending_);
    if (stream_ == nullptr) return 0;
    std::lock_guard events(mutex_);
    ++tickets_;
    driver_.check(driver_.event_record(arrived_[tickets_ % arrived_.size()], stream_), "cuEventRecord", "upload");
    return tickets_;
  }
  /// What the card is given to do from now on waits for what was sent before the ticket.
  void await(uint64_t ticket) {
    if (ticket == 0) return;
    std::lock_guard events(mutex_);
    driver_.check(driver_.stream_wait(compute_, arrived_[ticket % arrived_.size()], 0), "cuStreamWaitEvent", "upload");
  }
  /// Memory of uploads was given back: later ones, which may get it, wait for the kernels so far. Without an event, it
  /// is the host that waits.
  void given_back() noexcept {
    std::lock_guard events(mutex_);
    if (given_back_ == nullptr) return;  // nothing was sent yet
    if (driver_.event_record(given_back_, compute_) == 0) reused_ = true;
    else driver_.stream_synchronize(compute_);
  }

 private:
  struct Chunk {
    void* memory = nullptr;  ///< pinned; null where there was none to be had: the driver copies from where the data is
    Handle sent = nullptr;   ///< happens when the chunk may be written again
  };
  static constexpr size_t chunk_bytes = size_t{4} << 20;

  void start() {
    if (stream_ != nullptr) return;
    auto event = [&](Handle& made) {
      driver_.check(driver_.event_create(&made, event_no_timing), "cuEventCreate", "upload");
    };
    std::lock_guard events(mutex_);
    for (auto& chunk : chunks_) {
      if (chunk.sent == nullptr) event(chunk.sent);
      if (chunk.memory == nullptr && driver_.allocate_host(&chunk.memory, chunk_bytes, 0) != 0) chunk.memory = nullptr;
    }
    for (auto& one : arrived_)
      if (one == nullptr) event(one);
    if (given_back_ == nullptr) event(given_back_);
    driver_.check(driver_.stream_create(&stream_, stream_non_blocking), "cuStreamCreate", "upload");
  }

  const Driver& driver_;
  Handle compute_, stream_ = nullptr;
  std::mutex sending_, mutex_;  // of what only senders use; of the rest
  std::array<Chunk, 4> chunks_;
  size_t next_ = 0;
  std::array<Handle, 16> arrived_{};  // of the latest tickets; a reused event happens later, never too early
  uint64_t tickets_ = 0;
  Handle given_back_ = nullptr;
  bool reused_ = false;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

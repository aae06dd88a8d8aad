// One pass over the batches, made ahead by a background thread.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>

#include "gradus/core/thread_pool.hpp"
#include "gradus/tensor.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/device/cuda/context.hpp"
#endif

namespace gradus::data::detail::inline GRADUS_BUILD {

/// Calls make(0), make(1), ... make(count - 1) on a thread of its own, at most `ahead` beyond what was taken. Batches
/// are let go on that thread, too, so that their memory is at hand for the next ones. Those for a GPU are copied there
/// beside what it computes.
template <class Batch>
class Prefetch {
 public:
  Prefetch(std::function<Batch(int64_t)> make, int64_t count, int64_t ahead, Device device = Device::cpu())
      : make_(std::move(make)), count_(count), ahead_(ahead), device_(device), thread_([this] { work(); }) {}
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;
  ~Prefetch() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// The next batch, or nothing at the end. Gives `used` back. Rethrows what make threw, after the batches before it.
  std::optional<Batch> next(std::optional<Batch> used) {
    std::unique_lock lock(mutex_);
    if (used) used_.push_back(std::move(*used));
    changed_.notify_all();
    changed_.wait(lock, [this] { return !ready_.empty() || ended_; });
    if (ready_.empty()) {
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      return std::nullopt;
    }
    auto [batch, ticket] = std::move(ready_.front());
    ready_.erase(ready_.begin());
    changed_.notify_all();
    lock.unlock();
    await(ticket);
    return std::move(batch);
  }
  void give_back(std::optional<Batch> used) {
    std::lock_guard lock(mutex_);
    if (used) used_.push_back(std::move(*used));
  }

 private:
  void work() noexcept {
    gradus::detail::ThreadPool::InlineLoops inline_loops;
    NoGradGuard no_grad;
#if defined(GRADUS_CUDA)
    std::optional<cuda::detail::UploadScope> uploads;
    if (!device_.is_cpu()) uploads.emplace();
#endif
    std::vector<Batch> reserved;
    try {
      for (int64_t i = 0; i < count_ && wait_for_room(); ++i) {
        auto batch = make_(i);
        if (i < 2) reserved = i == 0 ? reserve(batch) : std::vector<Batch>();
        auto ticket = sent();
        std::lock_guard lock(mutex_);
        ready_.emplace_back(std::move(batch), ticket);
        changed_.notify_all();
      }
    } catch (...) {
      std::lock_guard lock(mutex_);
      error_ = std::current_exception();
    }
    std::unique_lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return stopped_; });
    ready_.clear();
    used_.clear();
  }

  /// The batch and others like it: as many as may be alive while one is made. They live until the second is made, so
  /// that all the memory ever needed is taken by then, however the two threads happen to meet later.
  std::vector<Batch> reserve(const Batch& batch) const {
    std::vector<Batch> batches{batch};
    while (static_cast<int64_t>(batches.size()) < ahead_) {
      batches.push_back(std::apply([](const auto&... parts) { return Batch(empty_like(parts)...); }, batch));
    }
    return batches;
  }
  template <Element T>
  static Tensor<T> empty_like(const Tensor<T>& x) {
    return Tensor<T>::empty(x.shape(), x.device());
  }

  /// A number for what was sent to the GPU, and waiting for it there.
  uint64_t sent() const {
#if defined(GRADUS_CUDA)
    if (!device_.is_cpu()) return cuda::detail::Context::of(device_).uploads().ticket();
#endif
    return 0;
  }
  void await(uint64_t ticket) const {
#if defined(GRADUS_CUDA)
    if (ticket != 0) cuda::detail::Context::of(device_).uploads().await(ticket);
#else
    static_cast<void>(ticket);
#endif
  }

  /// False when nobody wants more.
  bool wait_for_room() {
    std::vector<Batch> used;  // let go outside the lock
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopped_ || static_cast<int64_t>(ready_.size()) < ahead_; });
      used.swap(used_);
      if (stopped_) return false;
    }
    return true;
  }

  std::function<Batch(int64_t)> make_;
  int64_t count_, ahead_;
  Device device_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<Batch, uint64_t>> ready_;  // with the ticket of what was sent to the GPU
  std::vector<Batch> used_;
  std::exception_ptr error_;
  bool stopped_ = false, ended_ = false;
  std::thread thread_;  // last: it starts when the rest is there
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD

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

namespace gradus::data::detail::inline GRADUS_BUILD {

/// Calls make(0), make(1), ... make(count - 1) on a thread of its own, at most `ahead` beyond what was taken. Batches
/// are let go on that thread, too, so that their memory is at hand for the next ones.
template <class Batch>
class Prefetch {
 public:
  Prefetch(std::function<Batch(int64_t)> make, int64_t count, int64_t ahead)
      : make_(std::move(make)), count_(count), ahead_(ahead), thread_([this] { work(); }) {}
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
    auto batch = std::move(ready_.front());
    ready_.erase(ready_.begin());
    changed_.notify_all();
    return batch;
  }
  void give_back(std::optional<Batch> used) {
    std::lock_guard lock(mutex_);
    if (used) used_.push_back(std::move(*used));
  }

 private:
  void work() noexcept {
    gradus::detail::ThreadPool::InlineLoops inline_loops;
    NoGradGuard no_grad;
    std::vector<Batch> reserved;
    try {
      for (int64_t i = 0; i < count_ && wait_for_room(); ++i) {
        auto batch = make_(i);
        if (i < 2) reserved = i == 0 ? reserve(batch) : std::vector<Batch>();
        std::lock_guard lock(mutex_);
        ready_.push_back(std::move(batch));
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
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Batch> ready_, used_;
  std::exception_ptr error_;
  bool stopped_ = false, ended_ = false;
  std::thread thread_;  // last: it starts when the rest is there
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD

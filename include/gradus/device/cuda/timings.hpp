// What kernels take on a card, by events before and behind each of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gradus/device/cuda/driver.hpp"

namespace gradus::cuda::inline GRADUS_STABLE {

/// What one kind of kernel took, as profile() tells it.
struct KernelTime {
  std::string op, kernel;  ///< operator and kernel; "library" stands for those of cuBLASLt and cuDNN
  int64_t count = 0;
  double milliseconds = 0;  ///< of the card, all together
};

/// A line a kind of kernel: milliseconds, share, count, operator, kernel.
inline std::string to_table(const std::vector<KernelTime>& times) {
  double sum = 0;
  for (const auto& time : times) sum += time.milliseconds;
  std::string table = "|    ms | share | launches | operator | kernel |\n| ---: | ---: | ---: | --- | --- |\n";
  for (const auto& time : times) {
    char numbers[80];
    std::snprintf(numbers, sizeof(numbers), "| %.3f | %.1f %% | %lld | ", time.milliseconds,
                  sum > 0 ? 100 * time.milliseconds / sum : 0, static_cast<long long>(time.count));
    table += join(numbers, time.op, " | ", time.kernel, " |\n");
  }
  return table;
}

}  // namespace gradus::cuda::inline GRADUS_STABLE

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// One launch between two events.
struct Timing {
  const char* op;
  std::string kernel;
  Handle begin = nullptr, end = nullptr;
  int failed = 0;  ///< what the driver said to the end
};
/// Puts the events of a timing before and behind what is launched in its lifetime.
class TimedWork {
 public:
  TimedWork(const Driver& driver, Timing& timing, Handle stream) : driver_(driver), timing_(timing), stream_(stream) {
    for (auto* event : {&timing.begin, &timing.end})
      driver.check(driver.event_create(event, 0), "cuEventCreate", timing.op);
    driver.check(driver.event_record(timing.begin, stream), "cuEventRecord", timing.op);
  }
  TimedWork(const TimedWork&) = delete;
  ~TimedWork() { timing_.failed = driver_.event_record(timing_.end, stream_); }

 private:
  const Driver& driver_;
  Timing& timing_;
  Handle stream_;
};

/// The timings of a card's stream.
class Timings {
 public:
  Timings(const Driver& driver, Handle stream) : driver_(driver), stream_(stream) {}

  bool on() const { return on_; }
  void start() { on_ = true; }
  /// What is launched while the result lives is timed.
  [[nodiscard]] std::optional<TimedWork> time(const char* op, std::string kernel) {
    std::lock_guard lock(mutex_);
    all_.push_back({op, std::move(kernel)});
    return std::optional<TimedWork>(std::in_place, driver_, all_.back(), stream_);
  }
  /// Ends timing, calls wait(), which returns when the card is done, and sums up: the longest first.
  template <class Wait>
  std::vector<KernelTime> stop(Wait&& wait) {
    Events events{driver_, {}};
    {
      std::lock_guard lock(mutex_);
      on_ = false;
      events.timings.swap(all_);
    }
    wait();
    std::map<std::pair<std::string, std::string>, KernelTime> sums;
    for (const auto& timing : events.timings) {
      float milliseconds = 0;
      driver_.check(timing.failed, "cuEventRecord", timing.op);
      driver_.check(driver_.event_elapsed(&milliseconds, timing.begin, timing.end), "cuEventElapsedTime", timing.op);
      auto& sum = sums[{timing.op, timing.kernel}];
      sum.op = timing.op;
      sum.kernel = timing.kernel;
      ++sum.count;
      sum.milliseconds += static_cast<double>(milliseconds);
    }
    std::vector<KernelTime> times;
    for (auto& [names, sum] : sums) times.push_back(std::move(sum));
    std::sort(times.begin(), times.end(), [](const auto& a, const auto& b) { return a.milliseconds > b.milliseconds; });
    return times;
  }

 private:
  /// Gives the events back, whatever happens.
  struct Events {
    const Driver& driver;
    std::deque<Timing> timings;
    ~Events() {
      for (auto& timing : timings) {
        for (auto* event : {timing.begin, timing.end})
          if (event != nullptr) driver.event_destroy(event);
      }
    }
  };

  const Driver& driver_;
  Handle stream_;
  std::mutex mutex_;
  std::atomic<bool> on_{false};
  std::deque<Timing> all_;  // of which references stay good
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

// One persistent thread pool a process, and the loop that runs on it.
//
// Work is cut into chunks whose bounds depend on the size of the work alone; threads claim chunks one
// by one. Who runs a chunk varies, what a chunk computes does not: same bits at any thread count. A
// thread that the system takes away holds up one chunk, not its whole share.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "gradus/core/error.hpp"
#include "gradus/core/function_ref.hpp"
#include "gradus/core/instructions.hpp"

namespace gradus::inline GRADUS_STABLE {

/// Runs task(0) ... task(count - 1), in any order, and returns when all have ended.
using Executor = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::detail::inline GRADUS_STABLE {

inline int read_number(const std::string& path) {
  int value = -1;
  if (auto* file = std::fopen(path.c_str(), "r")) {
    if (std::fscanf(file, "%d", &value) != 1) value = -1;
    std::fclose(file);
  }
  return value;
}

/// Physical cores that this process may use.
GRADUS_COLD inline int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  std::vector<int64_t> cores;
  int logical = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    ++logical;
    auto folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    auto package = read_number(folder + "physical_package_id"), core = read_number(folder + "core_id");
    auto both = int64_t{package} << 32 | core;
    auto is_new = std::find(cores.begin(), cores.end(), both) == cores.end();
    if (package >= 0 && core >= 0 && is_new) cores.push_back(both);
  }
  return std::max(1, cores.empty() ? logical : static_cast<int>(cores.size()));
}

class GRADUS_SHARED ThreadPool {
 public:
  using Chunk = void (*)(void* context, int64_t index);

  /// Made on first use, never destroyed: threads of other static objects may still use it at exit.
  GRADUS_SHARED static ThreadPool& instance() {
    static ThreadPool* pool = new ThreadPool;
    return *pool;
  }

  /// While one lives, this thread's loops run inline: background work must not keep the pool from the thread that
  /// trains.
  class InlineLoops {
   public:
    InlineLoops() : before_(std::exchange(inside(), true)) {}
    ~InlineLoops() { inside() = before_; }
    InlineLoops(const InlineLoops&) = delete;
    InlineLoops& operator=(const InlineLoops&) = delete;

   private:
    bool before_;
  };

  int threads() const { return threads_.load(std::memory_order_relaxed); }

  void set_threads(int count) {
    require<ValueError>(count >= 1 && count <= 1024, "set_num_threads: ", count,
                        " threads, but 1 to 1024 are possible");
    require<ValueError>(!inside(), "set_num_threads: called within a parallel loop, whose threads it would change");
    std::lock_guard lock(job_mutex_);
    threads_.store(count, std::memory_order_relaxed);
  }

  void set_executor(Executor executor) {
    require<ValueError>(!inside(), "set_executor: called within a parallel loop, whose threads it would change");
    std::lock_guard lock(job_mutex_);
    executor_ = std::move(executor);
  }

  /// Runs chunk(context, 0 ... count - 1). Exceptions: all chunks end, then that of the lowest index is rethrown.
  void run(int64_t count, Chunk chunk, void* context) {
    // One job at a time; nested loops and loops of other user threads run inline, with the same chunks.
    if (count <= 1 || count > most_chunks || inside() || threads() <= 1 || !job_mutex_.try_lock()) {
      return run_inline(count, chunk, context);
    }
    std::lock_guard lock(job_mutex_, std::adopt_lock);
    inside() = true;
    struct Reset {
      ~Reset() { inside() = false; }
    } reset;
    error_ = nullptr;
    if (executor_) {
      executor_(count, [&](int64_t index) {
        InlineLoops guard;
        run_one(chunk, context, index);
      });
    } else {
      start_workers(static_cast<int>(std::min<int64_t>(threads(), count)) - 1);
      run_shared(count, chunk, context);
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  /// Whether this thread is at work on a chunk, as other threads may be.
  static bool in_chunk() { return inside(); }

 private:
  static constexpr int spin_rounds = 2000;  // about 50 microseconds before a waiting thread sleeps
  static constexpr int64_t most_chunks = int64_t{1} << 30;

  static constexpr int64_t most_runs = 64;

  struct alignas(64) Run {
    std::atomic<uint64_t> ticket{0};
    std::atomic<int64_t> end{0};
  };

  ThreadPool() : threads_(physical_cores()) {
    pthread_atfork([] { instance().error_mutex_.lock(); }, [] { instance().error_mutex_.unlock(); },
                   [] { instance().start_anew(); });
  }

  /// In a forked child, which has the forking thread only: forgets the workers (new ones start on demand), the host's
  /// executor, and the loop that another thread was in. fork() does not wait for it: it may be waiting for us.
  void start_anew() {
    new (&job_mutex_) std::mutex;
    new (&error_mutex_) std::mutex;
    new (&error_) std::exception_ptr;
    new (&executor_) Executor;
    workers_ = 0;
    sleepers_.store(0);
    for (auto& run : run_of_) run.ticket.store(0);
    pending_.store(0);
  }

  static bool& inside() {
    thread_local bool flag = false;
    return flag;
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
  }

  static void run_inline(int64_t count, Chunk chunk, void* context) {
    std::exception_ptr error;
    for (int64_t i = 0; i < count; ++i) {
      try {
        chunk(context, i);
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }

  void run_one(Chunk chunk, void* context, int64_t index) {
    try {
      chunk(context, index);
    } catch (...) {
      std::lock_guard lock(error_mutex_);
      if (!error_ || index < error_index_) {
        error_ = std::current_exception();
        error_index_ = index;
      }
    }
  }

  // The chunks are dealt to the threads in runs of neighbours, so that a thread finds in its cache what it left there
  // in the loop before; who has finished takes from the others. A ticket of a run is (job number, chunks not yet
  // claimed). While chunks are left the job cannot end, so a claim that finds its ticket unchanged also read that job's
  // fields.
  void run_shared(int64_t count, Chunk chunk, void* context) {
    auto runs = std::min<int64_t>({threads(), count, most_runs});
    chunk_.store(chunk, std::memory_order_relaxed);
    context_.store(context, std::memory_order_relaxed);
    runs_.store(static_cast<int>(runs), std::memory_order_relaxed);
    pending_.store(count, std::memory_order_relaxed);
    ++job_;
    for (int64_t i = 0; i < runs; ++i) {
      auto end = count * (i + 1) / runs, size = end - count * i / runs;
      run_of_[i].end.store(end, std::memory_order_relaxed);
      run_of_[i].ticket.store(job_ << 32 | static_cast<uint64_t>(size), std::memory_order_seq_cst);
    }
    signal_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) signal_.notify_all();
    work_off(0);
    for (int i = 0; pending_.load(std::memory_order_acquire) != 0 && i < spin_rounds; ++i) pause();
    for (auto left = pending_.load(std::memory_order_acquire); left != 0;
         left = pending_.load(std::memory_order_acquire)) {
      std::this_thread::yield();
    }
  }

  /// Runs chunks while there are any: first those of this thread's run, then the others'.
  void work_off(int number) {
    auto runs = runs_.load(std::memory_order_relaxed);
    for (int i = 0; i < runs; ++i) {
      while (claim_and_run(run_of_[(number + i) % runs])) {
      }
    }
  }

  bool claim_and_run(Run& run) {
    auto ticket = run.ticket.load(std::memory_order_acquire);
    while (true) {
      auto left = static_cast<int64_t>(ticket & 0xffffffffu);
      if (left == 0) return false;
      auto chunk = chunk_.load(std::memory_order_relaxed);
      auto context = context_.load(std::memory_order_relaxed);
      auto end = run.end.load(std::memory_order_relaxed);
      if (run.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
        run_one(chunk, context, end - left);
        pending_.fetch_sub(1, std::memory_order_acq_rel);
        return true;
      }
    }
  }

  void start_workers(int wanted) {
    try {
      for (; workers_ < wanted; ++workers_) {
        std::thread([this, number = workers_] { work(number); }).detach();
      }
    } catch (const std::system_error&) {  // the system has no more threads to give: those we have do the work
    }
  }

  void work(int number) {
    inside() = true;
    while (true) {
      auto seen = signal_.load(std::memory_order_acquire);
      if (number < threads() - 1) {
        work_off(number + 1);
      }
      int round = 0;
      while (signal_.load(std::memory_order_acquire) == seen && round < spin_rounds) {
        pause();
        ++round;
      }
      if (round == spin_rounds) {
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        signal_.wait(seen, std::memory_order_seq_cst);
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      }
    }
  }

  std::atomic<int> threads_;
  std::mutex job_mutex_, error_mutex_;
  Executor executor_;
  std::exception_ptr error_;
  int64_t error_index_ = 0;
  int workers_ = 0;
  uint64_t job_ = 0;
  Run run_of_[most_runs];
  alignas(64) std::atomic<int64_t> pending_{0};
  alignas(64) std::atomic<int> signal_{0};  // moves with every job; sleeping workers wait on it
  std::atomic<int> sleepers_{0};
  std::atomic<Chunk> chunk_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int> runs_{0};
};

/// The pool's run() and threads() for the kernel units of gradus::compiled; defined in the library's own unit.
void run_in_program(int64_t count, ThreadPool::Chunk chunk, void* context);
int threads_of_program();

#if !defined(GRADUS_KERNEL_UNIT)
/// Made before main at the latest: a child that is forked while another thread makes it would wait for it for ever.
GRADUS_SHARED inline const ThreadPool& pool_at_start = ThreadPool::instance();
#endif

}  // namespace gradus::detail::inline GRADUS_STABLE

namespace gradus::inline GRADUS_STABLE {

/// How many threads the library's loops use. The default is the number of physical cores.
inline void set_num_threads(int count) { detail::ThreadPool::instance().set_threads(count); }
inline int num_threads() {
#if defined(GRADUS_KERNEL_UNIT)
  return detail::threads_of_program();
#else
  return detail::ThreadPool::instance().threads();
#endif
}

/// Runs the library's loops on the host application's threads instead; an empty function restores the pool.
inline void set_executor(Executor executor) { detail::ThreadPool::instance().set_executor(std::move(executor)); }

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::inline GRADUS_BUILD {

/// Calls body(0) ... body(count - 1) on the pool, in any order; returns when all have ended.
inline void parallel_chunks(int64_t count, detail::FunctionRef<void(int64_t)> body) {
  if (count == 1) return body(0);
  auto chunk = [](void* context, int64_t index) { (*static_cast<decltype(body)*>(context))(index); };
#if defined(GRADUS_KERNEL_UNIT)
  detail::run_in_program(count, chunk, &body);
#else
  detail::ThreadPool::instance().run(count, chunk, &body);
#endif
}

/// Calls body(first, last) over [0, n) in chunks of `grain`; the bounds depend on n and grain alone.
inline void parallel_for(int64_t n, int64_t grain, detail::FunctionRef<void(int64_t, int64_t)> body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  parallel_chunks((n + grain - 1) / grain,
                  [&](int64_t chunk) { body(chunk * grain, std::min(n, (chunk + 1) * grain)); });
}

}  // namespace gradus::inline GRADUS_BUILD

#include "gradus/core/thread_pool.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <set>
#include <stdexcept>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

/// Restores the number of threads and the pool.
struct Settings {
  int before = num_threads();
  ~Settings() {
    set_executor({});
    set_num_threads(before);
  }
};

/// A sum whose rounding tells in which order and in which chunks it was made.
float chunked_sum(int64_t n, int64_t grain) {
  std::vector<float> parts(static_cast<size_t>((n + grain - 1) / grain));
  parallel_for(n, grain, [&](int64_t first, int64_t last) {
    float sum = 0;
    for (auto i = first; i < last; ++i) sum += 1.0f / static_cast<float>(i + 1);
    parts[static_cast<size_t>(first / grain)] = sum;
  });
  float sum = 0;
  for (auto part : parts) sum += part;
  return sum;
}

}  // namespace

TEST_CASE("thread pool: the same bits at any number of threads") {
  Settings settings;
  set_num_threads(1);
  auto alone = chunked_sum(100000, 1000);
  for (int threads : {2, 3, 7, 16}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    for (int repeat = 0; repeat < 50; ++repeat) REQUIRE(chunked_sum(100000, 1000) == alone);
  }
}

TEST_CASE("thread pool: chunks depend on size and grain alone, and cover everything once") {
  Settings settings;
  auto bounds = [](int64_t n, int64_t grain) {
    std::mutex mutex;
    std::set<std::pair<int64_t, int64_t>> result;
    parallel_for(n, grain, [&](int64_t first, int64_t last) {
      std::lock_guard lock(mutex);
      result.emplace(first, last);
    });
    return result;
  };
  using Bounds = std::set<std::pair<int64_t, int64_t>>;
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    CHECK(bounds(10, 4) == Bounds{{0, 4}, {4, 8}, {8, 10}});
    CHECK(bounds(8, 4) == Bounds{{0, 4}, {4, 8}});
    CHECK(bounds(3, 4) == Bounds{{0, 3}});
    CHECK(bounds(2, 0) == Bounds{{0, 1}, {1, 2}});  // a grain below 1 is 1
    CHECK(bounds(0, 4).empty());
    CHECK(bounds(-5, 4).empty());
  }
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    std::vector<std::atomic<int>> runs(1000);
    parallel_chunks(1000, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
    CHECK(std::all_of(runs.begin(), runs.end(), [](const auto& count) { return count == 1; }));
  }
}

TEST_CASE("thread pool: all chunks end, then the exception of the lowest index is thrown") {
  Settings settings;
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::atomic<int> ended{0};
      auto loop = [&] {
        parallel_chunks(64, [&](int64_t i) {
          ++ended;
          if (i % 10 == 7) throw std::runtime_error("chunk " + std::to_string(i));
        });
      };
      REQUIRE_THROWS_WITH(loop(), "chunk 7");
      REQUIRE(ended == 64);
    }
    std::atomic<int> after{0};
    parallel_chunks(8, [&](int64_t) { ++after; });
    CHECK(after == 8);
  }
  auto single = [] { parallel_chunks(1, [](int64_t) { throw std::runtime_error("only"); }); };
  CHECK_THROWS_WITH(single(), "only");
}

TEST_CASE("thread pool: a nested loop runs inline on the thread that reached it") {
  Settings settings;
  set_num_threads(3);
  std::atomic<int> elsewhere{0}, count{0};
  parallel_chunks(6, [&](int64_t) {
    auto outer = std::this_thread::get_id();
    parallel_chunks(10, [&](int64_t) {
      ++count;
      elsewhere += std::this_thread::get_id() != outer;
      parallel_chunks(2, [&](int64_t) { elsewhere += std::this_thread::get_id() != outer; });
    });
  });
  CHECK(count == 60);
  CHECK(elsewhere == 0);
}

TEST_CASE("thread pool: work really is shared between threads") {
  Settings settings;
  set_num_threads(2);
  std::atomic<int> arrived{0};
  parallel_chunks(2, [&](int64_t) {  // ends only when both chunks run at the same time
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  CHECK(arrived == 2);
}

TEST_CASE("thread pool: the host's executor runs the loops instead") {
  Settings settings;
  set_num_threads(4);
  std::vector<int64_t> counts;
  set_executor([&](int64_t count, const std::function<void(int64_t)>& task) {
    counts.push_back(count);
    std::thread other([&] {
      for (int64_t i = 1; i < count; i += 2) task(i);
    });
    for (int64_t i = 0; i < count; i += 2) task(i);
    other.join();
  });
  set_num_threads(4);
  auto hosted = chunked_sum(100000, 1000);
  CHECK(counts == std::vector<int64_t>{100});
  std::atomic<int> inner{0};
  parallel_chunks(4, [&](int64_t) { parallel_chunks(3, [&](int64_t) { ++inner; }); });
  CHECK(inner == 12);
  CHECK(counts == std::vector<int64_t>{100, 4});  // nested loops do not reach the host
  auto failing = [] {
    parallel_chunks(9, [](int64_t i) {
      if (i >= 4) throw std::runtime_error("task " + std::to_string(i));
    });
  };
  CHECK_THROWS_WITH(failing(), "task 4");
  set_executor({});
  CHECK(chunked_sum(100000, 1000) == hosted);
  CHECK(counts.size() == 3);
}

TEST_CASE("thread pool: many threads of the program use it at once") {
  Settings settings;
  set_num_threads(3);
  auto want = chunked_sum(20000, 500);
  std::atomic<int> wrong{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 8; ++user) {
    users.emplace_back([&, user] {
      for (int repeat = 0; repeat < 100; ++repeat) {
        if (user == 0) set_num_threads(1 + repeat % 4);
        wrong += chunked_sum(20000, 500) != want;
      }
    });
  }
  for (auto& user : users) user.join();
  CHECK(wrong == 0);
}

TEST_CASE("thread pool: the number of threads is checked") {
  Settings settings;
  check_error<ValueError>([] { set_num_threads(0); }, "set_num_threads: 0 threads, but 1 to 1024 are possible");
  check_error<ValueError>([] { set_num_threads(-3); }, "set_num_threads: -3 threads, but 1 to 1024 are possible");
  check_error<ValueError>([] { set_num_threads(5000); }, "set_num_threads: 5000 threads, but 1 to 1024 are possible");
  CHECK(num_threads() == settings.before);
  set_num_threads(2);
  check_error<ValueError>([] { parallel_chunks(4, [](int64_t) { set_num_threads(3); }); },
                          "set_num_threads: called within a parallel loop, whose threads it would change");
  check_error<ValueError>([] { parallel_chunks(4, [](int64_t) { set_executor({}); }); },
                          "set_executor: called within a parallel loop, whose threads it would change");
}

#if !defined(__SANITIZE_THREAD__)  // which refuses to start threads in a forked child
namespace {

/// Whether `body` returns true in a forked child, within ten seconds.
template <class F>
bool in_child(F&& body) {
  auto child = fork();
  if (child == 0) {
    alarm(10);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)  // whose own allocator may be locked in the child, until LLVM 17 (g++ 14)
TEST_CASE("thread pool: a forked child starts threads of its own") {
  Settings settings;
  set_num_threads(3);
  auto want = chunked_sum(50000, 500);  // workers exist now
  auto child = [&] {
    std::atomic<int> arrived{0};
    parallel_chunks(3, [&](int64_t) {
      ++arrived;
      while (arrived < 3) std::this_thread::yield();
    });
    return chunked_sum(50000, 500) == want;
  };
  CHECK(in_child(child));
  CHECK(in_child([&] { return in_child(child); }));
  CHECK(chunked_sum(50000, 500) == want);

  set_executor([](int64_t count, const std::function<void(int64_t)>& task) {
    for (int64_t i = 0; i < count; ++i) task(i);
  });
  CHECK(in_child(child));  // the host's threads do not exist in the child: back to the pool
}

TEST_CASE("thread pool: fork while another thread is in a loop, and from inside a loop") {
  Settings settings;
  set_num_threads(3);
  auto want = chunked_sum(20000, 500);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) chunked_sum(20000, 500);
  });
  int wrong = 0;
  for (int repeat = 0; repeat < 20; ++repeat) wrong += !in_child([&] { return chunked_sum(20000, 500) == want; });
  stop = true;
  busy.join();
  CHECK(wrong == 0);

  std::atomic<int> good{0};
  parallel_chunks(4, [&](int64_t) { good += in_child([] { return true; }); });
  CHECK(good == 4);
  CHECK(chunked_sum(20000, 500) == want);
}
#endif
#endif

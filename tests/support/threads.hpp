#pragma once

#include "gradus/core/thread_pool.hpp"

namespace gradus::test {

/// Loops run on so many threads while one of these lives.
struct Threads {
  explicit Threads(int count) : before(num_threads()) { set_num_threads(count); }
  ~Threads() { set_num_threads(before); }
  int before;
};

}  // namespace gradus::test

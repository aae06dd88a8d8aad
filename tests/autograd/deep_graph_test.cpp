// 100,000 operators in a row, on a thread with a stack of 256 KiB: neither walking nor releasing a graph recurses.
#include <pthread.h>

#include <functional>

#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

constexpr int depth = 100000;

/// Runs f on a thread with a small stack. Exceptions do not leave it.
void on_small_stack(const std::function<void()>& f) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_t thread;
  auto run = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&f)) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

/// x * 1 * 1 * ... with nodes of three kinds: pointwise operators, views, users' own functions.
Tensor<float> long_chain(const Tensor<float>& x) {
  auto y = x;
  for (int i = 0; i < depth; ++i) {
    if (i % 3 == 0) {
      y = y * 1.0f;
    } else if (i % 3 == 1) {
      y = reshape(y, {1});
    } else {
      y = differentiable("own", y.detach(), wrt(y, [y = saved(y)](const Tensor<float>& dy) { return dy; }));
    }
  }
  return y;
}

int64_t bytes_in_use() { return memory_stats().bytes_in_use; }

}  // namespace

TEST_CASE("deep graph: forward, backward, release") {
  float gradient = 0;
  auto before = bytes_in_use();
  on_small_stack([&] {
    auto x = ones<float>({1}).set_requires_grad();
    auto y = long_chain(x);
    y.backward();
    gradient = x.grad().item();
  });
  CHECK(gradient == 1);
  CHECK(bytes_in_use() == before);
}

TEST_CASE("deep graph: released without a backward") {
  auto before = bytes_in_use();
  on_small_stack([] { long_chain(ones<float>({1}).set_requires_grad()); });
  CHECK(bytes_in_use() == before);
}

TEST_CASE("deep graph: released after a backward that retained it") {
  float gradient = 0;
  auto before = bytes_in_use();
  on_small_stack([&] {
    auto x = ones<float>({1}).set_requires_grad();
    auto y = long_chain(x);
    y.backward(true);
    y.backward(true);
    gradient = x.grad().item();
  });
  CHECK(gradient == 2);
  CHECK(bytes_in_use() == before);
}

TEST_CASE("deep graph: released while an exception unwinds, in forward and in backward") {
  int caught = 0;
  auto before = bytes_in_use();
  on_small_stack([&] {
    try {
      auto y = long_chain(ones<float>({1}).set_requires_grad());
      throw std::runtime_error("forward");
    } catch (const std::runtime_error&) {
      ++caught;
    }
    try {
      auto x = ones<float>({1}).set_requires_grad();
      auto fails =
          differentiable("fails", x.detach(),
                         wrt(x, [](const Tensor<float>&) -> Tensor<float> { throw std::runtime_error("backward"); }));
      long_chain(fails).backward();
    } catch (const std::runtime_error&) {
      ++caught;
    }
  });
  CHECK(caught == 2);
  CHECK(bytes_in_use() == before);
}

TEST_CASE("deep graph: grad with a recorded graph of its own") {
  float second = 0;
  auto before = bytes_in_use();
  on_small_stack([&] {
    auto x = full<float>({1}, 3).set_requires_grad();
    auto y = long_chain(x * x);
    auto first = grad(y, x, {.create_graph = true});
    second = grad(first, x).item();
  });
  CHECK(second == 2);
  CHECK(bytes_in_use() == before);
}

TEST_CASE("deep graph: a wide one, where one value has many users") {
  float gradient = 0;
  on_small_stack([&] {
    auto x = ones<float>({1}).set_requires_grad();
    auto sum = x * 0.0f;
    for (int i = 0; i < 20000; ++i) sum = sum + x;
    sum.backward();
    gradient = x.grad().item();
  });
  CHECK(gradient == 20000);
}

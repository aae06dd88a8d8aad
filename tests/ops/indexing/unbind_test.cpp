#include "gradus/ops/indexing/unbind.hpp"

#include "gradus/autograd/gradcheck.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

TEST_CASE("unbind: the positions of an axis as views, and their gradients joined") {
  auto device = test::tested_device();
  auto x = test::hashed<double>(1, {3, 4, 2}, -1, 1).to(device);
  for (int64_t axis : {0, 1, -1}) {
    auto parts = unbind(x, axis);
    REQUIRE(std::ssize(parts) == x.size(axis));
    for (int64_t i = 0; i < std::ssize(parts); ++i)
      CHECK(parts[static_cast<size_t>(i)].to_vector() == select(x, axis, i).to_vector());
    CHECK(parts[1].impl()->storage == x.impl()->storage);
  }
  auto leaf = x.clone();
  leaf.set_requires_grad();
  auto parts = unbind(leaf, 1);
  CHECK(parts.size() == 4);
  sum(parts[2] * parts[2] + parts[0]).backward();  // two of them are not used
  auto wanted = zeros<double>(x.shape()).to(device);
  select(wanted, 1, 2).copy_(select(x, 1, 2) * 2.0);
  select(wanted, 1, 0).fill_(1);
  CHECK(leaf.grad().to_vector() == wanted.to_vector());
  test::check_error<IndexError>([&] { unbind(x, 3); },
                                test::error_text<IndexError>([&] { select(x, 3, 0); }).replace(0, 6, "unbind"));
  CHECK(unbind(zeros<float>({0, 3})).empty());
  CHECK(unbind(tensor<int64_t>({4, 5}))[1].item() == 5);
}

TEST_CASE("unbind: its gradient is right, also a second time") {
  auto f = [](const auto& in) {
    auto parts = unbind(in[0], 1);
    return sum(parts[0] * parts[1] * parts[1] + parts[3]);
  };
  auto x = test::hashed<double>(2, {2, 4, 3}, -1, 1);
  gradcheck(f, {x});
  gradgradcheck(f, {x});
}

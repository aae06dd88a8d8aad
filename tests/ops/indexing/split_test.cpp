#include "gradus/ops/indexing/split.hpp"

#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def parts(x):
    a, b, c = torch.split(x, [2, 1, x.shape[1] - 3], 1)
    return torch.cat([c * c, a * 2, b], 1)
case("split", parts, randn(2, 6, 3))
case("split", parts, randn(2, 3))
case("split", lambda x: parts(x) + 0 * x, randn(0, 4))
*/

using namespace gradus;

TEST_CASE("split") {
  test::check_operator("split", []<class T>(const Tensor<T>& x) {
    auto [a, b, c] = split<3>(x, {2, 1, x.size(1) - 3}, 1);
    return cat(std::vector<Tensor<T>>{c * c, a * 2.0, b}, 1);
  });
}

TEST_CASE("a part that nobody uses has a gradient of 0") {
  auto x = arange<float>(5).set_requires_grad(true);
  auto parts = split<2>(x, {3, 2});
  CHECK(parts[1].data() == x.data() + 3);
  sum(parts[1]).backward();
  CHECK(test::mismatch(x.grad(), tensor<float>({0, 0, 0, 1, 1})) == "");
  CHECK(split<2>(arange<int64_t>(4), {1, 3})[1].shape() == Shape{3});
}

TEST_CASE("what split refuses") {
  auto x = zeros<float>({4, 2});
  test::check_error<ShapeError>(
      [&] {
        return split<2>(x, {3, 2});
      },
      "split: x is (4, 2), but parts 0 to 1 take 5 of axis 0");
  test::check_error<ShapeError>(
      [&] {
        return split<2>(x, {1, 2});
      },
      "split: x is (4, 2), but the parts take 3 of axis 0");
  test::check_error<ShapeError>(
      [&] {
        return split<2>(x, {-1, 5});
      },
      "split: x is (4, 2), but parts 0 to 0 take -1 of axis 0");
}

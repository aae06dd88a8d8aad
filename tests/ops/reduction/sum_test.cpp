#include "gradus/ops/reduction/sum.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("sum", torch.sum, randn(3, 4, 5))
case("sum", torch.sum, randn())
case("sum", torch.sum, randn(0, 3))
case("sum", torch.sum, torch.tensor([1, inf, -inf, nan]).double(), order=1)
case("sum", torch.sum, torch.tensor([1, inf, 2]).double(), order=1)
case("sum over the last axis", lambda x: x.sum(-1), randn(3, 4, 5))
case("sum over the last axis", lambda x: x.sum(-1), randn(3, 0))
case("sum over the last axis", lambda x: x.sum(-1), randn(2, 100))
case("sum over the first axis", lambda x: x.sum(0), randn(3, 4, 5))
case("sum over the first axis", lambda x: x.sum(0), randn(7, 70))
case("sum over the first axis", lambda x: x.sum(0), randn(0, 3))
case("sum over outer axes", lambda x: x.sum((0, 2), keepdim=True), randn(3, 4, 5, 2))
case("sum over no axis", lambda x: x.clone(), randn(3, 4))
case("count", lambda x: x.sum(1), integers(-100, 100, 3, 40))
case("count truth", lambda x: x.sum(1), booleans(3, 40))
*/

using namespace gradus;

TEST_CASE("sum") {
  test::check_operator("sum", []<class T>(const Tensor<T>& x) { return sum(x); },
                       {.large = {randn<double>({300, 700})}});
}

TEST_CASE("sum over axes") {
  test::check_operator("sum over the last axis", []<class T>(const Tensor<T>& x) { return sum(x, -1); },
                       {.large = {randn<double>({300, 700})}});
  test::check_operator("sum over the first axis", []<class T>(const Tensor<T>& x) { return sum(x, 0); },
                       {.large = {randn<double>({3000, 70})}});
  test::check_operator<double, float>("sum over outer axes",
                                      []<class T>(const Tensor<T>& x) {
                                        return sum(x, {2, 0}, true);
                                      },
                                      {.large = {randn<double>({100, 7, 50, 9})}});
  test::check_operator<double, float>("sum over no axis", []<class T>(const Tensor<T>& x) { return sum(x, Axes()); });
}

TEST_CASE("sums of whole numbers are int64") {
  test::check_operator<int64_t, int32_t>("count", []<class T>(const Tensor<T>& x) { return sum(x, 1); });
  test::check_operator<bool>("count truth", []<class T>(const Tensor<T>& x) { return sum(x, 1); });
  CHECK(sum(full<uint8_t>({1000}, 255)).item() == 255000);
  CHECK(sum(full<int32_t>({4}, std::numeric_limits<int32_t>::max())).item() == 4 * int64_t{2147483647});
}

TEST_CASE("a long sum of floats keeps its digits") {
  CHECK(std::abs(sum(full<float>({1 << 22}, 0.1f)).item() / (0.1f * (1 << 22)) - 1) < 5e-6f);
}

TEST_CASE("axes that sum refuses") {
  test::check_error<IndexError>([] { return sum(zeros<float>({2, 3}), 2); }, "sum: axis 2 of a tensor with 2 axes");
  test::check_error<ShapeError>([] { return sum(zeros<float>({2, 3}), {1, -1}); }, "sum: axis -1 is named twice");
}

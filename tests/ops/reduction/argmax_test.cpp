#include "gradus/ops/reduction/argmax.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("argmax", lambda x: x.argmax(-1), distinct(3, 4, 5))
case("argmax", lambda x: x.argmax(-1), randn(0, 3))
case("argmax", lambda x: x.argmax(-1), torch.tensor([[1., nan, inf], [nan, nan, 1.], [-inf, -inf, -inf]]).double())
case("argmax over the first axis", lambda x: x.argmax(0, keepdim=True), distinct(7, 5))
case("argmax of whole numbers", lambda x: x.argmax(1), integers(0, 100, 3, 40))
*/

using namespace gradus;

TEST_CASE("argmax") {
  test::check_operator("argmax", []<class T>(const Tensor<T>& x) { return argmax(x); },
                       {.large = {randn<double>({3000, 70})}});
  test::check_operator<double, float>("argmax over the first axis",
                                      []<class T>(const Tensor<T>& x) { return argmax(x, 0, true); });
  test::check_operator<int64_t, int32_t, uint8_t>("argmax of whole numbers",
                                                  []<class T>(const Tensor<T>& x) { return argmax(x, 1); });
}

TEST_CASE("argmax takes the first of several") {
  CHECK(argmax(tensor<float>({1, 3, 3, 2})).item() == 1);
  CHECK(argmax(zeros<float>({100})).item() == 0);
}

TEST_CASE("argmax of nothing") {
  test::check_error<ShapeError>(
      [] {
        return argmax(zeros<float>({2, 0}));
      },
      "argmax: nothing to choose from in axis -1 of shape (2, 0)");
  test::check_error<IndexError>(
      [] {
        return argmax(zeros<float>({2, 3}), 5);
      },
      "argmax: axis 5 of a tensor with 2 axes");
  test::check_error<IndexError>([] { return argmax(tensor<float>(1)); }, "argmax: axis -1 of a tensor with 0 axes");
}

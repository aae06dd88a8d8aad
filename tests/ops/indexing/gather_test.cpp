#include "gradus/ops/indexing/gather.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("gather", lambda x, i: x.gather(1, i), randn(3, 5), integers(0, 5, 3, 7))
case("gather", lambda x, i: x.gather(1, i), randn(3, 5), integers(0, 5, 2, 1))
case("gather", lambda x, i: x.gather(1, i), randn(3, 5), integers(0, 5, 0, 4))
case("gather", lambda x, i: x.gather(1, i), randn(3, 5, 2), integers(0, 5, 3, 2, 2))
case("gather along the first axis", lambda x, i: x.gather(0, i), randn(4, 3), integers(0, 4, 6, 2))
case("scatter_add", lambda x, i: torch.zeros(4, 3).double().scatter_add(0, i, x), randn(6, 2), integers(0, 4, 6, 2))
*/

using namespace gradus;

namespace {

template <class T>
using Positions = Tensor<int64_t>;

}  // namespace

TEST_CASE("gather") {
  test::check_operator("gather", []<class T>(const Tensor<T>& x, const Positions<T>& i) { return gather(x, 1, i); });
  test::check_operator<double, float>(
      "gather along the first axis",
      []<class T>(const Tensor<T>& x, const Positions<T>& i) { return gather(x, 0, i); });
  CHECK(gather(tensor<uint8_t>({5, 6, 7}), 0, tensor<int64_t>({-1, 0})).to_vector() == std::vector<uint8_t>{7, 5});
}

TEST_CASE("scatter_add") {
  test::check_operator<double, float>("scatter_add", []<class T>(const Tensor<T>& x, const Positions<T>& i) {
    return scatter_add(x, 0, i, {4, 3});
  });
}

TEST_CASE("what gather and scatter_add refuse") {
  auto x = zeros<float>({2, 3});
  test::check_error<IndexError>(
      [&] {
        return gather(x, 1, tensor<int64_t>({{0, 3}}));
      },
      "gather: index 3 is out of range for axis 1 of shape (2, 3)");
  test::check_error<IndexError>([&] { return gather(x, 0, tensor<int64_t>({{-3}})); },
                                "gather: index -3 is out of range for axis 0 of shape (2, 3)");
  test::check_error<ShapeError>(
      [&] { return gather(x, 1, tensor<int64_t>({0})); },
      "gather: x is (2, 3) and index (1,), but index must have as many axes and be no larger, "
      "except along axis 1");
  test::check_error<ShapeError>(
      [&] {
        return gather(x, 1, zeros<int64_t>({3, 1}));
      },
      "gather: x is (2, 3) and index (3, 1), but index must have as many axes and be no "
      "larger, except along axis 1");
  test::check_error<ShapeError>(
      [&] {
        return scatter_add(x, 0, zeros<int64_t>({1, 3}), {2, 3});
      },
      "scatter_add: x is (2, 3) but index (1, 3)");
}

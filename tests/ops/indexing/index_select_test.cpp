#include "gradus/ops/indexing/index_select.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
case("index_select", lambda x, i: x.index_select(0, i), randn(5, 3), integers(0, 5, 7))
case("index_select", lambda x, i: x.index_select(0, i), randn(5), integers(0, 5, 3))
case("index_select", lambda x, i: x.index_select(0, i), randn(5, 3), integers(0, 5, 0))
case("index_select", lambda x, i: x.index_select(0, i), randn(5, 0), integers(0, 5, 3))
case("index_select inside", lambda x, i: x.index_select(1, i), randn(2, 5, 3), integers(0, 5, 4))
case("index_add", lambda x, i: torch.zeros(2, 4, 3).double().index_add(1, i, x), randn(2, 6, 3), integers(0, 4, 6))
*/

using namespace gradus;

namespace {

template <class T>
using Positions = Tensor<int64_t>;

}  // namespace

TEST_CASE("index_select") {
  manual_seed(1);
  test::check_operator("index_select",
                       []<class T>(const Tensor<T>& x, const Positions<T>& i) { return index_select(x, 0, i); },
                       {.large = {randn<double>({50, 9000}), randint<int64_t>(0, 50, {90})}});
  test::check_operator<double, float>(
      "index_select inside", []<class T>(const Tensor<T>& x, const Positions<T>& i) { return index_select(x, 1, i); });
  CHECK(index_select(tensor<bool>({true, false}), 0, tensor<int64_t>({-1, -2})).to_vector() ==
        std::vector<bool>{false, true});
}

TEST_CASE("index_add") {
  test::check_operator<double, float>(
      "index_add", []<class T>(const Tensor<T>& x, const Positions<T>& i) { return index_add(x, 1, i, 4); });
}

TEST_CASE("what index_select and index_add refuse") {
  auto x = zeros<float>({2, 3});
  test::check_error<IndexError>(
      [&] {
        return index_select(x, 1, tensor<int64_t>({0, 3}));
      },
      "index_select: index 3 is out of range for axis 1 of shape (2, 3)");
  test::check_error<ShapeError>(
      [&] {
        return index_select(x, 1, zeros<int64_t>({1, 1}));
      },
      "index_select: index is (1, 1), but must be (count,)");
  test::check_error<ShapeError>([&] { return index_add(x, 0, zeros<int64_t>({3}), 4); },
                                "index_add: index is (3,) but x is (2, 3): index must be (2,)");
  test::check_error<IndexError>(
      [&] {
        return index_add(x, 0, tensor<int64_t>({0, 4}), 4);
      },
      "index_add: index 4 is out of range for axis 0 of shape (4, 3)");
}

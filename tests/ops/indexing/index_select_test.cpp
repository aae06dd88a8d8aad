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

TEST_CASE("index_add adds runs of any length, on every device") {
  for (int64_t inner : {1, 5, 24, 2100}) {
    for (int64_t equal : {1, 8, 255, 256, 257, 700}) {
      auto count = equal + 90;  // place 2 is named `equal` times among others
      std::vector<int64_t> places;
      for (int64_t i = 0; i < count; ++i) places.push_back(i % 10 == 9 || i >= equal + 80 ? 3 + i % 4 : 2);
      auto x = cast<float>(randint<int64_t>(-9, 9, {count, inner}));  // sums of whole numbers are exact
      std::vector<float> want(static_cast<size_t>(8 * inner));
      auto numbers = x.to_vector();
      for (int64_t i = 0; i < count * inner; ++i)
        want[static_cast<size_t>(places[static_cast<size_t>(i / inner)] * inner + i % inner)] +=
            numbers[static_cast<size_t>(i)];
      for (auto device : {Device::cpu(), Device::best()}) {
        INFO(inner << " numbers a row, " << equal << " equal places on " << to_string(device));
        auto index = from_vector(places, {count}).to(device);
        CHECK(index_add(x.to(device), 0, index, 8).to(Device::cpu()).to_vector() == want);
      }
    }
  }
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

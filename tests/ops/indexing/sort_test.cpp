#include "gradus/ops/indexing/sort.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def in_order(x, **options):
    return x.sort(stable=True, **options).values
case("sort", in_order, distinct(3, 4, 5))
case("sort", in_order, distinct(1, 1))
case("sort", in_order, randn(0, 3))
case("sort of long rows", in_order, distinct(1, 1100))
case("sort", in_order, torch.tensor([[1., nan, -inf, inf, 1., -2.], [nan, nan, 0., 1., inf, 3.]]).double(), order=0)
case("sort down the first axis", lambda x: in_order(x, dim=0, descending=True), distinct(7, 5))
case("sort down the first axis", lambda x: in_order(x, dim=0, descending=True), randn(4, 0))
case("argsort", lambda x: x.argsort(dim=-1, stable=True), integers(0, 9, 3, 40))
case("argsort down", lambda x: x.argsort(dim=1, stable=True, descending=True), integers(0, 9, 2, 30, 3))
case("topk", lambda x: x.topk(3).values, distinct(4, 9))
case("topk", lambda x: x.topk(3).values, distinct(1, 2100))
case("smallest along the middle", lambda x: x.topk(2, 1, largest=False).values, distinct(3, 6, 2))
*/

using namespace gradus;

TEST_CASE("sort") {
  test::check_operator("sort", []<class T>(const Tensor<T>& x) { return sort(x).values; },
                       {.large = {randn<double>({600, 70})}});
  test::check_operator<double, float>("sort of long rows", []<class T>(const Tensor<T>& x) { return sort(x).values; });
  test::check_operator<double, float>(
      "sort down the first axis", []<class T>(const Tensor<T>& x) { return sort(x, 0, {.descending = true}).values; });
}

TEST_CASE("argsort") {
  test::check_operator<int64_t, int32_t, uint8_t>("argsort", []<class T>(const Tensor<T>& x) { return argsort(x); });
  test::check_operator<int64_t, int32_t, uint8_t>(
      "argsort down", []<class T>(const Tensor<T>& x) { return argsort(x, 1, {.descending = true}); });
}

TEST_CASE("topk") {
  test::check_operator<double, float>("topk", []<class T>(const Tensor<T>& x) { return topk(x, 3).values; },
                                      {.large = {randn<double>({900, 50})}});
  test::check_operator<double, float>("smallest along the middle", []<class T>(const Tensor<T>& x) {
    return topk(x, 2, 1, {.largest = false}).values;
  });
}

TEST_CASE("sort keeps the order of equals, on every device") {
  std::vector<float> numbers;
  for (int i = 0; i < 5000; ++i) numbers.push_back(static_cast<float>(i * 7919 % 13) * (i % 2 == 0 ? 0.0f : -1.0f));
  numbers[17] = numbers[4000] = std::numeric_limits<float>::quiet_NaN();
  std::vector<int64_t> order(numbers.size());
  std::iota(order.begin(), order.end(), 0);
  auto check = [&](bool descending) {
    auto want = order;
    std::stable_sort(want.begin(), want.end(), [&](int64_t i, int64_t k) {
      auto a = numbers[static_cast<size_t>(descending ? k : i)], b = numbers[static_cast<size_t>(descending ? i : k)];
      return std::isnan(b) ? !std::isnan(a) : a < b;
    });
    for (auto device : {Device::cpu(), Device::best()}) {
      auto x = from_vector(numbers, {1, 5000}).to(device);
      CHECK(argsort(x, 1, {.descending = descending}).to(Device::cpu()).to_vector() == want);
      for (int64_t k : {0, 1, 40, 600, 4999}) {
        auto [values, indices] = topk(x, k, -1, {.largest = descending});
        CHECK(indices.to(Device::cpu()).to_vector() == std::vector<int64_t>(want.begin(), want.begin() + k));
        CHECK(values.shape() == Shape{1, k});
      }
    }
  };
  check(false);
  check(true);
}

TEST_CASE("what sort and topk refuse") {
  test::check_error<IndexError>([] { return sort(zeros<float>({2, 3}), 2); }, "sort: axis 2 of a tensor with 2 axes");
  test::check_error<ValueError>(
      [] {
        return topk(zeros<float>({2, 3}), 4, 1);
      },
      "topk: k is 4, but axis 1 of shape (2, 3) has 3 elements");
}

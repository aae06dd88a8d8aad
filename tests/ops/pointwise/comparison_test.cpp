#include "gradus/ops/pointwise/comparison.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
names = [("less", torch.lt), ("less_equal", torch.le), ("greater", torch.gt), ("greater_equal", torch.ge),
         ("equal", torch.eq), ("not_equal", torch.ne)]
for name, f in names:
    case(name, f, *special_pairs())
    case(name, f, torch.round(randn(4, 1, 5)), torch.round(randn(3, 1)))
    case(name, f, randn(0, 3), randn(1))
    case(name + " of whole numbers", f, integers(0, 5, 4, 9), integers(0, 5, 9))
    case(name + " and a number", lambda x: f(x, 2), torch.round(uniform(0, 4, 3, 17)))
    case(name + " after a number", lambda x: f(torch.full((), 2), x), torch.round(uniform(0, 4, 3, 17)))
for name, f in [("and", torch.logical_and), ("or", torch.logical_or)]:
    case(name, f, booleans(4, 1, 5), booleans(3, 1))
    case(name, f, booleans(37), booleans(37))
case("not", torch.logical_not, booleans(3, 17))
*/

using namespace gradus;

namespace {

template <class F>
void check_comparison(const std::string& name, F compare) {
  test::OperatorOptions options{.pointwise = true};
  auto both = [compare]<class T>(const Tensor<T>& a, const Tensor<T>& b) { return compare(a, b); };
  test::check_operator(name, both, options, __FILE__);
  test::check_operator<int64_t, int32_t, uint8_t>(name + " of whole numbers", both, options, __FILE__);
  test::check_operator<double>(
      name + " and a number", [compare]<class T>(const Tensor<T>& x) { return compare(x, 2); }, options, __FILE__);
  test::check_operator<double>(
      name + " after a number", [compare]<class T>(const Tensor<T>& x) { return compare(2, x); }, options, __FILE__);
}

}  // namespace

TEST_CASE("comparisons") {
  check_comparison("less", [](const auto& a, const auto& b) { return a < b; });
  check_comparison("less_equal", [](const auto& a, const auto& b) { return a <= b; });
  check_comparison("greater", [](const auto& a, const auto& b) { return a > b; });
  check_comparison("greater_equal", [](const auto& a, const auto& b) { return a >= b; });
  check_comparison("equal", [](const auto& a, const auto& b) { return a == b; });
  check_comparison("not_equal", [](const auto& a, const auto& b) { return a != b; });
}

TEST_CASE("logic") {
  test::OperatorOptions options{.pointwise = true};
  using Bools = Tensor<bool>;
  test::check_operator<bool>(
      "and", []<class T>(const Bools& a, const Bools& b) { return a && b; }, options);
  test::check_operator<bool>(
      "or", []<class T>(const Bools& a, const Bools& b) { return a || b; }, options);
  test::check_operator<bool>(
      "not", []<class T>(const Bools& a) { return !a; }, options);
}

TEST_CASE("a comparison records nothing") {
  auto x = ones<float>({2}).set_requires_grad();
  CHECK_FALSE((x < 2).requires_grad());
  test::check_error<ShapeError>(
      [] { return zeros<float>({2}) == zeros<float>({3}); },
      "equal: shapes (2,) and (3,) do not broadcast: sizes 2 and 3 must be equal, or one of them 1");
}

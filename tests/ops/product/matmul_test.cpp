#include "gradus/ops/product/matmul.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
for a, b in [((3, 4), (4, 5)), ((1, 1), (1, 1)), ((17, 33), (33, 9)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)),
             ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 2)),
             ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((3, 4), (4, 0)),
             ((0, 3, 4), (4, 5)), ((0, 3, 4), (0, 4, 5))]:
    case("matmul", torch.matmul, randn(*a), randn(*b))
case("matmul", torch.matmul, values([[inf, 1.], [nan, 1.]]), values([[1., 0.], [2., 3.]]), order=0)
case("transposed", lambda a, b: a.T @ b.T, randn(4, 3), randn(5, 4))
case("gram", lambda a: a.T @ a, randn(4, 3))
*/

using namespace gradus;

TEST_CASE("matmul") {
  test::check_operator("matmul", []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return matmul(a, b); },
                       {.large = {randn<double>({150, 260}), randn<double>({260, 170})}});
}

TEST_CASE("matmul of transposed operands") {
  test::check_operator<double, float>(
      "transposed", []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return matmul(transpose(a), transpose(b)); },
      {.large = {randn<double>({260, 150}), randn<double>({170, 260})}});
  test::check_operator<double, float>("gram", []<class T>(const Tensor<T>& a) { return matmul(transpose(a), a); });
}

TEST_CASE("matmul of a stack of small matrices") {
  auto a = randn<double>({64, 20, 30}), b = randn<double>({64, 30, 25});
  auto y = matmul(a, b);  // (64, 20, 25)
  double worst = 0;
  for (int64_t s = 0; s < 64; ++s) {
    for (int64_t i = 0; i < 20; ++i) {
      for (int64_t j = 0; j < 25; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < 30; ++k) sum += a(s, i, k) * b(s, k, j);
        worst = std::max(worst, std::abs(sum - y(s, i, j)));
      }
    }
  }
  CHECK(worst < 1e-12);
}

TEST_CASE("shapes that matmul refuses") {
  test::check_error<ShapeError>(
      [] {
        return matmul(zeros<float>({2, 3}), zeros<float>({4, 5}));
      },
      "matmul: a is (2, 3) and b is (4, 5), but a's last size must equal b's second to last");
  test::check_error<ShapeError>(
      [] {
        return matmul(tensor<float>(1), zeros<float>({4, 5}));
      },
      "matmul: a is () and b is (4, 5), but both need at least one axis");
  test::check_error<ShapeError>(
      [] {
        return matmul(zeros<float>({2, 3, 4}), zeros<float>({3, 4, 5}));
      },
      "matmul: shapes (2,) and (3,) do not broadcast: sizes 2 and 3 must be equal, or one of "
      "them 1");
}

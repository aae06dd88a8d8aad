#include "gradus/ops/loss/linear_cross_entropy.hpp"

#include "gradus/ops/pointwise/abs.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"
#include "tests/support/threads.hpp"

/* golden
def f(x, w, t, **options):
    return F.cross_entropy(F.linear(x, w), t, **options)
some = torch.tensor([1, -100, 3, 0, 0])
case("linear_cross_entropy", f, randn(6, 4), randn(10, 4), integers(0, 10, 6))
case("linear_cross_entropy", f, randn(1, 1), randn(1, 1), integers(0, 1, 1))
case("linear_cross_entropy", f, randn(5, 3), randn(4, 3), some)
case("linear_cross_entropy", f, randn(9, 8), randn(16, 8), integers(0, 16, 9))
case("linear_cross_entropy", f, randn(2, 3), randn(3, 3), torch.tensor([-100, -100]), order=0)
case("linear_cross_entropy", f, randn(0, 3), randn(3, 3), integers(0, 3, 0), order=0)
case("summed", lambda x, w, t: f(x, w, t, reduction="sum"), randn(5, 3), randn(4, 3), some)
case("smoothed", lambda x, w, t: f(x, w, t, label_smoothing=0.1), randn(5, 3), randn(4, 3), some)
case("ignoring 2", lambda x, w, t: f(x, w, t, ignore_index=2), randn(5, 3), randn(4, 3), torch.tensor([1, 2, 3, 2, 0]))
*/

using namespace gradus;

namespace {

template <class T>
using TokenLabels = Tensor<int64_t>;

auto call_with(LinearCrossEntropyOptions options) {
  return [options]<class T>(const Tensor<T>& x, const Tensor<T>& w, const TokenLabels<T>& labels) {
    return linear_cross_entropy(x, w, labels, options);
  };
}

}  // namespace

TEST_CASE("linear_cross_entropy") {
  manual_seed(1);
  std::vector<test::AnyTensor> large = {randn<double>({300, 20}), randn<double>({50, 20}),
                                        randint<int64_t>(0, 50, {300})};
  test::check_operator("linear_cross_entropy", call_with({}), {.bf16_tolerance = 0.02, .large = large});
  auto check = [&](const char* group, LinearCrossEntropyOptions options) {
    test::check_operator<double, float>(group, call_with(options), {.large = large}, __FILE__);
  };
  for (int64_t rows : {1, 2, 5, 400}) check("linear_cross_entropy", {.rows = rows});
  check("summed", {.reduction = Reduce::sum, .rows = 2});
  check("smoothed", {.label_smoothing = 0.1});
  check("smoothed", {.label_smoothing = 0.1, .rows = 3});
  check("ignoring 2", {.ignore_index = 2, .rows = 2});
}

TEST_CASE("linear_cross_entropy gives the gradients that somebody wants, of whatever the loss goes into") {
  auto x = test::hashed<float>(1, {60, 16}, -1, 1), w = test::hashed<float>(2, {33, 16}, -1, 1);
  auto labels = test::hashed_labels(3, 60, 33);
  auto check = [&](bool of_x, bool of_w) {
    auto run = [&](auto&& loss_of) {
      auto a = x.clone().set_requires_grad(of_x), b = w.clone().set_requires_grad(of_w);
      auto loss = loss_of(a, b) * 3.0f;
      loss.backward();
      return std::tuple(loss.item(), of_x ? a.grad() : Tensor<float>(), of_w ? b.grad() : Tensor<float>());
    };
    auto [want, dx, dw] = run([&](const auto& a, const auto& b) { return cross_entropy(linear(a, b), labels); });
    auto [got, gx, gw] =
        run([&](const auto& a, const auto& b) { return linear_cross_entropy(a, b, labels, {.rows = 7}); });
    CHECK(got == Approx(want));
    auto same = [](const Tensor<float>& a, const Tensor<float>& b) {
      CHECK(a.defined() == b.defined());
      if (a.defined()) CHECK(sum(abs(a - b)).item() < 1e-5f * static_cast<float>(a.numel()));
    };
    same(gx, dx);
    same(gw, dw);
  };
  check(true, true);
  check(true, false);
  check(false, true);
  CHECK_FALSE(linear_cross_entropy(x, w, labels).requires_grad());
  auto parameter = w.clone().set_requires_grad();
  NoGradGuard guard;
  CHECK(linear_cross_entropy(x, parameter, labels, {.rows = 7}).item() ==
        Approx(cross_entropy(linear(x, w), labels).item()));
}

TEST_CASE("linear_cross_entropy never holds the logits of more rows than it was told") {
  test::Threads one(1);
  auto x = test::hashed<float>(1, {512, 16}, -1, 1);
  auto w = test::hashed<float>(2, {1000, 16}, -1, 1).set_requires_grad();
  auto labels = test::hashed_labels(3, 512, 1000);
  auto before = memory_stats().bytes_in_use;
  gradus::detail::CachingAllocator::instance().reset_peak();
  linear_cross_entropy(x, w, labels, {.rows = 32}).backward();
  auto of_all = 512 * 1000 * int64_t{sizeof(float)};
  CHECK(memory_stats().peak_bytes - before < of_all / 4);
}

TEST_CASE("what linear_cross_entropy refuses") {
  auto x = zeros<float>({2, 3}), w = zeros<float>({4, 3});
  auto labels = tensor<int64_t>({0, 1});
  test::check_error<ShapeError>(
      [&] {
        return linear_cross_entropy(x, zeros<float>({4, 2}), labels);
      },
      "linear_cross_entropy: x is (2, 3), weight (4, 2) and labels (2,), but must be "
      "(n, in), (classes, in) and (n,)");
  test::check_error<ShapeError>([&] { return linear_cross_entropy(x, w, zeros<int64_t>({3})); },
                                "linear_cross_entropy: x is (2, 3), weight (4, 3) and labels (3,), but must be "
                                "(n, in), (classes, in) and (n,)");
  test::check_error<IndexError>(
      [&] {
        return linear_cross_entropy(x, w, tensor<int64_t>({0, 4}));
      },
      "linear_cross_entropy: label 4 of row 1 is out of range for 4 classes");
  test::check_error<ValueError>([&] { return linear_cross_entropy(x, w, labels, {.reduction = Reduce::none}); },
                                "linear_cross_entropy: gives a mean or a sum; cross_entropy(linear(x, weight), labels) "
                                "gives the loss of each row");
  test::check_error<ValueError>([&] { return linear_cross_entropy(x, w, labels, {.rows = -1}); },
                                "linear_cross_entropy: rows is -1, but must be at least 1, or 0 to choose");
  test::check_error<ValueError>([&] { return linear_cross_entropy(x, w, labels, {.label_smoothing = 2}); },
                                "linear_cross_entropy: label_smoothing is 2, but must be in [0, 1]");
}

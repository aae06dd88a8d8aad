#include "gradus/ops/loss/cross_entropy.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = F.cross_entropy
case("cross_entropy", f, randn(6, 10), integers(0, 10, 6))
case("cross_entropy", f, randn(3, 40), integers(0, 40, 3))
case("cross_entropy", f, randn(1, 1), integers(0, 1, 1))
case("cross_entropy", f, randn(3, 4), torch.tensor([1, -100, 3]))
case("cross_entropy", f, randn(3, 4) + 1000, torch.tensor([1, 0, 3]))
case("cross_entropy", f, torch.tensor([[0., -inf, 1.], [2., 1., -inf]]).double(), torch.tensor([0, 1]), order=1)
case("cross_entropy", f, torch.tensor([[0., -inf, 1.], [nan, 1., 0.]]).double(), torch.tensor([1, 1]), order=0)
case("cross_entropy", f, torch.tensor([[0., 2., 1.], [nan, 1., 0.]]).double(), torch.tensor([1, -100]), order=0)
case("cross_entropy", f, randn(2, 3), torch.tensor([-100, -100]), order=0)
case("cross_entropy", f, randn(0, 3), integers(0, 3, 0), order=0)
some = torch.tensor([1, -100, 3, 0, 0])
case("summed", lambda x, t: f(x, t, reduction="sum"), randn(5, 4), some)
case("summed", lambda x, t: f(x, t, reduction="sum"), randn(2, 3), torch.tensor([-100, -100]))
case("each", lambda x, t: f(x, t, reduction="none"), randn(5, 4), some)
case("each", lambda x, t: f(x, t, reduction="none"), randn(0, 3), integers(0, 3, 0))
case("smoothed", lambda x, t: f(x, t, label_smoothing=0.1), randn(5, 4), some)
case("smoothed each", lambda x, t: f(x, t, label_smoothing=0.3, reduction="none"), randn(5, 4), some)
case("smoothed away", lambda x, t: f(x, t, label_smoothing=1.0, reduction="sum"), randn(5, 4), integers(0, 4, 5))
case("ignoring 2", lambda x, t: f(x, t, ignore_index=2), randn(5, 4), torch.tensor([1, 2, 3, 2, 0]))
*/

using namespace gradus;

namespace {

template <class T>
using Labels = Tensor<int64_t>;

}  // namespace

TEST_CASE("cross_entropy") {
  auto call = []<class T>(const Tensor<T>& x, const Labels<T>& labels) { return cross_entropy(x, labels); };
  manual_seed(1);
  test::check_operator("cross_entropy", call,
                       {.bf16_tolerance = 0.02, .large = {randn<double>({3000, 20}), randint<int64_t>(0, 20, {3000})}});
}

TEST_CASE("cross_entropy with options") {
  auto with = [](CrossEntropyOptions options) {
    return
        [options]<class T>(const Tensor<T>& x, const Labels<T>& labels) { return cross_entropy(x, labels, options); };
  };
  manual_seed(1);
  std::vector<test::AnyTensor> large = {randn<double>({3000, 20}), randint<int64_t>(0, 20, {3000})};
  auto check = [&]<class F>(const char* group, F call) {
    test::check_operator<double, float>(group, call, {.large = large}, __FILE__);
  };
  check("summed", with({.reduction = Reduce::sum}));
  check("each", with({.reduction = Reduce::none}));
  check("smoothed", with({.label_smoothing = 0.1}));
  check("smoothed each", with({.label_smoothing = 0.3, .reduction = Reduce::none}));
  check("smoothed away", with({.label_smoothing = 1, .reduction = Reduce::sum}));
  check("ignoring 2", with({.ignore_index = 2}));
}

TEST_CASE("labels and options that cross_entropy refuses") {
  auto x = zeros<float>({2, 3});
  test::check_error<IndexError>(
      [&] {
        return cross_entropy(x, tensor<int64_t>({0, 3}));
      },
      "cross_entropy: label 3 of row 1 is out of range for 3 classes");
  test::check_error<IndexError>(
      [&] {
        return cross_entropy(x, tensor<int64_t>({-1, 0}));
      },
      "cross_entropy: label -1 of row 0 is out of range for 3 classes");
  test::check_error<ShapeError>([&] { return cross_entropy(x, zeros<int64_t>({3})); },
                                "cross_entropy: logits are (2, 3) and labels (3,), but must be (n, classes) and (n,)");
  test::check_error<ShapeError>(
      [&] {
        return cross_entropy(x, zeros<int64_t>({2, 1}));
      },
      "cross_entropy: logits are (2, 3) and labels (2, 1), but must be (n, classes) and (n,)");
  test::check_error<ValueError>([&] { return cross_entropy(x, zeros<int64_t>({2}), {.label_smoothing = 1.5}); },
                                "cross_entropy: label_smoothing is 1.5, but must be in [0, 1]");
}

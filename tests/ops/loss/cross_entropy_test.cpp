#include "gradus/ops/loss/cross_entropy.hpp"

#include "gradus/ops/product/linear.hpp"
#include "gradus/ops/view/slice.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"
#include "tests/support/threads.hpp"

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

TEST_CASE("cross_entropy: the gradient takes the logits' memory only when nobody else has it") {
  test::Threads one(1);  // of several it is a matter of luck how many hold memory for packed operands at a time
  auto x = test::hashed<float>(1, {64, 256}, -1, 1), weight = test::hashed<float>(2, {512, 256}, -0.2, 0.2);
  auto labels = test::hashed_labels(3, 64, 512);
  auto bytes = 64 * 512 * int64_t{sizeof(float)};
  auto fresh_weight = [&] {
    auto w = weight.clone();
    w.set_requires_grad();
    return w;
  };
  auto peak_of_backward = [&](Tensor<float> loss, bool retain) {
    auto before = memory_stats().bytes_in_use;
    gradus::detail::CachingAllocator::instance().reset_peak();
    loss.backward(retain);
    return memory_stats().peak_bytes - before;
  };
  auto w = fresh_weight();
  auto loss = cross_entropy(linear(x, w), labels);
  auto in_place = peak_of_backward(loss, false);
  auto wanted = w.grad().to_vector();

  auto kept_w = fresh_weight();
  auto logits = linear(x, kept_w);  // somebody may look at it later
  auto values = logits.to_vector();
  auto kept = cross_entropy(logits, labels);
  CHECK(peak_of_backward(kept, false) >= in_place + bytes);
  CHECK(logits.to_vector() == values);
  CHECK(kept_w.grad().to_vector() == wanted);

  auto viewed_w = fresh_weight();
  Tensor<float> part;
  auto viewed = [&] {
    auto y = linear(x, viewed_w);
    part = select(y.detach(), 0, 3);
    return cross_entropy(y, labels);
  }();
  viewed.backward();
  CHECK(part(5) == values[3 * 512 + 5]);
  CHECK(viewed_w.grad().to_vector() == wanted);

  auto twice_w = fresh_weight();
  auto twice = cross_entropy(linear(x, twice_w), labels);
  twice.backward(true);
  twice.backward();
  auto doubled = twice_w.grad().to_vector();
  for (size_t i = 0; i < wanted.size(); ++i) CHECK(doubled[i] == Approx(2 * wanted[i]).margin(1e-6));

  std::vector<float> foreign = values;
  {
    auto y = Tensor<float>::view_of(foreign.data(), {64, 512});
    y.set_requires_grad();
    auto of_foreign = cross_entropy(y, labels);
    y = {};
    of_foreign.backward();
  }
  CHECK(foreign == values);
}

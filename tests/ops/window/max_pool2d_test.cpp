#include "gradus/ops/window/max_pool2d.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = F.max_pool2d
case("quads", lambda x: f(x, 2), distinct(2, 3, 4, 6))
case("quads", lambda x: f(x, 2), distinct(1, 2, 5, 7))
case("quads", lambda x: f(x, 2), randn(0, 3, 4, 6))
case("quads", lambda x: f(x, 2), torch.round(randn(2, 3, 8, 8)), order=1)
case("quads", lambda x: f(x, 2), torch.tensor([[[[1., nan, 3., 4.], [5., nan, nan, 4.]]]]).double(), order=1)
case("quads", lambda x: f(x, 2), torch.full((1, 1, 2, 2), -inf).double(), order=1)
case("windows", lambda x: f(x, 3, 2, 1), distinct(2, 3, 7, 6))
case("windows", lambda x: f(x, 3, 2, 1), torch.round(randn(2, 3, 8, 8)), order=1)
case("windows", lambda x: f(x, 3, 2, 1), torch.tensor([[[[1., nan, 3., 4.], [5., 6., nan, 4.]]]]).double(), order=1)
case("windows", lambda x: f(x, 3, 2, 1), torch.full((1, 1, 4, 4), -inf).double(), order=1)
case("uneven", lambda x: f(x, (3, 2), (1, 2), (1, 0), (2, 1)), distinct(2, 2, 7, 6))
case("hanging over", lambda x: f(x, 3, 2, 0, ceil_mode=True), distinct(2, 2, 6, 8))
case("hanging over", lambda x: f(x, 3, 2, 0, ceil_mode=True), distinct(1, 1, 4, 3))
*/

using namespace gradus;

namespace {

auto max_pooled(Size2d kernel, PoolOptions options = {}) {
  return [=]<class T>(const Tensor<T>& x) { return max_pool2d(x, kernel, options); };
}

}  // namespace

TEST_CASE("max_pool2d") {
  test::check_operator("quads", max_pooled(2), {.large = {randn<double>({4, 16, 30, 31})}});
  test::check_operator("windows", max_pooled(3, {.stride = 2, .padding = 1}),
                       {.large = {randn<double>({4, 16, 30, 31})}});
  test::check_operator<double>("uneven",
                               max_pooled({3, 2}, {.stride = Size2d(1, 2), .padding = {1, 0}, .dilation = {2, 1}}));
  test::check_operator<double>("hanging over", max_pooled(3, {.stride = 2, .ceil_mode = true}));
}

TEST_CASE("what max_pool2d refuses") {
  auto x = zeros<float>({1, 1, 4, 5});
  test::check_error<ShapeError>(
      [] {
        return max_pool2d(zeros<float>({4, 5}), 2);
      },
      "max_pool2d: input is (4, 5), but must be (n, channels, height, width)");
  test::check_error<ShapeError>([&] { return max_pool2d(x, 6); },
                                "max_pool2d: a kernel of (6, 6) with dilation (1, 1) does not fit into an image of (4, "
                                "5) with padding (0, 0)");
  test::check_error<ValueError>([&] { return max_pool2d(x, 2, {.padding = 2}); },
                                "max_pool2d: padding is (2, 2), but must be from 0 to half of the kernel (2, 2)");
  test::check_error<ValueError>(
      [&] { return max_pool2d(x, 0); },
      "max_pool2d: kernel is (0, 0), stride (0, 0) and dilation (1, 1), but all must be at least 1");
}

#include "gradus/ops/window/avg_pool2d.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = F.avg_pool2d
case("avg_pool2d", lambda x: f(x, 2), randn(2, 3, 4, 7))
case("avg_pool2d", lambda x: f(x, 2), randn(0, 3, 4, 6))
case("avg_pool2d", lambda x: f(x, 2), torch.tensor([[[[1., inf, 3., nan], [5., 6., 7., 4.]]]]).double(), order=1)
case("padded", lambda x: f(x, 3, 2, 1), randn(2, 3, 7, 6))
case("padded not counted", lambda x: f(x, 3, 2, 1, count_include_pad=False), randn(2, 3, 7, 6))
case("uneven", lambda x: f(x, (3, 2), (1, 2), (1, 0)), randn(2, 2, 7, 6))
case("hanging over", lambda x: f(x, 3, 2, 1, ceil_mode=True), randn(2, 2, 6, 8))
case("hanging over", lambda x: f(x, 3, 2, 1, ceil_mode=True), randn(1, 1, 4, 3))
case("hanging over not counted", lambda x: f(x, 3, 2, 1, True, False), randn(2, 2, 6, 8))
*/

using namespace gradus;

namespace {

auto average_pooled(Size2d kernel, AvgPoolOptions options = {}) {
  return [=]<class T>(const Tensor<T>& x) { return avg_pool2d(x, kernel, options); };
}

}  // namespace

TEST_CASE("avg_pool2d") {
  test::check_operator("avg_pool2d", average_pooled(2), {.large = {randn<double>({4, 16, 30, 31})}});
  test::check_operator<double, float>("padded", average_pooled(3, {.stride = 2, .padding = 1}),
                                      {.large = {randn<double>({4, 16, 30, 31})}});
  test::check_operator<double>("padded not counted",
                               average_pooled(3, {.stride = 2, .padding = 1, .count_include_pad = false}));
  test::check_operator<double>("uneven", average_pooled({3, 2}, {.stride = Size2d(1, 2), .padding = {1, 0}}));
  test::check_operator<double>("hanging over", average_pooled(3, {.stride = 2, .padding = 1, .ceil_mode = true}));
  test::check_operator<double>(
      "hanging over not counted",
      average_pooled(3, {.stride = 2, .padding = 1, .ceil_mode = true, .count_include_pad = false}));
}

TEST_CASE("what avg_pool2d refuses") {
  auto x = zeros<float>({1, 1, 4, 5});
  test::check_error<ShapeError>(
      [] {
        return avg_pool2d(zeros<float>({4, 5}), 2);
      },
      "avg_pool2d: input is (4, 5), but must be (n, channels, height, width)");
  test::check_error<ValueError>([&] { return avg_pool2d(x, 2, {.padding = -1}); },
                                "avg_pool2d: padding is (-1, -1), but must be from 0 to half of the kernel (2, 2)");
}

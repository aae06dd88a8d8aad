#include "gradus/ops/window/conv2d.hpp"

#include <algorithm>

#include "gradus/autograd/autograd.hpp"
#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = F.conv2d
case("conv2d", f, randn(2, 3, 5, 6), randn(4, 3, 3, 3), randn(4))
case("conv2d", f, randn(1, 1, 1, 1), randn(1, 1, 1, 1), randn(1))
case("conv2d", f, randn(2, 3, 4, 5), randn(17, 3, 1, 1), randn(17))
case("conv2d", f, randn(0, 3, 5, 6), randn(4, 3, 3, 3), randn(4))
case("conv2d", f, randn(1, 2, 3, 3), randn(3, 2, 3, 3), randn(3))
case("without bias", f, randn(2, 3, 5, 6), randn(4, 3, 2, 3))
case("padded", lambda x, w, b: f(x, w, b, padding=1), randn(2, 3, 5, 6), randn(4, 3, 3, 3), randn(4))
case("padded", lambda x, w, b: f(x, w, b, padding=1), randn(1, 2, 1, 20), randn(2, 2, 3, 3), randn(2))
case("strided", lambda x, w, b: f(x, w, b, stride=2, padding=1), randn(2, 3, 7, 6), randn(4, 3, 3, 3), randn(4))
uneven = dict(stride=(2, 1), padding=(0, 2), dilation=(1, 2))
case("uneven", lambda x, w: f(x, w, **uneven), randn(2, 2, 6, 7), randn(3, 2, 2, 3))
case("dilated", lambda x, w: f(x, w, dilation=2), randn(1, 2, 7, 8), randn(3, 2, 3, 3))
case("grouped", lambda x, w, b: f(x, w, b, padding=1, groups=2), randn(2, 4, 4, 5), randn(6, 2, 3, 3), randn(6))
depthwise = dict(stride=2, padding=1, groups=3)
case("depthwise", lambda x, w, b: f(x, w, b, **depthwise), randn(2, 3, 5, 5), randn(3, 1, 3, 3), randn(3))
*/

using namespace gradus;

namespace {

auto convolved(ConvOptions options) {
  return [options]<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
    return conv2d(x, weight, bias, options);
  };
}
auto without_bias(ConvOptions options) {
  return [options]<class T>(const Tensor<T>& x, const Tensor<T>& weight) { return conv2d(x, weight, {}, options); };
}

}  // namespace

TEST_CASE("conv2d") {
  auto images = randn<double>({5, 8, 20, 21}), weight = randn<double>({24, 8, 3, 3}), bias = randn<double>({24});
  test::check_operator("conv2d", convolved({}),
                       {.float_tolerance = 4e-6, .bf16_tolerance = 0.03, .large = {images, weight, bias}});
  test::check_operator<double, float>("padded", convolved({.padding = 1}),
                                      {.float_tolerance = 4e-6, .large = {images, weight, bias}});
  test::check_operator<double, float>("strided", convolved({.stride = 2, .padding = 1}),
                                      {.float_tolerance = 4e-6, .large = {images, weight, bias}});
}

TEST_CASE("conv2d with every option") {
  test::check_operator<double, float>("without bias", without_bias({}));
  test::check_operator<double, float>("uneven",
                                      without_bias({.stride = {2, 1}, .padding = {0, 2}, .dilation = {1, 2}}));
  test::check_operator<double, float>("dilated", without_bias({.dilation = 2}));
  test::check_operator<double, float>("grouped", convolved({.padding = 1, .groups = 2}), {.float_tolerance = 4e-6});
  test::check_operator<double, float>("depthwise", convolved({.stride = 2, .padding = 1, .groups = 3}));
}

TEST_CASE("what conv2d refuses") {
  auto x = zeros<float>({2, 3, 5, 6}), w = zeros<float>({4, 3, 3, 3});
  test::check_error<ShapeError>(
      [&] {
        return conv2d(zeros<float>({3, 5, 6}), w);
      },
      "conv2d: input is (3, 5, 6) and weight is (4, 3, 3, 3), but must be (n, channels, "
      "height, width) and (out, channels / groups, rows, columns)");
  test::check_error<ShapeError>(
      [&] {
        return conv2d(x, zeros<float>({4, 2, 3, 3}));
      },
      "conv2d: input is (2, 3, 5, 6) and weight is (4, 2, 3, 3) with 1 group(s): the input's "
      "channels must be 2, and the weight's first size a multiple of 1");
  test::check_error<ShapeError>([&] { return conv2d(x, w, zeros<float>({3})); },
                                "conv2d: bias is (3,) but weight is (4, 3, 3, 3): the bias must be (4,)");
  test::check_error<ShapeError>([&] { return conv2d(x, w, {}, {.dilation = 3}); },
                                "conv2d: a kernel of (3, 3) with dilation (3, 3) does not fit into an image of (5, 6) "
                                "with padding (0, 0)");
  test::check_error<ValueError>([&] { return conv2d(x, w, {}, {.stride = 0}); },
                                "conv2d: stride is (0, 0), dilation (1, 1), padding (0, 0) and groups 1, but padding "
                                "must not be negative and the others at least 1");
  test::check_error<ValueError>(
      [&] {
        return conv2d(x, w, {}, {.padding = {0, -1}});
      },
      "conv2d: stride is (1, 1), dilation (1, 1), padding (0, -1) and groups 1, but padding "
      "must not be negative and the others at least 1");
}

TEST_CASE("conv2d of no channels is the bias and its gradient") {
  for (int64_t kernel : {1, 3}) {
    auto x = zeros<float>({2, 0, 5, 6}).set_requires_grad(),
         w = zeros<float>({2, 0, kernel, kernel}).set_requires_grad();
    auto bias = tensor<float>({3, 4}).set_requires_grad();
    auto y = conv2d(x, w, bias);
    REQUIRE(y.shape() == Shape{2, 2, 6 - kernel, 7 - kernel});
    auto pixels = static_cast<size_t>(y.numel() / 4);
    auto values = y.to_vector();
    CHECK(std::count(values.begin(), values.end(), 3.0f) == 2 * y.numel() / 4);
    CHECK(values[0] == 3);
    CHECK(values[pixels] == 4);
    auto gradients = grad(y, std::vector<Tensor<float>>{x, w, bias}, {}, ones_like(y.detach()));
    CHECK(gradients[0].shape() == x.shape());
    CHECK(gradients[1].shape() == w.shape());
    CHECK(gradients[2].to_vector() == std::vector(2, static_cast<float>(2 * pixels)));
    CHECK(conv2d(x, w).to_vector() == std::vector(values.size(), 0.0f));
  }
}

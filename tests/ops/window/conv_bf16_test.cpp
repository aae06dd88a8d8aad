// Convolutions of bf16 against double: odd sizes, strides, dilation, groups, images that share a panel.
#include "gradus/autograd/autograd.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/window/conv2d.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

namespace {

/// y and the gradients of x, w and bias for hashed values, rounded to bf16 whatever T is.
template <Floating T>
std::vector<Tensor<T>> bf16_convolution(const Shape& images, const Shape& kernel, const ConvOptions& options) {
  auto rounded = [](uint32_t seed, const Shape& shape) {
    auto x = cast<T>(test::hashed<bf16>(seed, shape, -1, 1));
    x.set_requires_grad();
    return x;
  };
  auto x = rounded(1, images), w = rounded(2, kernel), bias = rounded(3, {kernel[0]});
  auto y = conv2d(x, w, bias, options);
  y.backward(cast<T>(test::hashed<bf16>(4, y.shape(), -1, 1)));
  return {y.detach(), x.grad(), w.grad(), bias.grad()};
}

void check_bf16_convolution(const Shape& images, const Shape& kernel, const ConvOptions& options) {
  CAPTURE(images, kernel);
  auto got = bf16_convolution<bf16>(images, kernel, options);
  auto want = bf16_convolution<double>(images, kernel, options);
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(test::mismatch(got[i], want[i], {.relative = 1.01 / 256}) == "");
  }
}

}  // namespace

TEST_CASE("convolutions of bf16: sizes") {
  for (const auto& images :
       {Shape{3, 4, 8, 8}, Shape{2, 3, 7, 5}, Shape{1, 1, 1, 1}, Shape{9, 5, 4, 4}, Shape{1, 2, 40, 41},
        Shape{17, 6, 3, 3}, Shape{33, 6, 2, 2}, Shape{40, 3, 1, 1}, Shape{0, 2, 5, 5}}) {
    for (int64_t out : {1, 7, 16, 33}) {
      check_bf16_convolution(images, {out, images[1], 3, 3}, {.padding = 1});
      check_bf16_convolution(images, {out, images[1], 1, 1}, {});
    }
  }
}

TEST_CASE("convolutions of bf16: options") {
  check_bf16_convolution({2, 5, 11, 14}, {9, 5, 3, 3}, {.stride = 2, .padding = 1});
  check_bf16_convolution({2, 4, 12, 13}, {8, 4, 2, 3}, {.stride = {2, 1}, .padding = {0, 2}, .dilation = {1, 2}});
  check_bf16_convolution({2, 4, 12, 12}, {8, 4, 3, 3}, {.padding = 2, .dilation = 2});
  check_bf16_convolution({2, 6, 9, 10}, {12, 2, 3, 3}, {.padding = 1, .groups = 3});
  check_bf16_convolution({2, 6, 9, 10}, {6, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 6});
  check_bf16_convolution({16, 16, 4, 4}, {24, 16, 1, 1}, {.stride = 2});
  check_bf16_convolution({1, 3, 30, 30}, {20, 3, 7, 7}, {.stride = 4, .padding = 3});
}

TEST_CASE("convolutions of bf16 have the same bits with any number of threads") {
  auto with_threads = [](int threads) {
    auto before = num_threads();
    set_num_threads(threads);
    auto result = bf16_convolution<bf16>({6, 12, 17, 18}, {24, 12, 3, 3}, {.padding = 1});
    set_num_threads(before);
    return result;
  };
  auto one = with_threads(1);
  for (int threads : {2, 3}) {
    auto more = with_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) CHECK(test::bit_mismatch(more[i], one[i]) == "");
  }
}

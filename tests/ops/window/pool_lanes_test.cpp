// Pooling in registers against loops over each window: odd sizes, ends of rows, ties, NaN, infinities, all kinds of
// windows. All numbers are small and whole, so that sums are exact in any order.
#include <cmath>
#include <limits>

#include "gradus/autograd/autograd.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/permute.hpp"
#include "gradus/ops/window/avg_pool2d.hpp"
#include "gradus/ops/window/max_pool2d.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

struct PooledByLoops {
  std::vector<float> largest, largest_gradient, mean, mean_gradient;
};

/// Of x (n, c, h, w) with gradient dy.
PooledByLoops pool_by_loops(const detail::PoolShape& s, bool include_padding, const Tensor<float>& x,
                            const Tensor<float>& dy) {
  PooledByLoops result;
  result.largest_gradient.assign(static_cast<size_t>(x.numel()), 0.0f);
  result.mean_gradient = result.largest_gradient;
  auto* dys = dy.data();
  for (int64_t plane = 0; plane < s.n * s.c; ++plane) {
    for (int64_t window = 0; window < s.oh * s.ow; ++window, ++dys) {
      auto top = window / s.ow * s.stride[0] - s.padding[0], left = window % s.ow * s.stride[1] - s.padding[1];
      auto bottom = std::min(top + s.kh, s.h + s.padding[0]), right = std::min(left + s.kw, s.w + s.padding[1]);
      auto divisor = (bottom - top) * (right - left);
      if (!include_padding)
        divisor =
            (std::min(bottom, s.h) - std::max<int64_t>(top, 0)) * (std::min(right, s.w) - std::max<int64_t>(left, 0));
      float best = 0, sum = 0, share = *dys / static_cast<float>(divisor);
      int64_t at = -1;
      for (int64_t a = 0; a < s.kh; ++a) {
        for (int64_t b = 0; b < s.kw; ++b) {
          auto row = top + a * s.dilation[0], column = left + b * s.dilation[1];
          if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
          auto place = plane * s.h * s.w + row * s.w + column;
          auto value = x.data()[place];
          sum += value;
          result.mean_gradient[static_cast<size_t>(place)] += share;
          if (at >= 0 && !(value > best || std::isnan(value))) continue;
          best = value;
          at = place;
        }
      }
      result.largest.push_back(best);
      result.largest_gradient[static_cast<size_t>(at)] += *dys;
      result.mean.push_back(sum / static_cast<float>(divisor));
    }
  }
  return result;
}

bool same_values(const Tensor<float>& given, const std::vector<float>& wanted) {
  auto values = given.to_vector();
  if (values.size() != wanted.size()) return false;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] == wanted[i]) && !(std::isnan(values[i]) && std::isnan(wanted[i]))) return false;
  }
  return true;
}

/// Few different numbers, some infinities, and NaN where wanted.
Tensor<float> pool_input(const Shape& shape, bool with_nan) {
  auto x = cast<float>(randint<int32_t>(-3, 4, shape));
  auto* data = x.mutable_data();
  for (int64_t i = 0; i < x.numel(); i += 3) {
    if (data[i] == -3) data[i] = -std::numeric_limits<float>::infinity();
    if (data[i] == 3 && with_nan) data[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return x;
}

template <class T>
void check_max_pool(const detail::PoolShape& s, Size2d kernel, const PoolOptions& options) {
  for (bool with_nan : {false, true}) {
    auto x = pool_input({s.n, s.c, s.h, s.w}, with_nan);
    auto dy = cast<float>(randint<int32_t>(1, 9, {s.n, s.c, s.oh, s.ow}));
    auto wanted = pool_by_loops(s, true, x, dy);
    auto leaf = cast<T>(x).set_requires_grad();
    auto y = max_pool2d(leaf, kernel, options);
    CHECK(same_values(cast<float>(y.detach()), wanted.largest));
    CHECK(same_values(cast<float>(grad(y, leaf, {}, cast<T>(dy))), wanted.largest_gradient));
  }
}

template <class T>
void check_avg_pool(const detail::PoolShape& s, Size2d kernel, const AvgPoolOptions& options) {
  auto x = cast<float>(randint<int32_t>(-8, 9, {s.n, s.c, s.h, s.w}));
  auto dy = cast<float>(randint<int32_t>(-8, 9, {s.n, s.c, s.oh, s.ow}));
  auto wanted = pool_by_loops(s, options.count_include_pad, x, dy);
  auto leaf = cast<T>(x).set_requires_grad();
  auto y = avg_pool2d(leaf, kernel, options);
  auto round = [](std::vector<float> values) {
    for (auto& value : values) value = static_cast<float>(static_cast<T>(value));
    return values;
  };
  CHECK(same_values(cast<float>(y.detach()), round(wanted.mean)));
  CHECK(same_values(cast<float>(grad(y, leaf, {}, cast<T>(dy))), round(wanted.mean_gradient)));
}

}  // namespace

TEST_CASE("pooling in registers gives what loops over windows give") {
  manual_seed(3);
  for (Size2d kernel : {Size2d(2, 2), Size2d(3, 3), Size2d(1, 4), Size2d(5, 2)}) {
    for (int64_t stride : {1, 2, 3}) {
      for (int64_t width : {5, 7, 16, 29, 33, 66, 97}) {
        for (int64_t padding = 0; padding <= 1 && 2 * padding <= std::min(kernel.rows, kernel.columns); ++padding) {
          for (bool ceil_mode : {false, true}) {
            Shape shape{2, 3, 2 * kernel.rows + width % 3, width};
            INFO("kernel " << kernel.rows << " x " << kernel.columns << " stride " << stride << " padding " << padding
                           << " width " << width << " ceil " << ceil_mode);
            PoolOptions options{.stride = stride, .padding = padding, .ceil_mode = ceil_mode};
            auto s = detail::pool_shape("pool", shape, kernel, options);
            check_max_pool<float>(s, kernel, options);
            check_max_pool<bf16>(s, kernel, options);
            for (bool counted : {true, false}) {
              AvgPoolOptions means{options.stride, options.padding, ceil_mode, counted};
              check_avg_pool<float>(s, kernel, means);
              check_avg_pool<bf16>(s, kernel, means);
            }
          }
        }
      }
    }
  }
  for (int64_t dilation : {2, 3}) {
    for (int64_t stride : {1, 2}) {
      PoolOptions options{.stride = Size2d(stride, 3 - stride), .padding = {1, 0}, .dilation = {1, dilation}};
      check_max_pool<float>(detail::pool_shape("pool", {1, 2, 9, 41}, 3, options), 3, options);
      options = {.stride = Size2d(3 - stride, stride), .padding = 1, .dilation = dilation};
      check_max_pool<float>(detail::pool_shape("pool", {1, 2, 11, 40}, 3, options), 3, options);
    }
  }
}

TEST_CASE("pooling in registers of windows that are wider than a register, and of rows that are not there twice") {
  manual_seed(5);
  for (int64_t columns : {33, 47}) {
    for (int64_t width : {33, 34, 50, 64, 81}) {
      for (int64_t stride : {1, 2}) {
        INFO("1 x " << columns << " stride " << stride << " width " << width);
        PoolOptions options{.stride = stride, .padding = {0, columns / 2}};
        auto s = detail::pool_shape("pool", {1, 2, 5, width}, {1, columns}, options);
        check_max_pool<float>(s, {1, columns}, options);
        check_avg_pool<float>(s, {1, columns}, {options.stride, options.padding});
      }
    }
  }
  for (int64_t rows : {1, 3, 9}) {
    for (int64_t stride : {1, 4, 12}) {
      INFO(rows << " x 2 stride " << stride);
      PoolOptions options{.stride = Size2d(stride, 1), .padding = {rows / 2, 0}};
      auto s = detail::pool_shape("pool", {2, 3, 40, 21}, {rows, 2}, options);
      check_max_pool<float>(s, {rows, 2}, options);
      check_avg_pool<float>(s, {rows, 2}, {options.stride, options.padding});
    }
  }
}

TEST_CASE("pooling in registers keeps the signs of zeros, infinities of both signs and the places of equal elements") {
  constexpr auto inf = std::numeric_limits<float>::infinity();
  for (float other : {0.0f, inf, std::numeric_limits<float>::quiet_NaN()}) {
    auto x = full<float>({1, 3, 24, 40}, -0.0f);
    for (int64_t i = 5; i < x.numel(); i += 7) x.mutable_data()[i] = i % 2 == 0 ? 0.0f : -inf;
    for (int64_t i = 960 + 3; i < 2 * 960; i += 11) x.mutable_data()[i] = other;  // in one plane of three
    for (int64_t stride : {1, 2}) {
      PoolOptions options{.stride = stride, .padding = 1};
      auto s = detail::pool_shape("pool", x.shape(), 3, options);
      auto wanted = pool_by_loops(s, true, x, ones<float>({1, 3, s.oh, s.ow}));
      auto y = max_pool2d(x, 3, options).to_vector();
      for (size_t i = 0; i < y.size(); ++i) {
        CHECK((y[i] == wanted.largest[i] || std::isnan(wanted.largest[i])));
        CHECK(std::signbit(y[i]) == std::signbit(wanted.largest[i]));
        CHECK(std::isnan(y[i]) == std::isnan(wanted.largest[i]));
      }
      auto leaf = x.clone().set_requires_grad();
      CHECK(same_values(grad(sum(max_pool2d(leaf, 3, options)), leaf), wanted.largest_gradient));
    }
  }
}

TEST_CASE("pooling gives the same bits at any number of threads and of any layout") {
  auto threads = num_threads();
  manual_seed(4);
  auto turned = randn<float>({9, 4, 45, 37});  // (n, c, w, h)
  auto x = contiguous(transpose(turned, 2, 3)).set_requires_grad();
  auto all = [&](const Tensor<float>& in, int count) {
    set_num_threads(count);
    std::vector<std::vector<float>> results;
    auto largest = max_pool2d(in, 3, {.stride = 2, .padding = 1}),
         mean = avg_pool2d(in, 3, {.stride = 2, .padding = 1});
    for (const auto& y : {largest, mean}) {
      results.push_back(y.to_vector());
      if (in.requires_grad()) results.push_back(grad(y, in, {}, largest.detach()).to_vector());
    }
    return results;
  };
  auto one = all(x, 1);
  CHECK(all(x, 2) == one);
  CHECK(all(x, 3) == one);
  CHECK(all(transpose(turned, 2, 3), 2) == std::vector{one[0], one[2]});
  set_num_threads(threads);
}

TEST_CASE("a window of max_pool2d that holds nothing of the image is refused") {
  test::check_error<ShapeError>(
      [] {
        return max_pool2d(zeros<float>({1, 1, 1, 5}), 2, {.padding = 1, .dilation = 2});
      },
      "max_pool2d: a kernel of (2, 2) with dilation (2, 2) and padding (1, 1) has windows without any element of an "
      "image of (1, 5)");
}

TEST_CASE("pooling of no images and of no channels is empty") {
  for (const Shape& shape : {Shape{0, 3, 8, 8}, Shape{2, 0, 8, 8}}) {
    auto x = zeros<float>(shape).set_requires_grad();
    for (const auto& y : {max_pool2d(x, 3, {.stride = 2}), max_pool2d(x, 2), avg_pool2d(x, 2)}) {
      CHECK(y.numel() == 0);
      CHECK(grad(y, x, {}, y.detach()).shape() == shape);
    }
  }
}

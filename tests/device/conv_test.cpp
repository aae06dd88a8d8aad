// The three products of a convolution on the CPU against plain sums in double: by Winograd's method, of single
// channels, by packed windows, and the shapes at the edges of each.
#include "gradus/device/cpu/conv.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/support/catch.hpp"

using namespace gradus;
using namespace gradus::detail;

namespace {

template <class T>
struct ConvNumbers {
  std::vector<T> y, dx, dw;
  bool same_bits(const ConvNumbers& other) const {
    auto same = [](const std::vector<T>& a, const std::vector<T>& b) {
      return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
    };
    return same(y, other.y) && same(dx, other.dx) && same(dw, other.dw);
  }
};

/// Sums of three uniform numbers, near enough to normal ones.
template <class T>
std::vector<T> conv_inputs(int64_t count, uint64_t seed) {
  std::vector<T> values(static_cast<size_t>(count));
  auto state = seed * 2654435761u + 1;
  for (auto& value : values) {
    double sum = 0;
    for (int i = 0; i < 3; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<double>(state >> 40) / (1 << 24) - 0.5;
    }
    value = static_cast<T>(static_cast<Compute<T>>(2 * sum));
  }
  return values;
}

/// Error of `values`, as a share of the root mean square of what they should be: root mean square, and the largest.
template <class T>
std::pair<double, double> conv_error(const std::vector<T>& values, const std::vector<double>& expected) {
  double scale = 0, sum = 0, largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    auto error = std::abs(static_cast<double>(static_cast<Compute<T>>(values[i])) - expected[i]);
    scale += expected[i] * expected[i];
    sum += error * error;
    largest = error <= largest ? largest : error;  // NaN stays
  }
  if (values.empty()) return {0, 0};
  scale = std::max(std::sqrt(scale / static_cast<double>(values.size())), 1e-30);
  return {std::sqrt(sum / static_cast<double>(values.size())) / scale, largest / scale};
}

/// Runs the three products with one thread and two, and compares with plain sums. Bounds are in units of T's epsilon.
template <class T>
void check_conv(const ConvShape& s, double mean_bound, double largest_bound) {
  auto c = s.c_in / s.groups, co = s.c_out / s.groups, oh = s.oh(), ow = s.ow();
  auto x = conv_inputs<T>(s.n * s.c_in * s.h * s.w, 1), w = conv_inputs<T>(s.c_out * c * s.kh * s.kw, 2);
  auto dy = conv_inputs<T>(s.n * s.c_out * oh * ow, 3), bias = conv_inputs<T>(s.c_out, 4);
  std::vector<double> y(dy.size()), dx(x.size()), dw(w.size());
  auto number = [](T value) { return static_cast<double>(static_cast<Compute<T>>(value)); };
  for (int64_t image = 0; image < s.n; ++image) {
    for (int64_t out = 0; out < s.c_out; ++out) {
      for (int64_t i = 0; i < oh * ow; ++i) {
        auto at = static_cast<size_t>((image * s.c_out + out) * oh * ow + i);
        y[at] = number(bias[static_cast<size_t>(out)]);
        for (int64_t k = 0; k < c * s.kh * s.kw; ++k) {
          auto row = i / ow * s.stride[0] - s.padding[0] + k / s.kw % s.kh * s.dilation[0];
          auto column = i % ow * s.stride[1] - s.padding[1] + k % s.kw * s.dilation[1];
          if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
          auto channel = out / co * c + k / (s.kh * s.kw);
          auto pixel = static_cast<size_t>(((image * s.c_in + channel) * s.h + row) * s.w + column);
          auto weight = static_cast<size_t>(out * c * s.kh * s.kw + k);
          y[at] += number(x[pixel]) * number(w[weight]);
          dx[pixel] += number(dy[at]) * number(w[weight]);
          dw[weight] += number(dy[at]) * number(x[pixel]);
        }
      }
    }
  }
  auto run = [&](int threads) {
    auto before = num_threads();
    set_num_threads(threads);
    auto poison = static_cast<T>(std::numeric_limits<Compute<T>>::quiet_NaN());
    ConvNumbers<T> results{std::vector<T>(y.size(), poison), std::vector<T>(dx.size(), poison),
                           std::vector<T>(dw.size(), poison)};
    convolve<T>(s, x.data(), w.data(), bias.data(), Rectifier::none, results.y.data());
    convolve_backward_input<T>(s, dy.data(), w.data(), results.dx.data());
    convolve_backward_weight<T>(s, x.data(), dy.data(), results.dw.data());
    set_num_threads(before);
    return results;
  };
  auto one = run(1);
  INFO("n " << s.n << ", channels " << s.c_in << " to " << s.c_out << ", image " << s.h << " x " << s.w << ", kernel "
            << s.kh << " x " << s.kw << ", stride " << s.stride[0] << " x " << s.stride[1] << ", padding "
            << s.padding[0] << " x " << s.padding[1] << ", dilation " << s.dilation[0] << " x " << s.dilation[1]
            << ", groups " << s.groups);
  auto epsilon = sizeof(T) == 2 ? 1.0 / 128 : static_cast<double>(std::numeric_limits<Compute<T>>::epsilon());
  for (auto [mean, largest] : {conv_error(one.y, y), conv_error(one.dx, dx), conv_error(one.dw, dw)}) {
    CHECK(mean / epsilon <= mean_bound);
    CHECK(largest / epsilon <= largest_bound);
  }
  CHECK(one.same_bits(run(2)));
}

/// bf16 adds up in float, so that what it loses is one rounding of the result, to 8 bits.
void check_conv(const ConvShape& s, double mean_bound, double largest_bound) {
  check_conv<float>(s, mean_bound, largest_bound);
  check_conv<double>(s, mean_bound, largest_bound);
  check_conv<bf16>(s, 0.5, 5);
}

}  // namespace

TEST_CASE("conv of 3 x 3 by Winograd has small errors on all shapes") {
  ConvShape shapes[] = {
      {.n = 2, .c_in = 64, .h = 16, .w = 16, .c_out = 64, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 3, .c_in = 17, .h = 13, .w = 9, .c_out = 35, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 9, .c_in = 20, .h = 7, .w = 5, .c_out = 13, .kh = 3, .kw = 3},
      {.n = 1, .c_in = 16, .h = 23, .w = 37, .c_out = 16, .kh = 3, .kw = 3, .padding = {2, 2}},
      {.n = 5, .c_in = 32, .h = 6, .w = 11, .c_out = 100, .kh = 3, .kw = 3, .padding = {0, 2}},
      {.n = 40, .c_in = 128, .h = 4, .w = 4, .c_out = 200, .kh = 3, .kw = 3, .padding = {1, 1}},  // rows of positions
      {.n = 9, .c_in = 16, .h = 8, .w = 66, .c_out = 48, .kh = 3, .kw = 3, .padding = {1, 1}},    // blocks of rows
  };
  for (const auto& s : shapes) {
    REQUIRE((takes_winograd(s) && has_many_tiles(s, s.oh(), s.ow())));
    check_conv(s, 20, 250);
  }
}

TEST_CASE("conv of 3 x 3 on few tiles goes by windows") {
  ConvShape shapes[] = {
      {.n = 1, .c_in = 96, .h = 4, .w = 4, .c_out = 80, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 2, .c_in = 133, .h = 7, .w = 6, .c_out = 141, .kh = 3, .kw = 3, .padding = {1, 1}},
  };
  for (const auto& s : shapes) {
    REQUIRE((takes_winograd(s) && !has_many_tiles(s, s.oh(), s.ow())));
    check_conv(s, 20, 250);
  }
}

TEST_CASE("conv by packed windows has the errors of plain sums") {
  ConvShape shapes[] = {
      {.n = 2, .c_in = 3, .h = 20, .w = 20, .c_out = 8, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 2, .c_in = 6, .h = 9, .w = 11, .c_out = 8, .kh = 3, .kw = 3, .stride = {2, 2}, .padding = {1, 1}},
      {.n = 2,
       .c_in = 6,
       .h = 9,
       .w = 11,
       .c_out = 8,
       .kh = 5,
       .kw = 3,
       .stride = {2, 3},
       .padding = {2, 1},
       .groups = 2},
      {.n = 2,
       .c_in = 6,
       .h = 12,
       .w = 11,
       .c_out = 8,
       .kh = 3,
       .kw = 2,
       .stride = {3, 2},
       .padding = {1, 0},
       .dilation = {2, 1}},
      {.n = 2,
       .c_in = 5,
       .h = 14,
       .w = 16,
       .c_out = 5,
       .kh = 3,
       .kw = 3,
       .stride = {1, 2},
       .padding = {2, 2},
       .dilation = {2, 2}},
      {.n = 2, .c_in = 3, .h = 21, .w = 20, .c_out = 24, .kh = 7, .kw = 7, .stride = {2, 2}, .padding = {3, 3}},
      {.n = 3, .c_in = 40, .h = 2, .w = 2, .c_out = 20, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 0, .c_in = 16, .h = 8, .w = 8, .c_out = 16, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 7, .c_in = 37, .h = 3, .w = 3, .c_out = 29, .kh = 1, .kw = 1},
      {.n = 2, .c_in = 7, .h = 19, .w = 23, .c_out = 9, .kh = 5, .kw = 7, .stride = {1, 3}, .padding = {2, 1}},
      {.n = 3, .c_in = 40, .h = 6, .w = 7, .c_out = 33, .kh = 1, .kw = 1},  // from the images themselves
      {.n = 5, .c_in = 40, .h = 2, .w = 2, .c_out = 70, .kh = 1, .kw = 1},  // windows packed once
      {.n = 3, .c_in = 40, .h = 6, .w = 7, .c_out = 33, .kh = 1, .kw = 1, .stride = {2, 2}},  // pixels without weights
      {.n = 2, .c_in = 24, .h = 30, .w = 26, .c_out = 16, .kh = 1, .kw = 1, .stride = {1, 3}, .padding = {1, 2}},
      {.n = 4, .c_in = 64, .h = 9, .w = 8, .c_out = 72, .kh = 3, .kw = 3, .stride = {2, 2}, .padding = {1, 1}},
      {.n = 1, .c_in = 12, .h = 60, .w = 52, .c_out = 9, .kh = 5, .kw = 4, .stride = {2, 1}, .padding = {4, 0}},
  };
  for (const auto& s : shapes) {
    REQUIRE(!takes_winograd(s));
    check_conv(s, 10, 60);
  }
}

TEST_CASE("conv of single channels has the errors of plain sums at any stride and dilation") {
  ConvShape shapes[] = {
      {.n = 2, .c_in = 19, .h = 20, .w = 20, .c_out = 19, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 3, .c_in = 19, .h = 20, .w = 21, .c_out = 19, .kh = 3, .kw = 3, .stride = {2, 2}, .padding = {1, 1}},
      {.n = 3, .c_in = 35, .h = 4, .w = 4, .c_out = 35, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 17, .c_in = 33, .h = 2, .w = 2, .c_out = 33, .kh = 3, .kw = 3, .padding = {1, 1}},
      {.n = 2, .c_in = 16, .h = 9, .w = 8, .c_out = 16, .kh = 5, .kw = 5, .padding = {2, 2}},
      {.n = 2,
       .c_in = 5,
       .h = 14,
       .w = 17,
       .c_out = 5,
       .kh = 3,
       .kw = 3,
       .stride = {1, 2},
       .padding = {2, 2},
       .dilation = {2, 2}},
      {.n = 1, .c_in = 16, .h = 12, .w = 40, .c_out = 16, .kh = 5, .kw = 7, .padding = {2, 3}},
      {.n = 2, .c_in = 3, .h = 11, .w = 10, .c_out = 3, .kh = 2, .kw = 3, .stride = {3, 5}, .padding = {0, 4}},
      {.n = 2, .c_in = 2, .h = 3, .w = 4, .c_out = 2, .kh = 1, .kw = 2, .stride = {5, 6}, .padding = {7, 9}},
      {.n = 1, .c_in = 2, .h = 1, .w = 1, .c_out = 2, .kh = 1, .kw = 1},
      {.n = 0, .c_in = 16, .h = 8, .w = 8, .c_out = 16, .kh = 3, .kw = 3, .padding = {1, 1}},
  };
  for (auto s : shapes) {
    s.groups = s.c_in;
    REQUIRE(is_depthwise(s));
    check_conv(s, 10, 60);
  }
}

// Reductions at the edges of their kernels: odd sizes, few long rows, many columns, strides, ties, NaN, and the same
// bits at any number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gradus/ops/loss/softmax.hpp"
#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/ops/reduction/logsumexp.hpp"
#include "gradus/ops/reduction/max.hpp"
#include "gradus/ops/reduction/var.hpp"
#include "gradus/ops/view/permute.hpp"
#include "gradus/tensor/creation.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

const std::vector<Shape>& edge_shapes() {
  static const std::vector<Shape> shapes{{1, 1},  {3, 31},    {5, 32},    {2, 65},        {3, 4099}, {1, 200001},
                                         {20, 7}, {300, 100}, {2000, 17}, {100, 3, 1030}, {4, 70000}};
  return shapes;
}

/// x with `axis` last, as rows one behind the other.
template <class T>
std::vector<std::vector<T>> rows_along(const Tensor<T>& x, int axis) {
  Shape order;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != axis) order.push_back(i);
  }
  order.push_back(axis);
  auto values = permute(x, order).to_vector();
  auto n = static_cast<size_t>(x.size(axis));
  std::vector<std::vector<T>> rows;
  for (size_t i = 0; i < values.size(); i += n)
    rows.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(i),
                      values.begin() + static_cast<std::ptrdiff_t>(i + n));
  return rows;
}

/// Calls f() with one, two and three threads; all results are the same bits.
template <class F>
void check_same_bits(F&& f) {
  auto before = num_threads();
  set_num_threads(1);
  auto first = f().to_vector();
  for (int threads : {2, 3}) {
    set_num_threads(threads);
    auto other = f().to_vector();
    CHECK(std::memcmp(first.data(), other.data(), first.size() * sizeof(first[0])) == 0);
  }
  set_num_threads(before);
}

/// Few different values, -0 among them; with_nan: some are NaN.
Tensor<float> values_with_ties(const Shape& shape, bool with_nan) {
  auto x = rand<float>(shape);
  auto* data = x.mutable_data();
  for (int64_t i = 0; i < x.numel(); ++i) {
    data[i] = std::floor(data[i] * 6) * (i % 3 == 0 ? -1.0f : 1.0f);
    if (with_nan && i % 173 == 5) data[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return x;
}

template <class T>
int64_t first_largest(const std::vector<T>& row) {
  size_t best = 0;
  for (size_t i = 1; i < row.size() && row[best] == row[best]; ++i) {
    if (!(row[i] <= row[best])) best = i;
  }
  return static_cast<int64_t>(best);
}

template <class T>
void check_argmax(const Tensor<T>& x) {
  for (int axis = 0; axis < x.rank(); ++axis) {
    auto places = argmax(x, axis).to_vector();
    auto rows = rows_along(x, axis);
    REQUIRE(places.size() == rows.size());
    int64_t wrong = 0;
    for (size_t i = 0; i < rows.size(); ++i) wrong += places[i] != first_largest(rows[i]);
    INFO("argmax over axis " << axis << " of " << join(x.shape()));
    CHECK(wrong == 0);
  }
}

}  // namespace

TEST_CASE("argmax of any size and layout is the first of the largest") {
  for (const auto& shape : edge_shapes()) {
    for (bool with_nan : {false, true}) {
      auto x = values_with_ties(shape, with_nan);
      check_argmax(x);
      check_argmax(transpose(x));
      check_argmax(cast<double>(x));
      check_argmax(cast<bf16>(x));
      if (!with_nan) check_argmax(cast<int32_t>(x));
      if (!with_nan) check_argmax(cast<int64_t>(x));
      if (!with_nan) check_argmax(cast<uint8_t>(abs(x)));
    }
    check_argmax(full<float>(shape, -std::numeric_limits<float>::infinity()));
  }
  auto x = values_with_ties({4, 70000}, true);
  check_same_bits([&] { return argmax(x, 1); });
  check_same_bits([&] { return argmax(x, 0); });
}

TEST_CASE("sums down columns of any width") {
  for (const auto& shape : std::vector<Shape>{{1, 16}, {3, 17}, {5, 1029}, {4097, 70}, {2000, 33}, {65537, 16}}) {
    auto x = rand<double>(shape, -1, 1);
    auto sums = sum(cast<float>(x), 0);
    auto rows = rows_along(x, 0);
    for (size_t i = 0; i < rows.size(); ++i) {
      double want = 0;
      for (auto v : rows[i]) want += v;
      CHECK(std::abs(sums(static_cast<int64_t>(i)) - want) < 1e-3);
    }
    check_same_bits([&] { return sum(cast<float>(x), 0); });
    check_same_bits([&] { return max(cast<float>(x), 0); });
  }
}

TEST_CASE("the gradient of a maximum is shared among ties in rows of any length") {
  for (const auto& shape : edge_shapes()) {
    auto x = values_with_ties(shape, false);
    auto axis = x.rank() - 1;
    auto in = x.clone().set_requires_grad();
    auto y = max(in, axis);
    auto dy = rand<float>(y.shape(), 1, 2);
    auto dx = grad(y, in, {.retain_graph = true}, dy);
    auto rows = rows_along(x, axis), got = rows_along(dx, axis);
    auto dys = dy.to_vector();
    int64_t wrong = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      auto top = rows[r][static_cast<size_t>(first_largest(rows[r]))];
      auto ties = static_cast<float>(std::count(rows[r].begin(), rows[r].end(), top));
      for (size_t i = 0; i < rows[r].size(); ++i) wrong += got[r][i] != (rows[r][i] == top ? dys[r] / ties : 0.0f);
    }
    CHECK(wrong == 0);
    check_same_bits([&] { return grad(y, in, {.retain_graph = true}, dy); });
    // Over the first axis it takes the way by ordinary operators.
    auto first = grad(max(in, 0), in, {}, ones<float>(max(x, 0).shape()));
    CHECK(sum(first).item() == Approx(static_cast<double>(max(x, 0).numel())));
  }
  auto with_nan = values_with_ties({3, 200}, true).set_requires_grad();
  auto dx = grad(max(with_nan, 1), with_nan, {}, ones<float>({3}));
  CHECK(dx.to_vector() == std::vector<float>(600, 0.0f));
}

TEST_CASE("variances and sums of exponentials of rows of any length and layout") {
  for (const auto& shape : edge_shapes()) {
    auto x = rand<double>(shape, -3, 3) + 50.0;
    for (int axis = 0; axis < x.rank(); ++axis) {
      if (x.size(axis) < 2) continue;
      auto rows = rows_along(x, axis);
      auto in = cast<float>(x).set_requires_grad();
      auto variances = var(in, axis), totals = logsumexp(in, axis);
      auto dy = rand<float>(variances.shape(), 1, 2);
      auto of_var = rows_along(grad(variances, in, {}, dy), axis),
           of_total = rows_along(grad(totals, in, {}, dy), axis);
      auto got_variances = variances.to_vector(), got_totals = totals.to_vector(), dys = dy.to_vector();
      double worst = 0;
      auto compare = [&](double got, double want, double scale) {
        worst = std::max(worst, std::abs(got - want) / scale);
      };
      for (size_t r = 0; r < rows.size(); ++r) {
        auto n = static_cast<double>(rows[r].size());
        double mean_of_row = 0, spread = 0, exponentials = 0;
        for (auto v : rows[r]) mean_of_row += v / n;
        for (auto v : rows[r]) spread += (v - mean_of_row) * (v - mean_of_row);
        for (auto v : rows[r]) exponentials += std::exp(v - 50);
        compare(got_variances[r], spread / (n - 1), 1);
        compare(got_totals[r], 50 + std::log(exponentials), 10);
        for (size_t i = 0; i < rows[r].size(); ++i) {
          compare(of_var[r][i], 2 * dys[r] * (rows[r][i] - mean_of_row) / (n - 1), 1);
          compare(of_total[r][i], dys[r] * std::exp(rows[r][i] - 50) / exponentials, 1);
        }
      }
      INFO("axis " << axis << " of " << join(shape));
      CHECK(worst < 2e-5);
    }
    auto wide = cast<float>(x);
    check_same_bits([&] { return var(wide); });
    check_same_bits([&] { return logsumexp(wide); });
    check_same_bits([&] { return logsumexp(wide, -1); });
  }
}

TEST_CASE("logsumexp of infinities and NaN in long rows") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  constexpr auto nan = std::numeric_limits<float>::quiet_NaN();
  for (int64_t n : {3, 40, 9000, 200000}) {
    for (int64_t place : {int64_t{0}, n / 2, n - 1}) {
      auto with = [&](float all, float one) {
        auto x = full<float>({n}, all);
        x.mutable_data()[place] = one;
        return logsumexp(x).item();
      };
      CHECK(with(-infinity, -infinity) == -infinity);
      CHECK(with(1, infinity) == infinity);
      CHECK(with(-infinity, infinity) == infinity);
      CHECK(with(-infinity, 2) == 2);
      CHECK(std::isnan(with(1, nan)));
      CHECK(std::isnan(with(infinity, nan)));
      CHECK(std::isnan(with(-infinity, nan)));
    }
  }
}

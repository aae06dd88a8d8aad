// Products of bf16 against double, for sizes around those of tiles, operands in any layout and any number of threads.
#include <vector>

#include "gradus/device/cpu/gemm.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

namespace {

/// How the elements of an operand lie in memory.
enum class Layout { rows, columns, apart };

/// A matrix with room between its elements where the layout says so, NaN there.
struct Bf16Matrix {
  std::vector<bf16> memory;
  detail::MatrixView<bf16> view;

  Bf16Matrix(uint32_t seed, int64_t rows, int64_t columns, Layout layout) {
    auto row_stride = layout == Layout::rows ? columns : layout == Layout::columns ? 1 : 3 * columns + 1;
    auto column_stride = layout == Layout::rows ? 1 : layout == Layout::columns ? rows : 3;
    memory.assign(static_cast<size_t>((rows + 1) * row_stride + (columns + 1) * column_stride), bf16(NAN));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        memory[static_cast<size_t>(i * row_stride + j * column_stride)] =
            bf16(2 * test::hashed_uniform(seed, i * columns + j) - 1);
      }
    }
    view = {memory.data(), rows, columns, row_stride, column_stride};
  }
  double at(int64_t i, int64_t j) const {
    return static_cast<double>(static_cast<float>(view.data[i * view.row_stride + j * view.column_stride]));
  }
};

/// The largest error of a product with biases, in units of what rounding its result once to bf16 allows.
double worst_error(int64_t m, int64_t n, int64_t k, Layout left, Layout right) {
  Bf16Matrix a(1, m, k, left), b(2, k, n, right), biases(3, 1, n, Layout::rows);
  std::vector<bf16> c(static_cast<size_t>(m * n), bf16(NAN));
  detail::gemm<bf16>(a.view, b.view, c.data(), n, {.column_bias = biases.memory.data()});
  double worst = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      auto sum = biases.at(0, j), size = std::abs(sum);
      for (int64_t p = 0; p < k; ++p) {
        sum += a.at(i, p) * b.at(p, j);
        size += std::abs(a.at(i, p) * b.at(p, j));
      }
      auto error = std::abs(static_cast<double>(static_cast<float>(c[static_cast<size_t>(i * n + j)])) - sum);
      auto allowed = std::abs(sum) / 256 + size * 1e-6;  // sums in float
      if (!(error <= worst * allowed)) worst = error / allowed;
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("products of bf16 around the sizes of tiles, in every layout") {
  for (auto left : {Layout::rows, Layout::columns, Layout::apart}) {
    for (auto right : {Layout::rows, Layout::columns, Layout::apart}) {
      for (int64_t m : {1, 4, 8, 9, 17}) {
        for (int64_t n : {1, 15, 16, 17, 48, 49, 97}) {
          for (int64_t k : {0, 1, 2, 15, 16, 31, 32, 33, 383, 385}) {
            CAPTURE(m, n, k, static_cast<int>(left), static_cast<int>(right));
            CHECK(worst_error(m, n, k, left, right) <= 1.01);
          }
        }
      }
    }
  }
}

TEST_CASE("products of bf16 whose depth is cut into parts") {
  CHECK(worst_error(40, 50, 4001, Layout::rows, Layout::columns) <= 1.01);
  CHECK(worst_error(40, 50, 4001, Layout::columns, Layout::rows) <= 1.01);
}

TEST_CASE("products of bf16 have the same bits with any number of threads") {
  Bf16Matrix a(1, 203, 771, Layout::rows), b(2, 771, 305, Layout::columns);
  auto with_threads = [&](int threads) {
    auto before = num_threads();
    set_num_threads(threads);
    std::vector<bf16> c(203 * 305);
    detail::gemm<bf16>(a.view, b.view, c.data(), 305);
    set_num_threads(before);
    return c;
  };
  auto one = with_threads(1);
  CHECK(with_threads(2) == one);
  CHECK(with_threads(3) == one);
}

TEST_CASE("a product of bf16 passes on infinities and NaN, and adds to what is there") {
  std::vector<bf16> a(20 * 30, bf16(1)), b(30 * 40, bf16(0.5)), c(20 * 40, bf16(2));
  a[3 * 30 + 7] = bf16(INFINITY);
  a[5 * 30 + 29] = bf16(NAN);
  detail::gemm<bf16>({a.data(), 20, 30, 30, 1}, {b.data(), 30, 40, 40, 1}, c.data(), 40, {.accumulate = true});
  for (size_t i = 0; i < c.size(); ++i) {
    auto value = static_cast<float>(c[i]);
    if (i / 40 == 3) CHECK(value == INFINITY);
    else if (i / 40 == 5) CHECK(std::isnan(value));
    else CHECK(value == 17.0f);
  }
}

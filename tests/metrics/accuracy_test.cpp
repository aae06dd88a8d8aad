#include "gradus/metrics/accuracy.hpp"

#include <cmath>
#include <limits>

#include "gradus/metrics/mean.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

TEST_CASE("accuracy: of logits and of classes") {
  auto logits = tensor<float>({{0.1f, 0.9f, 0}, {2, 1, 0}, {-1, -2, -3}, {0, 0, 5}});
  auto labels = tensor<int64_t>({1, 0, 2, 2});
  CHECK(metrics::count_correct(logits, labels) == 3);
  CHECK(metrics::accuracy(logits, labels) == 0.75);
  CHECK(metrics::accuracy(tensor<int64_t>({1, 0, 0, 2}), labels) == 0.75);
  CHECK(metrics::accuracy(cast<bf16>(logits), labels) == 0.75);
  CHECK(metrics::accuracy(transpose(tensor<float>({{0, 1}, {1, 0}})), tensor<int64_t>({1, 1})) == 0.5);
}

TEST_CASE("accuracy: the first of equal logits counts, NaN is largest, no rows give NaN") {
  constexpr auto nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(metrics::accuracy(tensor<float>({{3, 3}, {1, nan}}), tensor<int64_t>({0, 1})) == 1);
  CHECK(std::isnan(metrics::accuracy(zeros<float>({0, 3}), zeros<int64_t>({0}))));
}

TEST_CASE("accuracy: shapes that do not fit") {
  check_error<ShapeError>(
      [] {
        metrics::accuracy(zeros<float>({2, 3}), zeros<int64_t>({4}));
      },
      "accuracy: predictions are (2, 3) and labels (4,), but must be (n, classes) and (n,)");
  check_error<ShapeError>([] { metrics::accuracy(zeros<float>({2}), zeros<int64_t>({2})); },
                          "accuracy: predictions are (2,) and labels (2,), but must be (n, classes) and (n,)");
  check_error<ShapeError>(
      [] {
        metrics::accuracy(zeros<int64_t>({2, 3}), zeros<int64_t>({2}));
      },
      "accuracy: predictions are (2, 3) and labels (2,), but must be (n,) and (n,)");
}

TEST_CASE("mean: weighted, NaN before the first value") {
  metrics::Mean mean;
  CHECK(std::isnan(mean.value()));
  mean.add(2.0, 128);
  mean.add(5.0, 64);
  CHECK(mean.value() == 3.0);
  CHECK(mean.weight() == 192);
  mean.reset();
  CHECK(std::isnan(mean.value()));
  mean.add(4);
  CHECK(mean.value() == 4);
}

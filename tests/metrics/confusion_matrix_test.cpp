#include "gradus/metrics/confusion_matrix.hpp"

#include <cmath>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

/// Labels 0 0 0 1 1 2 2 2 2 2, predictions 0 0 1 1 0 2 2 2 1 0.
metrics::ConfusionMatrix example() {
  metrics::ConfusionMatrix matrix(std::vector<std::string>{"cat", "d\u00f6g", "very long bird"});
  matrix.update(tensor<int64_t>({0, 0, 1, 1, 0}), tensor<int64_t>({0, 0, 0, 1, 1}));
  matrix.update(tensor<float>({{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {0, 3, 2}, {9, 1, 2}}), full<int64_t>({5}, 2));
  return matrix;
}

}  // namespace

TEST_CASE("confusion matrix: counts by actual and predicted class") {
  auto matrix = example();
  CHECK(matrix.classes() == 3);
  CHECK(matrix.total() == 10);
  CHECK(matrix.count(0, 0) == 2);
  CHECK(matrix.count(0, 1) == 1);
  CHECK(matrix.count(1, 0) == 1);
  CHECK(matrix.count(2, 0) == 1);
  CHECK(matrix.count(2, 2) == 3);
  CHECK(matrix.count(0, 2) == 0);
  CHECK(matrix.accuracy() == 0.6);
  matrix.reset();
  CHECK(matrix.total() == 0);
  CHECK(std::isnan(matrix.accuracy()));
}

TEST_CASE("confusion matrix: scores, as scikit-learn has them") {
  auto matrix = example();
  auto cat = matrix.scores(0), dog = matrix.scores(1), bird = matrix.scores(2), macro = matrix.macro();
  CHECK(cat.precision == Approx(2.0 / 4));
  CHECK(cat.recall == Approx(2.0 / 3));
  CHECK(cat.f1 == Approx(4.0 / 7));
  CHECK(cat.support == 3);
  CHECK(dog.precision == Approx(1.0 / 3));
  CHECK(dog.recall == Approx(1.0 / 2));
  CHECK(dog.f1 == Approx(0.4));
  CHECK(bird.precision == 1);
  CHECK(bird.recall == Approx(0.6));
  CHECK(bird.f1 == Approx(0.75));
  CHECK(bird.support == 5);
  // sklearn.metrics.precision_recall_fscore_support(labels, predictions, average="macro")
  CHECK(macro.precision == Approx(0.611111111));
  CHECK(macro.recall == Approx(0.588888889));
  CHECK(macro.f1 == Approx(0.573809524));
  CHECK(macro.support == 10);
}

TEST_CASE("confusion matrix: classes that do not occur") {
  metrics::ConfusionMatrix matrix(4);
  auto empty = matrix.macro();
  CHECK(empty.f1 == 0);
  matrix.update(tensor<int64_t>({0, 2}), tensor<int64_t>({0, 0}));
  CHECK(matrix.scores(1).precision == 0);
  CHECK(matrix.scores(1).recall == 0);
  CHECK(matrix.scores(1).f1 == 0);
  CHECK(matrix.scores(2).recall == 0);  // predicted, but never there: counts in the mean
  CHECK(matrix.macro().precision == 0.5);
  CHECK(matrix.macro().recall == 0.25);
}

TEST_CASE("confusion matrix: tables line up") {
  CHECK(to_string(example()) ==
        "actual \\ predicted       cat       d\u00f6g  very lon\n"
        "cat                        2         1         .\n"
        "d\u00f6g                        1         1         .\n"
        "very long bird             1         1         3\n");
  CHECK(metrics::report(example()) ==
        "                precision   recall       F1  samples\n"
        "cat                 50.00    66.67    57.14        3\n"
        "d\u00f6g                 33.33    50.00    40.00        2\n"
        "very long bird     100.00    60.00    75.00        5\n"
        "macro mean          61.11    58.89    57.38       10\n"
        "accuracy            60.00 %\n");
}

TEST_CASE("confusion matrix: what is out of range is refused and not counted") {
  metrics::ConfusionMatrix matrix(3);
  check_error<IndexError>(
      [&] {
        matrix.update(tensor<int64_t>({0, 1}), tensor<int64_t>({0, 3}));
      },
      "ConfusionMatrix: label 3 of row 1 is out of range for 3 classes");
  check_error<IndexError>(
      [&] {
        matrix.update(tensor<int64_t>({0, -1}), tensor<int64_t>({0, 1}));
      },
      "ConfusionMatrix: prediction -1 of row 1 is out of range for 3 classes");
  check_error<IndexError>(
      [&] {
        matrix.update(zeros<float>({1, 3}), tensor<int64_t>({-100}));
      },
      "ConfusionMatrix: label -100 of row 0 is out of range for 3 classes");
  check_error<ShapeError>(
      [&] {
        matrix.update(zeros<float>({2, 3}), zeros<int64_t>({1}));
      },
      "ConfusionMatrix: predictions are (2, 3) and labels (1,), but must be (n, classes) and (n,)");
  check_error<IndexError>([&] { matrix.count(0, 3); }, "ConfusionMatrix: count(0, 3) of 3 classes");
  check_error<ValueError>([] { metrics::ConfusionMatrix(0); },
                          "ConfusionMatrix: 0 classes, but there must be at least 1");
  CHECK(matrix.total() == 0);
}

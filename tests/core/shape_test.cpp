#include "gradus/core/shape.hpp"

#include <limits>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

TEST_CASE("shape: sizes, comparison, text") {
  Shape scalar, row{5}, matrix{2, 3};
  CHECK(scalar.rank() == 0);
  CHECK(scalar.empty());
  CHECK(scalar.numel() == 1);
  CHECK(matrix[1] == 3);
  CHECK(matrix.back() == 3);
  CHECK(matrix.numel() == 6);
  CHECK(matrix == Shape{2, 3});
  CHECK(!(matrix == Shape{3, 2}));
  CHECK(!(matrix == Shape{2, 3, 1}));
  CHECK(to_string(scalar) == "()");
  CHECK(to_string(row) == "(5,)");
  CHECK(to_string(matrix) == "(2, 3)");
  CHECK(Shape(std::vector<int64_t>{4, 5}) == Shape{4, 5});
  CHECK(Shape::filled(3, 7) == Shape{7, 7, 7});
}

TEST_CASE("shape: axes come and go") {
  Shape shape{2, 3};
  shape.push_back(4);
  shape.insert(0, 1);
  CHECK(shape == Shape{1, 2, 3, 4});
  shape.insert(4, 9);
  CHECK(shape == Shape{1, 2, 3, 4, 9});
  shape.erase(1);
  CHECK(shape == Shape{1, 3, 4, 9});
  shape.erase(3);
  CHECK(shape == Shape{1, 3, 4});
}

TEST_CASE("shape: at most eight axes") {
  auto eight = Shape::filled(8, 1);
  CHECK(eight.rank() == Shape::max_rank);
  check_error<ShapeError>([&] { eight.push_back(1); }, "shape: a tensor has at most 8 axes");
  check_error<ShapeError>([&] { eight.insert(0, 1); }, "shape: a tensor has at most 8 axes");
  check_error<ShapeError>([] { Shape{1, 2, 3, 4, 5, 6, 7, 8, 9}; }, "shape: 9 axes, but a tensor has at most 8");
}

TEST_CASE("shape: counts that overflow are noticed, unless the shape is empty") {
  auto large = int64_t{1} << 40;
  check_error<ShapeError>(
      [&] {
        Shape({large, large}).numel();
      },
      "shape: (1099511627776, 1099511627776) holds more elements than 63 bits can count");
  CHECK(Shape({large, large, 0}).numel() == 0);
  CHECK(Shape({0, large, large}).numel() == 0);
  CHECK(Shape({int64_t{1} << 31, int64_t{1} << 31}).numel() == int64_t{1} << 62);
}

TEST_CASE("shape: row-major strides") {
  CHECK(contiguous_strides({}) == Strides{});
  CHECK(contiguous_strides({4}) == Strides{1});
  CHECK(contiguous_strides({2, 3, 4}) == Strides{12, 4, 1});
  CHECK(contiguous_strides({2, 0, 4}) == Strides{4, 4, 1});
  auto large = int64_t{1} << 40;
  CHECK(contiguous_strides({0, large, large}).rank() == 3);  // no undefined behaviour under the sanitizer
}

TEST_CASE("shape: axes count from the end when negative") {
  CHECK(normalize_axis("sum", 0, 3) == 0);
  CHECK(normalize_axis("sum", 2, 3) == 2);
  CHECK(normalize_axis("sum", -1, 3) == 2);
  CHECK(normalize_axis("sum", -3, 3) == 0);
  check_error<IndexError>([] { normalize_axis("sum", 3, 3); }, "sum: axis 3 of a tensor with 3 axes");
  check_error<IndexError>([] { normalize_axis("sum", -4, 3); }, "sum: axis -4 of a tensor with 3 axes");
  check_error<IndexError>([] { normalize_axis("sum", 0, 0); }, "sum: axis 0 of a tensor with 0 axes");
  auto lowest = std::numeric_limits<int64_t>::lowest();
  check_error<IndexError>([=] { normalize_axis("sum", lowest, 3); },
                          "sum: axis -9223372036854775808 of a tensor with 3 axes");
}

TEST_CASE("shape: broadcasting") {
  CHECK(broadcast_shapes("add", {2, 3}, {2, 3}) == Shape{2, 3});
  CHECK(broadcast_shapes("add", {2, 3}, {}) == Shape{2, 3});
  CHECK(broadcast_shapes("add", {3}, {2, 1}) == Shape{2, 3});
  CHECK(broadcast_shapes("add", {4, 1, 3}, {5, 1}) == Shape{4, 5, 3});
  CHECK(broadcast_shapes("add", {1}, {0}) == Shape{0});
  CHECK(broadcast_shapes("add", {2, 0}, {2, 1}) == Shape{2, 0});
  check_error<ShapeError>(
      [] {
        broadcast_shapes("add", {2, 3}, {2, 4});
      },
      "add: shapes (2, 3) and (2, 4) do not broadcast: sizes 3 and 4 must be equal, or one of "
      "them 1");
  check_error<ShapeError>([] { broadcast_shapes("where", {3}, {0}); },
                          "where: shapes (3,) and (0,) do not broadcast: sizes 3 and 0 must be equal, or one of "
                          "them 1");
}

#include "gradus/tensor/eigen.hpp"

#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

TEST_CASE("eigen: a tensor is seen as a matrix, whatever its strides") {
  auto x = tensor<float>({{1, 2, 3}, {4, 5, 6}});  // (2, 3)
  auto matrix = as_eigen(x);
  CHECK(matrix.rows() == 2);
  CHECK(matrix.cols() == 3);
  CHECK(matrix(1, 0) == 4);
  CHECK(matrix.data() == x.data());
  auto transposed = transpose(x), part = slice(x, 1, 0, 3, 2);
  CHECK(as_eigen(transposed)(2, 0) == 3);
  CHECK(as_eigen(part)(1, 1) == 6);
  auto repeated = expand(tensor<float>({7, 8, 9}), {4, 3});
  CHECK(as_eigen(repeated)(3, 2) == 9);
  CHECK(as_eigen(zeros<float>({0, 3})).rows() == 0);
}

TEST_CASE("eigen: a vector is a column") {
  auto x = tensor<double>({1, 2, 3});  // (3,)
  auto column = as_eigen(x);
  CHECK(column.rows() == 3);
  CHECK(column.cols() == 1);
  CHECK(column(2, 0) == 3);
  auto every_second = slice(x, 0, 0, 3, 2);
  CHECK(as_eigen(every_second)(1, 0) == 3);
}

TEST_CASE("eigen: other element types") {
  auto whole = tensor<int64_t>({{1, 2}, {3, 4}});
  CHECK(as_eigen(whole)(1, 0) == 3);
  auto flags = tensor<bool>({{true, false}, {false, true}});
  CHECK(as_eigen(flags)(1, 1));
  CHECK(!as_eigen(flags)(0, 1));
}

TEST_CASE("eigen: writing through a matrix is an in-place change") {
  auto x = zeros<float>({2, 3});
  auto version = x.impl()->storage->version();
  auto matrix = as_mutable_eigen(x);
  CHECK(x.impl()->storage->version() == version + 1);
  matrix(1, 2) = 5;
  matrix.row(0).setConstant(2);
  CHECK(x.to_vector() == std::vector<float>{2, 2, 2, 0, 0, 5});
  auto transposed = transpose(x);
  as_mutable_eigen(transposed)(0, 1) = 9;
  CHECK(x(1, 0) == 9);

  auto leaf = zeros<float>({2, 2}).set_requires_grad();
  check_error<AutogradError>([&] { as_mutable_eigen(leaf); },
                             "mutable_data: this tensor is a leaf that requires a gradient, and in-place operators do "
                             "not record; do it under no_grad, or on a detach()ed or cloned tensor");
  auto repeated = expand(tensor<float>({1, 2}), {3, 2});
  check_error<ShapeError>([&] { as_mutable_eigen(repeated); },
                          "as_mutable_eigen: axis 0 of shape (3, 2) repeats one element (stride 0); clone() it before "
                          "writing");
}

TEST_CASE("eigen: only one or two axes make a matrix") {
  auto cube = zeros<float>({2, 3, 4});
  check_error<ShapeError>([&] { as_eigen(cube); },
                          "as_eigen: x is (2, 3, 4), but an Eigen matrix has 1 or 2 axes; select() or reshape() it "
                          "first");
  auto scalar = tensor<float>(1);
  check_error<ShapeError>([&] { as_mutable_eigen(scalar); },
                          "as_mutable_eigen: x is (), but an Eigen matrix has 1 or 2 axes; select() or reshape() it "
                          "first");
}

TEST_CASE("eigen: matrices and expressions are copied into tensors") {
  Eigen::MatrixXf matrix(2, 3);  // column-major
  matrix << 1, 2, 3, 4, 5, 6;
  auto x = from_eigen(matrix);
  CHECK(x.shape() == Shape{2, 3});
  CHECK(x.to_vector() == std::vector<float>{1, 2, 3, 4, 5, 6});
  matrix(0, 0) = 100;
  CHECK(x(0, 0) == 1);
  CHECK(from_eigen(matrix.transpose() * 2.0f).to_vector() == std::vector<float>{200, 8, 4, 10, 6, 12});
  CHECK(from_eigen(matrix.array() + 1.0f)(1, 2) == 7);
  CHECK(from_eigen(Eigen::Vector3d(1, 2, 3)).shape() == Shape{3});
  CHECK(from_eigen(Eigen::RowVector2d(1, 2)).to_vector() == std::vector<double>{1, 2});
  CHECK(from_eigen(Eigen::MatrixXf(0, 4)).shape() == Shape{0, 4});
  auto y = tensor<float>({{1, 2}, {3, 4}});
  CHECK(from_eigen(as_eigen(y)).to_vector() == y.to_vector());
}

TEST_CASE("eigen: a matrix's own memory as a tensor") {
  Eigen::MatrixXf matrix(2, 3);
  matrix << 1, 2, 3, 4, 5, 6;
  auto x = view_eigen(matrix);
  CHECK(x.shape() == Shape{2, 3});
  CHECK(x.strides() == Strides{1, 2});
  CHECK(x.data() == matrix.data());
  CHECK((x + x).to_vector() == std::vector<float>{2, 4, 6, 8, 10, 12});
  x.set({0, 2}, 30);
  CHECK(matrix(0, 2) == 30);
  matrix(1, 1) = 50;
  CHECK(x(1, 1) == 50);

  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows(2, 2);
  rows << 1, 2, 3, 4;
  CHECK(view_eigen(rows).is_contiguous());
  Eigen::VectorXd vector(3);
  vector << 1, 2, 3;
  CHECK(view_eigen(vector).shape() == Shape{3});
  auto block = matrix.block(0, 1, 2, 2);
  CHECK(view_eigen(block).to_vector() == std::vector<float>{2, 30, 50, 6});
  auto row = matrix.row(1);
  CHECK(view_eigen(row).strides() == Strides{2});
  CHECK(view_eigen(row).to_vector() == std::vector<float>{4, 50, 6});
  Eigen::MatrixXf nothing(0, 3);
  CHECK(view_eigen(nothing).numel() == 0);
}

TEST_CASE("eigen: an owner keeps the matrix alive") {
  auto matrix = std::make_shared<Eigen::MatrixXf>(Eigen::MatrixXf::Constant(2, 2, 3));
  std::weak_ptr<Eigen::MatrixXf> watch = matrix;
  auto x = view_eigen(*matrix, matrix);
  matrix.reset();
  CHECK(!watch.expired());
  CHECK(x(1, 1) == 3);
  x = {};
  CHECK(watch.expired());
}

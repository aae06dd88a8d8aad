// In-place writes: fill_, copy_, and what happens when source and target share memory.
#include "gradus/tensor.hpp"

#include <array>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {
using Numbers = std::vector<int32_t>;
}

TEST_CASE("copy: fill_ and zero_ write through views") {
  auto x = arange<int32_t>(12);
  auto matrix = reshape(x, {3, 4});  // (3, 4)
  auto column = select(matrix, 1, 1);
  CHECK(column.fill_(-1).data() == column.data());
  CHECK(x.to_vector() == Numbers{0, -1, 2, 3, 4, -1, 6, 7, 8, -1, 10, 11});
  slice(x, 0, 0, 12, 3).zero_();
  CHECK(x.to_vector() == Numbers{0, -1, 2, 0, 4, -1, 0, 7, 8, 0, 10, 11});
  zeros<int32_t>({0, 3}).fill_(1);
}

TEST_CASE("copy: copy_ between any layouts") {
  auto source = reshape(arange<int32_t>(6), {2, 3});  // (2, 3)
  auto target = zeros<int32_t>({3, 2});
  target.copy_(transpose(source));
  CHECK(target.to_vector() == Numbers{0, 3, 1, 4, 2, 5});
  auto wide = zeros<int32_t>({2, 6});
  slice(wide, 1, 0, 6, 2).copy_(source);
  CHECK(wide.to_vector() == Numbers{0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0});
  zeros<int32_t>({2, 3}).copy_(expand(tensor<int32_t>({7, 8, 9}), {2, 3}));
  check_error<ShapeError>([&] { target.copy_(source); }, "copy_: source is (2, 3) but the target is (3, 2)");
  check_error<ShapeError>([&] { target.copy_(tensor<int32_t>(1)); }, "copy_: source is () but the target is (3, 2)");
}

TEST_CASE("copy: source and target may share memory") {
  auto x = arange<int32_t>(6);
  slice(x, 0, 1, 6).copy_(slice(x, 0, 0, 5));  // shifts up
  CHECK(x.to_vector() == Numbers{0, 0, 1, 2, 3, 4});
  x = arange<int32_t>(6);
  slice(x, 0, 0, 5).copy_(slice(x, 0, 1, 6));  // shifts down
  CHECK(x.to_vector() == Numbers{1, 2, 3, 4, 5, 5});
  auto square = reshape(arange<int32_t>(9), {3, 3});
  square.copy_(transpose(square));
  CHECK(square.to_vector() == Numbers{0, 3, 6, 1, 4, 7, 2, 5, 8});
  square.copy_(square);
  CHECK(square.to_vector() == Numbers{0, 3, 6, 1, 4, 7, 2, 5, 8});
  slice(x, 0, 0, 6, 2).copy_(slice(x, 0, 1, 6, 2));  // interleaved, no element in common
  CHECK(x.to_vector() == Numbers{2, 2, 4, 4, 5, 5});
}

TEST_CASE("copy: two views of one foreign memory share it too") {
  std::array<int32_t, 6> memory{0, 1, 2, 3, 4, 5};
  auto low = Tensor<int32_t>::view_of(memory.data(), {5});
  auto high = Tensor<int32_t>::view_of(memory.data() + 1, {5});
  high.copy_(low);
  CHECK(memory == std::array<int32_t, 6>{0, 0, 1, 2, 3, 4});
}

TEMPLATE_TEST_CASE("copy: a large strided copy is the same as element by element", "", uint8_t, bf16, float, double) {
  using T = TestType;
  auto x = cast<T>(reshape(arange<int32_t>(60 * 70 * 31), {60, 70, 31}));
  auto y = permute(x, {2, 0, 1});  // (31, 60, 70)
  auto dense = y.clone();
  CHECK(dense.is_contiguous());
  int wrong = 0;
  for (int64_t i = 0; i < 31; ++i) {
    for (int64_t j = 0; j < 60; ++j) {
      for (int64_t k = 0; k < 70; ++k) wrong += dense(i, j, k) != x(j, k, i);
    }
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("copy: stacks of transposed matrices are turned tile by tile", "", bool, bf16, float, int64_t) {
  using T = TestType;
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{16, 64}, {50, 150}, {17, 65}, {130, 20}}) {
    auto x = zeros<T>({2, columns, 3, rows});
    for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data()[i] = static_cast<T>(static_cast<float>(i * i % 11 % 5));
    auto y = permute(x, {2, 0, 3, 1});  // (3, 2, rows, columns)
    auto dense = y.clone();
    auto strided = zeros<T>({3, 2, rows, 2 * columns});
    auto every_other = slice(strided, 3, 0, 2 * columns, 2);  // (3, 2, rows, columns)
    every_other.copy_(y);
    int wrong = 0;
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < 2; ++j) {
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < columns; ++c) {
            wrong += dense(i, j, r, c) != x(j, c, i, r);
            wrong += strided(i, j, r, 2 * c) != x(j, c, i, r);
          }
        }
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("copy: eight axes, some of size one, some repeated") {
  auto x = reshape(arange<int32_t>(16), {2, 1, 2, 1, 2, 1, 2, 1});
  auto y = permute(x, {6, 7, 4, 5, 2, 3, 0, 1}).clone();  // the order of the four real axes reversed
  Numbers want;
  for (int32_t i = 0; i < 16; ++i) want.push_back((i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3);
  CHECK(y.to_vector() == want);
  auto repeated = expand(x, {2, 3, 2, 1, 2, 1, 2, 1}).clone();
  CHECK(repeated.numel() == 48);
  CHECK(repeated(1, 2, 0, 0, 0, 0, 1, 0) == x(1, 0, 0, 0, 0, 0, 1, 0));
}

TEST_CASE("copy: casts follow static_cast, bool is x != 0") {
  auto x = tensor<float>({-1.5f, 0, 0.25f, 300});
  CHECK(cast<int32_t>(x).to_vector() == Numbers{-1, 0, 0, 300});
  CHECK(cast<bool>(x).to_vector() == std::vector<bool>{true, false, true, true});
  CHECK(cast<double>(x).to_vector() == std::vector<double>{-1.5, 0, 0.25, 300});
  CHECK(cast<float>(cast<bf16>(x)).to_vector() == std::vector<float>{-1.5f, 0, 0.25f, 300});
  CHECK(cast<float>(cast<f16>(x)).to_vector() == std::vector<float>{-1.5f, 0, 0.25f, 300});
  CHECK(cast<int64_t>(tensor<bool>({true, false})).to_vector() == std::vector<int64_t>{1, 0});
  CHECK(cast<float>(tensor<uint8_t>({255})).item() == 255);
  CHECK(cast<float>(x).data() == x.data());  // nothing to do
  CHECK(cast<double>(transpose(reshape(x, {2, 2}))).to_vector() == std::vector<double>{-1.5, 0.25, 0, 300});
}

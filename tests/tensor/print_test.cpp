#include "gradus/tensor/print.hpp"

#include <limits>
#include <sstream>

#include "gradus/tensor.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {
constexpr auto infinity = std::numeric_limits<float>::infinity();
constexpr auto not_a_number = std::numeric_limits<float>::quiet_NaN();
}  // namespace

TEST_CASE("print: scalars, vectors, matrices") {
  CHECK(to_string(tensor<float>(2.5f)) == "2.5\ntensor<float>()");
  CHECK(to_string(tensor<float>({1.5f, -0.25f, 12})) == "[ 1.50, -0.25, 12.00]\ntensor<float>(3,)");
  CHECK(to_string(tensor<float>({{1, 2, 3}, {4, -5, 6}})) ==
        "[[ 1.,  2.,  3.],\n"
        " [ 4., -5.,  6.]]\n"
        "tensor<float>(2, 3)");
  std::ostringstream stream;
  stream << tensor<int32_t>({7});
  CHECK(stream.str() == "[7]\ntensor<int32>(1,)");
  CHECK(join("x = ", tensor<int64_t>(3)) == "x = 3\ntensor<int64>()");
}

TEST_CASE("print: every element type") {
  CHECK(to_string(tensor<double>({0.125})) == "[0.125]\ntensor<double>(1,)");
  CHECK(to_string(full<bf16>({2}, bf16(1.5f))) == "[1.5, 1.5]\ntensor<bf16>(2,)");
  CHECK(to_string(full<f16>({2}, f16(-0.25f))) == "[-0.25, -0.25]\ntensor<f16>(2,)");
  CHECK(to_string(tensor<int64_t>({9223372036854775807, -1})) ==
        "[9223372036854775807,                  -1]\ntensor<int64>(2,)");
  CHECK(to_string(tensor<int32_t>({10, -200})) == "[  10, -200]\ntensor<int32>(2,)");
  CHECK(to_string(tensor<uint8_t>({0, 65, 255})) == "[  0,  65, 255]\ntensor<uint8>(3,)");
  CHECK(to_string(tensor<bool>({true, false})) == "[ true, false]\ntensor<bool>(2,)");
}

TEST_CASE("print: no more decimals than show the number, four at most") {
  CHECK(to_string(tensor<float>({0.1f, 1.0f / 3})) == "[0.1000, 0.3333]\ntensor<float>(2,)");
  CHECK(to_string(tensor<float>({0.1f})) == "[0.1]\ntensor<float>(1,)");
  CHECK(to_string(tensor<double>({1.00001})) == "[1.]\ntensor<double>(1,)");
  CHECK(to_string(tensor<float>({-0.0f, 0})) == "[-0.,  0.]\ntensor<float>(2,)");
}

TEST_CASE("print: exponents where fixed decimals would hide digits") {
  CHECK(to_string(tensor<double>({1e-6, 1, 2.5e9})) == "[1.0e-06, 1.0e+00, 2.5e+09]\ntensor<double>(3,)");
  CHECK(to_string(tensor<float>({1e-5f})) == "[1.e-05]\ntensor<float>(1,)");
  CHECK(to_string(tensor<double>({0.5, 5000.5})) == "[5.0000e-01, 5.0005e+03]\ntensor<double>(2,)");
  CHECK(to_string(tensor<double>({123456, 1})) == "[123456.,      1.]\ntensor<double>(2,)");  // whole: no need
  CHECK(to_string(tensor<double>({1e300, -1e-300})) == "[ 1.e+300, -1.e-300]\ntensor<double>(2,)");
  CHECK(to_string(tensor<float>({1e8f})) == "[1.e+08]\ntensor<float>(1,)");
}

TEST_CASE("print: NaN and infinities line up") {
  CHECK(to_string(tensor<float>({1.5f, not_a_number, -infinity, infinity})) ==
        "[ 1.5,  nan, -inf,  inf]\ntensor<float>(4,)");
  CHECK(to_string(tensor<float>({not_a_number, not_a_number})) == "[nan, nan]\ntensor<float>(2,)");
  CHECK(to_string(tensor<float>({not_a_number, 3})) == "[nan,  3.]\ntensor<float>(2,)");
}

TEST_CASE("print: nothing to show") {
  CHECK(to_string(zeros<float>({0})) == "[]\ntensor<float>(0,)");
  CHECK(to_string(zeros<int32_t>({3, 0, 2})) == "[]\ntensor<int32>(3, 0, 2)");
  CHECK(to_string(Tensor<double>()) == "undefined tensor<double>");
}

TEST_CASE("print: a long row goes over several lines") {
  CHECK(to_string(arange<int64_t>(45)) ==
        "[ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17, 18,\n"
        " 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37,\n"
        " 38, 39, 40, 41, 42, 43, 44]\n"
        "tensor<int64>(45,)");
}

TEST_CASE("print: up to 1000 elements are shown whole") {
  auto text = to_string(arange<int32_t>(1000));
  CHECK(text.find("...") == std::string::npos);
  CHECK(text.find("500") != std::string::npos);
}

TEST_CASE("print: more are shortened to three at each end of an axis") {
  CHECK(to_string(arange<float>(1001)) ==
        "[   0.,    1.,    2., ...,  998.,  999., 1000.]\n"
        "tensor<float>(1001,)");
  CHECK(to_string(reshape(arange<int32_t>(4000), {2, 1000, 2})) ==
        "[[[   0,    1],\n"
        "  [   2,    3],\n"
        "  [   4,    5],\n"
        "  ...,\n"
        "  [1994, 1995],\n"
        "  [1996, 1997],\n"
        "  [1998, 1999]],\n"
        "\n"
        " [[2000, 2001],\n"
        "  [2002, 2003],\n"
        "  [2004, 2005],\n"
        "  ...,\n"
        "  [3994, 3995],\n"
        "  [3996, 3997],\n"
        "  [3998, 3999]]]\n"
        "tensor<int32>(2, 1000, 2)");
  // The elements left out decide nothing: neither the columns' width nor the decimals.
  auto x = zeros<float>({2000});
  x.set({1000}, 1e30f);
  CHECK(to_string(x) == "[0., 0., 0., ..., 0., 0., 0.]\ntensor<float>(2000,)");
}

TEST_CASE("print: views are read through their strides") {
  auto x = reshape(arange<int32_t>(6), {2, 3});  // (2, 3)
  CHECK(to_string(transpose(x)) == "[[0, 3],\n [1, 4],\n [2, 5]]\ntensor<int32>(3, 2)");
  CHECK(to_string(slice(x, 1, 1, 3)) == "[[1, 2],\n [4, 5]]\ntensor<int32>(2, 2)");
  CHECK(to_string(expand(tensor<int32_t>(9), {1, 3})) == "[[9, 9, 9]]\ntensor<int32>(1, 3)");
}

TEST_CASE("print: eight axes") {
  CHECK(to_string(reshape(arange<int32_t>(4), {1, 1, 1, 1, 1, 2, 1, 2})) ==
        "[[[[[[[[0, 1]],\n"
        "\n"
        "      [[2, 3]]]]]]]]\n"
        "tensor<int32>(1, 1, 1, 1, 1, 2, 1, 2)");
}

// What formulas over Symbols write: the whole text of a few kernels, and the rules that keep texts short.
#include "gradus/ops/formula/symbol.hpp"

#include <limits>

#include "tests/ops/formula/kernel_texts.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

namespace {

using gradus::DType;
using gradus::detail::CudaOperand;
using gradus::detail::Expression;
using gradus::detail::Symbol;
using gradus::test::FormulaSignature;

/// The lines of a formula of x0 and x1.
template <class F>
std::string written(F formula, DType type = DType::f32) {
  Expression expression(type);
  Symbol y = formula(Symbol::operand(0, false), Symbol::operand(1, false));
  return expression.body_of(y.value());
}
/// The same for the gradient of x0.
template <class F>
std::string gradient(F formula) {
  Expression expression(DType::f32);
  gradus::detail::Dual<Symbol> x{Symbol::operand(0, false), Symbol::seed()};
  return expression.body_of(formula(x, Symbol::operand(1, false)).derivative.value());
}

/// Golden texts say HASH where the hash of the kernel stands.
std::string without_hash(const gradus::detail::CudaKernelText& kernel) {
  auto text = kernel.source;
  auto hash = kernel.entry.substr(kernel.entry.size() - 16);
  for (auto at = text.find(hash); at != std::string::npos; at = text.find(hash)) text.replace(at, 16, "HASH");
  return text;
}

}  // namespace

TEST_CASE("relu writes its kernels", "[formula]") {
  auto kernel = gradus::test::value_text<FormulaSignature{}>(gradus::detail::relu_formula, DType::f32);
  CHECK(kernel.inputs == std::vector<int>{0});
  CHECK(kernel.width == 4);
  CHECK(without_hash(kernel) == R"cuda(
namespace gradus::pointwise_relu_HASH {

GRADUS_DEVICE float formula(float x0) {
  const bool v0 = x0 <= 0.0f;
  const float v1 = v0 ? 0.0f : x0;
  return v1;
}

GRADUS_WIDE(16, 16)
extern "C" __global__ void __launch_bounds__(256)
pointwise_relu_HASH_along(const __grid_constant__ Layout layout, float* out, const float* x0) {
  pointwise_along<4, formula>(layout, out, input<0>(x0));
}

GRADUS_WIDE(16, 16)
extern "C" __global__ void __launch_bounds__(256)
pointwise_relu_HASH(const __grid_constant__ Layout layout, float* out, const float* x0) {
  pointwise<4, formula>(layout, out, input<0>(x0));
}

extern "C" __global__ void __launch_bounds__(256)
pointwise_relu_HASH_strided(const __grid_constant__ Layout layout, float* out, const float* x0) {
  pointwise<1, formula>(layout, out, input<0>(x0));
}

}
)cuda");
}

TEST_CASE("the gradient of multiply reads the other operand only, here in bf16", "[formula]") {
  auto kernel = gradus::test::gradient_text<0, FormulaSignature{2}>(gradus::detail::multiply_formula, DType::bf16);
  CHECK(kernel.inputs == std::vector<int>{Expression::seed_number, 1});
  CHECK(kernel.width == 8);
  CHECK(without_hash(kernel) == R"cuda(
namespace gradus::in_bf16::pointwise_multiply_d0_HASH {

GRADUS_DEVICE float formula(float dy, float x1) {
  const float v0 = dy * x1;
  return v0;
}

GRADUS_WIDE(16, 16)
extern "C" __global__ void __launch_bounds__(256)
pointwise_multiply_d0_HASH_along(const __grid_constant__ Layout layout, bf16* out, const bf16* dy, const bf16* x1) {
  pointwise_along<8, formula>(layout, out, input<0>(dy), input<1>(x1));
}

GRADUS_WIDE(16, 16)
extern "C" __global__ void __launch_bounds__(256)
pointwise_multiply_d0_HASH(const __grid_constant__ Layout layout, bf16* out, const bf16* dy, const bf16* x1) {
  pointwise<8, formula>(layout, out, input<0>(dy), input<1>(x1));
}

extern "C" __global__ void __launch_bounds__(256)
pointwise_multiply_d0_HASH_strided(const __grid_constant__ Layout layout, bf16* out, const bf16* dy, const bf16* x1) {
  pointwise<1, formula>(layout, out, input<0>(dy), input<1>(x1));
}

}
)cuda");
}

TEST_CASE("the gradient of gelu_tanh computes what it shares once", "[formula]") {
  auto kernel = gradus::test::gradient_text<0, FormulaSignature{}>(gradus::detail::gelu_tanh_formula, DType::f32);
  auto begin = kernel.source.find("{\n  const"), end = kernel.source.find("}\n");
  CHECK(kernel.source.substr(begin, end - begin + 2) == R"cuda({
  const float v0 = x0 * x0;
  const float v1 = 0.071354814f * v0;
  const float v2 = 1.5957692f + v1;
  const float v3 = x0 * v2;
  const float v4 = sigmoid(v3);
  const float v5 = dy * v4;
  const float v6 = dy * v2;
  const float v7 = dy * x0;
  const float v8 = x0 * dy;
  const float v9 = v7 + v8;
  const float v10 = 0.071354814f * v9;
  const float v11 = x0 * v10;
  const float v12 = v6 + v11;
  const float v13 = 1.0f - v4;
  const float v14 = v13 * v4;
  const float v15 = v12 * v14;
  const float v16 = x0 * v15;
  const float v17 = v5 + v16;
  return v17;
}
)cuda");
}

TEST_CASE("a number known at run time is an argument, whatever its value", "[formula]") {
  auto leaky = [](auto x, auto slope) { return where(x > 0.0, x, slope * x); };
  std::array<CudaOperand, 2> operands{{{DType::bf16}, {DType::f32, true}}};
  auto kernel = gradus::detail::cuda_kernel_text<decltype(leaky)>("leaky", DType::bf16, operands);
  CHECK(kernel.inputs == std::vector<int>{0, 1});
  CHECK(kernel.width == 8);
  CHECK(kernel.source.find("Layout layout, bf16* out, const bf16* x0, float x1) {\n"
                           "  pointwise<8, formula>(layout, out, input<0>(x0), number(x1));") != std::string::npos);
}

TEST_CASE("a formula's name cannot change the program", "[formula]") {
  auto twice = [](auto x) { return x + x; };
  std::array<CudaOperand, 1> operands{{{DType::f32}}};
  auto kernel = gradus::detail::cuda_kernel_text<decltype(twice)>("a { } // b\n\"", DType::f32, operands);
  CHECK(kernel.entry.starts_with("pointwise_a________b___"));
  CHECK(kernel.source.find("//") == std::string::npos);
  auto other = gradus::detail::cuda_kernel_text<decltype(twice)>("twice", DType::f32, operands);
  CHECK(other.hash != kernel.hash);
  CHECK(other.hash == gradus::detail::cuda_kernel_text<decltype(twice)>("twice", DType::f32, operands).hash);
}

TEST_CASE("one and zero are left out where that changes no bit", "[formula]") {
  CHECK(written([](auto x, auto) { return 1.0 * x; }) == "  return x0;\n");
  CHECK(written([](auto x, auto) { return x * 1 / 1.0 - 0; }) == "  return x0;\n");
  CHECK(written([](auto x, auto) { return -(-x); }) == "  return x0;\n");
  CHECK(written([](auto x, auto y) { return where(x < y, x, x); }) == "  return x0;\n");
  // NaN * 0 is NaN, -0 + 0 is 0, and x - -0 is x + 0.
  CHECK(written([](auto x, auto) { return 0.0 * x; }) == "  const float v0 = 0.0f * x0;\n  return v0;\n");
  CHECK(written([](auto x, auto) { return x + 0.0; }) == "  const float v0 = x0 + 0.0f;\n  return v0;\n");
  CHECK(written([](auto x, auto) { return x - -0.0; }) == "  const float v0 = x0 - (-0.0f);\n  return v0;\n");
  // Whole numbers have neither.
  CHECK(written([](auto x, auto y) { return 0 * x + y; }, DType::i64) == "  return x1;\n");
}

TEST_CASE("powers with a written exponent", "[formula]") {
  CHECK(written([](auto x, auto) { return pow(x, 0); }) == "  return 1.0f;\n");
  CHECK(written([](auto x, auto) { return pow(x, 1.0); }) == "  return x0;\n");
  CHECK(written([](auto x, auto) { return pow(x, 2); }) == "  const float v0 = x0 * x0;\n  return v0;\n");
  CHECK(written([](auto x, auto) { return pow(x, 2.5); }) == "  const float v0 = pow(x0, 2.5f);\n  return v0;\n");
  CHECK(gradient([](auto x, auto) { return pow(x, 2.0); }) ==
        "  const float v0 = 2.0f * x0;\n  const float v1 = dy * v0;\n  return v1;\n");
}

TEST_CASE("equal operations are written once", "[formula]") {
  CHECK(written([](auto x, auto y) { return exp(x - y) / (1.0 + exp(x - y)); }) ==
        "  const float v0 = x0 - x1;\n"
        "  const float v1 = exp(v0);\n"
        "  const float v2 = 1.0f + v1;\n"
        "  const float v3 = v1 / v2;\n"
        "  return v3;\n");
}

TEST_CASE("literals become the compute type and read back as the same number", "[formula]") {
  auto returned = [](auto number, DType type) {
    auto text = written([=](auto, auto) { return Symbol(number); }, type);
    return text.substr(9, text.size() - 11);  // between "  return " and ";\n"
  };
  CHECK(returned(0.1, DType::f32) == "0.1f");
  CHECK(returned(0.1, DType::f64) == "0.1");
  CHECK(returned(1, DType::f32) == "1.0f");
  CHECK(returned(1e30, DType::f32) == "1e+30f");
  CHECK(returned(-2.5f, DType::f64) == "(-2.5)");
  CHECK(returned(0.1f, DType::f64) == "0.10000000149011612");
  CHECK(returned(1e300, DType::f32) == "from_bits(0x7f800000u)");
  CHECK(returned(-std::numeric_limits<double>::infinity(), DType::f64) == "from_bits(0xfff0000000000000ull)");
  CHECK(returned(2.9, DType::i32) == "2");
  CHECK(returned(std::numeric_limits<int32_t>::min(), DType::i32) == "(-2147483647 - 1)");
  CHECK(returned(-5, DType::i64) == "(-5ll)");
}

TEST_CASE("whole numbers are computed by functions that wrap", "[formula]") {
  CHECK(written([](auto x, auto y) { return abs(-x * y + x / y - 3.0); }, DType::i32) ==
        "  const int v0 = negate(x0);\n"
        "  const int v1 = multiply(v0, x1);\n"
        "  const int v2 = divide(x0, x1);\n"
        "  const int v3 = add(v1, v2);\n"
        "  const int v4 = subtract(v3, 3);\n"
        "  const int v5 = abs(v4);\n"
        "  return v5;\n");
}

TEST_CASE("conditions are bool and choose", "[formula]") {
  CHECK(written([](auto x, auto y) { return where(!(x < y) && (x != 0.0 || y >= 1.0), x, 0.5); }) ==
        "  const bool v0 = x0 < x1;\n"
        "  const bool v1 = !v0;\n"
        "  const bool v2 = x0 != 0.0f;\n"
        "  const bool v3 = x1 >= 1.0f;\n"
        "  const bool v4 = v2 || v3;\n"
        "  const bool v5 = v1 && v4;\n"
        "  const float v6 = v5 ? x0 : 0.5f;\n"
        "  return v6;\n");
  CHECK(written([](auto x, auto y) { return where(true, x, y) + true; }) ==
        "  const float v0 = x0 + 1.0f;\n  return v0;\n");
}

TEST_CASE("a gradient that only compares its operand is zero", "[formula]") {
  auto sign = [](auto x, auto y) { return where(x > 0.0, y, -y); };
  std::array<CudaOperand, 2> operands{{{DType::f32}, {DType::f32}}};
  auto kernel = gradus::detail::cuda_gradient_text<decltype(sign), 0>("sign", DType::f32, operands);
  CHECK(kernel.inputs.empty());
  CHECK(kernel.source.find("  pointwise<4, formula>(layout, out);") != std::string::npos);
  CHECK(kernel.source.find("{\n  return 0.0f;\n}") != std::string::npos);
}

TEST_CASE("formulas that mix numbers and conditions are refused", "[formula]") {
  using gradus::test::check_error;
  check_error<gradus::TypeError>([] { written([](auto x, auto y) { return (x < y) + x; }); },
                                 "formula: a bool is used as a number; choose one with where(condition, 1.0, 0.0)");
  check_error<gradus::TypeError>([] { written([](auto x, auto y) { return where(x, x, y); }); },
                                 "formula: a number is used as a condition; compare it, as in x != 0.0");
  check_error<gradus::ValueError>([] { Symbol(1.0); }, "formula: a Symbol is used, but no expression is being written");
}

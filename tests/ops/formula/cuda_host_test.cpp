// What the kernel texts compute, run on the CPU: every formula and gradient, for every element type and in several
// layouts, against the same formula over Lane<C>. (Mathematical functions are the C library's here.)
#include "tests/ops/formula/contraction_off.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gradus/ops/formula/lane.hpp"
#include "tests/ops/formula/host_kernels.hpp"
#include "tests/ops/formula/kernel_texts.hpp"
#include "tests/ops/formula/samples.hpp"
#include "tests/ops/formula/skip.hpp"

namespace {

using gradus::bf16;
using gradus::Compute;
using gradus::DType;
using gradus::Shape;
using gradus::Strides;
using gradus::detail::CudaKernelText;
using gradus::detail::Dual;
using gradus::detail::Expression;
using gradus::detail::Lane;
using gradus::detail::LaneMask;
using gradus::test::FormulaDomain;
using gradus::test::FormulaSignature;
using gradus::test::HostKernels;

constexpr size_t max_inputs = 4;  // dy and three operands
constexpr size_t buffer_size = 2048;

/// A shape, and strides for dy (first) and the operands.
struct TestLayout {
  const char* name;
  Shape shape;
  Strides strides[max_inputs];
  bool packs;  ///< fits them, for up to 8 elements
};

const std::vector<TestLayout>& layouts() {
  static const std::vector<TestLayout> all{
      {"dense", {488}, {{1}, {1}, {1}, {1}}, true},
      {"one value beside dense ones", {8, 61}, {{61, 1}, {0, 0}, {61, 1}, {0, 0}}, true},
      {"rows, a row for all and a value for each row",
       {6, 3, 16},
       {{48, 16, 1}, {48, 16, 1}, {0, 0, 1}, {3, 1, 0}},
       true},
      {"permuted", {5, 7, 3, 2}, {{42, 6, 2, 1}, {1, 5, 35, 105}, {0, 2, 0, 1}, {6, 0, 2, 30}}, false},
      {"odd", {7, 67}, {{67, 1}, {67, 1}, {67, 1}, {1, 7}}, false},
      {"every other", {100}, {{1}, {2}, {3}, {1}}, false},
  };
  return all;
}

/// Computes one element: in[0] is dy, in[1 + k] operand k (a condition holds if it is above 0); a bool counts 0 or 1.
template <class C>
using Reference = C (*)(const C* in);

template <class C, bool is_condition>
auto operand_of(C value) {
  if constexpr (is_condition) return LaneMask<C>(value > 0);
  else return Lane<C>(value);
}
template <int wrt, int k, class V, class C>
auto seeded(const V& value, C dy) {
  if constexpr (wrt == k) return Dual<V>{value, dy};
  else return value;
}

/// Formula F in Lanes: its value, or its gradient with respect to operand wrt.
template <class C, class F, FormulaSignature s, int wrt, int... k>
C reference(const C* in) {
  auto y = F{}(seeded<wrt, k>(operand_of<C, (k < s.conditions)>(in[1 + k]), in[0])...);
  if constexpr (wrt >= 0) return Lane<C>(y.derivative).value;
  else if constexpr (std::is_same_v<decltype(y), LaneMask<C>>) return y.holds;
  else return y.value;
}
template <class C, class F, FormulaSignature s, int wrt, int... k>
Reference<C> reference_of(std::integer_sequence<int, k...>) {
  return &reference<C, F, s, wrt, k...>;
}

/// Memory as a GPU's allocator would give it, filled with one of the operands.
template <class E>
const E* buffer(size_t operand) {
  alignas(16) static E buffers[max_inputs][buffer_size];
  static const bool filled = [] {
    auto samples = gradus::test::formula_samples<Compute<E>>();
    for (size_t k = 0; k < max_inputs; ++k) {
      for (size_t i = 0; i < buffer_size; ++i) {
        auto sample = gradus::test::formula_sample(samples, k, i);
        auto size = std::abs(static_cast<double>(sample));
        // A huge dy overflows or not by the last bit of what it is multiplied with.
        if (k == 0 && size > 1e30 && std::isfinite(size)) sample = 3;
        if constexpr (std::is_same_v<E, bool>) buffers[k][i] = sample > 0;
        else buffers[k][i] = static_cast<E>(sample);
      }
    }
    return true;
  }();
  return filled ? buffers[operand] : nullptr;
}

/// Equal up to the rounding of a few operations on numbers of about `scale`; NaN, infinities and zeros alike.
template <class E>
bool close(E got, E want, double scale) {
  if constexpr (!gradus::Floating<E>) {
    return got == want;
  } else {
    auto a = static_cast<double>(got), b = static_cast<double>(want);
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
    if (a == 0 && b == 0) return std::signbit(a) == std::signbit(b);
    if (std::isinf(a) || std::isinf(b)) return a == b;
    auto error = std::is_same_v<E, double> ? 1e-13 : std::is_same_v<E, float> ? 2e-6 : 1e-2;
    return std::abs(a - b) <= error * std::max(std::abs(b), scale);
  }
}

void launch(const HostKernels& kernels, const std::string& entry, const gradus::detail::CudaPointwiseLayout& layout,
            void* out, const std::vector<const void*>& in) {
  constexpr unsigned blocks = 3, threads = 5;
  if (in.empty()) kernels.launch(entry, blocks, threads, layout, out);
  else if (in.size() == 1) kernels.launch(entry, blocks, threads, layout, out, in[0]);
  else if (in.size() == 2) kernels.launch(entry, blocks, threads, layout, out, in[0], in[1]);
  else if (in.size() == 3) kernels.launch(entry, blocks, threads, layout, out, in[0], in[1], in[2]);
  else kernels.launch(entry, blocks, threads, layout, out, in.at(0), in.at(1), in.at(2), in.at(3));
}

/// Runs one entry in one layout over operands of E, the first `conditions` of which are bool; compares every element.
template <class E>
void check_run(const HostKernels& kernels, const CudaKernelText& text, int conditions, Reference<Compute<E>> reference,
               const TestLayout& test, bool packs, bool along = false) {
  auto is_condition = [&](size_t k) { return k >= 1 && k <= static_cast<size_t>(conditions); };
  std::vector<const void*> in;
  std::vector<Strides> strides;
  for (auto number : text.inputs) {
    auto k = static_cast<size_t>(number + 1);
    in.push_back(is_condition(k) ? static_cast<const void*>(buffer<bool>(k)) : buffer<E>(k));
    strides.push_back(test.strides[k]);
  }
  auto inputs = static_cast<int>(in.size());
  auto layout = gradus::detail::cuda_layout(gradus::detail::plan_loop(test.shape, strides.data(), inputs));
  auto count = test.shape.numel();
  REQUIRE(layout.count == count);
  if (packs) REQUIRE(gradus::detail::fits_packs(layout, inputs, text.width));
  if (along && !gradus::detail::is_one_line(layout, inputs)) return;

  constexpr unsigned char poison = 0xab;
  alignas(16) unsigned char out[(buffer_size + 16) * sizeof(E)];
  std::memset(out, poison, sizeof(out));
  launch(kernels, text.entry + (along ? "_along" : packs ? "" : "_strided"), layout, out, in);

  std::string failures;
  auto plan = gradus::detail::plan_loop(test.shape, test.strides, static_cast<int>(max_inputs));
  size_t element = 0;
  auto compare = [&]<class Out>(Out, const Compute<E>* operands) {
    Out got;
    std::memcpy(&got, out + element * sizeof(Out), sizeof(Out));
    auto want = static_cast<Out>(reference(operands));
    auto is_gradient = !text.inputs.empty() && text.inputs[0] == Expression::seed_number;
    auto scale = is_gradient ? std::abs(static_cast<double>(operands[0])) : 1.0;
    if (close(got, want, std::isfinite(scale) ? scale : 1.0) || failures.size() > 400) return;
    failures += gradus::join("element ", element, ": got ", static_cast<double>(got), ", want ",
                             static_cast<double>(want), "\n");
  };
  gradus::detail::for_each_row(plan, 0, count, [&](const int64_t* offsets, int64_t run) {
    for (int64_t i = 0; i < run; ++i, ++element) {
      Compute<E> operands[max_inputs];
      for (size_t k = 0; k < max_inputs; ++k) {
        auto at = offsets[k] + i * plan.inner_stride(static_cast<int>(k));
        operands[k] =
            is_condition(k) ? static_cast<Compute<E>>(buffer<bool>(k)[at]) : static_cast<Compute<E>>(buffer<E>(k)[at]);
      }
      if (text.out == DType::boolean) compare(bool(), operands);
      else compare(E(), operands);
    }
  });
  INFO(test.name << (along ? ", along" : packs ? ", packs" : ", strided") << "\n" << failures << text.source);
  CHECK(failures.empty());
  auto end = static_cast<size_t>(count) * static_cast<size_t>(size_of(text.out));
  CHECK(std::count(out + end, out + end + 16, poison) == 16);
}

template <class E>
void check_kernel(const HostKernels& kernels, const CudaKernelText& text, int conditions,
                  Reference<Compute<E>> reference) {
  INFO(text.entry << " of " << std::string(to_string(gradus::dtype_of<E>)));
  REQUIRE(kernels.holds(text.entry));
  for (const auto& test : layouts()) {
    check_run<E>(kernels, text, conditions, reference, test, false);
    if (test.packs) check_run<E>(kernels, text, conditions, reference, test, true);
    if (test.packs) check_run<E>(kernels, text, conditions, reference, test, true, true);
  }
}

template <FormulaSignature s, class... E, class F>
void check_formula(const HostKernels& kernels, const gradus::detail::Pointwise<F>& formula) {
  constexpr auto all = std::make_integer_sequence<int, s.operands>{};
  auto check = [&]<class T>(T) {
    using C = Compute<T>;
    auto value = gradus::test::value_text<s>(formula, gradus::dtype_of<T>);
    check_kernel<T>(kernels, value, s.conditions, reference_of<C, F, s, -1>(all));
    if constexpr (gradus::Floating<T> && !gradus::test::gives_bool<s, F>()) {
      gradus::test::for_each_number<s>([&]<size_t I>(std::integral_constant<size_t, I>) {
        auto gradient = gradus::test::gradient_text<I, s>(formula, gradus::dtype_of<T>);
        check_kernel<T>(kernels, gradient, s.conditions, reference_of<C, F, s, static_cast<int>(I)>(all));
      });
    }
  };
  (check(E{}), ...);
}

}  // namespace

TEST_CASE("kernel texts compute on the CPU what their formulas say", "[formula]") {
  if (!HostKernels::has_compiler()) SKIP_LOUDLY("no C++ compiler at run time: kernel texts were not run");
  std::vector<CudaKernelText> texts;
  gradus::test::for_each_text([&](DType, const CudaKernelText& text) { texts.push_back(text); });
  HostKernels kernels(gradus::detail::cuda_pointwise_program(texts));
  gradus::test::for_each_formula([&]<FormulaSignature s>(const auto& formula) {
    if constexpr (s.domain == FormulaDomain::logical) {
      check_formula<s, bool>(kernels, formula);
    } else if constexpr (s.domain == FormulaDomain::numeric) {
      check_formula<s, float, double, bf16, int64_t, int32_t, uint8_t>(kernels, formula);
    } else {
      check_formula<s, float, double, bf16>(kernels, formula);
    }
  });
}

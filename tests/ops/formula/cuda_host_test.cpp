// What the kernel texts compute, run on the CPU: every formula and gradient, for every element type and in several
// layouts, against the same formula over Lane<C>. (Mathematical functions are the C library's here.)
#include "tests/ops/formula/contraction_off.hpp"

#include <cmath>
#include <cstring>
#include <memory>

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
constexpr size_t dy_buffer = 3;

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

/// Memory as a GPU's allocator would give it, filled with one of the operands.
template <class E>
class Buffer {
 public:
  explicit Buffer(size_t operand) {
    auto samples = gradus::test::formula_samples<Compute<E>>();
    for (size_t i = 0; i < buffer_size; ++i) {
      auto sample = gradus::test::formula_sample(samples, operand, i);
      // A huge dy overflows or not by the last bit of what it is multiplied with.
      if (operand == dy_buffer && std::abs(static_cast<double>(sample)) > 1e30 &&
          !std::isinf(static_cast<double>(sample))) {
        sample = 3;
      }
      if constexpr (std::is_same_v<E, bool>) data_[i] = sample > 0;
      else data_[i] = static_cast<E>(sample);
    }
  }
  const E* data() const { return data_; }

 private:
  alignas(16) E data_[buffer_size];
};

template <class E>
auto lane_of(const void* data, int64_t i) {
  auto element = static_cast<const E*>(data)[i];
  if constexpr (std::is_same_v<E, bool>) return LaneMask<int32_t>(element);
  else return Lane<Compute<E>>(static_cast<Compute<E>>(element));
}

/// A mask belongs to the type that is computed with.
template <class T, bool is_condition>
auto operand_of(const void* data, int64_t i) {
  if constexpr (is_condition) return LaneMask<Compute<T>>(lane_of<bool>(data, i).holds);
  else return lane_of<T>(data, i);
}

template <int wrt, int k, class V>
auto seeded(const V& value, const auto& dy) {
  if constexpr (wrt == k) return Dual<V>{value, dy};
  else return value;
}

/// Element of the result that formula F has in Lanes; wrt is -1 for its value. data and at: dy's, then operands'.
template <class F, FormulaSignature s, class T, int wrt, int... k>
auto expected(const void* const* data, const int64_t* at, std::integer_sequence<int, k...>) {
  auto dy = [&] {
    if constexpr (wrt >= 0) return lane_of<T>(data[0], at[0]);
    else return 0;
  }();
  auto y = F{}(seeded<wrt, k>(operand_of<T, (k < s.conditions)>(data[1 + k], at[1 + k]), dy)...);
  if constexpr (wrt >= 0) return Lane<Compute<T>>(y.derivative).value;
  else if constexpr (std::is_same_v<decltype(y), LaneMask<Compute<T>>>) return y.holds;
  else return y.value;
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
  switch (in.size()) {
    case 0:
      return kernels.launch(entry, blocks, threads, layout, out);
    case 1:
      return kernels.launch(entry, blocks, threads, layout, out, in[0]);
    case 2:
      return kernels.launch(entry, blocks, threads, layout, out, in[0], in[1]);
    case 3:
      return kernels.launch(entry, blocks, threads, layout, out, in[0], in[1], in[2]);
    default:
      return kernels.launch(entry, blocks, threads, layout, out, in.at(0), in.at(1), in.at(2), in.at(3));
  }
}

/// Runs one entry in one layout and compares every element; `want(at)` computes one from the offsets of its operands.
template <class Out, class Want>
void check_run(const HostKernels& kernels, const CudaKernelText& text, const TestLayout& test, bool packs,
               const void* const* data, Want&& want) {
  std::vector<const void*> in;
  std::vector<Strides> strides;
  for (auto number : text.inputs) {
    in.push_back(data[static_cast<size_t>(number + 1)]);
    strides.push_back(test.strides[number + 1]);
  }
  auto inputs = static_cast<int>(in.size());
  auto layout = gradus::detail::cuda_layout(gradus::detail::plan_loop(test.shape, strides.data(), inputs));
  auto count = test.shape.numel();
  REQUIRE(layout.count == count);
  if (packs) REQUIRE(gradus::detail::fits_packs(layout, inputs, text.width));

  alignas(16) unsigned char out[(buffer_size + 16) * sizeof(Out)];
  std::memset(out, 0xab, sizeof(out));
  launch(kernels, text.entry + (packs ? "" : "_strided"), layout, out, in);

  std::string failures;
  auto plan = gradus::detail::plan_loop(test.shape, test.strides, static_cast<int>(max_inputs));
  int64_t element = 0;
  gradus::detail::for_each_row(plan, 0, count, [&](const int64_t* offsets, int64_t run) {
    for (int64_t i = 0; i < run; ++i, ++element) {
      int64_t at[max_inputs];
      for (size_t k = 0; k < max_inputs; ++k) at[k] = offsets[k] + i * plan.inner_stride(static_cast<int>(k));
      auto [wanted, scale] = want(at);
      Out got;
      std::memcpy(&got, out + static_cast<size_t>(element) * sizeof(Out), sizeof(Out));
      if (close(got, static_cast<Out>(wanted), scale) || failures.size() > 400) continue;
      failures += "element " + std::to_string(element) + ": got " + std::to_string(static_cast<double>(got)) +
                  ", want " + std::to_string(static_cast<double>(wanted)) + "\n";
    }
  });
  INFO(test.name << (packs ? ", packs" : ", strided") << "\n" << failures << text.source);
  CHECK(failures.empty());
  auto end = static_cast<size_t>(count) * sizeof(Out);
  CHECK((out[end] == 0xab && out[end + sizeof(Out) * 15] == 0xab));
}

template <FormulaSignature s, class T, class F>
class FormulaCheck {
 public:
  FormulaCheck(const gradus::detail::Pointwise<F>& formula, const HostKernels& kernels)
      : formula_(formula), kernels_(kernels) {}

  void run() {
    INFO(formula_.name() << " of " << std::string(to_string(gradus::dtype_of<T>)));
    auto text = gradus::test::value_text<s>(formula_, gradus::dtype_of<T>);
    using Out = std::conditional_t<is_bool<decltype(value(nullptr, nullptr))>, bool, T>;
    REQUIRE(text.out == gradus::dtype_of<Out>);
    check<Out, -1>(text);
    if constexpr (gradus::Floating<T> && std::is_same_v<Out, T>) {
      gradus::test::for_each_number<s>([&]<size_t I>(std::integral_constant<size_t, I>) {
        INFO("gradient of operand " << I);
        check<T, static_cast<int>(I)>(gradus::test::gradient_text<I, s>(formula_, gradus::dtype_of<T>));
      });
    }
  }

 private:
  template <class V>
  static constexpr bool is_bool = std::is_same_v<V, bool>;
  static constexpr auto all = std::make_integer_sequence<int, s.operands>{};

  static auto value(const void* const* data, const int64_t* at) { return expected<F, s, T, -1>(data, at, all); }

  template <class Out, int wrt>
  void check(const CudaKernelText& text) {
    const void* data[max_inputs] = {dy_.data()};
    for (size_t k = 1; k < max_inputs; ++k) {
      data[k] = k <= static_cast<size_t>(s.conditions) ? static_cast<const void*>(conditions_[k - 1]->data())
                                                       : static_cast<const void*>(operands_[k - 1]->data());
    }
    auto want = [&](const int64_t* at) {
      auto scale = 1.0;
      if constexpr (wrt >= 0) scale = std::abs(static_cast<double>(lane_of<T>(data[0], at[0]).value));
      return std::pair(expected<F, s, T, wrt>(data, at, all), std::isfinite(scale) ? scale : 1.0);
    };
    for (const auto& test : layouts()) {
      check_run<Out>(kernels_, text, test, false, data, want);
      if (test.packs) check_run<Out>(kernels_, text, test, true, data, want);
    }
  }

  const gradus::detail::Pointwise<F>& formula_;
  const HostKernels& kernels_;
  Buffer<T> dy_{dy_buffer};
  std::unique_ptr<Buffer<T>> operands_[3] = {std::make_unique<Buffer<T>>(0), std::make_unique<Buffer<T>>(1),
                                             std::make_unique<Buffer<T>>(2)};
  std::unique_ptr<Buffer<bool>> conditions_[2] = {std::make_unique<Buffer<bool>>(0), std::make_unique<Buffer<bool>>(1)};
};

}  // namespace

TEST_CASE("kernel texts compute on the CPU what their formulas say", "[formula]") {
  if (!HostKernels::has_compiler()) SKIP_LOUDLY("no C++ compiler at run time: kernel texts were not run");
  std::vector<CudaKernelText> texts;
  gradus::test::for_each_text([&](DType, const CudaKernelText& text) { texts.push_back(text); });
  HostKernels kernels(gradus::detail::cuda_pointwise_program(texts));
  gradus::test::for_each_formula([&]<FormulaSignature s, class F>(const gradus::detail::Pointwise<F>& formula) {
    if constexpr (s.domain == FormulaDomain::logical) {
      FormulaCheck<s, bool, F>(formula, kernels).run();
    } else {
      FormulaCheck<s, float, F>(formula, kernels).run();
      FormulaCheck<s, double, F>(formula, kernels).run();
      FormulaCheck<s, bf16, F>(formula, kernels).run();
      if constexpr (s.domain == FormulaDomain::numeric) {
        FormulaCheck<s, int64_t, F>(formula, kernels).run();
        FormulaCheck<s, int32_t, F>(formula, kernels).run();
        FormulaCheck<s, uint8_t, F>(formula, kernels).run();
      }
    }
  });
}

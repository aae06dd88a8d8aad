// The host's side of a pointwise kernel's layout: division by multiplication, packs, many axes, run-time numbers.
#include "gradus/tensor/cuda_loop.hpp"

#include "gradus/ops/formula/cuda_text.hpp"
#include "tests/ops/formula/host_kernels.hpp"
#include "tests/ops/formula/skip.hpp"

namespace {

using gradus::DType;
using gradus::Shape;
using gradus::Strides;
using gradus::detail::CudaOperand;
using gradus::detail::CudaPointwiseLayout;

CudaPointwiseLayout layout_of(const Shape& shape, const std::vector<Strides>& strides) {
  return gradus::detail::cuda_layout(
      gradus::detail::plan_loop(shape, strides.data(), static_cast<int>(strides.size())));
}

}  // namespace

TEST_CASE("indices are divided by sizes exactly", "[formula]") {
  constexpr auto largest = std::numeric_limits<int64_t>::max();
  for (int64_t size : {int64_t{2}, int64_t{3}, int64_t{7}, int64_t{64}, int64_t{1000}, int64_t{50304}, int64_t{65537},
                       (int64_t{1} << 32) - 1, int64_t{1} << 32, (int64_t{1} << 40) + 1, largest / 2, largest}) {
    CudaPointwiseLayout layout;
    layout.sizes[1] = size;
    layout.set_divisor(1);
    auto check = [&](int64_t index) {
      if (index < 0) return;
      __extension__ using Wide = unsigned __int128;
      auto upper = static_cast<uint64_t>(static_cast<Wide>(index) * layout.factors[1] >> 64);
      INFO(index << " / " << size);
      CHECK(static_cast<int64_t>(upper >> layout.shifts[0]) == index / size);
    };
    for (int64_t multiple = 1; multiple <= largest / size; multiple = multiple > largest / 5 ? largest : multiple * 5) {
      check(multiple * size - 1);
      check(multiple * size);
    }
    for (auto index :
         {int64_t{0}, int64_t{1}, largest, largest - 1, largest / size * size, largest / size * size - 1}) {
      check(index);
    }
  }
}

TEST_CASE("packs need whole rows whose elements lie side by side or are all the same", "[formula]") {
  auto fits = [](const Shape& shape, const std::vector<Strides>& strides, int width) {
    return gradus::detail::fits_packs(layout_of(shape, strides), static_cast<int>(strides.size()), width);
  };
  CHECK(fits({64}, {{1}, {1}}, 4));
  CHECK(fits({16, 4}, {{4, 1}, {0, 0}}, 4));        // one value
  CHECK(fits({16, 8}, {{8, 1}, {0, 1}}, 8));        // a row for all
  CHECK(fits({16, 8}, {{8, 1}, {1, 0}}, 8));        // a value for each row
  CHECK(fits({16, 8}, {{12, 1}}, 4));               // rows of a wider tensor
  CHECK_FALSE(fits({63}, {{1}, {1}}, 4));           // the last pack is not whole
  CHECK_FALSE(fits({16, 6}, {{6, 1}, {0, 1}}, 4));  // a pack would span two rows
  CHECK_FALSE(fits({16, 8}, {{13, 1}}, 4));         // a row that does not start at a pack
  CHECK_FALSE(fits({64}, {{2}}, 4));
  CHECK_FALSE(fits({8, 8}, {{1, 8}}, 4));
}

TEST_CASE("tensors lie along one line when all are as long as the output and none is repeated", "[formula]") {
  auto along = [](const Shape& shape, const std::vector<Strides>& strides) {
    return gradus::detail::is_one_line(layout_of(shape, strides), static_cast<int>(strides.size()));
  };
  CHECK(along({64}, {{1}, {1}}));
  CHECK(along({16, 4}, {{4, 1}, {4, 1}}));
  CHECK_FALSE(along({16, 4}, {{4, 1}, {0, 0}}));
  CHECK_FALSE(along({16, 4}, {{4, 1}, {0, 1}}));
  CHECK_FALSE(along({64}, {{2}}));
}

TEST_CASE("kernels run over eight axes and take numbers as arguments", "[formula]") {
  using gradus::test::HostKernels;
  if (!HostKernels::has_compiler()) SKIP_LOUDLY("no C++ compiler at run time: kernel texts were not run");
  auto leaky = [](auto x, auto y, auto slope) { return where(x > 0.0, x, slope * x) + y; };
  std::array<CudaOperand, 3> operands{{{DType::f32}, {DType::f32}, {DType::f32, true}}};
  auto kernel = gradus::detail::cuda_kernel_text<decltype(leaky)>("leaky", DType::f32, operands);
  HostKernels kernels(gradus::detail::cuda_pointwise_program({kernel}));
  CHECK(kernels.holds(kernel.entry));

  Shape shape{2, 3, 2, 3, 2, 3, 2, 3};
  std::vector<Strides> strides{{1, 2, 6, 12, 36, 72, 216, 432}, {0, 1, 0, 3, 0, 9, 0, 27}, {0, 0, 0, 0, 0, 0, 0, 0}};
  auto layout = layout_of(shape, strides);
  CHECK(layout.rank == 8);
  std::vector<float> x(1296), y(81), out(1296, -1);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 600;
  for (size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(i) * 1000;
  for (float slope : {0.5f, -2.0f}) {
    kernels.launch(kernel.entry + "_strided", 2, 7, layout, out.data(), x.data(), y.data(), slope);
    int wrong = 0;
    for (int64_t i = 0; i < 1296; ++i) {
      size_t at_x = 0, at_y = 0;
      auto rest = i;
      for (int axis = 7; axis >= 0; rest /= shape[axis--]) {
        at_x += static_cast<size_t>(rest % shape[axis] * strides[0][axis]);
        at_y += static_cast<size_t>(rest % shape[axis] * strides[1][axis]);
      }
      auto want = (x[at_x] > 0 ? x[at_x] : slope * x[at_x]) + y[at_y];
      wrong += out[static_cast<size_t>(i)] != want;
    }
    CHECK(wrong == 0);
  }
}

TEMPLATE_TEST_CASE("kernels store two bytes rounded to nearest even, and load them", "[formula]", gradus::bf16,
                   gradus::f16) {
  using T = TestType;
  using gradus::test::HostKernels;
  if (!HostKernels::has_compiler()) SKIP_LOUDLY("no C++ compiler at run time: kernel texts were not run");
  auto second = [](auto, auto number) { return number; };
  std::array<CudaOperand, 2> operands{{{gradus::dtype_of<T>}, {DType::f32, true}}};
  auto kernel = gradus::detail::cuda_kernel_text<decltype(second)>("second", gradus::dtype_of<T>, operands);
  CHECK(kernel.inputs == std::vector<int>{1});
  auto same = [](auto x) { return x * 1.0; };  // widened and narrowed
  std::array<CudaOperand, 1> operand{{{gradus::dtype_of<T>}}};
  auto copy = gradus::detail::cuda_kernel_text<decltype(same)>("same", gradus::dtype_of<T>, operand);
  HostKernels kernels(gradus::detail::cuda_pointwise_program({kernel, copy}));
  auto layout = layout_of({1}, {{0}});
  int wrong = 0;
  for (uint32_t upper = 0; upper < 0x10000; upper += 0x7f) {
    for (uint32_t lower : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      auto number = std::bit_cast<float>(upper << 16 | lower);
      T got, want(number);
      kernels.launch(kernel.entry + "_strided", 1, 1, layout, &got, number);
      wrong += std::isnan(number) ? !std::isnan(static_cast<float>(got)) : got.bits != want.bits;
    }
  }
  for (uint32_t bits = 0; bits < 0x10000; bits += 3) {
    T got, x = std::bit_cast<T>(static_cast<uint16_t>(bits));
    kernels.launch(copy.entry + "_strided", 1, 1, layout_of({1}, {{0}}), &got, &x);
    wrong += std::isnan(static_cast<float>(x)) ? !std::isnan(static_cast<float>(got)) : got.bits != x.bits;
  }
  CHECK(wrong == 0);
}

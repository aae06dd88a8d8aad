// Dense layers of bf16 whose products are in fp8.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "gradus/gradus.hpp"

#include "tests/cuda/on_card.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

using cuda::detail::CardCode;

struct Fp8Guard {
  explicit Fp8Guard(bool fast_sums = false) { cuda::use_fp8(true, fast_sums); }
  ~Fp8Guard() { cuda::use_fp8(false); }
};

/// The number of a code, after the formats' definition.
double number_of(int code, CardCode format) {
  auto mantissa = format == CardCode::e4m3 ? 3 : 2, bias = format == CardCode::e4m3 ? 7 : 15;
  auto exponent = (code & 127) >> mantissa, fraction = code & ((1 << mantissa) - 1);
  auto size = exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa)
                            : std::ldexp((1 << mantissa) + fraction, exponent - bias - mantissa);
  if (format == CardCode::e4m3 && (code & 127) == 127) size = std::nan("");
  if (format == CardCode::e5m2 && exponent == 31) size = fraction == 0 ? HUGE_VAL : std::nan("");
  return code < 128 ? size : -size;
}
/// The code of the nearest number, of two the one whose last bit is 0; beyond the largest number it is the largest.
int nearest_code(double x, CardCode format) {
  if (std::isnan(x)) return 127;
  x = std::clamp(x, format == CardCode::e4m3 ? -448.0 : -57344.0, format == CardCode::e4m3 ? 448.0 : 57344.0);
  int best = 0;
  for (int code = 0; code < 128; ++code) {
    auto number = number_of(code, format);
    if (!std::isfinite(number)) break;
    auto distance = std::abs(std::abs(x) - number), known = std::abs(std::abs(x) - number_of(best, format));
    if (distance < known || (distance == known && code % 2 == 0)) best = code;
  }
  return best + (std::signbit(x) ? 128 : 0);
}

template <class T>
std::vector<T> on_host(const Tensor<T>& x) {
  return x.to(Device::cpu()).to_vector();
}
/// The card's codes of all numbers of bf16, with this scale.
std::vector<uint8_t> codes_of_all(CardCode format, float scale) {
  auto all = Tensor<bf16>::empty({256, 256});
  for (int i = 0; i < 65536; ++i) all.mutable_data()[i].bits = static_cast<uint16_t>(i);
  auto given = tensor<float>({scale}).to(Device::best());
  return on_host(detail::to_fp8(all.to(Device::best()), format, {.codes = true}, given).codes);
}

/// Result and gradients of x, weight and bias, on the CPU.
template <Floating T>
std::vector<Tensor<double>> layer_on(Device device, int64_t rows, int64_t in, int64_t out, bool biased = true) {
  auto leaf = [&](uint32_t seed, const Shape& shape, double size) {
    auto made = cast<T>(test::hashed<bf16>(seed, shape, -size, size)).to(device);
    made.set_requires_grad(true);
    return made;
  };
  auto x = leaf(1, {rows, in}, 3), weight = leaf(2, {out, in}, 0.2);
  Tensor<T> bias;
  if (biased) bias = leaf(3, {out}, 1);
  auto y = linear(x, weight, bias);
  sum(y * cast<T>(test::hashed<bf16>(4, {rows, out}, -1e-4, 1e-4)).to(device)).backward();
  std::vector<Tensor<double>> all{cast<double>(y.detach().to(Device::cpu()))};
  for (const auto& one : {x, weight, bias})
    if (one.defined()) all.push_back(cast<double>(one.grad().to(Device::cpu())));
  return all;
}
/// The distance of two tensors, as a share of the second's size, both as vectors.
double distance_of(const Tensor<double>& a, const Tensor<double>& b) {
  auto difference = a - b;
  return std::sqrt(sum(difference * difference).item() / sum(b * b).item());
}

}  // namespace

TEST_CASE("fp8: every number of bf16 becomes the nearest code, the largest beyond it, and NaN stays NaN") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  for (auto format : {CardCode::e4m3, CardCode::e5m2}) {
    for (float scale : {1.0f, 0.25f}) {
      auto codes = codes_of_all(format, scale);
      int wrong = 0, first = -1;
      for (int i = 0; i < 65536; ++i) {
        bf16 number;
        number.bits = static_cast<uint16_t>(i);
        auto want = nearest_code(static_cast<double>(static_cast<float>(number) / scale), format);
        if (codes[static_cast<size_t>(i)] != want && wrong++ == 0) first = i;
      }
      INFO("first at " << first);
      CHECK(wrong == 0);
    }
    // What codes stand for becomes these codes again, also turned.
    auto numbers = Tensor<bf16>::empty({16, 16});
    auto top = format == CardCode::e4m3 ? 127 : 124;
    for (int i = 0; i < 256; ++i) {
      auto code = (i & 127) < top ? i : 0;
      numbers.mutable_data()[i] = bf16(static_cast<float>(number_of(code, format)));
    }
    auto made = detail::to_fp8(numbers.to(Device::best()), format, {.codes = true, .turned = true});
    CHECK(on_host(made.scale)[0] == 1.0f);
    auto codes = on_host(made.codes), turned = on_host(made.turned);
    for (int i = 0; i < 256; ++i) {
      auto code = (i & 127) < top ? i : 0;
      CHECK(int{codes[static_cast<size_t>(i)]} == code);
      CHECK(int{turned[static_cast<size_t>(i % 16 * 16 + i / 16)]} == code);
    }
  }
}

TEST_CASE("fp8: the scale is the power of two that brings the largest element closest below the format's") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto scale_of = [](double largest, CardCode format) {
    auto x = test::hashed<bf16>(1, {48, 80}, -largest / 4, largest / 4);
    x.set({40, 77}, bf16(static_cast<float>(-largest)));
    return on_host(detail::to_fp8(x.to(Device::best()), format, {.codes = true}).scale)[0];
  };
  CHECK(scale_of(448, CardCode::e4m3) == 1.0f);
  CHECK(scale_of(450, CardCode::e4m3) == 2.0f);
  CHECK(scale_of(224, CardCode::e4m3) == 0.5f);
  CHECK(scale_of(57344, CardCode::e5m2) == 1.0f);
  CHECK(scale_of(1e-6, CardCode::e5m2) == std::ldexp(1.0f, -35));
  CHECK(scale_of(1e30, CardCode::e4m3) == std::ldexp(1.0f, 91));
  CHECK(std::isfinite(scale_of(0, CardCode::e4m3)));
  CHECK(std::isnan(scale_of(HUGE_VAL, CardCode::e4m3)));
  CHECK(std::isnan(scale_of(std::nan(""), CardCode::e5m2)));
}

TEST_CASE("fp8: codes of matrices of any size are turned") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{16, 16}, {64, 64}, {80, 208}, {208, 80}, {16, 1024}}) {
    auto x = test::hashed<bf16>(1, {rows, columns}, -1, 1);
    auto made = detail::to_fp8(x.to(Device::best()), CardCode::e4m3, {.codes = true, .turned = true});
    auto codes = on_host(made.codes), turned = on_host(made.turned);
    auto alone = detail::to_fp8(x.to(Device::best()), CardCode::e4m3, {.turned = true}, made.scale);
    CHECK(on_host(alone.turned) == turned);
    int wrong = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        wrong += codes[static_cast<size_t>(r * columns + c)] != turned[static_cast<size_t>(c * rows + r)];
    CHECK(wrong == 0);
  }
}

TEST_CASE("fp8: a dense layer and its gradients agree with the CPU in float") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto check = [](int64_t rows, int64_t in, int64_t out, bool biased, bool in_fp8) {
    auto got = layer_on<bf16>(Device::best(), rows, in, out, biased),
         want = layer_on<float>(Device::cpu(), rows, in, out, biased);
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      INFO("result or gradient " << i << " of " << rows << " x " << in << " x " << out);
      auto distance = distance_of(got[i], want[i]);
      // Numbers of e4m3 are off by 2.6 % at random, those of e5m2 by 5.2 %; the bias has its gradient in bf16.
      CHECK(distance < (!in_fp8 || i == 3 ? 0.005 : i == 0 ? 0.05 : 0.08));
      if (in_fp8 && i < 3) CHECK(distance > 0.02);
    }
  };
  check(48, 80, 112, true, false);  // nobody asked for fp8
  Fp8Guard guard;
  check(48, 80, 112, true, true);
  check(16, 16, 16, false, true);
  check(144, 64, 32, true, true);
  auto times = cuda::profile(Device::best(), [] { layer_on<bf16>(Device::best(), 48, 80, 112); });
  CHECK(test::launches_of(times, "block_largest") == 3);
  CHECK(test::launches_of(times, "block_to_e4m3") == 4);
  CHECK(test::launches_of(times, "block_to_e5m2") == 1);
  CHECK(test::launches_of(times, "library") == 3);
  Fp8Guard fast(true);
  check(48, 80, 112, true, true);
}

TEST_CASE("fp8: what does not fit stays in bf16, with its bits") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto same = [](auto&& run) {
    auto want = run();
    Fp8Guard guard;
    CHECK(run() == want);
    auto times = cuda::profile(Device::best(), [&] { run(); });
    CHECK(test::launches_of(times, "block_to_e4m3") == 0);
  };
  auto sizes = [&](int64_t rows, int64_t in, int64_t out) {
    same([=] { return layer_on<bf16>(Device::best(), rows, in, out)[1].to_vector(); });
  };
  sizes(24, 32, 32);
  sizes(32, 40, 32);
  sizes(32, 32, 31);
  same([] { return layer_on<float>(Device::best(), 32, 32, 32)[1].to_vector(); });
  same([] { return layer_on<f16>(Device::best(), 32, 32, 32)[1].to_vector(); });
}

TEST_CASE("fp8: rows that do not lie side by side, or not at 16 bytes, more axes, and gradients of gradients") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  Fp8Guard guard;
  auto device = Device::best();
  auto x = test::hashed<bf16>(1, {16, 32}, -1, 1).to(device),
       weight = test::hashed<bf16>(2, {48, 32}, -1, 1).to(device);
  auto want = on_host(linear(x, weight));
  CHECK(on_host(linear(reshape(x, {2, 8, 32}), weight)) == want);
  auto wide = zeros<bf16>({16, 35}, device);
  slice(wide, 1, 2, 34).copy_(x);
  CHECK(on_host(linear(slice(wide, 1, 2, 34), weight)) == want);
  auto flat = zeros<bf16>({16 * 32 + 3}, device);
  slice(flat, 0, 3, 16 * 32 + 3).copy_(reshape(x, {16 * 32}));
  CHECK(on_host(linear(reshape(slice(flat, 0, 3, 16 * 32 + 3), {16, 32}), weight)) == want);
  CHECK(on_host(linear(x, transpose(transpose(weight).clone()))) == want);

  auto leaf = x.clone();
  leaf.set_requires_grad(true);
  auto y = linear(leaf, weight);
  auto first = grad(sum(y * y), leaf, {.create_graph = true});
  auto second = cast<double>(grad(sum(first), leaf).to(Device::cpu()));
  auto w = cast<double>(weight.to(Device::cpu()));
  auto exact = expand(2.0 * sum(matmul(transpose(w), w), 0), {16, 32});
  CHECK(distance_of(second, exact) < 0.05);
}

TEST_CASE("fp8: numbers that are not finite are seen in the results") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  Fp8Guard guard;
  auto device = Device::best();
  auto weight = test::hashed<bf16>(2, {16, 16}, -1, 1).to(device);
  for (float wrong : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    auto x = test::hashed<bf16>(1, {16, 16}, -1, 1);
    x.set({3, 5}, bf16(wrong));
    for (auto value : on_host(linear(x.to(device), weight))) CHECK(std::isnan(static_cast<float>(value)));
  }
  for (auto value : on_host(linear(zeros<bf16>({16, 16}, device), weight))) CHECK(static_cast<float>(value) == 0);
}

TEST_CASE("fp8: a GPT learns as in bf16, captured, too") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  models::Gpt<bf16> start({.vocabulary = 32, .context = 16, .layers = 2, .heads = 2, .width = 32, .dropout = 0});
  test::fill_hashed<bf16>(start);
  auto losses = [&](bool captured) {
    return test::gpt_losses(start, device, {.lr = 3e-3, .count = 20, .captured = captured});
  };
  auto in_bf16 = losses(false);
  Fp8Guard guard;
  auto in_fp8 = losses(false);
  CHECK(in_bf16.back() < 0.7 * in_bf16.front());
  CHECK(in_fp8.back() < 0.7 * in_fp8.front());
  CHECK(in_fp8 != in_bf16);
  for (size_t i = 0; i < in_fp8.size(); ++i) CHECK(std::abs(in_fp8[i] - in_bf16[i]) < 0.05 * in_bf16[0]);
  CHECK(losses(true) == in_fp8);
}

TEST_CASE("fp8: a card of compute capability 8.0 computes in bf16") {
  if (!test::sees_simulated_card) SKIP_LOUDLY("only the simulated card can be another one");
  if (std::getenv("GRADUS_SIMULATED_CAPABILITY") == nullptr) {  // once more, in a program that has not seen a card
    auto child = ::fork();
    if (child == 0) {
      ::setenv("GRADUS_SIMULATED_CAPABILITY", "80", 1);
      ::execl("/proc/self/exe", "again", "fp8: a card of compute capability 8.0 computes in bf16",
              static_cast<char*>(nullptr));
      ::_exit(99);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    return;
  }
  auto run = [] { return layer_on<bf16>(Device::cuda(), 32, 32, 32)[0].to_vector(); };
  auto want = run();
  Fp8Guard guard;
  CHECK(cuda::detail::Context::of(Device::cuda()).architecture() == 80);
  auto times = cuda::profile(Device::cuda(), [&] { CHECK(run() == want); });
  CHECK(test::launches_of(times, "block_to_e4m3") == 0);
}
#endif

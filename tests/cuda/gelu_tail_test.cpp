// What goes with the products of dense layers, left to cuBLASLt: gradients of biases, and GELU between two layers.
#include "gradus/gradus.hpp"

#include "tests/cuda/on_card.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

struct FusedTailsGuard {
  FusedTailsGuard() { cuda::fuse_tails(); }
  ~FusedTailsGuard() { cuda::fuse_tails(false); }
};

/// Result and gradients of x and of the parameters, on the CPU.
template <Floating T>
std::vector<Tensor<double>> gelu_layers(Device device, int64_t wide, bool biases, bool second_order = false) {
  std::vector<Tensor<T>> leaves;
  auto leaf = [&](const Shape& shape) {
    leaves.push_back(test::hashed<T>(static_cast<uint32_t>(leaves.size()) + 1, shape, -1, 1).to(device));
    leaves.back().set_requires_grad(true);
    return leaves.back();
  };
  auto x = leaf({2, 3, 6}), w1 = leaf({wide, 6}), w2 = leaf({5, wide});
  Tensor<T> b1, b2;
  if (biases) {
    b1 = leaf({wide});
    b2 = leaf({5});
  }
  auto y = gelu_mlp(x, w1, b1, w2, b2);
  auto loss = sum(y * test::hashed<T>(9, y.shape(), -1, 1).to(device));
  std::vector<Tensor<double>> all{cast<double>(y.detach().to(Device::cpu()))};
  if (second_order) {
    auto first = grad(loss, x, {.create_graph = true});
    loss = sum(first * first);
  }
  loss.backward();
  for (const auto& one : leaves)
    if (one.grad().defined()) all.push_back(cast<double>(one.grad().to(Device::cpu())));
  return all;
}
void check_close(const std::vector<Tensor<double>>& here, const std::vector<Tensor<double>>& there, double tolerance) {
  REQUIRE(here.size() == there.size());
  for (size_t i = 0; i < here.size(); ++i) {
    INFO("result or gradient " << i);
    auto x = here[i].to_vector(), y = there[i].to_vector();
    REQUIRE(x.size() == y.size());
    for (size_t k = 0; k < x.size(); ++k) CHECK(std::abs(x[k] - y[k]) <= tolerance * (1 + std::abs(x[k])));
  }
}
/// What rounding of T may make of a result or gradient.
template <Floating T>
constexpr double tail_tolerance() {
  return dtype_of<T> == DType::f32 ? 1e-5 : dtype_of<T> == DType::f16 ? 0.01 : 0.06;
}
template <Floating T>
void check_gelu_layers(int64_t wide, bool biases, double tolerance, bool second_order = false) {
  auto here = gelu_layers<T>(Device::cpu(), wide, biases, second_order),
       there = gelu_layers<T>(Device::best(), wide, biases, second_order);
  check_close(here, there, tolerance);
}

}  // namespace

TEMPLATE_TEST_CASE("GELU in the tails of products agrees with the CPU, in results and all gradients", "", float, bf16,
                   f16) {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  FusedTailsGuard guard;
  auto tolerance = tail_tolerance<TestType>();
  for (bool biases : {true, false}) {
    check_gelu_layers<TestType>(16, biases, tolerance);
    auto times = cuda::profile(Device::best(), [&] { gelu_layers<TestType>(Device::best(), 16, biases); });
    CHECK(test::launches_of(times, "gelu") == 0);
    CHECK(test::launches_of(times, "library") == 6);
    check_gelu_layers<TestType>(12, biases, tolerance);  // no eights: in single operators
  }
}
TEMPLATE_TEST_CASE("a bias's gradient comes from the product that gives the weight's", "", float, bf16, f16) {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto gradients = [](Device device, int64_t rows, bool bias_trained) {
    auto numbers = [&](uint32_t seed, const Shape& shape) {
      return test::hashed<TestType>(seed, shape, -1, 1).to(device);
    };
    auto x = numbers(1, {2, rows, 6}), w = numbers(2, {5, 6}), b = numbers(3, {5}), dy = numbers(4, {2, rows, 5});
    for (auto* leaf : {&x, &w, &b}) leaf->set_requires_grad(leaf != &b || bias_trained);
    linear(x, w, b).backward(dy);
    std::vector<Tensor<double>> all;
    for (const auto* leaf : {&x, &w, &b})
      if (leaf->grad().defined()) all.push_back(cast<double>(leaf->grad().to(Device::cpu())));
    return all;
  };
  auto sums = [&] {
    auto times = cuda::profile(Device::best(), [&] { gradients(Device::best(), 7, true); });
    CHECK(test::launches_of(times, "library") == 3);
    return test::launches_of(times, "reduction");
  };
  CHECK(sums() == 1);
  FusedTailsGuard guard;
  CHECK(sums() == 0);
  for (int64_t rows : {7, 0}) {
    for (bool bias_trained : {true, false}) {
      check_close(gradients(Device::cpu(), rows, bias_trained), gradients(Device::best(), rows, bias_trained),
                  tail_tolerance<TestType>());
    }
  }
}
TEST_CASE("GELU in the tails of products: derivatives of second order, double, and without gradients") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  check_gelu_layers<float>(16, true, 1e-5);  // nobody asked for it
  FusedTailsGuard guard;
  check_gelu_layers<float>(16, true, 1e-4, true);
  check_gelu_layers<double>(16, true, 1e-12);
  auto run = [](Device device) {
    NoGradGuard no_grad;
    auto numbers = [&](uint32_t seed, const Shape& shape) {
      return test::hashed<float>(seed, shape, -1, 1).to(device);
    };
    return gelu_mlp(numbers(1, {4, 6}), numbers(2, {8, 6}), numbers(3, {8}), numbers(4, {3, 8}), numbers(5, {3}))
        .to(Device::cpu())
        .to_vector();
  };
  auto here = run(Device::cpu()), there = run(Device::best());
  for (size_t i = 0; i < here.size(); ++i) CHECK(there[i] == Approx(here[i]).margin(1e-5));
}
TEST_CASE("GPT-2 learns with GELU in the tails of products as on the CPU, captured, too") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  FusedTailsGuard guard;
  manual_seed(1);
  models::Gpt<float> start({.vocabulary = 31, .context = 16, .layers = 2, .heads = 2, .width = 32, .dropout = 0});
  auto losses = [&](Device device, bool captured) {
    return test::gpt_losses(start, device, {.lr = 1e-3, .count = 6, .captured = captured});
  };
  auto here = losses(Device::cpu(), false), there = losses(Device::best(), false);
  for (size_t i = 0; i < here.size(); ++i) CHECK(there[i] == Approx(here[i]).epsilon(1e-4));
  CHECK(losses(Device::best(), true) == there);
}
#endif

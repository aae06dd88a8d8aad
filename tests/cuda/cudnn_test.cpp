// Attention and convolution by cuDNN, where it is there: the same results as the CPU's, and own kernels for the rest.
#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

struct AttentionCase {
  int64_t heads, kv_heads, queries, keys, depth;
  bool causal;
};

template <HalfWidth T = bf16>
Tensor<T> numbers(uint32_t seed, const Shape& shape, Device device) {
  return test::hashed<T>(seed, shape, -1, 1).to(device);
}

/// Result and gradients of query, key and value, on the CPU.
template <HalfWidth T = bf16>
std::vector<Tensor<float>> attend(const AttentionCase& c, Device device) {
  auto q = numbers<T>(1, {2, c.queries, c.heads, c.depth}, device),
       k = numbers<T>(2, {2, c.keys, c.kv_heads, c.depth}, device),
       v = numbers<T>(3, {2, c.keys, c.kv_heads, c.depth}, device);
  for (auto* x : {&q, &k, &v}) x->set_requires_grad(true);
  auto y =
      scaled_dot_product_attention(transpose(q, 1, 2), transpose(k, 1, 2), transpose(v, 1, 2), {.causal = c.causal});
  sum(y * numbers<T>(4, {2, c.heads, c.queries, c.depth}, device)).backward();
  std::vector<Tensor<float>> all;
  for (const auto& x : {y.detach(), q.grad(), k.grad(), v.grad()}) all.push_back(cast<float>(x.to(Device::cpu())));
  return all;
}

double largest_difference(const Tensor<float>& a, const Tensor<float>& b) {
  double largest = 0;
  auto x = a.to_vector(), y = b.to_vector();
  for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(x[i] - y[i])));
  return largest;
}

/// How often the kernels of a library ran for an operator.
int64_t library_calls(const std::vector<cuda::KernelTime>& times, const std::string& op) {
  int64_t count = 0;
  for (const auto& time : times)
    if (time.op == op && time.kernel == "library") count += time.count;
  return count;
}

bool has_cudnn() { return !Device::best().is_cpu() && cuda::cudnn_version(Device::best()) > 0; }

}  // namespace

TEMPLATE_TEST_CASE("attention in two bytes by cuDNN agrees with the CPU", "", bf16, f16) {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  for (const auto& c : {AttentionCase{2, 2, 128, 128, 16, true},
                        {2, 2, 128, 128, 16, false},
                        {4, 2, 128, 128, 8, true},
                        {2, 1, 24, 128, 16, false}}) {
    std::vector<Tensor<float>> here, there;
    auto times = cuda::profile(device, [&] { there = attend<TestType>(c, device); });
    CHECK(library_calls(times, "scaled_dot_product_attention") == 2);
    here = attend<TestType>(c, Device::cpu());
    for (size_t i = 0; i < here.size(); ++i)
      CHECK(largest_difference(here[i], there[i]) < (dtype_of<TestType> == DType::f16 ? 0.004 : 0.03));
  }
}
TEST_CASE("gradients of query, key and value that are parts of one tensor need no copy") {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  auto run = [](Device where) {
    auto x = numbers(1, {2, 128, 3 * 32}, where);
    x.set_requires_grad(true);
    auto [q, k, v] = split<3>(x, {32, 32, 32}, 2);
    auto y = join_heads(
        scaled_dot_product_attention(split_heads(q, 2), split_heads(k, 2), split_heads(v, 2), {.causal = true}));
    sum(y * numbers(2, {2, 128, 32}, where)).backward();
    return x.grad();
  };
  Tensor<bf16> gradient;
  auto times = cuda::profile(device, [&] { gradient = run(device); });
  for (const auto& time : times) CHECK(time.kernel != "move");
  CHECK(largest_difference(cast<float>(gradient.to(Device::cpu())), cast<float>(run(Device::cpu()))) < 0.03);
}
TEST_CASE("attention that cuDNN does not take goes by own kernels") {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  auto calls = [&](const AttentionCase& c) {
    return library_calls(cuda::profile(device, [&] { attend(c, device); }), "scaled_dot_product_attention");
  };
  CHECK(calls({2, 2, 128, 128, 12, true}) == 0);
  cuda::use_deterministic();
  auto forbidden = calls({2, 2, 128, 128, 16, true});
  cuda::use_deterministic(false);
  CHECK(forbidden == 0);
  CHECK(calls({2, 2, 128, 128, 16, true}) == 2);
}
TEST_CASE("convolutions with groups, strides and gaps by cuDNN agree with the CPU") {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  auto run = [](Device where) {
    auto x = test::hashed<float>(1, {2, 6, 9, 8}, -1, 1).to(where),
         w = test::hashed<float>(2, {4, 3, 3, 2}, -1, 1).to(where);
    x.set_requires_grad(true);
    w.set_requires_grad(true);
    auto y = conv2d(x, w, {}, {.stride = {2, 1}, .padding = {1, 2}, .dilation = {1, 2}, .groups = 2});
    sum(y * y).backward();
    return std::vector<Tensor<float>>{y.detach().to(Device::cpu()), x.grad().to(Device::cpu()),
                                      w.grad().to(Device::cpu())};
  };
  std::vector<Tensor<float>> there;
  auto times = cuda::profile(device, [&] { there = run(device); });
  CHECK(library_calls(times, "conv2d") == 3);
  auto here = run(Device::cpu());
  for (size_t i = 0; i < here.size(); ++i) CHECK(largest_difference(here[i], there[i]) < 1e-4);
}
#endif

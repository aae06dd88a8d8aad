// Attention, convolution and recurrent layers by cuDNN, where it is there: the same results as the CPU's, and own
// kernels for the rest.
#include "gradus/gradus.hpp"

#include "tests/cuda/on_card.hpp"
#include "tests/cuda/recurrent_case.hpp"
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
    CHECK(test::library_calls(times, "scaled_dot_product_attention") == 2);
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
    return test::library_calls(cuda::profile(device, [&] { attend(c, device); }), "scaled_dot_product_attention");
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
  CHECK(test::library_calls(times, "conv2d") == 3);
  auto here = run(Device::cpu());
  for (size_t i = 0; i < here.size(); ++i) CHECK(largest_difference(here[i], there[i]) < 1e-4);
}
TEMPLATE_TEST_CASE("LSTM and GRU by cuDNN agree with the CPU, in results and all gradients", "", float, double, bf16,
                   f16) {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  test::RecurrentByCudnnGuard guard;
  auto device = Device::best();
  for (auto cell : {test::RecurrentCell::lstm, test::RecurrentCell::gru}) {
    for (const auto& c : {test::RecurrentCase{5, 3, 4, 6},
                          {5, 3, 4, 6, false, false},
                          {1, 1, 1, 1, true, false},
                          {7, 2, 9, 3, true, true}}) {
      INFO((cell == test::RecurrentCell::lstm ? "LSTM" : "GRU"));
      std::vector<Tensor<double>> there;
      auto times = cuda::profile(device, [&] { there = test::recur<TestType>(cell, c, device); });
      CHECK(test::library_calls(times, "recurrent layer") == 2);
      CHECK(test::library_calls(times, "lstm") + test::library_calls(times, "gru") == 0);
      test::check_same<TestType>(test::recur<TestType>(cell, c, Device::cpu()), there);
    }
  }
}
TEST_CASE("what cuDNN's recurrent layers do not do goes by own kernels") {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  auto x = test::hashed<float>(1, {5, 3, 4}, -1, 1).to(device), start = zeros<float>({3, 6}, device);
  LstmParameters<float> parameters{
      test::hashed<float>(2, {24, 4}, -1, 1).to(device), test::hashed<float>(3, {24, 6}, -1, 1).to(device), {}, {}, {}};
  auto calls = [&](const SequenceOptions& options) {
    return test::library_calls(cuda::profile(device, [&] { lstm(x, start, start, parameters, options); }),
                               "recurrent layer");
  };
  CHECK(calls({}) == 0);  // nobody asked for it
  test::RecurrentByCudnnGuard guard;
  CHECK(calls({}) == 1);
  CHECK(calls({.reverse = true}) == 0);
  CHECK(calls({.lengths = tensor<int64_t>({5, 2, 3})}) == 0);
  parameters.bias_ih = zeros<float>({24}, device);
  CHECK(calls({}) == 0);  // one bias of the two
}
TEST_CASE("derivatives of second order of LSTM and GRU by cuDNN, and a backward that runs twice") {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  test::RecurrentByCudnnGuard guard;
  auto run = [](Device where, bool is_lstm) {
    auto gates = is_lstm ? 4 : 3;
    auto x = test::hashed<double>(1, {3, 2, 2}, -1, 1).to(where), w = test::hashed<double>(2, {gates * 3, 2}, -1, 1),
         r = test::hashed<double>(3, {gates * 3, 3}, -1, 1).to(where), start = zeros<double>({2, 3}, where);
    w = w.to(where);
    x.set_requires_grad(true);
    auto y = is_lstm ? lstm(x, start, start, LstmParameters<double>{w, r, {}, {}, {}})[0]
                     : gru(x, start, GruParameters<double>{w, r, {}, {}})[0];
    auto loss = sum(y * y);
    auto first = grad(loss, x, {.create_graph = true});
    auto again = grad(loss, x, {.retain_graph = true}), twice = grad(loss, x, {.retain_graph = true});
    auto second = grad(sum(first * first), x);
    std::vector<Tensor<double>> all;
    for (const auto& one : {first.detach(), again, twice, second}) all.push_back(one.to(Device::cpu()));
    return all;
  };
  for (bool is_lstm : {true, false}) {
    auto here = run(Device::cpu(), is_lstm), there = run(Device::best(), is_lstm);
    CHECK(there[1].to_vector() == there[2].to_vector());
    for (size_t i = 0; i < here.size(); ++i)
      CHECK(largest_difference(cast<float>(here[i]), cast<float>(there[i])) < 1e-5);
  }
}
TEST_CASE("forecasters learn by cuDNN's recurrent layers as on the CPU, captured, too") {
  if (!has_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  test::RecurrentByCudnnGuard guard;
  auto losses = [](auto model, Device device, bool captured) {
    to(model, device);
    optim::AdamW<float> adam(model, {.lr = 0.01});
    auto x = test::hashed<float>(1, {6, 9, 5}, -1, 1).to(device), y = test::hashed<float>(2, {6, 4}, -1, 1).to(device);
    auto step = [&] {
      auto loss = mse_loss(model(x), y);
      loss.backward();
      adam.step();
      adam.zero_grad();
      return loss.detach();
    };
    std::vector<double> all;
    if (captured) {
      auto replay = capture(device, step);
      for (int i = 0; i < 10; ++i) all.push_back(static_cast<double>(replay().to(Device::cpu()).item()));
    } else {
      for (int i = 0; i < 10; ++i) all.push_back(static_cast<double>(step().to(Device::cpu()).item()));
    }
    return all;
  };
  auto check = [&](const auto& model) {
    auto here = losses(model, Device::cpu(), false), there = losses(model, Device::best(), false);
    for (size_t i = 0; i < here.size(); ++i) CHECK(there[i] == Approx(here[i]).epsilon(1e-4));
    CHECK(losses(model, Device::best(), true) == there);
  };
  check(models::LstmForecaster<float>(5, 4, {.hidden = 12}));
  check(models::GruForecaster<float>(5, 4, {.hidden = 12}));
}
#endif

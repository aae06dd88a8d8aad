#include "gradus/optim/stochastic_rounding.hpp"

#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#include "gradus/train/checkpoint.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/optim/trajectory.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;
using test::check_error, test::Vector;

namespace {

/// How often `x` is rounded away from 0, from many words that are spread evenly.
template <Floating T>
double share_away(float x) {
  int away = 0;
  for (uint32_t i = 0; i < 4096; ++i) {
    auto rounded = static_cast<float>(optim::detail::round_at_random(x, i << 20 | 0x80000u, T()));
    if (std::abs(rounded) > std::abs(x)) ++away;
  }
  return away / 4096.0;
}

/// What parameters are after steps with the gradients of `gradient(step)`.
template <Floating T, class Optimizer, class Options, class Gradient>
std::vector<T> after_steps(int64_t n, const Options& options, int steps, Device device, Gradient&& gradient) {
  Vector<T> model(ones<T>({n}));
  to(model, device);
  Optimizer optimizer(model, options);
  for (int step = 0; step < steps; ++step) {
    Tensor<T>(model.weight.tensor()).set_grad(gradient(step).to(device));
    optimizer.step();
  }
  return model.weight.tensor().to(Device::cpu()).to_vector();
}

/// Sees the names of the tensors of an optimizer's state.
struct StateNames {
  std::vector<std::string> all;
  void operator()(const std::string&, auto&) {}
  void tensor(const std::string& name, auto&, const Shape&) { all.push_back(name); }
  void finally(const std::function<void()>&) {}
};

struct MatrixAndVector {
  Parameter<bf16> matrix{ones<bf16>({4, 5})}, vector{ones<bf16>({3})};
  GRADUS_FIELDS(matrix, vector)
};

template <HalfWidth T>
std::vector<uint16_t> bits_of(const std::vector<T>& values) {
  std::vector<uint16_t> bits;
  for (auto value : values) bits.push_back(value.bits);
  return bits;
}

}  // namespace

TEST_CASE("a number between two of f16 becomes the nearer the likelier, one of f16 stays", "[gpu]") {
  for (float sign : {1.0f, -1.0f}) {
    CHECK(share_away<f16>(sign) == 0);
    CHECK(share_away<f16>(sign * (1 + 0x1p-12f)) == 0.25);
    CHECK(share_away<f16>(sign * (1 + 0x1p-11f)) == 0.5);
    CHECK(share_away<f16>(sign * (0x1.ffcp-3f + 0x1.8p-14f)) == 0.75);
    CHECK(share_away<f16>(sign * (0x1.ff8p-15f + 0x1.8p-26f)) == 0.375);  // steps of 2^-24 from here on
    CHECK(share_away<f16>(sign * 0x1.8p-24f) == 0.5);
    CHECK(share_away<f16>(sign * 0x1p-26f) == 0.25);
    CHECK(share_away<f16>(sign * 0x1p-34f) == 0x1p-10);
    CHECK(share_away<f16>(sign * 0x1p-60f) == 0);
    CHECK(share_away<f16>(sign * 0x1p-140f) == 0);
    CHECK(share_away<f16>(sign * 0x1p-24f) == 0);
    CHECK(share_away<f16>(sign * 65504) == 0);
    CHECK(share_away<f16>(sign * 65512) == 0.25);
    CHECK(share_away<f16>(sign * INFINITY) == 0);
  }
  CHECK(std::isinf(static_cast<float>(optim::detail::round_at_random(65536, ~0u, f16()))));
  CHECK(std::isnan(static_cast<float>(optim::detail::round_at_random(NAN, 0, f16()))));
}

TEST_CASE("rounding at random leaves every f16 and bf16 as it is", "[gpu]") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    auto check = [&]<class T>(T value) {
      if (std::isnan(static_cast<float>(value))) return;
      for (uint32_t word : {0u, ~0u}) wrong += optim::detail::round_at_random(value, word, T()).bits != value.bits;
    };
    check(std::bit_cast<bf16>(static_cast<uint16_t>(bits)));
    check(std::bit_cast<f16>(static_cast<uint16_t>(bits)));
  }
  CHECK(wrong == 0);
}

TEST_CASE("a number between two of bf16 becomes the nearer the likelier, one of bf16 stays", "[gpu]") {
  for (float sign : {1.0f, -1.0f}) {
    CHECK(share_away<bf16>(sign) == 0);
    CHECK(share_away<bf16>(sign * (1 + 0x1p-9f)) == 0.25);
    CHECK(share_away<bf16>(sign * (1 + 0x1p-8f)) == 0.5);
    CHECK(share_away<bf16>(sign * (0x1.fep-3f + 0x1.8p-11f)) == 0.75);
    CHECK(share_away<bf16>(sign * 0x1p-135f) == 0.25);  // the least of bf16 is 2^-133
    CHECK(share_away<bf16>(sign * INFINITY) == 0);
  }
  CHECK(std::isinf(static_cast<float>(optim::detail::round_at_random(3.4e38f, 0, bf16()))));
  for (uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xffffffffu})
    CHECK(std::isnan(static_cast<float>(optim::detail::round_at_random(std::bit_cast<float>(bits), 0, bf16()))));
}

TEST_CASE("stochastic rounding: steps too small for bf16 are not lost on average", "[gpu]") {
  manual_seed(11);
  auto small = full<bf16>({1000}, static_cast<bf16>(0x1p-12f));  // bf16 next to 1 are 2^-7 and 2^-8 apart
  auto values = after_steps<bf16, optim::SGD<bf16>>(1000, optim::SgdOptions{.lr = 1, .stochastic_rounding = true}, 64,
                                                    test::tested_device(), [&](int) { return small; });
  double mean = 0;
  for (auto value : values) mean += static_cast<double>(static_cast<float>(value)) / 1000;
  CHECK(std::abs(mean - (1 - 64 * 0x1p-12)) < 1e-3);  // standard deviation: about 3e-4
}

TEMPLATE_TEST_CASE("stochastic rounding: a seed gives the same bits at any number of threads and on every device",
                   "[gpu]", bf16, f16) {
  using T = TestType;
  // Powers of two, so that steps have no rounding of their own; sizes that are and are not whole registers.
  auto before = num_threads();
  for (int64_t n : {1, 5, 16, 40000, 33333}) {
    auto run = [&](int threads, Device device) {
      set_num_threads(threads);
      manual_seed(12);
      return bits_of(after_steps<T, optim::SGD<T>>(
          n, optim::SgdOptions{.lr = 0x1p-9, .momentum = 0.5, .stochastic_rounding = true}, 3, device,
          [&](int step) { return test::hashed<T>(static_cast<uint32_t>(step), {n}, -8, 8); }));
    };
    auto alone = run(1, Device::cpu());
    CHECK(run(3, Device::cpu()) == alone);
    CHECK(run(2, test::tested_device()) == alone);
  }
  set_num_threads(before);
}

TEST_CASE("stochastic rounding: no exact values are kept, and groups choose for themselves", "[gpu]") {
  MatrixAndVector model;
  to(model, test::tested_device());
  optim::AdamW<bf16> adam(model, {.lr = 1e-4, .weight_decay = 0, .stochastic_rounding = true},
                          {{.select = optim::is_vector, .options = {.lr = 1e-4, .weight_decay = 0}}});
  StateNames names;
  adam.visit_state(names);
  CHECK(names.all == std::vector<std::string>{"matrix.exp_avg", "matrix.exp_avg_sq", "vector.exp_avg",
                                              "vector.exp_avg_sq", "vector.master"});
  manual_seed(13);
  for (int step = 0; step < 20; ++step) {
    for (auto& one : parameters<bf16>(model)) one.set_grad(ones<bf16>(one.shape(), one.device()));
    adam.step();
  }
  auto matrix = model.matrix.tensor().to(Device::cpu()).to_vector();
  auto vector = model.vector.tensor().to(Device::cpu()).to_vector();
  // 20 steps of 1e-4: half of what is between two of bf16, which a vector rounds alike.
  CHECK(std::count(matrix.begin(), matrix.end(), bf16(1)) < 20);
  CHECK(std::count(matrix.begin(), matrix.end(), bf16(1)) > 0);
  CHECK(std::count(vector.begin(), vector.end(), vector[0]) == 3);
}

TEST_CASE("stochastic rounding goes on from a checkpoint with the bits of a run that never stopped", "[gpu]") {
  test::TemporaryFolder folder;
  auto run = [&](int first, int last) {
    manual_seed(first == 0 ? 14 : 1234);
    Vector<bf16> model(ones<bf16>({50}));
    optim::SGD<bf16> sgd(model, {.lr = 0.01, .momentum = 0.5, .stochastic_rounding = true});
    training::Checkpoint checkpoint(folder / "run");
    checkpoint.add("model", model).add("sgd", sgd);
    if (first > 0) checkpoint.resume();
    for (int step = first; step < last; ++step) {
      Tensor<bf16>(model.weight.tensor()).set_grad(test::hashed<bf16>(static_cast<uint32_t>(step), {50}, -1, 1));
      sgd.step();
    }
    checkpoint.save();
    return bits_of(model.weight.tensor().to_vector());
  };
  auto unbroken = run(0, 6);
  run(0, 3);
  CHECK(run(3, 6) == unbroken);
}

TEST_CASE("stochastic rounding is refused for types that lose no small steps", "[gpu]") {
  Vector<float> model(ones<float>({2}));
  check_error<ValueError>([&] { optim::AdamW(model, {.stochastic_rounding = true}); },
                          "AdamW: stochastic_rounding is for bf16 and f16; leave it out for float");
}

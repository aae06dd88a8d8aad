#include "gradus/optim/loss_scaler.hpp"

#include "gradus/models/mlp.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#include "gradus/train/checkpoint.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/optim/trajectory.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

/* golden
def scaled(**options):
    def run(start, gradients):
        p = start.clone().requires_grad_()
        sgd, rows = torch.optim.SGD([p], lr=0.125, momentum=0.5), []
        scaler = torch.amp.GradScaler("cpu", **options)
        for g in gradients:
            sgd.zero_grad()
            scaler.scale((p * g).sum()).backward()
            scaler.step(sgd)
            scaler.update()
            rows.append(torch.cat([p.detach(), torch.tensor([scaler.get_scale()], dtype=p.dtype)]))
        return torch.stack(rows)
    return run

some = randn(40, 3)
for step, value in ((3, inf), (4, nan), (9, -inf), (20, inf), (21, inf), (22, inf), (39, inf)):
    some[step, step % 3] = value
case("grows", scaled(init_scale=8.0, growth_interval=3), randn(3), some, order=0)
other = scaled(init_scale=2.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2)
case("other factors", other, randn(3), some, order=0)
case("largest", scaled(init_scale=2.0**126, growth_interval=1), randn(3), randn(4, 3) * 2.0**-140, order=0)
*/

using namespace gradus;
using test::check_error, test::Vector;

namespace {

/// Parameter and scale after each step: (steps, n + 1).
Tensor<double> scaled_trajectory(const Tensor<double>& start, const Tensor<double>& gradients,
                                 const optim::LossScalerOptions& options) {
  Vector<double> model(start);
  to(model, test::tested_device());
  optim::SGD<double> sgd(model, {.lr = 0.125, .momentum = 0.5});
  optim::LossScaler scaler(options);
  auto rows = zeros<double>({gradients.size(0), start.numel() + 1});
  for (int64_t step = 0; step < gradients.size(0); ++step) {
    auto g = select(gradients, 0, step).to(test::tested_device());
    scaler.scale(sum(model.weight.tensor() * g)).backward();
    scaler.step(sgd);
    sgd.zero_grad();
    auto now = model.weight.tensor().detach().to(Device::cpu());
    for (int64_t i = 0; i < start.numel(); ++i) rows.set({step, i}, now(i));
    rows.set({step, start.numel()}, scaler.scale());
  }
  return rows;
}

void check_scales(const std::string& group, const optim::LossScalerOptions& options) {
  for (const auto& one : test::golden_cases(group, __FILE__)) {
    INFO(one.name);
    CHECK(test::mismatch(scaled_trajectory(one.inputs[0].as<double>(), one.inputs[1].as<double>(), options), one.output,
                         {1e-12}) == "");
  }
}

/// Sets gradients of a model of one vector.
template <Floating T>
void give(Vector<T>& model, const Tensor<T>& gradient) {
  Tensor<T>(model.weight.tensor()).set_grad(gradient.to(model.weight.tensor().device()));
}
template <Floating T>
std::vector<float> numbers_of(const Vector<T>& model) {
  return cast<float>(model.weight.tensor().detach().to(Device::cpu())).to_vector();
}

}  // namespace

TEST_CASE("LossScaler: PyTorch's steps and scales", "[gpu]") {
  check_scales("grows", {.init_scale = 8, .growth_interval = 3});
  check_scales("other factors", {.init_scale = 2, .growth_factor = 4, .backoff_factor = 0.25, .growth_interval = 2});
  check_scales("largest", {.init_scale = 0x1p126, .growth_interval = 1});
}

TEST_CASE("LossScaler: a small network in half precision learns", "[gpu]") {
  manual_seed(2);
  models::Mlp<f16> model({2, 16, 2});
  to(model, test::tested_device());
  optim::AdamW<f16> adam(model, {.lr = 0.02});
  optim::LossScaler scaler({.growth_interval = 5});
  auto x = test::hashed<f16>(1, {64, 2}, -1, 1);
  auto labels = zeros<int64_t>({64});
  for (int64_t i = 0; i < 64; ++i)
    labels.set({i}, static_cast<float>(x(i, 0)) * static_cast<float>(x(i, 1)) > 0 ? 1 : 0);
  x = x.to(test::tested_device());
  labels = labels.to(test::tested_device());
  float first = 0, last = 0;
  auto skipped = 0;
  for (int step = 0; step < 120; ++step) {
    auto loss = cross_entropy(cast<float>(model(x)), labels);
    scaler.scale(loss).backward();
    skipped += scaler.step(adam) ? 0 : 1;
    adam.zero_grad();
    last = loss.item();
    if (step == 0) first = last;
  }
  INFO(first << " " << last << " " << scaler.scale() << " " << skipped);
  CHECK(last < 0.4f * first);
  CHECK(skipped > 0);  // the scale grew until something overflowed
  CHECK(skipped < 30);
  CHECK(scaler.scale() > 65536);
}

TEST_CASE("LossScaler: a gradient that would vanish in half precision arrives", "[gpu]") {
  for (bool scaled : {false, true}) {
    Vector<f16> model(ones<f16>({4}));
    to(model, test::tested_device());
    optim::SGD<f16> sgd(model, {.lr = 0x1p20});
    optim::LossScaler scaler;
    auto loss = sum(cast<float>(model.weight.tensor()) * 0x1p-28);
    if (scaled) scaler.scale(loss).backward();
    else loss.backward();
    if (scaled) CHECK(scaler.step(sgd));
    else sgd.step();
    CHECK(numbers_of(model) == std::vector<float>(4, scaled ? 1 - 0x1p-8f : 1));
  }
}

TEMPLATE_TEST_CASE("LossScaler: a gradient that is not finite leaves everything as it is", "[gpu]", float, f16) {
  using T = TestType;
  for (float bad : {INFINITY, -INFINITY, NAN}) {
    for (int64_t at : {0, 16, 4099}) {
      Vector<T> model(ones<T>({4100}));
      to(model, test::tested_device());
      optim::AdamW<T> adam(model, {.lr = 0.5, .weight_decay = 0});
      optim::LossScaler scaler({.init_scale = 8});
      auto gradient = ones<T>({4100});
      gradient.set({at}, T(bad));
      give(model, gradient);
      CHECK_FALSE(scaler.step(adam));
      CHECK(scaler.scale() == 4);
      CHECK((numbers_of(model) == std::vector<float>(4100, 1)));
      give(model, ones<T>({4100}));
      CHECK(scaler.step(adam));
      CHECK(numbers_of(model)[static_cast<size_t>(at)] == Approx(0.5));  // the optimizer's first step
    }
  }
}

TEST_CASE("LossScaler: gradients can be unscaled and clipped before the step", "[gpu]") {
  for (bool whole : {false, true}) {
    Vector<float> model(zeros<float>({2}));
    to(model, test::tested_device());
    optim::SGD sgd(model, {.lr = 1});
    optim::LossScaler scaler({.init_scale = 1024});
    give(model, tensor<float>({3 * 1024, 4 * 1024}));
    if (whole) {
      CHECK(scaler.clip_grad_norm(model, 1) == Approx(5));
    } else {
      scaler.unscale(sgd);
      CHECK(model.weight.grad().to(Device::cpu()).to_vector() == std::vector<float>{3, 4});
      CHECK(optim::clip_grad_norm(model, 1) == Approx(5));
    }
    CHECK(scaler.step(sgd));
    CHECK(numbers_of(model)[0] == Approx(-0.6));
    CHECK(numbers_of(model)[1] == Approx(-0.8));
    give(model, tensor<float>({1024, 2048}));  // the next one is scaled again
    CHECK(scaler.step(sgd));
    CHECK(numbers_of(model)[0] == Approx(-1.6));
    give(model, tensor<float>({INFINITY, 1}));
    scaler.unscale(sgd);
    CHECK_FALSE(scaler.step(sgd));
    CHECK(numbers_of(model)[0] == Approx(-1.6));
  }
}

TEST_CASE("LossScaler: several optimizers step together or not at all", "[gpu]") {
  Vector<f16> narrow(ones<f16>({3}));
  Vector<float> wide(ones<float>({3}));
  to(narrow, test::tested_device());
  to(wide, test::tested_device());
  optim::SGD<f16> one(narrow, {.lr = 1});
  optim::SGD<float> other(wide, {.lr = 1});
  optim::LossScaler scaler({.init_scale = 4});
  give(narrow, ones<f16>({3}));
  give(wide, full<float>({3}, 2));
  CHECK(scaler.step(one, other));
  CHECK(numbers_of(narrow) == std::vector<float>(3, 0.75f));
  CHECK(numbers_of(wide) == std::vector<float>(3, 0.5f));
  give(wide, full<float>({3}, NAN));
  CHECK_FALSE(scaler.step(one, other));
  CHECK(numbers_of(narrow) == std::vector<float>(3, 0.75f));
  CHECK(scaler.scale() == 2);
}

TEST_CASE("LossScaler: gradients that are not dense, and stochastic rounding beside it", "[gpu]") {
  nn::Linear<f16> layer(3, 2, {.bias = false});
  to(layer, test::tested_device());
  auto before = cast<float>(layer.weight.tensor().detach().to(Device::cpu()));
  optim::SGD<f16> sgd(layer, {.lr = 1, .stochastic_rounding = true});
  optim::LossScaler scaler({.init_scale = 16});
  Tensor<f16>(layer.weight.tensor()).set_grad(transpose(full<f16>({3, 2}, f16(4)).to(test::tested_device())));
  CHECK(scaler.step(sgd));
  auto after = cast<float>(layer.weight.tensor().detach().to(Device::cpu()));
  CHECK(std::abs(before(1, 2) - 0.25f - after(1, 2)) < 1e-3f);
}

TEST_CASE("LossScaler goes on from a checkpoint", "[gpu]") {
  test::TemporaryFolder folder;
  optim::LossScaler scaler({.init_scale = 8, .growth_interval = 3}), resumed({.init_scale = 1, .growth_interval = 3});
  Vector<float> model(ones<float>({2}));
  optim::SGD sgd(model);
  auto step = [&](optim::LossScaler& one, float gradient) {
    give(model, full<float>({2}, gradient));
    one.step(sgd);
    return one.scale();
  };
  CHECK(step(scaler, INFINITY) == 4);
  CHECK(step(scaler, 1) == 4);
  CHECK(step(scaler, 1) == 4);
  training::Checkpoint saved(folder / "run"), found(folder / "run");
  saved.add("scaler", scaler);
  saved.save();
  found.add("scaler", resumed);
  CHECK(found.resume());
  CHECK(resumed.scale() == 4);
  CHECK(step(resumed, 1) == 8);  // the third without an overflow
}

TEST_CASE("LossScaler says what is wrong", "[gpu]") {
  check_error<ValueError>([] { optim::LossScaler({.init_scale = 0}); },
                          "LossScaler: init_scale is 0, but must be above 0 and finite");
  check_error<ValueError>(
      [] { optim::LossScaler({.growth_factor = 0.5}); },
      "LossScaler: growth_factor is 0.5 and backoff_factor 0.5, but must be at least 1, and between "
      "0 and 1");
  check_error<ValueError>([] { optim::LossScaler({.growth_interval = 0}); },
                          "LossScaler: growth_interval is 0, but must be above 0");
  Vector<float> model(ones<float>({2}));
  optim::SGD sgd(model);
  optim::LossScaler scaler;
  check_error<AutogradError>([&] { scaler.step(sgd); },
                             "LossScaler: no parameter has a gradient; call scale(loss).backward() before step()");
  give(model, ones<float>({2}));
  scaler.unscale(sgd);
  check_error<ValueError>([&] { scaler.unscale(sgd); },
                          "LossScaler: the gradients of this optimizer are unscaled already; call unscale() once, "
                          "between backward() and step()");
  check_error<ValueError>([&] { scaler.clip_grad_norm(model, 1); },
                          "LossScaler: gradients are unscaled already; call optim::clip_grad_norm");
}

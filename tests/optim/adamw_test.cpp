#include "gradus/optim/adamw.hpp"

#include "tests/optim/trajectory.hpp"
#include "tests/support/check_error.hpp"

/* golden
def steps(**options):
    def run(start, gradients):
        p = start.clone().requires_grad_()
        adam, rows = torch.optim.AdamW([p], **options), []
        for g in gradients:
            p.grad = g.clone()
            adam.step()
            rows.append(p.detach().clone())
        return torch.stack(rows)
    return run

for group, f in {
    "defaults": steps(),
    "all options": steps(lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2),
    "no memory": steps(lr=0.01, betas=(0.0, 0.0), weight_decay=0.0),
}.items():
    case(group, f, randn(19), randn(10, 19), order=0)
    case(group, f, randn(1), randn(10, 1), order=0)
case("defaults", steps(), randn(5), randn(10, 5) * torch.tensor([0.0, 2.0**-70, 2.0**-30, 2.0**30, 1.0]), order=0)

def some_missing(start, gradients, present):
    p = [start.clone().requires_grad_(), start.clone().requires_grad_()]
    adam, rows = torch.optim.AdamW(p, lr=0.01), []
    for g, here in zip(gradients, present):
        p[0].grad = g.clone() if here else None
        p[1].grad = g.clone()
        adam.step()
        rows.append(torch.cat([p[0].detach(), p[1].detach()]))
    return torch.stack(rows)

case("some missing", some_missing, randn(7), randn(10, 7), torch.tensor([1, 0, 0, 1, 1, 0, 1, 1, 1, 0]), order=0)
case("some missing", some_missing, randn(7), randn(10, 7), torch.tensor([0, 0, 0, 1, 1, 0, 1, 1, 1, 1]), order=0)
*/

using namespace gradus;
using test::check_error, test::check_trajectories, test::Vector;

namespace {

struct Two {
  Parameter<double> first, second;
  GRADUS_FIELDS(first, second)
};

}  // namespace

TEST_CASE("AdamW takes PyTorch's steps") {
  auto with = [](optim::AdamWOptions options) {
    return [options]<class T>(Vector<T>& model) { return optim::AdamW<T>(model, options); };
  };
  check_trajectories("defaults", with({}));
  check_trajectories("all options", with({.lr = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.2}));
  check_trajectories("no memory", with({.lr = 0.01, .beta1 = 0, .beta2 = 0, .weight_decay = 0}));
}

TEST_CASE("AdamW counts the steps of each parameter that has a gradient") {
  for (const auto& one : test::golden_cases("some missing", __FILE__)) {
    auto start = one.inputs[0].as<double>(), gradients = one.inputs[1].as<double>();
    auto present = one.inputs[2].as<int64_t>();
    Two model{Parameter<double>(start.clone()), Parameter<double>(start.clone())};
    optim::AdamW<double> adam(model, {.lr = 0.01});
    for (int64_t step = 0; step < gradients.size(0); ++step) {
      adam.zero_grad();
      auto gradient = select(gradients, 0, step), row = select(one.output.as<double>(), 0, step);
      if (present(step) != 0) Tensor<double>(model.first.tensor()).set_grad(gradient);
      Tensor<double>(model.second.tensor()).set_grad(gradient);
      adam.step();
      INFO(one.name << ", step " << step);
      CHECK(test::mismatch(model.first.tensor().detach(), slice(row, 0, 0, 7), {1e-13}) == "");
      CHECK(test::mismatch(model.second.tensor().detach(), slice(row, 0, 7, 14), {1e-13}) == "");
    }
  }
}

TEST_CASE("AdamW refuses options that mean nothing") {
  Vector<float> model(ones<float>({2}));
  check_error<ValueError>([&] { optim::AdamW(model, {.lr = -1}); },
                          "AdamW: the learning rate is -1, but must not be negative");
  check_error<ValueError>([&] { optim::AdamW(model, {.beta1 = 1}); },
                          "AdamW: beta1 is 1 and beta2 0.999, but both must be in [0, 1)");
  check_error<ValueError>([&] { optim::AdamW(model, {.beta2 = -0.5}); },
                          "AdamW: beta1 is 0.9 and beta2 -0.5, but both must be in [0, 1)");
  check_error<ValueError>([&] { optim::AdamW(model, {.eps = -1}); },
                          "AdamW: eps is -1 and weight_decay 0.01, but neither may be negative");
  check_error<ValueError>([&] { optim::AdamW(model, {.weight_decay = -1}); },
                          "AdamW: eps is 1e-08 and weight_decay -1, but neither may be negative");
}

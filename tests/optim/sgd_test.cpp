#include "gradus/optim/sgd.hpp"

#include "tests/optim/trajectory.hpp"
#include "tests/support/check_error.hpp"

/* golden
def steps(**options):
    def run(start, gradients):
        p = start.clone().requires_grad_()
        sgd, rows = torch.optim.SGD([p], **options), []
        for g in gradients:
            p.grad = g.clone()
            sgd.step()
            rows.append(p.detach().clone())
        return torch.stack(rows)
    return run

for group, f in {
    "plain": steps(lr=0.125),
    "weight decay": steps(lr=0.1, weight_decay=0.3),
    "momentum": steps(lr=0.1, momentum=0.9),
    "dampening": steps(lr=0.1, momentum=0.9, dampening=0.4, weight_decay=0.01),
    "nesterov": steps(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
}.items():
    case(group, f, randn(19), randn(10, 19), order=0)
    case(group, f, randn(1), randn(10, 1), order=0)
*/

using namespace gradus;
using test::check_error, test::check_trajectories, test::Vector;

TEST_CASE("SGD takes PyTorch's steps") {
  auto with = [](optim::SgdOptions options) {
    return [options]<class T>(Vector<T>& model) { return optim::SGD<T>(model, options); };
  };
  check_trajectories("plain", with({.lr = 0.125}));
  check_trajectories("weight decay", with({.lr = 0.1, .weight_decay = 0.3}));
  check_trajectories("momentum", with({.lr = 0.1, .momentum = 0.9}));
  check_trajectories("dampening", with({.lr = 0.1, .momentum = 0.9, .dampening = 0.4, .weight_decay = 0.01}));
  check_trajectories("nesterov", with({.lr = 0.1, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true}));
}

TEST_CASE("SGD refuses options that mean nothing") {
  Vector<float> model(ones<float>({2}));
  check_error<ValueError>([&] { optim::SGD(model, {.lr = -0.5}); },
                          "SGD: the learning rate is -0.5, but must not be negative");
  check_error<ValueError>([&] { optim::SGD(model, {.momentum = -0.5}); },
                          "SGD: momentum is -0.5 and weight_decay 0, but neither may be negative");
  check_error<ValueError>([&] { optim::SGD(model, {.weight_decay = -1}); },
                          "SGD: momentum is 0 and weight_decay -1, but neither may be negative");
  check_error<ValueError>([&] { optim::SGD(model, {.nesterov = true}); },
                          "SGD: nesterov needs momentum above 0 and no dampening");
  check_error<ValueError>([&] { optim::SGD(model, {.momentum = 0.5, .dampening = 0.5, .nesterov = true}); },
                          "SGD: nesterov needs momentum above 0 and no dampening");
}

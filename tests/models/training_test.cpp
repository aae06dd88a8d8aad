// Whole models train as in PyTorch: the first losses from the same weights and batches.
#include "gradus/models/lenet.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/resnet.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
workloads = workloads()

def losses(model, image, classes, batch, lr, steps, dtype):
    model = fill_hashed(model, dtype)
    adam = torch.optim.AdamW(model.parameters(), lr=lr)
    found = []
    for step in range(steps):
        x = hashed(1000 + step % 4, (batch, *image), -1.0, 1.0, dtype)
        y = torch.from_numpy((hashed_uniform(2000 + step % 4, (batch,)) * classes).astype(np.int64))
        loss = F.cross_entropy(model(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)

def first(name, make, image, classes, batch, lr, steps=20, float_steps=None):
    case(name, lambda: losses(make(), image, classes, batch, lr, steps, torch.float64), order=0)
    case(name + " in float", lambda: losses(make(), image, classes, batch, lr, float_steps or steps, torch.float32),
         order=0)

first("mlp", lambda: workloads.Mlp(20, 32, 16, 5), (20,), 5, 16, 1e-2)
first("lenet", workloads.LeNet, (1, 28, 28), 10, 8, 1e-3)
first("resnet9", lambda: workloads.ResNet9(8), (3, 16, 16), 10, 8, 1e-3)
first("resnet18", lambda: workloads.ResNet(8, (2, 2, 2, 2), False, 10), (3, 64, 64), 10, 4, 1e-3, 5)
# so deep and narrow, even PyTorch's own losses in float and double are 0.7 % apart after a step
first("resnet50", lambda: workloads.ResNet(8, (3, 4, 6, 3), True, 10), (3, 64, 64), 10, 4, 1e-3, 5, 1)
*/

using namespace gradus;

namespace {

struct Workload {
  Shape batch;  ///< of inputs
  int64_t classes;
  double lr;
  int64_t steps = 20;
};

template <Floating T, class Model>
Tensor<double> losses(Model model, const Workload& workload) {
  auto device = test::fill_and_place<T>(model);
  optim::AdamW<T> adam(model, {.lr = workload.lr});
  auto found = zeros<double>({workload.steps});
  for (int64_t step = 0; step < workload.steps; ++step) {
    auto seed = static_cast<uint32_t>(step % 4);
    auto x = test::hashed<T>(1000 + seed, workload.batch, -1, 1).to(device);
    auto labels = test::hashed_labels(2000 + seed, workload.batch[0], workload.classes).to(device);  // (n,)
    auto loss = cross_entropy(model(x), labels);
    adam.zero_grad();
    loss.backward();
    adam.step();
    found.set({step}, static_cast<double>(loss.item()));
  }
  return found;
}

void check_losses(const std::string& group, const Tensor<double>& got, double tolerance) {
  auto want = test::golden_cases(group, __FILE__)[0].output;
  INFO(group);
  CHECK(test::mismatch(got, want, {.relative = test::device_tolerance(tolerance), .scale = 0.1}) == "");
  if (got.numel() > 1) CHECK(got(-1) < 0.9 * got(0));  // it learns
}

}  // namespace

TEST_CASE("an MLP has PyTorch's first 20 losses") {
  Workload workload{{16, 20}, 5, 1e-2};
  check_losses("mlp", losses<double>(models::Mlp<double>({20, 32, 16, 5}), workload), 1e-12);
  check_losses("mlp in float", losses<float>(models::Mlp<float>({20, 32, 16, 5}), workload), 1e-5);
}

TEST_CASE("LeNet has PyTorch's first 20 losses") {
  Workload workload{{8, 1, 28, 28}, 10, 1e-3};
  check_losses("lenet", losses<double>(models::LeNet<double>(), workload), 1e-11);
  auto in_float = losses<float>(models::LeNet<float>(), workload);
  check_losses("lenet", in_float, 3e-5);
  // PyTorch's own losses in float differ by 1.5e-5 from processor to processor
  check_losses("lenet in float", in_float, 1e-4);
}

TEST_CASE("ResNet-9 has PyTorch's first 20 losses") {
  Workload workload{{8, 3, 16, 16}, 10, 1e-3};
  check_losses("resnet9", losses<double>(models::ResNet9<double>(3, 10, 8), workload), 1e-9);
  check_losses("resnet9 in float", losses<float>(models::ResNet9<float>(3, 10, 8), workload), 1e-4);
}

TEST_CASE("ResNet-18 and ResNet-50, with an eighth of the channels, have PyTorch's first losses") {
  Workload workload{{4, 3, 64, 64}, 10, 1e-3, 5};
  models::ResNetOptions options{.classes = 10, .width = 8};
  check_losses("resnet18", losses<double>(models::ResNet<double>(options), workload), 1e-9);
  check_losses("resnet18 in float", losses<float>(models::ResNet<float>(options), workload), 1e-4);
  options.blocks = {3, 4, 6, 3};
  options.bottleneck = true;
  check_losses("resnet50", losses<double>(models::ResNet<double>(options), workload), 1e-7);
  workload.steps = 1;
  check_losses("resnet50 in float", losses<float>(models::ResNet<float>(options), workload), 1e-4);
}

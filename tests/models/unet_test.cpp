// The U-Net trains as in PyTorch: the first losses from the same weights and batches.
#include "gradus/models/unet.hpp"

#include "gradus/ops/loss/bce_with_logits.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
workloads = workloads()

def losses(dtype, steps):
    model = fill_hashed(workloads.UNet(3, 2, 4, 2), dtype)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found = []
    for step in range(steps):
        x = hashed(1000 + step % 4, (4, 3, 12, 16), -1.0, 1.0, dtype)
        loss = F.binary_cross_entropy_with_logits(model(x), hashed(2000 + step % 4, (4, 2, 12, 16), 0.0, 1.0, dtype))
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)

case("unet", lambda: losses(torch.float64, 20), order=0)
case("unet in float", lambda: losses(torch.float32, 5), order=0)
*/

using namespace gradus;

namespace {

template <Floating T>
Tensor<double> unet_losses(int64_t steps) {
  models::UNet<T> model({.classes = 2, .width = 4, .levels = 2});
  test::fill_and_place<T>(model);
  optim::AdamW<T> adam(model, {.lr = 1e-3});
  auto found = zeros<double>({steps});
  for (int64_t step = 0; step < steps; ++step) {
    auto k = static_cast<uint32_t>(step % 4);
    auto x = test::hashed<T>(1000 + k, {4, 3, 12, 16}, -1, 1).to(device_of(model)),
         target = test::hashed<T>(2000 + k, {4, 2, 12, 16}, 0, 1).to(device_of(model));
    auto loss = bce_with_logits(model(x), target);
    adam.zero_grad();
    loss.backward();
    adam.step();
    found.set({step}, static_cast<double>(loss.item()));
  }
  return found;
}

}  // namespace

TEST_CASE("a U-Net has PyTorch's first 20 losses") {
  auto want = [](const char* group) { return test::golden_cases(group, __FILE__)[0].output; };
  CHECK(test::mismatch(unet_losses<double>(20), want("unet"),
                       {.relative = test::device_tolerance(1e-10), .scale = 0.1}) == "");
  CHECK(test::mismatch(unet_losses<float>(5), want("unet in float"),
                       {.relative = test::device_tolerance(1e-4), .scale = 0.1}) == "");
}

TEST_CASE("a U-Net needs images that can be halved on each level") {
  models::UNet<float> model({.width = 2, .levels = 2});
  NoGradGuard guard;
  CHECK(model(zeros<float>({1, 3, 8, 12})).shape() == Shape{1, 1, 8, 12});
  test::check_error<ShapeError>(
      [&] {
        return model(zeros<float>({1, 3, 8, 10}));
      },
      "UNet: images are (1, 3, 8, 10), but must be (n, channels, h, w) with h and w "
      "multiples of 4");
  test::check_error<ValueError>([] { return models::UNet<float>({.levels = 0}); },
                                "UNet: 0 levels, but there must be at least 1");
}

// Whole training steps: forward, backward, optimizer.
#include "benchmarks/measure.hpp"
#include "gradus/models/lenet.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"

using namespace gradus;

namespace {

/// `products` are the multiplications of one image's forward pass; backward does twice as many.
template <class MakeModel>
void training(const char* name, double products, Shape batch, int64_t classes, MakeModel make) {
  bench::time(join("training/", name, '/', bench::sizes(batch)),
              {.flop = 3 * 2 * products * static_cast<double>(batch[0])}, [=] {
                manual_seed(1);
                auto model = std::make_shared<decltype(make())>(make());
                auto adam = std::make_shared<optim::AdamW<float>>(*model);
                return [=, x = rand<float>(batch, -1, 1), labels = randint<int64_t>(0, classes, {batch[0]})] {
                  cross_entropy((*model)(x), labels).backward();
                  adam->step();
                  adam->zero_grad();
                };
              });
}

const bench::AtStart training_registered([] {
  training("Mlp_4_8_2", 4 * 8 + 8 * 2, {1, 4}, 2, [] { return models::Mlp<float>({4, 8, 2}); });
  training("Mlp_784_512_512_10", 784 * 512 + 512 * 512 + 512 * 10, {128, 784}, 10, [] {
    return models::Mlp<float>({784, 512, 512, 10});
  });
  training("LeNet", 784 * 32 * 9 + 196 * 64 * 32 * 9 + 3136 * 128 + 128 * 10, {128, 1, 28, 28}, 10,
           [] { return models::LeNet<float>(); });
  // 32 channels: products of the eight convolutions, at 32 x 32, 16 x 16 (two of them after the first), 8 x 8, 4 x 4.
  auto kernels = [](double in, double out, double size) { return in * out * 9 * size * size; };
  auto resnet = kernels(3, 32, 32) + kernels(32, 64, 32) + 2 * kernels(64, 64, 16) + kernels(64, 128, 16) +
                kernels(128, 256, 8) + 2 * kernels(256, 256, 4);
  training("ResNet9", resnet, {16, 3, 32, 32}, 10, [] { return models::ResNet9<float>(3, 10, 32); });
});

}  // namespace

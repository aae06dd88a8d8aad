// Whole trainings in several threads of one program: what ThreadSanitizer looks at, and the same numbers as alone.
#include <thread>

#include "gradus/data/loader.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/window/max_pool2d.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/train/fit.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

/// Every kind of work that threads share: the pool's loops, the allocator, the random numbers, prefetch.
struct SmallNet {
  nn::Conv2d<float> conv{1, 4, {.kernel = 3, .padding = 1}};
  nn::Dropout drop{0.2};
  nn::Linear<float> output{4 * 4 * 4, 3};
  GRADUS_FIELDS(conv, drop, output)

  Tensor<float> operator()(const Tensor<float>& images) {       // (n, 1, 8, 8)
    auto x = max_pool2d(relu(conv(images)), 2);                 // (n, 4, 4, 4)
    return output(drop(reshape(x, {images.size(0), 4 * 16})));  // (n, 3)
  }
};

struct Trained {
  std::vector<float> weights;
  double loss = 0;
};

Trained train_alone(uint64_t seed, const std::string& run = "") {
  manual_seed(seed);
  auto images = randn<float>({96, 1, 8, 8});
  auto labels = randint<int64_t>(0, 3, {96});
  SmallNet model;
  optim::AdamW adam(model, {.lr = 1e-2});
  data::Loader loader(data::TensorDataset(images, labels), {.batch_size = 16, .shuffle = true});
  auto loss = [](const auto& logits, const auto& wanted) { return cross_entropy(logits, wanted); };
  std::optional<training::Checkpoint> checkpoint;
  if (!run.empty()) checkpoint.emplace(run);
  auto history = training::fit(model, loader, loss, adam,
                               {.epochs = 3,
                                .progress = {.show = training::Show::never},
                                .checkpoint = checkpoint ? &*checkpoint : nullptr,
                                .checkpoint_seconds = 0});
  return {model.output.weight.tensor().to_vector(), history.epochs.back().train.loss};
}

}  // namespace

TEST_CASE("threads: whole trainings in two threads, with prefetch and checkpoints, give what they give alone") {
  test::TemporaryFolder folder;
  auto first = train_alone(1), second = train_alone(2);
  CHECK(first.weights != second.weights);
  Trained a, b;
  std::thread one([&] { a = train_alone(1, folder / "a"); }), two([&] { b = train_alone(2, folder / "b"); });
  one.join();
  two.join();
  CHECK(a.weights == first.weights);
  CHECK(b.weights == second.weights);
  CHECK(a.loss == first.loss);
  CHECK(b.loss == second.loss);
}

TEST_CASE("threads: a training is cancelled by another thread, which also changes the number of threads") {
  manual_seed(3);
  auto before = num_threads();
  SmallNet model;
  optim::AdamW adam(model);
  data::Loader loader(data::TensorDataset(randn<float>({32, 1, 8, 8}), randint<int64_t>(0, 3, {32})),
                      {.batch_size = 4});
  auto loss = [](const auto& logits, const auto& wanted) { return cross_entropy(logits, wanted); };
  std::atomic<bool> cancel = false;
  std::atomic<int64_t> steps = 0;
  std::thread other([&] {
    for (int threads = 1; steps < 20; threads = 3 - threads) {
      set_num_threads(threads);
      std::this_thread::yield();
    }
    cancel = true;
  });
  auto history = training::fit(model, loader, loss, adam,
                               {.epochs = 1000000,
                                .progress = {.show = training::Show::never},
                                .cancel = &cancel,
                                .after_step = [&](int64_t step) { steps = step; }});
  other.join();
  set_num_threads(before);
  CHECK(history.cancelled);
  CHECK(steps >= 20);
}

TEST_CASE("threads: several threads ask one model that no one trains") {
  manual_seed(4);
  models::Mlp<float> model({8, 32, 3});
  auto x = randn<float>({16, 8});
  auto want = no_grad([&] { return model(x).to_vector(); });
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) wrong += no_grad([&] { return model(x).to_vector(); }) != want;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("threads: a loader is left early, again and again") {
  data::Loader loader(data::TensorDataset(randn<float>({64, 3})), {.batch_size = 4, .shuffle = true, .prefetch = 3});
  for (int i = 0; i < 20; ++i) {
    auto seen = 0;
    for (auto& [rows] : loader) {
      CHECK(rows.size(0) == 4);
      if (++seen > i % 5) break;
    }
  }
}

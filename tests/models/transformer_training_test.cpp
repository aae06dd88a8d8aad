// Transformers train as in PyTorch: the first losses from the same weights and batches.
#include "gradus/models/gpt.hpp"
#include "gradus/models/llama.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
workloads = workloads()

def losses(model, dtype, steps=20):
    model = fill_hashed(model, dtype)
    adam = torch.optim.AdamW(model.parameters(), lr=3e-3)
    found = []
    for step in range(steps):
        ids = torch.from_numpy((hashed_uniform(1000 + step % 4, (4, 13)) * 31).astype(np.int64))
        loss = workloads.token_loss(model(ids[:, :12]), ids[:, 1:])
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)

for name, make in {"gpt": lambda: workloads.Gpt(31, 16, 4, 2, 32),
                   "llama": lambda: workloads.Llama(31, 2, 4, 2, 32, 48)}.items():
    case(name, lambda: losses(make(), torch.float64), order=0)
    case(name + " in float", lambda: losses(make(), torch.float32), order=0)
*/

using namespace gradus;

namespace {

Tensor<int64_t> hashed_ids(int64_t step) {
  return reshape(test::hashed_labels(static_cast<uint32_t>(1000 + step % 4), 4 * 13, 31), {4, 13});
}

/// rows: of logits at a time in model.loss(); 0: all of them as a tensor.
template <Floating T, class Model>
Tensor<double> token_losses(Model model, int64_t rows = 0) {
  auto device = test::fill_and_place<T>(model);
  optim::AdamW<T> adam(model, {.lr = 3e-3});
  auto found = zeros<double>({20});
  for (int64_t step = 0; step < 20; ++step) {
    auto ids = hashed_ids(step).to(device);
    auto before = slice(ids, 1, 0, 12), next = slice(ids, 1, 1, 13);  // (4, 12)
    auto loss = rows > 0 ? model.loss(before, next, {.rows = rows})
                         : cross_entropy(flatten(model(before), 0, 1), flatten(next, 0));
    adam.zero_grad();
    loss.backward();
    adam.step();
    found.set({step}, static_cast<double>(loss.item()));
  }
  return found;
}

void check_token_losses(const std::string& group, const Tensor<double>& got, double tolerance) {
  auto want = test::golden_cases(group, __FILE__)[0].output;
  INFO(group);
  CHECK(test::mismatch(got, want, {.relative = test::device_tolerance(tolerance), .scale = 0.1}) == "");
  CHECK(got(-1) < 0.9 * got(0));  // it learns
}

models::GptOptions small_gpt() {
  return {.vocabulary = 31, .context = 16, .layers = 4, .heads = 2, .width = 32, .dropout = 0};
}
models::LlamaOptions small_llama() {
  return {.vocabulary = 31, .context = 16, .layers = 2, .heads = 4, .kv_heads = 2, .width = 32, .feed_forward = 48};
}

}  // namespace

TEST_CASE("a GPT of four layers has PyTorch's first 20 losses") {
  check_token_losses("gpt", token_losses<double>(models::Gpt<double>(small_gpt())), 1e-11);
  check_token_losses("gpt in float", token_losses<float>(models::Gpt<float>(small_gpt())), 1e-4);
  check_token_losses("gpt", token_losses<double>(models::Gpt<double>(small_gpt()), 11), 1e-11);
}

TEST_CASE("a Llama has PyTorch's first 20 losses") {
  check_token_losses("llama", token_losses<double>(models::Llama<double>(small_llama())), 1e-11);
  check_token_losses("llama in float", token_losses<float>(models::Llama<float>(small_llama())), 1e-4);
  check_token_losses("llama", token_losses<double>(models::Llama<double>(small_llama()), 11), 1e-11);
}

TEST_CASE("a block that is computed again has the same gradients, with dropout too") {
  auto options = small_gpt();
  options.dropout = 0.2;
  auto run = [&](bool again) {
    manual_seed(3);
    options.recompute = again;
    models::Gpt<float> gpt(options);
    auto ids = hashed_ids(0);
    auto before = memory_stats().bytes_in_use;
    auto loss = cross_entropy(flatten(gpt(slice(ids, 1, 0, 12)), 0, 1), flatten(slice(ids, 1, 1, 13), 0));
    auto held = memory_stats().bytes_in_use - before;
    loss.backward();
    std::vector<Tensor<float>> gradients{loss.detach()};
    for (const auto& parameter : parameters(gpt)) gradients.push_back(parameter.grad());
    return std::pair(gradients, held);
  };
  auto [want, much] = run(false);
  auto [got, little] = run(true);
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(test::bit_mismatch(got[i], want[i]) == "");
  CHECK(little * 3 < much);
}

TEST_CASE("decoders with a cache say what they say without") {
  auto check = [](auto model) {
    eval(model);
    NoGradGuard guard;
    auto ids = slice(hashed_ids(1), 1, 0, 12);
    auto want = model(ids);  // (4, 12, 31)
    auto cache = model.make_cache();
    auto first = model(slice(ids, 1, 0, 7), &cache);
    CHECK(test::mismatch(first, slice(want, 1, 0, 7), {1e-12}) == "");
    for (int64_t i = 7; i < 12; ++i)
      CHECK(test::mismatch(model(slice(ids, 1, i, i + 1), &cache), slice(want, 1, i, i + 1), {1e-12}) == "");
    CHECK(cache.length() == 12);
    cache.reorder({2, 2});
    auto next = slice(slice(ids, 0, 0, 2), 1, 0, 1);  // (2, 1)
    auto after = model(next, &cache);
    auto longer = cat(std::vector{slice(ids, 0, 2, 3), slice(next, 0, 0, 1)}, 1);  // (1, 13)
    CHECK(test::mismatch(slice(after, 0, 0, 1), slice(model(longer), 1, 12, 13), {1e-12}) == "");
  };
  check(models::Gpt<double>(small_gpt()));
  check(models::Llama<double>(small_llama()));
}

TEST_CASE("what decoders refuse") {
  models::Gpt<float> gpt(small_gpt());
  test::check_error<ShapeError>(
      [&] {
        return gpt(zeros<int64_t>({1, 17}));
      },
      "Gpt: 17 tokens, but the context holds 16");
  test::check_error<ShapeError>([&] { return gpt(zeros<int64_t>({17})); },
                                "Gpt: ids are (17,), but must be (n, tokens)");
  test::check_error<ShapeError>(
      [&] {
        return gpt.loss(zeros<int64_t>({2, 4}), zeros<int64_t>({2, 3}));
      },
      "Gpt: ids are (2, 4) and next (2, 3), but both must be (n, tokens)");
  test::check_error<IndexError>(
      [&] {
        return gpt(full<int64_t>({1, 2}, 31));
      },
      "embedding: id 31 at place 0 of 2 is out of range: weight is (31, 32), so ids must be "
      "in [0, 31)");
  auto cache = gpt.make_cache();
  test::check_error<AutogradError>(
      [&] {
        return gpt(zeros<int64_t>({1, 2}), &cache);
      },
      "KeyValueCache: a cache passes no gradients on; call the model under no_grad");
  models::Llama<float> llama(small_llama());
  test::check_error<ShapeError>(
      [&] {
        return llama(zeros<int64_t>({1, 17}));
      },
      "Llama: 17 tokens, but the context holds 16");
  auto options = small_llama();
  options.kv_heads = 3;
  test::check_error<ValueError>([&] { return models::Llama<float>(options); },
                                "Llama: 4 heads cannot share the keys of 3");
}

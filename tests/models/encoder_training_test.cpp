// BERT, ViT, MobileNetV2 and TCN train as in PyTorch: the first losses from the same weights and batches.
#include "gradus/models/bert.hpp"
#include "gradus/models/mobilenet_v2.hpp"
#include "gradus/models/tcn.hpp"
#include "gradus/models/vit.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
workloads = workloads()

def losses(model, loss_of, dtype, lr, steps=20):
    model = fill_hashed(model, dtype)
    adam = torch.optim.AdamW(model.parameters(), lr=lr)
    found = []
    for step in range(steps):
        loss = loss_of(model, step % 4, dtype)
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)

def labels(seed, n, classes):
    return torch.from_numpy((hashed_uniform(seed, (n,)) * classes).astype(np.int64))

def images(size):
    def loss_of(model, k, dtype):
        return F.cross_entropy(model(hashed(1000 + k, (8, 3, size, size), -1.0, 1.0, dtype)), labels(2000 + k, 8, 5))
    return loss_of

def texts(model, k, dtype):
    ids, types = labels(1000 + k, 4 * 9, 31).reshape(4, 9), labels(3000 + k, 4 * 9, 2).reshape(4, 9)
    seen = torch.arange(9)[None, :] < torch.tensor([9, 4, 1, 7])[:, None]
    return F.cross_entropy(model(ids, seen, types), labels(2000 + k, 4, 3))

def series(model, k, dtype):
    x, y = hashed(1000 + k, (8, 20, 3), -1.0, 1.0, dtype), hashed(2000 + k, (8, 2), -1.0, 1.0, dtype)
    return F.mse_loss(model(x), y)

for name, make, loss_of, lr in [
        ("bert", lambda: workloads.BertClassifier(3, 31, 16, 2, 2, 32, 48), texts, 1e-3),
        ("vit", lambda: workloads.Vit(16, 4, 5, 2, 2, 32, 48), images(16), 1e-3),
        ("mobilenet", lambda: workloads.MobileNetV2(0.25, 5), images(32), 1e-3),
        ("tcn", lambda: workloads.Tcn(3, 2, [8, 8, 6], 3), series, 3e-3)]:
    case(name, lambda: losses(make(), loss_of, torch.float64, lr), order=0)
    steps = 1 if name == "mobilenet" else 5  # so deep and narrow, losses in float part from those in double at once
    case(name + " in float", lambda: losses(make(), loss_of, torch.float32, lr, steps), order=0)

model = fill_hashed(workloads.Bert(31, 16, 2, 2, 32, 48))
with torch.no_grad():
    ids, types = labels(1000, 4 * 9, 31).reshape(4, 9), labels(3000, 4 * 9, 2).reshape(4, 9)
    seen = torch.arange(9)[None, :] < torch.tensor([9, 4, 1, 7])[:, None]
    tokens, pooled = model(ids, seen, types)
    weight = seen[:, :, None].double()
    case("bert embedding", lambda: (tokens * weight).sum(1) / weight.sum(1), order=0)
    case("bert pooled", lambda: pooled, order=0)
*/

using namespace gradus;

namespace {

template <Floating T, class Model, class Loss>
Tensor<double> first_losses(Model model, Loss loss_of, double lr, int64_t steps) {
  test::fill_and_place<T>(model);
  optim::AdamW<T> adam(model, {.lr = lr});
  auto found = zeros<double>({steps});
  for (int64_t step = 0; step < steps; ++step) {
    auto loss = loss_of(model, static_cast<uint32_t>(step % 4));
    adam.zero_grad();
    loss.backward();
    adam.step();
    found.set({step}, static_cast<double>(loss.item()));
  }
  return found;
}

void check_first_losses(const std::string& group, const Tensor<double>& got, double tolerance) {
  auto want = test::golden_cases(group, __FILE__)[0].output;
  INFO(group);
  CHECK(test::mismatch(got, want, {.relative = test::device_tolerance(tolerance), .scale = 0.1}) == "");
}

template <Floating T>
auto image_loss(int64_t size) {
  return [=](auto& model, uint32_t k) {
    auto x = test::hashed<T>(1000 + k, {8, 3, size, size}, -1, 1).to(device_of(model));
    return cross_entropy(model(x), test::hashed_labels(2000 + k, 8, 5).to(device_of(model)));
  };
}

Tensor<bool> seen_words() { return unsqueeze(arange<int64_t>(9), 0) < unsqueeze(tensor<int64_t>({9, 4, 1, 7}), 1); }

template <Floating T>
Tensor<T> text_loss(models::BertClassifier<T>& model, uint32_t k) {
  auto ids = reshape(test::hashed_labels(1000 + k, 36, 31), {4, 9}).to(device_of(model));
  auto types = reshape(test::hashed_labels(3000 + k, 36, 2), {4, 9}).to(device_of(model));
  auto labels = test::hashed_labels(2000 + k, 4, 3).to(device_of(model));
  return cross_entropy(model(ids, seen_words().to(device_of(model)), types), labels);
}

template <Floating T>
Tensor<T> series_loss(models::Tcn<T>& model, uint32_t k) {
  return mse_loss(model(test::hashed<T>(1000 + k, {8, 20, 3}, -1, 1).to(device_of(model))),
                  test::hashed<T>(2000 + k, {8, 2}, -1, 1).to(device_of(model)));
}

models::BertOptions small_bert() {
  return {.vocabulary = 31, .context = 16, .layers = 2, .heads = 2, .width = 32, .feed_forward = 48, .dropout = 0};
}

}  // namespace

TEST_CASE("a BERT has PyTorch's first 20 losses, embeddings and pooled outputs") {
  check_first_losses("bert",
                     first_losses<double>(models::BertClassifier<double>(small_bert(), 3), text_loss<double>, 1e-3, 20),
                     1e-11);
  check_first_losses("bert in float",
                     first_losses<float>(models::BertClassifier<float>(small_bert(), 3), text_loss<float>, 1e-3, 5),
                     1e-4);
  models::Bert<double> bert(small_bert());
  test::fill_hashed<double>(bert);
  auto ids = reshape(test::hashed_labels(1000, 36, 31), {4, 9}),
       types = reshape(test::hashed_labels(3000, 36, 2), {4, 9});
  auto output = bert(ids, seen_words(), types);
  CHECK(test::mismatch(output.pooled, test::golden_cases("bert pooled", __FILE__)[0].output, {1e-12}) == "");
  CHECK(test::mismatch(models::mean_pool(output.tokens, seen_words()),
                       test::golden_cases("bert embedding", __FILE__)[0].output, {1e-12}) == "");
}

TEST_CASE("a vision transformer has PyTorch's first 20 losses") {
  models::VitOptions options{
      .image = 16, .patch = 4, .classes = 5, .layers = 2, .heads = 2, .width = 32, .feed_forward = 48};
  check_first_losses("vit", first_losses<double>(models::Vit<double>(options), image_loss<double>(16), 1e-3, 20),
                     1e-11);
  check_first_losses("vit in float", first_losses<float>(models::Vit<float>(options), image_loss<float>(16), 1e-3, 5),
                     1e-4);
}

TEST_CASE("MobileNetV2, with a quarter of the channels, has PyTorch's first 20 losses") {
  models::MobileNetV2Options options{.classes = 5, .width = 0.25, .dropout = 0};
  check_first_losses(
      "mobilenet", first_losses<double>(models::MobileNetV2<double>(options), image_loss<double>(32), 1e-3, 20), 1e-7);
  check_first_losses("mobilenet in float",
                     first_losses<float>(models::MobileNetV2<float>(options), image_loss<float>(32), 1e-3, 1), 1e-4);
}

TEST_CASE("a temporal convolutional network has PyTorch's first 20 losses and never looks ahead") {
  models::TcnOptions options{.channels = {8, 8, 6}};
  check_first_losses("tcn", first_losses<double>(models::Tcn<double>(3, 2, options), series_loss<double>, 3e-3, 20),
                     1e-11);
  check_first_losses("tcn in float",
                     first_losses<float>(models::Tcn<float>(3, 2, options), series_loss<float>, 3e-3, 5), 1e-4);
  models::Tcn<float> tcn(3, 2, options);
  auto x = randn<float>({2, 20, 3}), changed = x.clone();
  slice(changed, 1, 12, 20).fill_(7);
  auto before = tcn.sequence(x), after = tcn.sequence(changed);
  CHECK(test::bit_mismatch(slice(after, 1, 0, 12), slice(before, 1, 0, 12)) == "");
  CHECK(test::bit_mismatch(slice(after, 1, 12, 13), slice(before, 1, 12, 13)) != "");
}

TEST_CASE("names of pre-trained weights") {
  auto names = [](const auto& model) {
    std::vector<std::string> found;
    for (const auto& [name, parameter] : named_parameters<float>(model)) found.push_back(name);
    return found;
  };
  auto has = [](const std::vector<std::string>& found, const std::string& name) {
    return std::find(found.begin(), found.end(), name) != found.end();
  };
  auto mobile = names(models::MobileNetV2<float>());
  CHECK(has(mobile, "features.0.0.weight"));
  CHECK(has(mobile, "features.1.conv.0.1.bias"));
  CHECK(has(mobile, "features.2.conv.1.0.weight"));
  CHECK(has(mobile, "features.17.conv.3.weight"));
  CHECK(has(mobile, "features.18.1.weight"));
  CHECK(has(mobile, "classifier.1.bias"));
  CHECK(count_parameters(models::MobileNetV2<float>()) == 3504872);
  auto bert = names(models::Bert<float>(small_bert()));
  CHECK(has(bert, "embeddings.LayerNorm.weight"));
  CHECK(has(bert, "encoder.layer.1.attention.self.query.weight"));
  CHECK(has(bert, "encoder.layer.0.attention.output.LayerNorm.bias"));
  CHECK(has(bert, "pooler.dense.weight"));
  auto vit =
      names(models::Vit<float>({.image = 8, .patch = 4, .layers = 1, .heads = 1, .width = 8, .feed_forward = 8}));
  CHECK(has(vit, "vit.embeddings.patch_embeddings.projection.weight"));
  CHECK(has(vit, "vit.encoder.layer.0.attention.attention.key.bias"));
  CHECK(has(vit, "vit.layernorm.weight"));
}

TEST_CASE("what encoders refuse") {
  models::Bert<float> bert(small_bert());
  test::check_error<ShapeError>(
      [&] {
        return bert(zeros<int64_t>({1, 17}));
      },
      "Bert: 17 tokens, but the context holds 16");
  test::check_error<ShapeError>(
      [&] {
        return bert(zeros<int64_t>({1, 3}), full<bool>({1, 4}, true));
      },
      "Bert: ids are (1, 3) and seen (1, 4), but both must have the same shape");
  test::check_error<IndexError>(
      [&] {
        return bert(full<int64_t>({1, 1}, 31));
      },
      "embedding: id 31 at place 0 of 1 is out of range: weight is (31, 32), so ids must be in "
      "[0, 31)");
  auto nothing =
      models::mean_pool(bert(zeros<int64_t>({1, 3}), full<bool>({1, 3}, false)).tokens, full<bool>({1, 3}, false));
  CHECK(test::mismatch(nothing, zeros<float>({1, 32})) == "");
  models::Vit<float> vit({.image = 8, .patch = 4, .layers = 1, .heads = 1, .width = 8, .feed_forward = 8});
  test::check_error<ShapeError>(
      [&] {
        return vit(zeros<float>({1, 3, 8, 9}));
      },
      "Vit: images are (1, 3, 8, 9), but must be (n, 3, 8, 8)");
  test::check_error<ValueError>([&] { return models::Vit<float>({.image = 9, .patch = 4}); },
                                "Vit: images of 9 do not divide into patches of 4");
  models::Tcn<float> tcn(3, 2);
  test::check_error<ShapeError>(
      [&] {
        return tcn(zeros<float>({3, 2}));
      },
      "Tcn: input is (3, 2), but must be (n, steps, in)");
}

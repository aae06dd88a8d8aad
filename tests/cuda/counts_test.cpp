// What a steady training step asks of the card, counted on the simulated one: launches, copies, waits, memory. The
// table counts.txt keeps the counts of each model, so that a change to them is seen. To renew it on purpose:
// ./run counts
#include <cstdlib>
#include <fstream>

#include "tests/cuda/faults.hpp"
#include "tests/cuda/on_card.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

constexpr const char* counts_file = "tests/cuda/counts.txt";

/// One line of the table.
struct StepCounts {
  std::map<std::string, int64_t> calls;
  std::array<int64_t, 3> bytes{};  ///< to the card, from it, within it
  int64_t peak = 0;

  int64_t of(std::initializer_list<const char*> functions) const {
    int64_t sum = 0;
    for (const auto* function : functions)
      if (auto found = calls.find(function); found != calls.end()) sum += found->second;
    return sum;
  }
  int64_t waits() const { return of({"cuStreamSynchronize", "cuEventSynchronize"}); }
  int64_t allocations() const { return of({"cuMemAlloc", "cuMemFree", "cuMemHostAlloc", "cuMemFreeHost"}); }

  std::string line(const std::string& name) const {
    return join(name, " | ", of({"cuLaunchKernel"}), " | ", of({"cublasLtMatmul"}), " | ",
                of({"cudnnBackendExecute", "cudnnRNNForward", "cudnnRNNBackwardData_v8", "cudnnRNNBackwardWeights_v8"}),
                " | ", of({"cuMemsetD8Async"}), " | ", of({"cuMemcpyDtoDAsync"}), " | ", bytes[2], " | ",
                of({"cuMemcpyHtoDAsync"}), " | ", bytes[0], " | ", of({"cuMemcpyDtoHAsync"}), " | ", bytes[1], " | ",
                waits(), " | ", allocations(), " | ", peak);
  }
};

/// The table's lines, with this one in place of the one that has the same name.
void renew_line(const std::string& name, const std::string& line) {
  std::vector<std::string> lines;
  std::ifstream in(counts_file);
  bool there = false;
  for (std::string one; std::getline(in, one);) {
    auto same = one.starts_with(name + " |");
    there = there || same;
    lines.push_back(same ? line : one);
  }
  if (!there) lines.push_back(line);
  std::ofstream out(counts_file);
  for (const auto& one : lines) out << one << '\n';
}
std::string kept_line(const std::string& name) {
  std::ifstream in(counts_file);
  for (std::string one; std::getline(in, one);)
    if (one.starts_with(name + " |")) return one;
  return "";
}

struct CountedStep {
  bool clips = false;  ///< gradients
  bool cudnn_recurrent = false;
};

/// Counts the fourth and the fifth step of AdamW; both must be as the table says.
template <Floating T, class Model, class Loss>
void check_counts(const std::string& name, Model model, Loss&& loss_of, const CountedStep& counted = {}) {
  auto device = Device::best();
  const auto* card = test::SimulatedFaults::find();
  if (device.is_cpu() || card == nullptr) SKIP_LOUDLY("no simulated card");
  test::RecurrentByCudnnGuard recurrent(counted.cudnn_recurrent);
  to(model, device);
  optim::AdamW<T> adam(model, {.lr = 1e-3});
  auto loss_now = loss_of(device);  // its batch is on the card
  auto step = [&] {
    auto loss = loss_now(model);
    loss.backward();
    if (counted.clips) optim::clip_grad_norm(model, 1.0);
    adam.step();
    adam.zero_grad();
  };
  cuda::synchronize(device);
  cuda::detail::Context::of(device).memory().empty_cache();
  for (int i = 0; i < 3; ++i) step();
  for (int i = 0; i < 2; ++i) {
    cuda::synchronize(device);
    cuda::reset_peak(device);
    card->calls();
    card->copied();
    step();
    StepCounts counts{card->calls(), card->copied(), cuda::stats(device).peak_bytes};
    auto line = counts.line(name);
    CHECK(counts.waits() == 0);
    CHECK(counts.allocations() == 0);
    if (i == 0 && std::getenv("GRADUS_RENEW_COUNTS") != nullptr) renew_line(name, line);
    INFO("the counts are now\n" << line << "\nIf that is wanted: ./run counts");
    CHECK(kept_line(name) == line);
  }
}

Tensor<int64_t> counted_ids(const Shape& shape, int64_t count, Device device) {
  return reshape(test::hashed_labels(1, shape.numel(), count), shape).to(device);
}
/// Cross entropy of images or rows of this shape.
template <Floating T>
auto classes_loss(const Shape& batch, int64_t classes) {
  return [=](Device device) {
    auto x = test::hashed<T>(1, batch, -1, 1).to(device);
    auto labels = test::hashed_labels(2, batch[0], classes).to(device);
    return [=](auto& model) { return cross_entropy(model(x), labels); };
  };
}
/// Cross entropy of the next of 12 tokens.
template <Floating T>
auto tokens_loss() {
  return [](Device device) {
    auto ids = counted_ids({4, 13}, 31, device);
    auto inputs = slice(ids, 1, 0, 12).clone(), next = flatten(slice(ids, 1, 1, 13).clone(), 0);
    return [=](auto& model) { return cross_entropy(flatten(model(inputs), 0, 1), next); };
  };
}
auto forecasts_loss() {
  return [](Device device) {
    auto x = test::hashed<float>(1, {6, 9, 5}, -1, 1).to(device), y = test::hashed<float>(2, {6, 4}, -1, 1).to(device);
    return [=](auto& model) { return mse_loss(model(x), y); };
  };
}
models::GptOptions counted_gpt() {
  return {.vocabulary = 31, .context = 16, .layers = 2, .heads = 2, .width = 32, .dropout = 0.1};
}

}  // namespace

TEST_CASE("counts of a step: MLP") {
  check_counts<float>("MLP", models::Mlp<float>({20, 32, 16, 5}), classes_loss<float>({16, 20}, 5));
}
TEST_CASE("counts of a step: LeNet") {
  check_counts<float>("LeNet", models::LeNet<float>(), classes_loss<float>({4, 1, 28, 28}, 10));
}
TEST_CASE("counts of a step: ResNet-9") {
  check_counts<float>("ResNet-9", models::ResNet9<float>(3, 10, 4), classes_loss<float>({4, 3, 16, 16}, 10));
}
TEST_CASE("counts of a step: ResNet-18") {
  models::ResNetOptions options{.classes = 5, .width = 4};
  check_counts<float>("ResNet-18", models::ResNet<float>(options), classes_loss<float>({2, 3, 32, 32}, 5));
}
TEST_CASE("counts of a step: ResNet-50 in bf16") {
  models::ResNetOptions options{.blocks = {3, 4, 6, 3}, .bottleneck = true, .classes = 5, .width = 4};
  check_counts<bf16>("ResNet-50 in bf16", models::ResNet<bf16>(options), classes_loss<bf16>({2, 3, 32, 32}, 5));
}
TEST_CASE("counts of a step: MobileNetV2") {
  models::MobileNetV2Options options{.classes = 5, .width = 0.25};
  check_counts<float>("MobileNetV2", models::MobileNetV2<float>(options), classes_loss<float>({2, 3, 32, 32}, 5));
}
TEST_CASE("counts of a step: ViT") {
  models::VitOptions options{
      .image = 16, .patch = 4, .classes = 5, .layers = 2, .heads = 2, .width = 32, .feed_forward = 48};
  check_counts<float>("ViT", models::Vit<float>(options), classes_loss<float>({4, 3, 16, 16}, 5));
}
TEST_CASE("counts of a step: GPT") {
  check_counts<float>("GPT, clipped", models::Gpt<float>(counted_gpt()), tokens_loss<float>(), {.clips = true});
}
TEST_CASE("counts of a step: GPT in bf16") {
  auto options = counted_gpt();
  options.dropout = 0;
  check_counts<bf16>("GPT in bf16", models::Gpt<bf16>(options), tokens_loss<bf16>());
}
TEST_CASE("counts of a step: Llama") {
  models::LlamaOptions options{
      .vocabulary = 31, .context = 16, .layers = 2, .heads = 4, .kv_heads = 2, .width = 32, .feed_forward = 48};
  check_counts<float>("Llama", models::Llama<float>(options), tokens_loss<float>());
}
TEST_CASE("counts of a step: BERT") {
  models::BertOptions options{
      .vocabulary = 31, .context = 16, .layers = 2, .heads = 2, .width = 32, .feed_forward = 48};
  check_counts<float>("BERT", models::BertClassifier<float>(options, 3), [](Device device) {
    auto ids = counted_ids({4, 9}, 31, device), types = counted_ids({4, 9}, 2, device);
    auto seen = (unsqueeze(arange<int64_t>(9), 0) < unsqueeze(tensor<int64_t>({9, 4, 1, 7}), 1)).to(device);
    auto labels = test::hashed_labels(2, 4, 3).to(device);
    return [=](auto& model) { return cross_entropy(model(ids, seen, types), labels); };
  });
}
TEST_CASE("counts of a step: LSTM forecaster") {
  check_counts<float>("LSTM forecaster", models::LstmForecaster<float>(5, 4, {.hidden = 12}), forecasts_loss());
}
TEST_CASE("counts of a step: LSTM forecaster by cuDNN") {
  check_counts<float>("LSTM forecaster by cuDNN", models::LstmForecaster<float>(5, 4, {.hidden = 12}), forecasts_loss(),
                      {.cudnn_recurrent = true});
}
TEST_CASE("counts of a step: GRU forecaster") {
  check_counts<float>("GRU forecaster", models::GruForecaster<float>(5, 4, {.hidden = 12}), forecasts_loss());
}
TEST_CASE("counts of a step: LSTM language model") {
  models::RecurrentLanguageModelOptions options{.embedding = 16, .hidden = 16, .layers = 2};
  check_counts<float>("LSTM language model", models::RecurrentLanguageModel<float>(31, options), tokens_loss<float>());
}
TEST_CASE("counts of a step: seq2seq") {
  models::Seq2SeqOptions options{.embedding = 8, .hidden = 12, .layers = 2};
  auto loss_of = [](Device device) {
    auto source = counted_ids({4, 6}, 11, device), target = counted_ids({4, 7}, 13, device);
    auto lengths = tensor<int64_t>({6, 2, 4, 1}).to(device);
    auto inputs = slice(target, 1, 0, 6).clone(), next = flatten(slice(target, 1, 1, 7).clone(), 0);
    return [=](auto& model) { return cross_entropy(flatten(model(source, inputs, lengths), 0, 1), next); };
  };
  check_counts<float>("seq2seq", models::Seq2Seq<float>(11, 13, options), loss_of);
}
TEST_CASE("counts of a step: TCN") {
  models::TcnOptions options{.channels = {8, 8, 6}};
  check_counts<float>("TCN", models::Tcn<float>(3, 2, options), [](Device device) {
    auto x = test::hashed<float>(1, {8, 20, 3}, -1, 1).to(device), y = test::hashed<float>(2, {8, 2}, -1, 1).to(device);
    return [=](auto& model) { return mse_loss(model(x), y); };
  });
}
#endif

// Recurrent models train as in PyTorch: the first losses from the same weights and batches.
#include "gradus/models/gru_forecaster.hpp"
#include "gradus/models/lstm_forecaster.hpp"
#include "gradus/models/recurrent_language_model.hpp"
#include "gradus/models/seq2seq.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
nn = torch.nn
workloads = workloads()

class GruForecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.output = nn.GRU(5, 12, 2, batch_first=True), nn.Linear(12, 4)
    def forward(self, x):
        return self.output(self.gru(x)[1][-1])

class LanguageModel(nn.Module):
    def __init__(self, rnn, tied):
        super().__init__()
        self.encoder, self.rnn, self.decoder = nn.Embedding(31, 16), rnn(16, 16, 2, batch_first=True), nn.Linear(16, 31)
        if tied:
            self.decoder.weight = self.encoder.weight
    def forward(self, ids):
        return self.decoder(self.rnn(self.encoder(ids))[0])

class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.source_embedding, self.target_embedding = nn.Embedding(11, 8), nn.Embedding(13, 8)
        self.encoder = nn.LSTM(8, 12, 2, batch_first=True)
        self.decoder = nn.LSTM(8, 12, 2, batch_first=True)
        self.score, self.combine = nn.Linear(12, 12, bias=False), nn.Linear(24, 12, bias=False)
        self.output = nn.Linear(12, 13)
    def forward(self, source, target, lengths):
        pack = torch.nn.utils.rnn
        packed = pack.pack_padded_sequence(self.source_embedding(source), lengths, True, enforce_sorted=False)
        memory, state = self.encoder(packed)
        memory, _ = pack.pad_packed_sequence(memory, True, total_length=source.shape[1])
        y, _ = self.decoder(self.target_embedding(target), state)
        scores = self.score(y) @ memory.transpose(1, 2)
        seen = torch.arange(source.shape[1]) < lengths[:, None]
        found = scores.masked_fill(~seen[:, None], -inf).softmax(-1) @ memory
        return self.output(torch.tanh(self.combine(torch.cat([found, y], 2))))

def ids(seed, shape, count):
    return torch.from_numpy((hashed_uniform(seed, shape) * count).astype(np.int64))
def forecast(dtype):
    return lambda model, step: F.mse_loss(model(hashed(1000 + step, (6, 9, 5), -1, 1, dtype)),
                                          hashed(2000 + step, (6, 4), -1, 1, dtype))
def follow(dtype):
    def loss(model, step):
        tokens = ids(1000 + step, (4, 13), 31)
        return workloads.token_loss(model(tokens[:, :12]), tokens[:, 1:])
    return loss
def translate(dtype):
    def loss(model, step):
        target = ids(2000 + step, (4, 7), 13)
        logits = model(ids(1000 + step, (4, 6), 11), target[:, :6], torch.tensor([6, 2, 4, 1]))
        return workloads.token_loss(logits, target[:, 1:])
    return loss

def losses(model, loss_of, dtype):
    model = fill_hashed(model, dtype)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for step in range(20):
        loss = loss_of(dtype)(model, step % 4)
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)

for name, make, loss_of in [
        ("LSTM forecaster", lambda: workloads.LstmForecaster(5, 4, 12, 2), forecast),
        ("GRU forecaster", GruForecaster, forecast),
        ("LSTM language model", lambda: LanguageModel(nn.LSTM, False), follow),
        ("tied GRU language model", lambda: LanguageModel(nn.GRU, True), follow),
        ("seq2seq", Seq2Seq, translate)]:
    case(name, lambda: losses(make(), loss_of, torch.float64), order=0)
    case(name + " in float", lambda: losses(make(), loss_of, torch.float32), order=0)
*/

using namespace gradus;

namespace {

Tensor<int64_t> hashed_token_ids(int64_t seed, const Shape& shape, int64_t count) {
  return reshape(test::hashed_labels(static_cast<uint32_t>(seed), shape.numel(), count), shape);
}

template <Floating T>
Tensor<T> sequence_loss(const Tensor<T>& logits, const Tensor<int64_t>& tokens) {
  return cross_entropy(flatten(logits, 0, 1), flatten(tokens, 0));
}

template <class Model>
auto forecast_loss(const Model& model, int64_t step) {
  using T = typename std::remove_cvref_t<decltype(model.output.weight.tensor())>::value_type;
  return mse_loss(model(test::hashed<T>(static_cast<uint32_t>(1000 + step), {6, 9, 5}, -1, 1).to(device_of(model))),
                  test::hashed<T>(static_cast<uint32_t>(2000 + step), {6, 4}, -1, 1).to(device_of(model)));
}

template <class Model>
auto next_token_loss(const Model& model, int64_t step) {
  auto tokens = hashed_token_ids(1000 + step, {4, 13}, 31).to(device_of(model));
  return sequence_loss(model(slice(tokens, 1, 0, 12)), slice(tokens, 1, 1, 13));
}

template <class Model>
auto translation_loss(const Model& model, int64_t step) {
  auto target = hashed_token_ids(2000 + step, {4, 7}, 13).to(device_of(model));
  auto source = hashed_token_ids(1000 + step, {4, 6}, 11).to(device_of(model));
  auto lengths = tensor<int64_t>({6, 2, 4, 1}).to(device_of(model));
  auto logits = model(source, slice(target, 1, 0, 6), lengths);
  return sequence_loss(logits, slice(target, 1, 1, 7));
}

/// 20 steps of AdamW on four batches in turn have PyTorch's losses.
template <Floating T, class Model, class Loss>
void check_first_losses(const std::string& group, Model model, Loss loss_of, double tolerance) {
  test::fill_and_place<T>(model);
  optim::AdamW<T> adam(model, {.lr = 1e-2});
  auto found = zeros<double>({20});
  for (int64_t step = 0; step < 20; ++step) {
    auto loss = loss_of(model, step % 4);
    adam.zero_grad();
    loss.backward();
    adam.step();
    found.set({step}, static_cast<double>(loss.item()));
  }
  INFO(group);
  CHECK(test::mismatch(found, test::golden_cases(group, __FILE__)[0].output,
                       {.relative = test::device_tolerance(tolerance), .scale = 0.1}) == "");
  CHECK(found(-1) < found(3));  // it learns
}

models::RecurrentLanguageModelOptions small_language_model(bool tied) {
  return {.embedding = 16, .hidden = 16, .layers = 2, .tied = tied};
}
models::Seq2SeqOptions small_seq2seq() { return {.embedding = 8, .hidden = 12, .layers = 2}; }

}  // namespace

TEST_CASE("LSTM and GRU forecasters have PyTorch's first 20 losses") {
  auto loss = [](const auto& model, int64_t step) { return forecast_loss(model, step); };
  check_first_losses<double>("LSTM forecaster", models::LstmForecaster<double>(5, 4, {.hidden = 12}), loss, 1e-11);
  check_first_losses<float>("LSTM forecaster in float", models::LstmForecaster<float>(5, 4, {.hidden = 12}), loss,
                            1e-4);
  check_first_losses<double>("GRU forecaster", models::GruForecaster<double>(5, 4, {.hidden = 12}), loss, 1e-11);
  check_first_losses<float>("GRU forecaster in float", models::GruForecaster<float>(5, 4, {.hidden = 12}), loss, 1e-4);
}

TEST_CASE("recurrent language models have PyTorch's first 20 losses") {
  auto loss = [](const auto& model, int64_t step) { return next_token_loss(model, step); };
  check_first_losses<double>("LSTM language model",
                             models::RecurrentLanguageModel<double>(31, small_language_model(false)), loss, 1e-11);
  check_first_losses<float>("LSTM language model in float",
                            models::RecurrentLanguageModel<float>(31, small_language_model(false)), loss, 1e-4);
  check_first_losses<double>("tied GRU language model",
                             models::RecurrentLanguageModel<double, nn::GRU<double>>(31, small_language_model(true)),
                             loss, 1e-11);
  check_first_losses<float>("tied GRU language model in float",
                            models::RecurrentLanguageModel<float, nn::GRU<float>>(31, small_language_model(true)), loss,
                            1e-4);
}

TEST_CASE("a seq2seq model has PyTorch's first 20 losses") {
  auto loss = [](const auto& model, int64_t step) { return translation_loss(model, step); };
  check_first_losses<double>("seq2seq", models::Seq2Seq<double>(11, 13, small_seq2seq()), loss, 1e-11);
  check_first_losses<float>("seq2seq in float", models::Seq2Seq<float>(11, 13, small_seq2seq()), loss, 1e-4);
}

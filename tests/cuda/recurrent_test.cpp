// Recurrent layers by own kernels on a card: the CPU's results, few launches, no waiting.
#include "tests/cuda/on_card.hpp"
#include "tests/cuda/recurrent_case.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

using test::RecurrentCase, test::RecurrentCell, test::recur;

constexpr RecurrentCell all_cells[] = {RecurrentCell::lstm, RecurrentCell::gru, RecurrentCell::rnn_tanh,
                                       RecurrentCell::rnn_relu};

bool no_card_for_recurrence() { return Device::best().is_cpu(); }

/// The same on the card as on the CPU.
template <Floating T>
void check_recurrence(RecurrentCell cell, const RecurrentCase& c, bool shifted = false) {
  INFO("cell " << static_cast<int>(cell) << ", hidden " << c.hidden << ", projected " << c.projected);
  test::check_same<T>(recur<T>(cell, c, Device::cpu()), recur<T>(cell, c, Device::best(), shifted));
}

SequenceOptions ragged(bool reverse) { return {.reverse = reverse, .lengths = tensor<int64_t>({2, 0, 4, 3, 1})}; }

}  // namespace

TEMPLATE_TEST_CASE("recurrent layers by own kernels agree with the CPU, in results and all gradients", "", float,
                   double, bf16, f16) {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  for (auto cell : all_cells) {
    // Sums of two bytes can be rounded to the other side of the kink.
    if (cell == RecurrentCell::rnn_relu && sizeof(TestType) == 2) continue;
    for (int64_t hidden : {3, 16}) {  // element by element, and in packs
      check_recurrence<TestType>(cell, {4, 5, 6, hidden});
      check_recurrence<TestType>(cell, {4, 5, 6, hidden, false, true, {.reverse = true, .lengths = {}}});
      check_recurrence<TestType>(cell, {4, 5, 6, hidden, true, false, ragged(false)});
      check_recurrence<TestType>(cell, {4, 5, 6, hidden, true, false, ragged(true)});
    }
    check_recurrence<TestType>(cell, {2, 3, 16, 16}, true);
    check_recurrence<TestType>(cell, {1, 1, 1, 1});
  }
}
TEMPLATE_TEST_CASE("projected LSTM by own kernels agrees with the CPU, in results and all gradients", "", float, double,
                   bf16) {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  for (int64_t projected : {2, 8}) {
    check_recurrence<TestType>(RecurrentCell::lstm, {4, 5, 6, 16, true, false, {}, projected});
    check_recurrence<TestType>(RecurrentCell::lstm, {4, 5, 6, 16, true, false, ragged(false), projected});
    check_recurrence<TestType>(RecurrentCell::lstm, {4, 5, 6, 3, false, true, ragged(true), projected});
  }
}
TEST_CASE("recurrent layers on a card with nothing in a batch, an input or a projection") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  for (auto cell : all_cells) {
    check_recurrence<float>(cell, {3, 0, 4, 5});
    check_recurrence<float>(cell, {3, 2, 0, 5});
    check_recurrence<float>(cell, {3, 2, 4, 0});
    check_recurrence<float>(cell, {3, 0, 4, 5, true, false, {.lengths = zeros<int64_t>({0})}});
  }
}
TEST_CASE("a step of a recurrent layer is one product and one kernel, in both directions") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  for (auto cell : all_cells) {
    auto launches = [&](int64_t steps) {
      std::map<std::string, int64_t> of;
      for (const auto& time : cuda::profile(device, [&] { recur<float>(cell, {steps, 3, 4, 8}, device); }))
        of[time.kernel == "library" ? time.kernel : "kernel"] += time.count;
      return of;
    };
    auto few = launches(5), more = launches(15);
    INFO("cell " << static_cast<int>(cell));
    CHECK(more["library"] - few["library"] == 20);
    CHECK(more["kernel"] - few["kernel"] == 20);
  }
}
TEST_CASE("a recurrent layer without gradients keeps no gates, and gives the same") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = test::hashed<float>(1, {4, 5, 6}, -1, 1).to(device), w = test::hashed<float>(2, {24, 6}, -1, 1).to(device),
       start = zeros<float>({5, 8}, device), w_hh = test::hashed<float>(3, {24, 8}, -1, 1).to(device);
  auto run = [&] { return gru(x, start, GruParameters<float>{w, w_hh, {}, {}}, ragged(false))[0]; };
  auto plain = run().to_vector();
  w.set_requires_grad(true);
  CHECK(run().detach().to_vector() == plain);
}
TEST_CASE("a captured step with sequences of different lengths gives the bits of one that is not") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto losses = [&](auto model, bool captured) {
    to(model, device);
    optim::AdamW<float> adam(model, {.lr = 0.01});
    auto x = test::hashed<float>(1, {4, 6, 5}, -1, 1).to(device);
    auto lengths = tensor<int64_t>({6, 2, 4, 1}).to(device);
    auto step = [&] {
      auto result = model(x, {}, lengths);
      auto loss = mean(result.y * result.y) + mean(result.h * result.h * result.h);
      loss.backward();
      adam.step();
      adam.zero_grad();
      return loss.detach();
    };
    auto replay = capture(device, step, captured ? 2 : 100);
    std::vector<float> all;
    for (int i = 0; i < 8; ++i) {
      lengths.copy_(tensor<int64_t>({6 - i % 3, 2, 4, 1 + i % 2}).to(device));
      all.push_back(replay().item());
    }
    return all;
  };
  auto check = [&](const auto& model) { CHECK(losses(model, true) == losses(model, false)); };
  check(nn::LSTM<float>(5, 8, {.layers = 2, .batch_first = true, .bidirectional = true}));
  check(nn::GRU<float>(5, 8, {.batch_first = true}));
  check(nn::RNN<float>(5, 7, {.batch_first = true}));
}
TEST_CASE("the card tells of lengths that are out of range when the host waits") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = zeros<float>({4, 2, 3}, device), start = zeros<float>({2, 5}, device);
  LstmParameters<float> p{zeros<float>({20, 3}, device), zeros<float>({20, 5}, device), {}, {}, {}};
  for (int64_t wrong : {-1, 5}) {
    lstm(x, start, start, p, {.lengths = tensor<int64_t>({1, wrong}).to(device)});
    test::check_error<IndexError>([&] { cuda::synchronize(device); },
                                  join("lstm: index ", wrong,
                                       " is out of range: it must be in [0, 5) (seen on the "
                                       "GPU, when the host waited for 'synchronize')"));
  }
  cuda::synchronize(device);
}
TEST_CASE("a recurrent layer whose parts are on several devices is refused") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = zeros<float>({4, 2, 3}, device), start = zeros<float>({2, 5}, device);
  auto refuses = [&](const Tensor<float>& h0, const RnnParameters<float>& p) {
    test::check_error<DeviceError>([&] { rnn(x, h0, p); }, "rnn: tensors on cuda:0 and cpu; move one with .to(device)");
  };
  RnnParameters<float> p{zeros<float>({5, 3}, device), zeros<float>({5, 5}, device), {}, {}};
  refuses(zeros<float>({2, 5}), p);
  refuses(start, {zeros<float>({5, 3}), p.weight_hh, {}, {}});
  refuses(start, {p.weight_ih, zeros<float>({5, 5}), {}, {}});
  refuses(start, {p.weight_ih, p.weight_hh, zeros<float>({5}), {}});
}
TEST_CASE("gradients of gradients of recurrent layers on a card, and a backward that runs twice") {
  if (no_card_for_recurrence()) SKIP_LOUDLY("no GPU");
  auto run = [](Device where, auto&& layer) {
    auto x = test::hashed<double>(1, {3, 2, 2}, -1, 1).to(where);
    x.set_requires_grad(true);
    Tensor<double> y = layer(x);
    auto loss = sum(y * y);
    auto first = grad(loss, x, {.create_graph = true});
    auto again = grad(loss, x, {.retain_graph = true}), twice = grad(loss, x, {.retain_graph = true});
    CHECK(again.to_vector() == twice.to_vector());
    std::vector<Tensor<double>> all;
    for (const auto& one : {first.detach(), again, grad(sum(first * first), x)}) all.push_back(one.to(Device::cpu()));
    return all;
  };
  auto weight = [](uint32_t seed, const Shape& shape, Device where) {
    return test::hashed<double>(seed, shape, -1, 1).to(where);
  };
  SequenceOptions options{.lengths = tensor<int64_t>({3, 2})};
  auto check = [&](auto&& layer) { test::check_same<double>(run(Device::cpu(), layer), run(Device::best(), layer)); };
  check([&](const Tensor<double>& x) {
    auto d = x.device();
    auto start = zeros<double>({2, 3}, d);
    return lstm(x, start, start, LstmParameters<double>{weight(2, {12, 2}, d), weight(3, {12, 3}, d), {}, {}, {}},
                options)[0];
  });
  check([&](const Tensor<double>& x) {
    auto d = x.device();
    return gru(x, zeros<double>({2, 3}, d), GruParameters<double>{weight(2, {9, 2}, d), weight(3, {9, 3}, d), {}, {}},
               options)[0];
  });
  check([&](const Tensor<double>& x) {
    auto d = x.device();
    return rnn(x, zeros<double>({2, 3}, d), RnnParameters<double>{weight(2, {3, 2}, d), weight(3, {3, 3}, d), {}, {}},
               Nonlinearity::tanh, options)[0];
  });
}
#endif

#include "gradus/ops/recurrent/lstm.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def flat(outputs):
    y, (h, c) = outputs
    return torch.cat([y.flatten(), h.flatten(), c.flatten()])
def run(x, h0, c0, *weights, reverse=False):
    x = x.flip(0) if reverse else x
    y, h, c = torch.lstm(x, (h0[None], c0[None]), weights, len(weights) in (4, 5), 1, 0.0, False, False, False)
    return flat((y.flip(0) if reverse else y, (h, c)))
def parameters(n_in, hidden, out=None, bias=True):
    out = out or hidden
    weights = [randn(4 * hidden, n_in), randn(4 * hidden, out)]
    return weights + ([randn(4 * hidden), randn(4 * hidden)] if bias else [])
case("lstm", run, randn(4, 2, 3), randn(2, 5), randn(2, 5), *parameters(3, 5))
case("lstm", run, randn(1, 1, 1), randn(1, 1), randn(1, 1), *parameters(1, 1))
case("lstm", run, randn(3, 4, 6), randn(4, 17), randn(4, 17), *parameters(6, 17))
case("lstm", run, randn(2, 0, 3), randn(0, 4), randn(0, 4), *parameters(3, 4))
back = lambda *a: run(*a, reverse=True)
case("reverse", back, randn(4, 2, 3), randn(2, 5), randn(2, 5), *parameters(3, 5))
case("without bias", run, randn(3, 2, 3), randn(2, 4), randn(2, 4), *parameters(3, 4, bias=False))
case("projected", run, randn(3, 2, 3), randn(2, 2), randn(2, 5), *parameters(3, 5, 2), randn(2, 5))
def packed(lengths):
    def f(x, h0, c0, *weights):  # both directions; h0 and c0 (2, n, size)
        p = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        order, back = p.sorted_indices, p.unsorted_indices
        start = (h0[:, order], c0[:, order])
        data, h, c = torch.lstm(p.data, p.batch_sizes, start, weights, True, 1, 0.0, False, True)
        y = torch.nn.utils.rnn.PackedSequence(data, p.batch_sizes, order, back)
        y = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=x.shape[0])[0]
        return flat((y, (h[:, back], c[:, back])))
    return f
both = lambda: parameters(3, 4) + parameters(3, 4)
case("lengths", packed([2, 5, 1]), randn(5, 3, 3), randn(2, 3, 4), randn(2, 3, 4), *both())
case("full lengths", packed([3, 3]), randn(3, 2, 3), randn(2, 2, 4), randn(2, 2, 4), *both())
*/

using namespace gradus;

namespace {

template <class T>
Tensor<T> flat(const std::array<Tensor<T>, 3>& outputs) {
  std::vector<Tensor<T>> parts;
  for (const auto& part : outputs) parts.push_back(reshape(part, {part.numel()}));
  return cat(parts);
}

auto lstm_of(SequenceOptions direction) {
  return [direction]<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& c0, const Tensor<T>& w_ih,
                              const Tensor<T>& w_hh, const Tensor<T>& b_ih, const Tensor<T>& b_hh) {
    return flat(lstm(x, h0, c0, LstmParameters<T>{w_ih, w_hh, b_ih, b_hh, {}}, direction));
  };
}

/// Both directions over sequences of these lengths.
auto packed_lstm(const Tensor<int64_t>& lengths) {
  return [lengths]<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& c0, const Tensor<T>& a,
                            const Tensor<T>& b, const Tensor<T>& c, const Tensor<T>& d, const Tensor<T>& e,
                            const Tensor<T>& f, const Tensor<T>& g, const Tensor<T>& h) {
    auto forth = lstm(x, select(h0, 0, 0), select(c0, 0, 0), LstmParameters<T>{a, b, c, d, {}}, {.lengths = lengths});
    auto back = lstm(x, select(h0, 0, 1), select(c0, 0, 1), LstmParameters<T>{e, f, g, h, {}},
                     {.reverse = true, .lengths = lengths});
    return flat<T>({cat(std::vector<Tensor<T>>{forth[0], back[0]}, 2), stack(std::vector<Tensor<T>>{forth[1], back[1]}),
                    stack(std::vector<Tensor<T>>{forth[2], back[2]})});
  };
}

}  // namespace

TEST_CASE("lstm over sequences of different lengths") {
  test::check_operator<double, float>("lengths", packed_lstm(tensor<int64_t>({2, 5, 1})),
                                      {.double_tolerance = 1e-11, .float_tolerance = 2e-5});
  test::check_operator<double, float>("full lengths", packed_lstm(tensor<int64_t>({3, 3})),
                                      {.double_tolerance = 1e-11, .float_tolerance = 2e-5});
}

TEST_CASE("lstm") {
  manual_seed(1);
  auto r = [](const Shape& shape) { return randn<double>(shape); };
  test::check_operator(
      "lstm", lstm_of({}),
      {.double_tolerance = 1e-11,
       .float_tolerance = 2e-5,
       .bf16_tolerance = 0.3,
       .large = {r({5, 40, 24}), r({40, 33}), r({40, 33}), r({132, 24}), r({132, 33}), r({132}), r({132})}});
  test::check_operator<double, float>("reverse", lstm_of({.reverse = true}),
                                      {.double_tolerance = 1e-11, .float_tolerance = 2e-5});
}

TEST_CASE("lstm without biases, and with a projection") {
  test::check_operator<double, float>("without bias",
                                      []<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& c0,
                                                  const Tensor<T>& w_ih, const Tensor<T>& w_hh) {
                                        return flat(lstm(x, h0, c0, LstmParameters<T>{w_ih, w_hh, {}, {}, {}}));
                                      },
                                      {.double_tolerance = 1e-11, .float_tolerance = 2e-5});
  test::check_operator<double, float>(
      "projected",
      []<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& c0, const Tensor<T>& w_ih,
                  const Tensor<T>& w_hh, const Tensor<T>& b_ih, const Tensor<T>& b_hh, const Tensor<T>& w_hr) {
        return flat(lstm(x, h0, c0, LstmParameters<T>{w_ih, w_hh, b_ih, b_hh, w_hr}));
      },
      {.double_tolerance = 1e-11, .float_tolerance = 2e-5});
}

TEST_CASE("lstm: a sequence of length 0 keeps its start, and passes its gradient on") {
  manual_seed(2);
  auto x = randn<double>({3, 2, 2}), h0 = randn<double>({2, 3}).set_requires_grad(), c0 = randn<double>({2, 3});
  LstmParameters<double> p{randn<double>({12, 2}), randn<double>({12, 3}), {}, {}, {}};
  auto [y, h, c] = lstm(x, h0, c0, p, {.lengths = tensor<int64_t>({0, 3})});
  CHECK(select(h, 0, 0).to_vector() == select(h0, 0, 0).to_vector());
  CHECK(select(c, 0, 0).to_vector() == select(c0, 0, 0).to_vector());
  for (int64_t t = 0; t < 3; ++t) CHECK(select(select(y, 0, t), 0, 0).to_vector() == std::vector<double>(3, 0.0));
  sum(h).backward();
  CHECK(select(h0.grad(), 0, 0).to_vector() == std::vector<double>(3, 1.0));
}

TEST_CASE("what lstm refuses") {
  auto x = zeros<float>({4, 2, 3}), state = zeros<float>({2, 5});
  LstmParameters<float> good{zeros<float>({20, 3}), zeros<float>({20, 5}), {}, {}, {}};
  auto refuses = [&](const Tensor<float>& input, const Tensor<float>& h0, const Tensor<float>& c0,
                     const LstmParameters<float>& p,
                     const std::string& text) { test::check_error<ShapeError>([&] { lstm(input, h0, c0, p); }, text); };
  refuses(zeros<float>({4, 3}), state, state, good,
          "lstm: input is (4, 3), but must be (steps, n, in) with at least one step");
  refuses(zeros<float>({0, 2, 3}), state, state, good,
          "lstm: input is (0, 2, 3), but must be (steps, n, in) with at least one step");
  refuses(zeros<float>({4, 2, 7}), state, state, good,
          "lstm: input is (4, 2, 7) and weight_ih (20, 3), but that must be (4 hidden, 7)");
  refuses(x, zeros<float>({2, 4}), state, good,
          "lstm: h0 is (2, 4), but must be (2, 5) beside weight_ih (20, 3) and input (4, 2, 3)");
  refuses(x, state, zeros<float>({5}), good,
          "lstm: c0 is (5,), but must be (2, 5) beside weight_ih (20, 3) and input (4, 2, 3)");
  auto bad = good;
  bad.weight_hh = zeros<float>({20, 4});
  refuses(x, state, state, bad,
          "lstm: weight_hh is (20, 4), but must be (20, 5) beside weight_ih (20, 3) and input (4, 2, 3)");
  bad = good;
  bad.bias_ih = zeros<float>({5});
  refuses(x, state, state, bad,
          "lstm: bias_ih is (5,), but must be (20,) beside weight_ih (20, 3) and input (4, 2, 3)");
  test::check_error<ShapeError>([&] { lstm(x, state, state, good, {.lengths = tensor<int64_t>({1})}); },
                                "lstm: lengths are (1,), but must be (2,)");
  test::check_error<ValueError>(
      [&] {
        lstm(x, state, state, good, {.lengths = tensor<int64_t>({1, 5})});
      },
      "lstm: length 5 of sequence 1, but there are 4 steps");
}

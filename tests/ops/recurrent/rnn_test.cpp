#include "gradus/ops/recurrent/rnn.hpp"

#include <cmath>

#include "gradus/ops/indexing/cat.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def flat(y, h):
    return torch.cat([y.flatten(), h.flatten()])
def run(f=torch.rnn_tanh, reverse=False):
    def g(x, h0, *weights):
        x = x.flip(0) if reverse else x
        y, h = f(x, h0[None], weights, len(weights) == 4, 1, 0.0, False, False, False)
        return flat(y.flip(0) if reverse else y, h)
    return g
def parameters(n_in, hidden, bias=True):
    weights = [randn(hidden, n_in), randn(hidden, hidden)]
    return weights + ([randn(hidden), randn(hidden)] if bias else [])
def packed(lengths):
    def f(x, h0, *weights):  # both directions; h0 (2, n, hidden)
        p = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
        order, back = p.sorted_indices, p.unsorted_indices
        data, h = torch.rnn_tanh(p.data, p.batch_sizes, h0[:, order], weights, True, 1, 0.0, False, True)
        y = torch.nn.utils.rnn.PackedSequence(data, p.batch_sizes, order, back)
        y = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=x.shape[0])[0]
        return flat(y, h[:, back])
    return f
case("rnn", run(), randn(4, 2, 3), randn(2, 5), *parameters(3, 5))
case("rnn", run(), randn(1, 1, 1), randn(1, 1), *parameters(1, 1))
case("rnn", run(), randn(3, 4, 6), randn(4, 17), *parameters(6, 17))
case("rnn", run(), randn(2, 0, 3), randn(0, 4), *parameters(3, 4))
case("relu", run(torch.rnn_relu), randn(3, 2, 3), randn(2, 4), *parameters(3, 4))
case("reverse", run(reverse=True), randn(4, 2, 3), randn(2, 5), *parameters(3, 5))
case("without bias", run(), randn(3, 2, 3), randn(2, 4), *parameters(3, 4, bias=False))
case("lengths", packed([2, 5, 1]), randn(5, 3, 3), randn(2, 3, 4), *(parameters(3, 4) + parameters(3, 4)))
*/

using namespace gradus;

namespace {

template <class T>
Tensor<T> flat_rnn(const std::array<Tensor<T>, 2>& outputs) {
  return cat(
      std::vector<Tensor<T>>{reshape(outputs[0], {outputs[0].numel()}), reshape(outputs[1], {outputs[1].numel()})});
}

auto rnn_of(Nonlinearity f, SequenceOptions options = {}) {
  return [f, options]<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& w_ih, const Tensor<T>& w_hh,
                               const Tensor<T>& b_ih, const Tensor<T>& b_hh) {
    return flat_rnn(rnn(x, h0, RnnParameters<T>{w_ih, w_hh, b_ih, b_hh}, f, options));
  };
}

/// Both directions over sequences of these lengths.
auto packed_rnn(const Tensor<int64_t>& lengths) {
  return [lengths]<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& a, const Tensor<T>& b,
                            const Tensor<T>& c, const Tensor<T>& d, const Tensor<T>& e, const Tensor<T>& f,
                            const Tensor<T>& g, const Tensor<T>& h) {
    auto forth = rnn(x, select(h0, 0, 0), RnnParameters<T>{a, b, c, d}, Nonlinearity::tanh, {.lengths = lengths});
    auto back = rnn(x, select(h0, 0, 1), RnnParameters<T>{e, f, g, h}, Nonlinearity::tanh,
                    {.reverse = true, .lengths = lengths});
    return flat_rnn<T>(
        {cat(std::vector<Tensor<T>>{forth[0], back[0]}, 2), stack(std::vector<Tensor<T>>{forth[1], back[1]})});
  };
}

}  // namespace

TEST_CASE("rnn") {
  manual_seed(1);
  auto r = [](const Shape& shape) { return randn<double>(shape); };
  test::OperatorOptions exact{.double_tolerance = 1e-11, .float_tolerance = 2e-5};
  test::check_operator("rnn", rnn_of(Nonlinearity::tanh),
                       {.double_tolerance = 1e-11,
                        .float_tolerance = 2e-5,
                        .bf16_tolerance = 0.3,
                        .large = {r({5, 40, 24}), r({40, 33}), r({33, 24}), r({33, 33}), r({33}), r({33})}});
  test::check_operator<double, float>("relu", rnn_of(Nonlinearity::relu), exact);
  test::check_operator<double, float>("reverse", rnn_of(Nonlinearity::tanh, {.reverse = true}), exact);
  test::check_operator<double, float>("lengths", packed_rnn(tensor<int64_t>({2, 5, 1})), exact);
  test::check_operator<double, float>(
      "without bias",
      []<class T>(const Tensor<T>& x, const Tensor<T>& h0, const Tensor<T>& w_ih, const Tensor<T>& w_hh) {
        return flat_rnn(rnn(x, h0, RnnParameters<T>{w_ih, w_hh, {}, {}}));
      },
      exact);
}

TEST_CASE("rnn with relu keeps NaN, as PyTorch's") {
  auto x = full<float>({1, 1, 1}, NAN);
  RnnParameters<float> p{ones<float>({1, 1}), ones<float>({1, 1}), {}, {}};
  CHECK(std::isnan(rnn(x, zeros<float>({1, 1}), p, Nonlinearity::relu)[0].item()));
}

TEST_CASE("what rnn refuses") {
  auto x = zeros<float>({4, 2, 3}), state = zeros<float>({2, 5});
  RnnParameters<float> good{zeros<float>({5, 3}), zeros<float>({5, 5}), {}, {}};
  test::check_error<ShapeError>(
      [&] {
        rnn(zeros<float>({4, 3}), state, good);
      },
      "rnn: input is (4, 3), but must be (steps, n, in) with at least one step");
  test::check_error<ShapeError>(
      [&] {
        rnn(zeros<float>({4, 2, 7}), state, good);
      },
      "rnn: input is (4, 2, 7) and weight_ih (5, 3), but that must be (hidden, 7)");
  test::check_error<ShapeError>(
      [&] {
        rnn(x, zeros<float>({2, 4}), good);
      },
      "rnn: h0 is (2, 4), but must be (2, 5) beside weight_ih (5, 3) and input (4, 2, 3)");
  test::check_error<ShapeError>([&] { rnn(x, Tensor<float>(), good); }, "rnn: weight_hh and h0 must be given");
  test::check_error<ValueError>(
      [&] {
        rnn(x, state, good, Nonlinearity::tanh, {.lengths = tensor<int64_t>({1, 5})});
      },
      "rnn: length 5 of sequence 1, but there are 4 steps");
}

// Recurrent kernels at sizes around those of tiles, registers, blocks and groups: their gradients against those in
// ordinary operators, which are the definition.
#include "gradus/ops/recurrent/gru.hpp"
#include "gradus/ops/recurrent/lstm.hpp"
#include "gradus/ops/recurrent/rnn.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

using Tensors = std::vector<Tensor<double>>;

struct Sizes {
  int64_t steps, n, in, hidden, out;
  bool reverse = false, of_lengths = false;

  SequenceOptions options() const {
    if (!of_lengths) return {.reverse = reverse};
    return {.reverse = reverse, .lengths = randint<int64_t>(0, steps + 1, {n})};
  }
};

Tensors leaves(const std::vector<Shape>& shapes) {
  Tensors result;
  for (const auto& shape : shapes) {
    result.push_back(randn<double>(shape));
    result.back().set_requires_grad();
  }
  return result;
}

/// The gradients of sum(y) + sum of all last states, weighted at random, by the kernel and by operators.
template <size_t N>
void check_gradients(const std::array<Tensor<double>, N>& outputs, const Tensors& inputs) {
  auto loss = zeros<double>({});
  for (const auto& y : outputs) loss = loss + sum(y * randn<double>(y.shape()));
  auto by_operators = grad(loss, inputs, {.create_graph = true});
  auto by_kernel = grad(loss, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    INFO("input " << i);
    CHECK(test::mismatch(by_kernel[i], by_operators[i], {.relative = 1e-11}) == "");
  }
}

}  // namespace

TEST_CASE("recurrent kernels at sizes of all kinds have the gradients of their definition") {
  manual_seed(7);
  for (const auto& s : std::vector<Sizes>{{3, 1, 1, 1, 1},
                                          {2, 7, 0, 5, 3},
                                          {3, 31, 50, 17, 16},
                                          {3, 32, 3, 16, 7, true},
                                          {4, 33, 97, 12, 11, false, true},
                                          {2, 65, 2, 50, 49, true, true},
                                          {1, 130, 5, 4, 2, false, true},
                                          {5, 9, 24, 25, 1, true}}) {
    INFO("steps " << s.steps << ", n " << s.n << ", in " << s.in << ", hidden " << s.hidden << ", out " << s.out);
    auto h = s.hidden;
    auto options = s.options();
    auto a = leaves({{s.steps, s.n, s.in}, {s.n, s.out}, {s.n, h}, {4 * h, s.in}, {4 * h, s.out}, {4 * h}, {4 * h}});
    if (s.out != h) a.push_back(leaves({{s.out, h}})[0]);
    LstmParameters<double> lstm_parameters{a[3], a[4], a[5], a[6], s.out != h ? a[7] : Tensor<double>()};
    check_gradients(lstm(a[0], a[1], a[2], lstm_parameters, options), a);
    auto b = leaves({{s.steps, s.n, s.in}, {s.n, h}, {3 * h, s.in}, {3 * h, h}, {3 * h}, {3 * h}});
    check_gradients(gru(b[0], b[1], GruParameters<double>{b[2], b[3], b[4], b[5]}, options), b);
    auto c = leaves({{s.steps, s.n, s.in}, {s.n, h}, {h, s.in}, {h, h}, {h}, {h}});
    for (auto f : {Nonlinearity::tanh, Nonlinearity::relu})
      check_gradients(rnn(c[0], c[1], RnnParameters<double>{c[2], c[3], c[4], c[5]}, f, options), c);
  }
}

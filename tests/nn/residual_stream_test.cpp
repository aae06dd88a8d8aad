#include "gradus/nn/residual_stream.hpp"

#include "gradus/nn/linear.hpp"
#include "gradus/nn/rms_norm.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

namespace {

template <template <class> class Norm>
struct StreamBlock {
  Norm<float> norm1{24}, norm2{24};
  nn::Linear<float> part1{24, 24}, part2{24, 24};
  GRADUS_FIELDS(norm1, norm2, part1, part2)

  void operator()(nn::ResidualStream<float>& x) const {
    x.add(part1(x.normal(norm1)));
    x.add(part2(x.normal(norm2)));
  }
  Tensor<float> apart(const Tensor<float>& x) const {
    auto y = x + part1(norm1(x));
    return y + part2(norm2(y));
  }
};

template <template <class> class Norm>
struct StreamModel {
  std::vector<StreamBlock<Norm>> blocks = std::vector<StreamBlock<Norm>>(2);
  Norm<float> last{24};
  GRADUS_FIELDS(blocks, last)
};

enum class StreamBy { stream, recomputed_stream, operators };

/// The result and all gradients, that of x last.
template <template <class> class Norm>
std::vector<Tensor<float>> stream_results(StreamModel<Norm>& model, StreamBy by) {
  auto x = test::hashed<float>(1, {5, 7, 24}, -1, 1);
  x.set_requires_grad();
  nn::ResidualStream<float> stream(x);
  auto y = x;
  for (const auto& block : model.blocks) {
    y = by == StreamBy::operators ? block.apart(y) : y;
    auto run = [&block](nn::ResidualStream<float>& of_block) { block(of_block); };
    if (by != StreamBy::operators) stream.through(block, by == StreamBy::recomputed_stream, run);
  }
  y = by == StreamBy::operators ? model.last(y) : stream.normal(model.last);
  sum(y * test::hashed<float>(2, y.shape(), -1, 1)).backward();
  std::vector<Tensor<float>> all{y.detach()};
  for (auto& [name, parameter] : named_parameters<float>(model)) {
    all.push_back(parameter.grad());
    parameter.set_grad({});
  }
  all.push_back(x.grad());
  return all;
}

template <template <class> class Norm>
void check_stream() {
  StreamModel<Norm> model;
  test::fill_hashed<float>(model);
  auto want = stream_results(model, StreamBy::operators);
  for (auto by : {StreamBy::stream, StreamBy::recomputed_stream}) {
    auto got = stream_results(model, by);
    REQUIRE(got.size() == want.size());
    CHECK(test::bit_mismatch(got[0], want[0]) == "");
    for (size_t i = 1; i < got.size(); ++i) {
      CAPTURE(i, static_cast<int>(by));
      CHECK(test::mismatch(got[i], want[i], {1e-5}) == "");
    }
  }
}

}  // namespace

TEST_CASE("ResidualStream gives what sums and norms give") {
  check_stream<nn::LayerNorm>();
  check_stream<nn::RMSNorm>();
}

TEST_CASE("ResidualStream: what is added shows in its sum, once") {
  nn::ResidualStream<double> x(ones<double>({2, 3}));
  CHECK(x.sum().to_vector() == std::vector<double>(6, 1));
  x.add(full<double>({2, 3}, 2));
  x.add(full<double>({2, 3}, 4));
  CHECK(x.sum().to_vector() == std::vector<double>(6, 7));
  CHECK(x.sum().to_vector() == std::vector<double>(6, 7));
  x.add(tensor<double>({{1, 2, 3}, {0, 0, 0}}));
  nn::LayerNorm<double> norm(3);
  auto want = norm(tensor<double>({{8, 9, 10}, {7, 7, 7}}));
  CHECK(test::bit_mismatch(x.normal(norm).detach(), want.detach()) == "");
  CHECK(x.sum().to_vector() == std::vector<double>{8, 9, 10, 7, 7, 7});
  CHECK(test::bit_mismatch(x.normal(norm).detach(), want.detach()) == "");
}

TEST_CASE("a norm of a sum names its layer in errors") {
  StreamBlock<nn::LayerNorm> block;
  train(block);
  nn::ResidualStream<float> x(zeros<float>({2, 24}));
  x.add(zeros<float>({24}));
  test::check_error<ShapeError>(
      [&] { x.normal(block.norm2); },
      "StreamBlock.norm2: add_layer_norm: x is (2, 24) and what is added (24,), but both must "
      "have the same shape");
}

#include "benchmarks/measure.hpp"
#include "gradus/ops/pointwise/abs.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/exp.hpp"
#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/pointwise/log.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/sigmoid.hpp"
#include "gradus/ops/pointwise/silu.hpp"
#include "gradus/ops/pointwise/sqrt.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/pointwise/where.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes, bench::Tensors, bench::time_operator;

namespace {

template <class F>
void unary(const char* name, F f) {
  for (Shape shape : {Shape{1 << 12}, Shape{1 << 24}}) {  // overhead, and beyond all caches
    // Forward reads x and writes y; backward reads x and dy and writes dx.
    time_operator(join("pointwise/", name, '/', sizes(shape)), {.read = bytes_of(shape), .written = bytes_of(shape)},
                  {.read = 2 * bytes_of(shape), .written = bytes_of(shape)}, {shape},
                  [=](const Tensors& x) { return f(x[0]); });
  }
}

template <class F>
void binary(const char* name, Shape a, Shape b, bench::Work backward, F f) {
  auto y = broadcast_shapes(name, a, b);
  time_operator(join("pointwise/", name, '/', sizes(a), '_', sizes(b)),
                {.read = bytes_of(a) + bytes_of(b), .written = bytes_of(y)}, backward, {a, b},
                [=](const Tensors& x) { return f(x[0], x[1]); });
}

/// With truth values of a byte each.
void conditions() {
  Shape shape{1 << 24};
  auto size = bytes_of(shape), bools = size / 4;
  bench::time(join("pointwise/less/", sizes(shape)), {.read = size, .written = bools},
              [=] { return [x = rand<float>(shape)] { benchmark::DoNotOptimize((x < 0.5f).data()); }; });
  // Each of the two gradients reads dy and the condition.
  time_operator(join("pointwise/where/", sizes(shape)), {.read = 2 * size + bools, .written = size},
                {.read = 2 * (size + bools), .written = 2 * size}, {shape, shape},
                [condition = rand<float>(shape) > 0.5f](const Tensors& in) { return where(condition, in[0], in[1]); });
}

const bench::AtStart pointwise_registered([] {
  conditions();
  unary("relu", [](const auto& x) { return relu(x); });
  unary("exp", [](const auto& x) { return exp(x); });
  unary("log", [](const auto& x) { return log(x); });
  unary("sqrt", [](const auto& x) { return sqrt(x); });
  unary("abs", [](const auto& x) { return abs(x); });
  unary("tanh", [](const auto& x) { return tanh(x); });
  unary("sigmoid", [](const auto& x) { return sigmoid(x); });
  unary("gelu", [](const auto& x) { return gelu(x); });
  unary("silu", [](const auto& x) { return silu(x); });

  auto multiply = [](const auto& a, const auto& b) { return a * b; };
  auto add = [](const auto& a, const auto& b) { return a + b; };
  Shape small{4, 4}, large{4096, 4096}, row{4096}, column{4096, 1};
  binary("add", small, small, {}, add);  // nothing but overhead
  // Each gradient reads dy and the other operand; a sum hands dy on.
  binary("multiply", large, large, {.read = 4 * bytes_of(large), .written = 2 * bytes_of(large)}, multiply);
  binary("multiply", large, row, {.read = 3 * bytes_of(large), .written = bytes_of(large)}, multiply);
  binary("multiply", large, column, {.read = 3 * bytes_of(large), .written = bytes_of(large)}, multiply);
  binary("add", large, row, {.read = bytes_of(large)}, add);
});

}  // namespace

#include "gradus/ops/attention/attention.hpp"

#include "benchmarks/measure.hpp"

using namespace gradus;
using bench::sizes, bench::Tensors, bench::time_operator;

namespace {

/// Two products of (tokens, d) and (d, tokens) a head; backward computes the scores again, and four more.
void attention(Shape x, bool causal) {
  auto flop = 4.0 * static_cast<double>(x.numel() * x[2]) * (causal ? 0.5 : 1);
  time_operator(
      join("attention/", causal ? "causal/" : "full/", sizes(x)), {.flop = flop}, {.flop = 2.5 * flop}, {x, x, x},
      [causal](const Tensors& in) { return scaled_dot_product_attention(in[0], in[1], in[2], {.causal = causal}); });
}

const bench::AtStart attention_registered([] {
  attention({2, 6, 256, 64}, true);
  attention({2, 6, 256, 64}, false);
  attention({1, 8, 1024, 64}, true);
});

}  // namespace

#include "benchmarks/measure.hpp"
#include "gradus/ops/loss/bce_with_logits.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/log_softmax.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/loss/softmax.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes, bench::Tensors, bench::time_operator;

namespace {

void losses(Shape x) {
  // Read once and written once; backward reads the result and dy.
  bench::Work forward{.read = bytes_of(x), .written = bytes_of(x)};
  bench::Work backward{.read = 2 * bytes_of(x), .written = bytes_of(x)};
  time_operator(join("softmax/", sizes(x)), forward, backward, {x},
                [](const Tensors& in) { return softmax(in[0], 1); });
  time_operator(join("log_softmax/", sizes(x)), forward, backward, {x},
                [](const Tensors& in) { return log_softmax(in[0], 1); });
  time_operator(
      join("cross_entropy/", sizes(x)), {.read = bytes_of(x)}, {.read = bytes_of(x), .written = bytes_of(x)}, {x},
      [labels = randint<int64_t>(0, x[1], {x[0]})](const Tensors& in) { return cross_entropy(in[0], labels); });
  time_operator(join("mse_loss/", sizes(x)), {.read = 2 * bytes_of(x)},
                {.read = 2 * bytes_of(x), .written = 2 * bytes_of(x)}, {x, x},
                [](const Tensors& in) { return mse_loss(in[0], in[1]); });
  time_operator(join("bce_with_logits/", sizes(x)), {.read = 2 * bytes_of(x)},
                {.read = 2 * bytes_of(x), .written = bytes_of(x)}, {x},
                [targets = rand<float>(x)](const Tensors& in) { return bce_with_logits(in[0], targets); });
}

const bench::AtStart loss_registered([] {
  losses({128, 10});
  losses({1024, 1000});
  losses({4096, 4096});
});

}  // namespace

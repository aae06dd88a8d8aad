#include "benchmarks/measure.hpp"
#include "gradus/ops/recurrent/gru.hpp"
#include "gradus/ops/recurrent/lstm.hpp"

using namespace gradus;
using bench::Tensors, bench::time_operator;

namespace {

/// A step multiplies with `gates` matrices (hidden, in + hidden); backward twice as much.
void recurrent(int64_t steps, int64_t n, int64_t in, int64_t hidden) {
  auto shape = join(steps, 'x', n, 'x', in, '_', hidden);
  auto time_one = [&](const char* name, int64_t gates, auto f) {
    auto flop = 2.0 * static_cast<double>(steps * n * gates * hidden * (in + hidden));
    time_operator(join(name, '/', shape), {.flop = flop}, {.flop = 2 * flop},
                  {{steps, n, in}, {gates * hidden, in}, {gates * hidden, hidden}}, f);
  };
  auto none = zeros<float>({n, hidden});
  time_one("lstm", 4, [=](const Tensors& x) {
    return lstm(x[0], none, none, {x[1] * 0.05f, x[2] * 0.05f, {}, {}, {}})[0];
  });
  time_one("gru", 3, [=](const Tensors& x) { return gru(x[0], none, {x[1] * 0.05f, x[2] * 0.05f, {}, {}})[0]; });
}

const bench::AtStart recurrent_registered([] {
  recurrent(90, 64, 16, 128);
  recurrent(32, 16, 256, 256);
});

}  // namespace

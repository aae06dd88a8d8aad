#include "gradus/ops/norm/batch_norm.hpp"

#include "benchmarks/measure.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/norm/layer_norm.hpp"
#include "gradus/ops/norm/rms_norm.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes, bench::Tensors, bench::time_operator;

namespace {

void norm(Shape x) {
  auto c = x[1];
  // Forward reads x twice (moments, then values); backward reads x and dy twice.
  time_operator(join("batch_norm/training/", sizes(x)), {.read = 2 * bytes_of(x), .written = bytes_of(x)},
                {.read = 4 * bytes_of(x), .written = bytes_of(x)}, {x, {c}, {c}},
                [=, mean = zeros<float>({c}), variance = ones<float>({c})](const Tensors& in) {
                  return batch_norm(in[0], mean, variance, in[1], in[2]);
                });
  time_operator(join("batch_norm/evaluation/", sizes(x)), {.read = bytes_of(x), .written = bytes_of(x)},
                {.read = bytes_of(x), .written = bytes_of(x)}, {x},
                [=, mean = zeros<float>({c}), variance = ones<float>({c})](const Tensors& in) {
                  return batch_norm(in[0], mean, variance, {}, {}, {.training = false});
                });
}

void rows(Shape x) {
  // Rows stay in the cache between their passes: forward reads x and writes y, backward reads x and dy and writes dx.
  bench::Work forward{.read = bytes_of(x), .written = bytes_of(x)};
  bench::Work backward{.read = 2 * bytes_of(x), .written = bytes_of(x)};
  time_operator(join("layer_norm/", sizes(x)), forward, backward, {x, {x[1]}, {x[1]}},
                [width = x[1]](const Tensors& in) { return layer_norm(in[0], {width}, in[1], in[2]); });
  time_operator(join("rms_norm/", sizes(x)), forward, backward, {x, {x[1]}},
                [](const Tensors& in) { return rms_norm(in[0], in[1]); });
}

const bench::AtStart norm_registered([] {
  norm({64, 32, 32, 32});
  norm({256, 64, 32, 32});
  norm({64, 256, 4, 4});
  rows({20480, 768});
  rows({128, 64});
  Shape x{1 << 24};
  time_operator(join("dropout/", sizes(x)), {.read = bytes_of(x), .written = bytes_of(x)},
                {.read = bytes_of(x), .written = bytes_of(x)}, {x},
                [](const Tensors& in) { return dropout(in[0], 0.5); });
});

}  // namespace

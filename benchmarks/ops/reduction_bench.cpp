#include "benchmarks/measure.hpp"
#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/ops/reduction/logsumexp.hpp"
#include "gradus/ops/reduction/max.hpp"
#include "gradus/ops/reduction/mean.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/reduction/var.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes, bench::Tensors, bench::time_operator;

namespace {

/// The backward pass of sums only makes a view; those of the others read x, or what they kept of it, and write dx.
template <class F>
void reduction(const char* name, const char* over, Shape x, bench::Work backward, F f) {
  time_operator(join(name, '/', over, '/', sizes(x)), {.read = bytes_of(x)}, backward, {x},
                [=](const Tensors& in) { return f(in[0]); });
}

const bench::AtStart reduction_registered([] {
  Shape x{4096, 4096}, images{256, 64, 32, 32};
  bench::Work view{}, moved{.read = bytes_of(x), .written = bytes_of(x)};
  reduction("sum", "all", x, view, [](const auto& in) { return sum(in); });
  reduction("sum", "rows", x, view, [](const auto& in) { return sum(in, 1); });
  reduction("sum", "columns", x, view, [](const auto& in) { return sum(in, 0); });
  reduction("sum", "channels", images, view, [](const auto& in) { return sum(in, {0, 2, 3}); });
  reduction("mean", "rows", x, view, [](const auto& in) { return mean(in, 1); });
  reduction("var", "rows", x, moved, [](const auto& in) { return var(in, 1); });
  reduction("max", "rows", x, moved, [](const auto& in) { return max(in, 1); });
  reduction("logsumexp", "rows", x, moved, [](const auto& in) { return logsumexp(in, 1); });
  bench::time(join("argmax/rows/", sizes(x), "/forward"), {.read = bytes_of(x)},
              [=] { return [in = rand<float>(x)] { benchmark::DoNotOptimize(argmax(in, 1).data()); }; });
});

}  // namespace

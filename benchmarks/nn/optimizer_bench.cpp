#include "benchmarks/measure.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"

using namespace gradus;

namespace {

struct Parts {
  std::vector<Parameter<float>> parts;
  GRADUS_FIELDS(parts)
};

/// A step over `count` parameters of n elements; it reads and writes so many floats an element.
template <class Optimizer, class Options>
void step(const char* name, int64_t count, int64_t n, double read, double written, Options options) {
  auto bytes = 4 * static_cast<double>(count * n);
  bench::time(join("optim/", name, '/', count, 'x', n), {.read = bytes * read, .written = bytes * written}, [=] {
    auto model = std::make_shared<Parts>();
    for (int64_t i = 0; i < count; ++i) {
      model->parts.emplace_back(rand<float>({n}));
      Tensor<float>(model->parts.back().tensor()).set_grad(rand<float>({n}));
    }
    auto optimizer = std::make_shared<Optimizer>(*model, options);
    return [model, optimizer] { optimizer->step(); };
  });
}

const bench::AtStart optimizer_registered([] {
  for (auto [count, n] : {std::pair<int64_t, int64_t>{1, 1 << 24}, {64, 1 << 18}, {64, 256}}) {
    step<optim::SGD<float>>("SGD", count, n, 2, 1, optim::SgdOptions{});
    step<optim::SGD<float>>("SGD_momentum", count, n, 3, 2, optim::SgdOptions{.momentum = 0.9});
    step<optim::AdamW<float>>("AdamW", count, n, 4, 3, optim::AdamWOptions{});
  }
});

}  // namespace

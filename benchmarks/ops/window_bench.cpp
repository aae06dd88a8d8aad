#include "benchmarks/measure.hpp"
#include "gradus/ops/window/avg_pool2d.hpp"
#include "gradus/ops/window/conv2d.hpp"
#include "gradus/ops/window/max_pool2d.hpp"

using namespace gradus;
using bench::bytes_of, bench::sizes, bench::Tensors, bench::time_operator;

namespace {

/// x (n, in, size, size) with `out` kernels of `kernel` x `kernel`.
void convolution(const char* name, int64_t n, int64_t in, int64_t out, int64_t size, int64_t kernel,
                 ConvOptions options = {}) {
  Shape x{n, in, size, size}, w{out, in / options.groups, kernel, kernel};
  auto shape = detail::conv_shape(x, w, options);
  auto flop = 2.0 * static_cast<double>(n * shape.oh() * shape.ow() * w.numel());
  time_operator(join("conv2d/", name, '/', sizes(x), '_', sizes(w)), {.flop = flop}, {.flop = 2 * flop}, {x, w, {out}},
                [=](const Tensors& t) { return conv2d(t[0], t[1], t[2], options); });
}

/// Windows two apart. Largest elements also write where they were, for the gradient, which reads it.
template <class F>
void pool(const char* name, Shape x, F f) {
  Shape y{x[0], x[1], x[2] / 2, x[3] / 2};
  auto results = (name[0] == 'm' ? 2 : 1) * bytes_of(y);
  time_operator(join(name, '/', sizes(x)), {.read = bytes_of(x), .written = results},
                {.read = results, .written = bytes_of(x)}, {x}, [=](const Tensors& in) { return f(in[0]); });
}

const bench::AtStart window_registered([] {
  convolution("lenet_first", 32, 1, 32, 28, 3, {.padding = 1});
  convolution("lenet_second", 32, 32, 64, 14, 3, {.padding = 1});
  convolution("residual", 8, 128, 128, 16, 3, {.padding = 1});
  convolution("pointwise", 8, 128, 128, 16, 1);
  convolution("strided", 8, 64, 128, 32, 3, {.stride = 2, .padding = 1});
  convolution("depthwise", 8, 64, 64, 32, 3, {.padding = 1, .groups = 64});
  convolution("lenet_first_relu", 32, 1, 32, 28, 3, {.padding = 1, .activation = Rectifier::relu});
  convolution("lenet_second_relu", 32, 32, 64, 14, 3, {.padding = 1, .activation = Rectifier::relu});
  convolution("depthwise_relu6", 8, 64, 64, 32, 3, {.padding = 1, .groups = 64, .activation = Rectifier::relu6});
  for (Shape x : {Shape{32, 32, 28, 28}, Shape{32, 64, 112, 112}}) {
    pool("max_pool2d/2x2", x, [](const auto& in) { return max_pool2d(in, 2); });
    pool("max_pool2d/3x3", x, [](const auto& in) { return max_pool2d(in, 3, {.stride = 2, .padding = 1}); });
    pool("avg_pool2d/2x2", x, [](const auto& in) { return avg_pool2d(in, 2); });
    pool("avg_pool2d/3x3", x, [](const auto& in) { return avg_pool2d(in, 3, {.stride = 2, .padding = 1}); });
  }
});

}  // namespace

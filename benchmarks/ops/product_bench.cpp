#include "benchmarks/measure.hpp"
#include "gradus/ops/product/linear.hpp"

using namespace gradus;
using bench::Tensors, bench::TensorsOf, bench::time_operator;

namespace {

template <Floating T>
constexpr const char* element = std::is_same_v<T, bf16> ? "bf16/" : "";
template <Floating T>
bench::Work arithmetic(double flop) {
  return {.flop = flop, .flop_peak = std::is_same_v<T, bf16> ? &bench::Peak::bf16_flop : &bench::Peak::float_flop};
}

/// (m, k) times (k, n), with each operand as it lies or transposed: "nt" reads b (n, k) along its rows.
template <Floating T = float>
void product(int64_t m, int64_t n, int64_t k) {
  auto flop = 2.0 * static_cast<double>(m * n * k);
  auto name = [&](const char* kind) { return join("matmul/", element<T>, kind, '/', m, 'x', n, 'x', k); };
  time_operator<T>(name("nn"), arithmetic<T>(flop), arithmetic<T>(2 * flop), {{m, k}, {k, n}},
                   [](const TensorsOf<T>& x) { return matmul(x[0], x[1]); });
  time_operator<T>(name("nt"), arithmetic<T>(flop), arithmetic<T>(2 * flop), {{m, k}, {n, k}},
                   [](const TensorsOf<T>& x) { return matmul(x[0], transpose(x[1])); });
  time_operator<T>(name("tn"), arithmetic<T>(flop), arithmetic<T>(2 * flop), {{k, m}, {k, n}},
                   [](const TensorsOf<T>& x) { return matmul(transpose(x[0]), x[1]); });
}

void stack(int64_t count, int64_t size) {
  auto flop = 2.0 * static_cast<double>(count * size * size * size);
  time_operator(join("matmul/stack/", count, 'x', size), {.flop = flop}, {.flop = 2 * flop},
                {{count, size, size}, {count, size, size}}, [](const Tensors& x) { return matmul(x[0], x[1]); });
}

void dense(int64_t n, int64_t in, int64_t out) {
  auto flop = 2.0 * static_cast<double>(n * in * out);
  time_operator(join("linear/", n, 'x', in, 'x', out), {.flop = flop}, {.flop = 2 * flop}, {{n, in}, {out, in}, {out}},
                [](const Tensors& x) { return linear(x[0], x[1], x[2]); });
}

const bench::AtStart product_registered([] {
  for (int64_t size : {64, 256, 1024, 2048}) product(size, size, size);
  for (int64_t size : {256, 1024}) product<bf16>(size, size, size);
  product(128, 512, 784);
  product(128, 10, 512);
  product(1, 1024, 1024);
  stack(64, 32);
  stack(8, 256);
  dense(1, 4, 8);
  dense(128, 784, 512);
  dense(100, 300, 300);
  dense(128, 512, 10);
});

}  // namespace

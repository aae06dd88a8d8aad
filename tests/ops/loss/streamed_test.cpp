// Results that are too large for the caches go past them: the same bits as row by row.
#include <cmath>
#include <cstring>
#include <vector>

#include "gradus/ops/loss/bce_with_logits.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/log_softmax.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/ops/norm/batch_norm.hpp"
#include "gradus/ops/norm/layer_norm.hpp"
#include "gradus/ops/norm/rms_norm.hpp"
#include "gradus/ops/reduction/max.hpp"
#include "gradus/ops/reduction/var.hpp"
#include "gradus/ops/view/slice.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

/// f maps (rows, n) to the same shape, each row by itself.
template <class T, class F>
void check_rows_by_themselves(int64_t rows, int64_t n, F f) {
  auto x = cast<T>(rand<float>({rows, n}, -4, 4));
  auto y = f(x);  // (rows, n)
  for (int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
    auto alone = f(slice(x, 0, row, row + 1).clone());
    CHECK(std::memcmp(y.data() + row * n, alone.data(), static_cast<size_t>(n) * sizeof(T)) == 0);
  }
}
template <class T>
void check_all_by_rows(int64_t rows, int64_t n) {
  auto gradient = [](auto&& f) {
    return [f](const Tensor<T>& x) {
      auto in = x.clone().set_requires_grad();
      auto y = f(in);
      return grad(y, in, {}, ones<T>(y.shape()) * 0.5 + y.detach() * 0.25);
    };
  };
  auto each = [&](auto&& f) {
    check_rows_by_themselves<T>(rows, n, f);
    check_rows_by_themselves<T>(rows, n, gradient(f));
  };
  each([](const Tensor<T>& x) { return softmax(x); });
  each([](const Tensor<T>& x) { return log_softmax(x); });
  each([n](const Tensor<T>& x) { return layer_norm(x, {n}); });
  each([](const Tensor<T>& x) { return rms_norm(x); });
  check_rows_by_themselves<T>(rows, n, gradient([](const Tensor<T>& x) { return var(x, 1); }));
  check_rows_by_themselves<T>(rows, n, gradient([](const Tensor<T>& x) { return max(x, 1); }));
  check_rows_by_themselves<T>(rows, n, gradient([](const Tensor<T>& x) {
                                return cross_entropy(x, zeros<int64_t>({x.size(0)}),
                                                     {.label_smoothing = 0.1, .reduction = Reduce::none});
                              }));
}

}  // namespace

TEST_CASE("rows that are streamed are those of a single row") {
  check_all_by_rows<float>(1025, 8192);
  check_all_by_rows<bf16>(1025, 16400);
}

TEST_CASE("channels that are streamed are those of parts") {
  auto x = rand<float>({33, 256, 32, 32}, -4, 4);
  auto in = x.clone().set_requires_grad();
  auto y = batch_norm(in, Tensor<float>(), Tensor<float>());
  auto dx = grad(y, in, {}, y.detach() * y.detach());
  auto some = slice(x, 1, 5, 7).clone().set_requires_grad();
  auto of_some = batch_norm(some, Tensor<float>(), Tensor<float>());
  auto of_dx = grad(of_some, some, {}, of_some.detach() * of_some.detach());
  CHECK(slice(y.detach(), 1, 5, 7).to_vector() == of_some.detach().to_vector());
  CHECK(slice(dx, 1, 5, 7).to_vector() == of_dx.to_vector());
}

TEST_CASE("losses that are summed without being kept") {
  for (const auto& shape : std::vector<Shape>{{0}, {1}, {15}, {17}, {3, 1031}, {70001}, {1100, 1000}}) {
    auto x = rand<float>(shape, -4, 4), t = rand<float>(shape);
    auto each = bce_with_logits(x, t, {.reduction = Reduce::none});
    double want = 0;
    for (auto loss : each.to_vector()) want += loss;
    CHECK(bce_with_logits(x, t, {.reduction = Reduce::sum}).item() == Approx(want).epsilon(1e-5));
    auto in = x.clone().set_requires_grad();
    auto gradient = grad(bce_with_logits(in, t, {.reduction = Reduce::sum}), in);
    auto by_elements = grad(sum(bce_with_logits(in, t, {.reduction = Reduce::none})), in);
    CHECK(gradient.to_vector() == by_elements.to_vector());
    double squares = 0;
    for (int64_t i = 0; i < x.numel(); ++i) squares += std::pow(x.data()[i] - t.data()[i], 2.0);
    if (x.numel() > 0) CHECK(mse_loss(x, t).item() == Approx(squares / static_cast<double>(x.numel())).epsilon(1e-5));
    auto before = num_threads();
    set_num_threads(1);
    auto one = bce_with_logits(x, t, {.reduction = Reduce::sum}).item();
    set_num_threads(3);
    CHECK(bce_with_logits(x, t, {.reduction = Reduce::sum}).item() == one);
    set_num_threads(before);
  }
  // Operands that are strided or broadcast take the way over a tensor of losses.
  auto x = rand<float>({40, 30}, -4, 4);
  auto t = rand<float>({30, 40});
  auto dense = bce_with_logits(x, transpose(t).clone());
  CHECK(bce_with_logits(x, transpose(t)).item() == Approx(dense.item()).epsilon(1e-6));
}

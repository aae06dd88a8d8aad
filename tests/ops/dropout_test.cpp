#include "gradus/ops/dropout.hpp"

#include "gradus/autograd/gradcheck.hpp"
#include "gradus/tensor/creation.hpp"
#include "tests/support/any_tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

template <class T>
Tensor<T> seeded(const Tensor<T>& x, double p, uint64_t seed = 7) {
  manual_seed(seed);
  return dropout(x, p);
}

}  // namespace

TEST_CASE("dropout keeps one minus p of the elements, divided by that") {
  for (double p : {0.1, 0.5, 0.9}) {
    auto y = seeded(ones<float>({200000}), p).to_vector();
    auto kept = std::count_if(y.begin(), y.end(), [](float v) { return v != 0; });
    CHECK(std::abs(static_cast<double>(kept) / 200000 - (1 - p)) < 0.005);  // 4 standard deviations
    CHECK(std::all_of(y.begin(), y.end(), [&](float v) { return v == 0 || v == static_cast<float>(1 / (1 - p)); }));
  }
}

TEST_CASE("dropout without training, or of nothing, is the tensor itself") {
  auto x = ones<float>({3});
  CHECK(dropout(x, 0.5, false).impl() == x.impl());
  CHECK(dropout(x, 0).impl() == x.impl());
}

TEST_CASE("dropout draws anew each time, and the same after manual_seed") {
  auto x = ones<float>({1000});
  auto first = seeded(x, 0.5).to_vector(), second = dropout(x, 0.5).to_vector();
  CHECK(first != second);
  CHECK(seeded(x, 0.5).to_vector() == first);
}

TEST_CASE("dropout drops the same elements in any layout, element type and number of threads") {
  auto x = randn<float>({300, 250});
  auto whole = seeded(x, 0.3);
  auto before = num_threads();
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    CHECK(test::bit_mismatch(seeded(x, 0.3), whole) == "");
    CHECK(test::bit_mismatch(seeded(test::scattered(x).as<float>(), 0.3), whole) == "");
  }
  set_num_threads(before);
  auto dropped = [](const auto& y) {
    std::vector<bool> zeros;
    for (auto v : test::AnyTensor(y).values()) zeros.push_back(v == 0);
    return zeros;
  };
  CHECK(dropped(seeded(ones<double>({777}), 0.3)) == dropped(seeded(ones<bf16>({777}), 0.3)));
}

TEST_CASE("gradients pass where the elements did") {
  auto x = ones<float>({1000}).set_requires_grad();
  auto y = seeded(x, 0.5);
  y.backward(ones<float>({1000}));
  CHECK(x.grad().to_vector() == y.to_vector());
  auto f = [](const std::vector<Tensor<double>>& in) { return seeded(in[0], 0.4); };
  gradcheck(f, {randn<double>({5, 7})});
  gradgradcheck(f, {randn<double>({5, 7})});
}

TEST_CASE("dropout keeps NaN where it keeps") {
  auto y = seeded(full<float>({100}, std::numeric_limits<float>::quiet_NaN()), 0.5).to_vector();
  CHECK(std::any_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
  CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v) || v == 0; }));
}

TEST_CASE("what dropout refuses") {
  test::check_error<ValueError>([] { return dropout(ones<float>({2}), 1); }, "dropout: p is 1, but must be in [0, 1)");
  test::check_error<ValueError>([] { return dropout(ones<float>({2}), -0.5); },
                                "dropout: p is -0.5, but must be in [0, 1)");
}

// Convolutions with relu or relu6 in them: the same bits as by two operators, forward and in gradients of any order,
// by each of the CPU's methods and at the edges.
#include <limits>
#include <memory>

#include "gradus/autograd/autograd.hpp"
#include "gradus/nn/conv1d.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/permute.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
f = F.conv2d
case("relu", lambda x, w, b: F.relu(f(x, w, b, padding=1)), randn(2, 3, 5, 6), randn(4, 3, 3, 3), randn(4))
case("relu", lambda x, w, b: F.relu(f(x, w, b, padding=1)), randn(0, 3, 5, 6), randn(4, 3, 3, 3), randn(4))
case("relu6", lambda x, w, b: F.relu6(f(x, w, b, stride=2)), randn(2, 4, 5, 6), randn(3, 4, 3, 2), randn(3))
case("relu6 of single channels", lambda x, w: F.relu6(3 * f(x, w, groups=3)), randn(2, 3, 5, 4), randn(3, 1, 3, 3))
*/

using namespace gradus;

namespace {

struct ActivationCase {
  const char* what;
  Shape images, kernel;
  ConvOptions options;
};
const ActivationCase activation_cases[] = {
    {"Winograd", {3, 17, 13, 9}, {35, 17, 3, 3}, {.padding = 1}},
    {"Winograd, blocks of rows", {2, 16, 8, 66}, {48, 16, 3, 3}, {.padding = 1}},
    {"few tiles, by windows", {1, 96, 4, 4}, {80, 96, 3, 3}, {.padding = 1}},
    {"windows", {2, 3, 20, 19}, {8, 3, 3, 3}, {.padding = 1}},
    {"shared windows", {5, 40, 2, 2}, {70, 40, 1, 1}, {}},
    {"one pixel", {3, 40, 6, 7}, {33, 40, 1, 1}, {}},
    {"strides", {2, 6, 9, 11}, {8, 6, 5, 3}, {.stride = {2, 3}, .padding = {2, 1}}},
    {"groups", {2, 6, 9, 10}, {12, 2, 3, 3}, {.padding = 1, .groups = 3}},
    {"gaps", {2, 5, 14, 16}, {5, 5, 3, 3}, {.stride = {1, 2}, .padding = 2, .dilation = 2}},
    {"single channels", {3, 19, 20, 21}, {19, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 19}},
    {"single channels, one register", {2, 16, 9, 8}, {16, 1, 5, 5}, {.padding = 2, .groups = 16}},
    {"no images", {0, 5, 6, 6}, {4, 5, 3, 3}, {}},
    {"no channels", {2, 0, 6, 5}, {3, 0, 3, 3}, {}},
};

template <Floating T>
Tensor<T> rectified_by_operator(const Tensor<T>& x, Rectifier rectifier) {
  return rectifier == Rectifier::relu ? relu(x) : relu6(x);
}

template <Floating T>
struct ActivationOperands {
  Tensor<T> x, w, bias;

  ActivationOperands(const ActivationCase& c, bool with_bias, double scale = 1)
      : x(test::hashed<T>(1, c.images, -scale, scale)), w(test::hashed<T>(2, c.kernel, -1, 1)) {
    if (with_bias) bias = test::hashed<T>(3, {c.kernel[0]}, -1, 2);
    for (auto* leaf : {&x, &w, &bias})
      if (leaf->defined()) leaf->set_requires_grad();
  }
  std::vector<Tensor<T>> leaves() const {
    return bias.defined() ? std::vector<Tensor<T>>{x, w, bias} : std::vector<Tensor<T>>{x, w};
  }
  Tensor<T> by(ConvOptions options, Rectifier rectifier, bool fused) const {
    if (!fused) return rectified_by_operator(conv2d(x, w, bias, options), rectifier);
    options.activation = rectifier;
    return conv2d(x, w, bias, options);
  }
};

template <Floating T>
void check_same_bits(const std::vector<Tensor<T>>& a, const std::vector<Tensor<T>>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(test::bit_mismatch(a[i].detach(), b[i].detach()) == "");
  }
}

/// y and its gradients.
template <Floating T>
std::vector<Tensor<T>> activation_results(const ActivationOperands<T>& in, const ConvOptions& options,
                                          Rectifier rectifier, bool fused) {
  auto y = in.by(options, rectifier, fused);
  auto all = grad(y, in.leaves(), {}, test::hashed<T>(4, y.shape(), -1, 1));
  all.push_back(y);
  return all;
}

constexpr Rectifier rectifiers[] = {Rectifier::relu, Rectifier::relu6};

}  // namespace

TEST_CASE("conv2d with an activation is PyTorch's two functions") {
  auto rectified = [](ConvOptions options, Rectifier rectifier) {
    options.activation = rectifier;
    return [options]<class T>(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias) {
      return conv2d(x, w, bias, options);
    };
  };
  test::check_operator("relu", rectified({.padding = 1}, Rectifier::relu),
                       {.float_tolerance = 4e-6, .bf16_tolerance = 0.03});
  test::check_operator<double, float>("relu6", rectified({.stride = 2}, Rectifier::relu6));
  test::check_operator<double, float>("relu6 of single channels", []<class T>(const Tensor<T>& x, const Tensor<T>& w) {
    return conv2d(x, 3.0 * w, {}, {.groups = 3, .activation = Rectifier::relu6});
  });
}

TEMPLATE_TEST_CASE("conv2d with an activation has the bits of two operators", "", float, double, bf16, f16) {
  for (const auto& c : activation_cases) {
    for (auto rectifier : rectifiers) {
      for (auto with_bias : {false, true}) {
        CAPTURE(c.what, with_bias);
        ActivationOperands<TestType> in(c, with_bias);
        auto run = [&](bool fused) { return activation_results(in, c.options, rectifier, fused); };
        check_same_bits(run(true), run(false));
      }
    }
  }
}

TEST_CASE("conv2d with an activation: second derivatives") {
  for (const auto& c : activation_cases) {
    for (auto rectifier : rectifiers) {
      CAPTURE(c.what);
      ActivationOperands<double> in(c, true);
      auto run = [&](bool fused) {
        auto y = in.by(c.options, rectifier, fused);
        auto dy = test::hashed<double>(4, y.shape(), -1, 1);
        dy.set_requires_grad();
        auto first = grad(y, in.leaves(), {.create_graph = true}, dy);
        auto leaves = in.leaves();
        leaves.push_back(dy);
        auto total = sum(first[0] * test::hashed<double>(5, first[0].shape(), -1, 1)) +
                     sum(first[1] * test::hashed<double>(6, first[1].shape(), -1, 1)) +
                     sum(first[2] * test::hashed<double>(7, first[2].shape(), -1, 1));
        auto second = grad(total, leaves, {.allow_unused = true});
        std::vector<Tensor<double>> all = first;
        for (const auto& one : second)
          if (one.defined()) all.push_back(one);
        return all;
      };
      check_same_bits(run(true), run(false));
    }
  }
}

TEST_CASE("conv2d with an activation keeps NaN, and zeros have no sign") {
  for (const auto& c : activation_cases) {
    for (auto rectifier : rectifiers) {
      CAPTURE(c.what);
      ActivationOperands<float> tiny(c, false, 1e-25);  // products that vanish leave zeros of either sign
      tiny.w = (tiny.w.detach() * 1e-25).set_requires_grad();
      auto run = [&](const ActivationOperands<float>& in, bool fused) {
        return activation_results(in, c.options, rectifier, fused);
      };
      check_same_bits(run(tiny, true), run(tiny, false));
      ActivationOperands<float> in(c, true);
      if (in.x.numel() == 0) continue;
      auto x = in.x.detach().clone();
      x.mutable_data()[x.numel() / 2] = std::numeric_limits<float>::quiet_NaN();
      x.mutable_data()[0] = std::numeric_limits<float>::infinity();
      in.x = x.set_requires_grad();
      auto fused = run(in, true), composed = run(in, false);
      auto nan_count = [](const Tensor<float>& of) {
        auto values = of.to_vector();
        return std::count_if(values.begin(), values.end(), [](float v) { return v != v; });
      };
      CHECK(nan_count(fused.back()) > 0);
      for (size_t i = 0; i < fused.size(); ++i) CHECK(nan_count(fused[i]) == nan_count(composed[i]));
    }
  }
}

TEST_CASE("conv2d with an activation: operands of any strides, any number of threads") {
  auto x = transpose(test::hashed<float>(1, {4, 20, 13, 12}, -1, 1), 2, 3);
  auto w = transpose(test::hashed<float>(2, {20, 24, 3, 3}, -1, 1), 0, 1);  // (24, 20, 3, 3)
  auto run = [&](const Tensor<float>& images, int threads) {
    auto before = num_threads();
    set_num_threads(threads);
    auto y = conv2d(images, w, {}, {.padding = 1, .activation = Rectifier::relu6});
    set_num_threads(before);
    return y;
  };
  auto y = run(x, 1);
  CHECK(test::bit_mismatch(y, relu6(conv2d(x, w, {}, {.padding = 1}))) == "");
  for (int threads : {2, 3}) CHECK(test::bit_mismatch(run(x.clone(), threads), y) == "");
}

TEST_CASE("the result of conv2d with an activation serves its gradient, and no longer") {
  auto watched = std::make_shared<int>(0);
  std::weak_ptr<int> watch = watched;
  auto x = test::hashed<float>(1, {1, 2, 4, 4}, -1, 1), w = test::hashed<float>(2, {3, 2, 3, 3}, -1, 1);
  x.set_requires_grad();
  auto passed = differentiable("watched", x.detach(),
                               wrt(x, [kept = std::move(watched)](const Tensor<float>& dy) { return dy; }));
  auto y = conv2d(passed, w, {}, {.activation = Rectifier::relu});
  passed = {};
  CHECK(!watch.expired());
  y.detach().fill_(1);
  test::check_error<AutogradError>([&] { sum(y).backward(); },
                                   "backward: a tensor that 'relu' needs for its gradient was changed in place by "
                                   "'fill_' after it was used; clone() it before the change");
  y = {};
  CHECK(watch.expired());
}

TEST_CASE("layers of convolution take an activation") {
  nn::Conv2d<float> images(2, 3, {.kernel = 3, .activation = Rectifier::relu});
  auto x = test::hashed<float>(1, {2, 2, 5, 6}, -1, 1);
  CHECK(test::bit_mismatch(images(x), relu(conv2d(x, images.weight.tensor(), images.bias.tensor()))) == "");
  nn::Conv1d<float> sequences(2, 3, {.kernel = 2, .activation = Rectifier::relu6});
  x = test::hashed<float>(1, {2, 2, 9}, -20, 20);
  CHECK(test::bit_mismatch(sequences(x), relu6(conv1d(x, sequences.weight.tensor(), sequences.bias.tensor()))) == "");
}

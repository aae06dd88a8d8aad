// add_layer_norm and add_rms_norm: a sum and its norm in one pass are the sum and the norm of two.
#include "gradus/ops/norm/add_norm.hpp"
#include "gradus/autograd/autograd.hpp"
#include "gradus/autograd/gradcheck.hpp"
#include "gradus/autograd/hooks.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def layer(x, added, weight=None, bias=None, shape=None):
    return F.layer_norm(x + added, shape or weight.shape, weight, bias)
def rms(x, added, weight=None):
    return F.rms_norm(x + added, x.shape[-1:], weight, 1e-6)
def both(norm, **options):
    return lambda x, added, *rest: (x + added) * norm(x, added, *rest, **options)
case("sum and layer norm", both(layer), randn(3, 5), randn(3, 5), randn(5), randn(5))
case("sum and layer norm", both(layer), randn(2, 3, 37), randn(2, 3, 37), randn(37), randn(37))
case("sum and layer norm", both(layer), randn(0, 4), randn(0, 4), randn(4), randn(4))
case("sum and layer norm", both(layer), randn(3, 4, 5), randn(3, 4, 5), randn(4, 5), randn(4, 5))
case("layer norm of a sum", layer, randn(2, 3, 19), randn(2, 3, 19), randn(19), randn(19))
case("layer norm of a sum", layer, randn(4, 1), randn(4, 1), randn(1), randn(1))
case("without parameters", both(layer, shape=(16,)), randn(5, 16), randn(5, 16))
case("sum and rms norm", both(rms), randn(3, 5), randn(3, 5), randn(5))
case("sum and rms norm", both(rms), randn(2, 3, 37), randn(2, 3, 37), randn(37))
case("sum and rms norm", both(rms), randn(0, 4), randn(0, 4), randn(4))
case("rms norm of a sum", rms, randn(2, 3, 19), randn(2, 3, 19), randn(19))
case("rms norm without weight", both(rms), randn(4, 16), randn(4, 16))
*/

using namespace gradus;

namespace {

template <Floating T>
struct NormedSum {
  Tensor<T> x, added, weight, bias;

  NormedSum(const Shape& shape, bool with_parameters, Device device)
      : x(test::hashed<T>(1, shape, -2, 2).to(device)), added(test::hashed<T>(2, shape, -1, 2).to(device)) {
    if (with_parameters) {
      weight = test::hashed<T>(3, {shape[shape.rank() - 1]}, 0.5, 1.5).to(device);
      bias = test::hashed<T>(4, {shape[shape.rank() - 1]}, -1, 1).to(device);
    }
    for (auto* leaf : {&x, &added, &weight, &bias})
      if (leaf->defined()) leaf->set_requires_grad();
  }
  std::vector<Tensor<T>> leaves(bool rms) const {
    if (!weight.defined()) return {x, added};
    return rms ? std::vector{x, added, weight} : std::vector{x, added, weight, bias};
  }
  SumAndNormal<T> run(bool rms, bool fused) const {
    Shape last{x.size(-1)};
    if (fused) return rms ? add_rms_norm(x, added, weight) : add_layer_norm(x, added, last, weight, bias);
    auto sum = x + added;
    return {sum, rms ? rms_norm(sum, weight) : layer_norm(sum, last, weight, bias)};
  }
};

/// Sum, normal, and gradients of a number made of either or both.
template <Floating T>
std::vector<Tensor<T>> results_of_sum(const NormedSum<T>& in, bool rms, bool fused, bool use_sum, bool use_normal) {
  auto [sum_of_both, normal] = in.run(rms, fused);
  auto slopes = [&](uint32_t seed) { return test::hashed<T>(seed, in.x.shape(), -1, 1).to(in.x.device()); };
  auto loss = use_sum ? sum(sum_of_both * slopes(5)) : sum(normal * slopes(6));
  if (use_sum && use_normal) loss = loss + sum(normal * slopes(6));
  std::vector<Tensor<T>> all{sum_of_both.detach(), normal.detach()};
  for (const auto& one : grad(loss, in.leaves(rms), {.allow_unused = true})) all.push_back(one);
  return all;
}

template <Floating T>
void check_against_two_passes(const Shape& shape, bool with_parameters, Device device) {
  NormedSum<T> in(shape, with_parameters, device);
  for (auto rms : {false, true}) {
    for (auto used : {1, 2, 3}) {
      CAPTURE(shape, with_parameters, to_string(device), rms, used);
      auto fused = results_of_sum(in, rms, true, (used & 1) != 0, (used & 2) != 0);
      auto apart = results_of_sum(in, rms, false, (used & 1) != 0, (used & 2) != 0);
      REQUIRE(fused.size() == apart.size());
      for (size_t i = 0; i < fused.size(); ++i) {
        CAPTURE(i);
        REQUIRE(fused[i].defined() == apart[i].defined());
        if (!fused[i].defined()) continue;
        auto a = fused[i].to(Device::cpu()), b = apart[i].to(Device::cpu());
        if (i < 2) CHECK(test::bit_mismatch(a, b) == "");
        else CHECK(test::mismatch(a, b, {sizeof(T) == 2 ? 0.03 : sizeof(T) == 4 ? 1e-5 : 1e-13}) == "");
      }
    }
  }
}

}  // namespace

TEST_CASE("add_layer_norm is PyTorch's sum and layer norm") {
  manual_seed(1);
  test::check_operator(
      "sum and layer norm",
      []<class T>(const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight, const Tensor<T>& bias) {
        auto [sum, normal] = add_layer_norm(x, added, weight.shape(), weight, bias);
        return sum * normal;
      },
      {.double_tolerance = 1e-11,
       .float_tolerance = 1e-5,
       .bf16_tolerance = 0.1,
       .large = {randn<double>({300, 701}), randn<double>({300, 701}), randn<double>({701}), randn<double>({701})}},
      __FILE__);
  test::check_operator<double, float>(
      "layer norm of a sum",
      []<class T>(const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight, const Tensor<T>& bias) {
        return add_layer_norm(x, added, weight.shape(), weight, bias).normal;
      },
      {.float_tolerance = 1e-5});
  test::check_operator<double, float>("without parameters",
                                      []<class T>(const Tensor<T>& x, const Tensor<T>& added) {
                                        auto [sum, normal] = add_layer_norm(x, added, {16});
                                        return sum * normal;
                                      },
                                      {.float_tolerance = 1e-5});
}

TEST_CASE("add_rms_norm is PyTorch's sum and rms norm") {
  manual_seed(1);
  test::check_operator(
      "sum and rms norm",
      []<class T>(const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight) {
        auto [sum, normal] = add_rms_norm(x, added, weight);
        return sum * normal;
      },
      {.double_tolerance = 1e-11,
       .float_tolerance = 1e-5,
       .bf16_tolerance = 0.1,
       .large = {randn<double>({300, 701}), randn<double>({300, 701}), randn<double>({701})}},
      __FILE__);
  test::check_operator<double, float>("rms norm of a sum",
                                      []<class T>(const Tensor<T>& x, const Tensor<T>& added, const Tensor<T>& weight) {
                                        return add_rms_norm(x, added, weight).normal;
                                      },
                                      {.float_tolerance = 1e-5});
  test::check_operator<double, float>("rms norm without weight",
                                      []<class T>(const Tensor<T>& x, const Tensor<T>& added) {
                                        auto [sum, normal] = add_rms_norm(x, added);
                                        return sum * normal;
                                      },
                                      {.float_tolerance = 1e-5});
}

TEMPLATE_TEST_CASE("a sum and its norm in one pass are those of two", "", float, double, bf16, f16) {
  for (auto device : {Device::cpu(), Device::best()}) {
    for (auto width : {1, 7, 33, 64, 256, 320, 768, 1024, 1030, 1600, 2048, 4096, 5000, 9000})
      check_against_two_passes<TestType>({width < 1000 ? 37 : 5, width}, true, device);
    check_against_two_passes<TestType>({4, 9, 48}, false, device);
    check_against_two_passes<TestType>({0, 48}, true, device);
    check_against_two_passes<TestType>({3, 0}, true, device);
    check_against_two_passes<TestType>({700, 64}, true, device);  // several rows for each warp of a GPU
  }
  check_against_two_passes<TestType>({1536, 1024}, true, Device::cpu());  // results go past the caches
  check_against_two_passes<TestType>({400, 4096}, true, Device::cpu());
}

TEST_CASE("a sum and its norm: second derivatives") {
  NormedSum<double> in({3, 6}, true, Device::cpu());
  for (auto rms : {false, true}) {
    for (auto used : {1, 2, 3}) {
      auto f = [&](const std::vector<Tensor<double>>& at) {
        auto [sum, normal] = rms ? add_rms_norm(at[0], at[1], at[2]) : add_layer_norm(at[0], at[1], {6}, at[2], at[3]);
        return used == 1 ? sum * sum : used == 2 ? normal * normal : sum * sum * normal;
      };
      CAPTURE(rms, used);
      std::vector<Tensor<double>> at{in.x.detach(), in.added.detach(), in.weight.detach(), in.bias.detach()};
      gradcheck(f, at);
      gradgradcheck(f, at);
    }
  }
}

TEST_CASE("a norm of a sum writes its gradient into that of the sum where nobody else sees it") {
  for (auto device : {Device::cpu(), Device::best()}) {
    for (auto rms : {false, true}) {
      CAPTURE(to_string(device), rms);
      NormedSum<float> in({5, 48}, true, device);
      auto dy = test::hashed<float>(5, {5, 48}, -1, 1).to(device);
      auto slopes = test::hashed<float>(6, {5, 48}, -1, 1).to(device);
      // What comes for the sum is given(): its handle may be the only one, or not.
      auto run = [&](auto given, auto look) {
        for (auto leaf : in.leaves(rms)) leaf.set_grad({});
        auto [sum_of_both, normal] = in.run(rms, true);
        auto passed = differentiable("passed", sum_of_both.detach(),
                                     wrt(sum_of_both, [&](const Tensor<float>&) { return given(); }));
        register_hook(sum_of_both, look);
        (sum(passed) + sum(normal * slopes)).backward();
        return in.x.grad().to(Device::cpu()).clone();
      };
      auto place = [](const Tensor<float>& x) { return static_cast<const void*>(x.impl()->data()); };
      Tensor<float> kept;
      auto alone = run([&] { return dy.clone(); }, [](const Tensor<float>&) {});
      CHECK(place(in.x.grad()) != place(in.added.grad()));
      auto shared = run([&] { return dy; }, [](const Tensor<float>&) {});
      auto seen = run([&] { return dy.clone(); }, [&](const Tensor<float>& g) { kept = g; });
      auto view = run([&] { return reshape(dy, {5, 48}); }, [](const Tensor<float>&) {});
      for (const auto& other : {shared, seen, view}) CHECK(test::bit_mismatch(other, alone) == "");
      auto want = test::hashed<float>(5, {5, 48}, -1, 1);
      CHECK(test::bit_mismatch(dy.to(Device::cpu()), want) == "");
      CHECK(test::bit_mismatch(kept.to(Device::cpu()), want) == "");
      // Between two norms the memory is passed on.
      auto x = in.x.detach() * 2.0;
      x.set_requires_grad();
      auto y = x * 3.0;
      auto [sum_of_both, normal] =
          rms ? add_rms_norm(y, in.added.detach()) : add_layer_norm(y, in.added.detach(), {48});
      const void *before = nullptr, *after = nullptr;
      register_hook(sum_of_both, [&](const Tensor<float>& g) { before = place(g); });
      register_hook(y, [&](const Tensor<float>& g) { after = place(g); });
      (sum(sum_of_both * slopes) + sum(normal * slopes)).backward();
      CHECK(before == after);
    }
  }
}

TEST_CASE("what a norm of a sum saved must not be changed") {
  NormedSum<float> in({5, 48}, true, Device::cpu());
  auto [sum_of_both, normal] = in.run(false, true);
  no_grad([&, &total = sum_of_both] { total.fill_(1); });
  test::check_error<AutogradError>([&, &result = normal] { sum(result).backward(); },
                                   "backward: a tensor that 'add_layer_norm' needs for its gradient was changed in "
                                   "place by 'fill_' after it was used; clone() it before the change");
}

TEST_CASE("what a norm of a sum refuses") {
  auto x = zeros<float>({2, 3});
  test::check_error<ShapeError>(
      [&] { return add_layer_norm(x, zeros<float>({3}), {3}).sum; },
      "add_layer_norm: x is (2, 3) and what is added (3,), but both must have the same shape");
  test::check_error<ShapeError>(
      [&] {
        return add_rms_norm(x, zeros<float>({2, 1})).sum;
      },
      "add_rms_norm: x is (2, 3) and what is added (2, 1), but both must have the same shape");
  test::check_error<ShapeError>(
      [&] { return add_layer_norm(x, x, {2}).sum; },
      "add_layer_norm: input is (2, 3) and the normalized shape (2,): it must be the sizes of "
      "the input's last axes, one or more");
  test::check_error<ShapeError>([&] { return add_rms_norm(x, x, ones<float>({2})).sum; },
                                "add_rms_norm: input is (2, 3) and weight (2,), but weight must have the size of the "
                                "input's last axis");
}

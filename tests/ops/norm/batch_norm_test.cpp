#include "gradus/ops/norm/batch_norm.hpp"
#include "gradus/ops/indexing/stack.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/relu6.hpp"
#include "gradus/ops/pointwise/trigonometric.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def train(x, w=None, b=None, eps=1e-5):
    return F.batch_norm(x, None, None, w, b, True, 0.1, eps)
case("batch_norm", train, randn(4, 3, 5, 2), randn(3), randn(3))
case("batch_norm", train, randn(6, 4), randn(4), randn(4))
case("batch_norm", train, randn(1, 2, 37), randn(2), randn(2))
case("far from zero", train, randn(3, 2, 4) * 0.25 + 100, randn(2), randn(2))
case("without weight", train, randn(4, 3, 5))
case("eps", lambda x, w, b: train(x, w, b, 0.5), randn(4, 3, 5), randn(3), randn(3))
def use(x, w, b):
    return F.batch_norm(x, values([0.5, -1, 2]), values([1, 0.5, 2]), w, b, False)
case("in use", use, randn(4, 3, 5, 2), randn(3), randn(3))
case("in use", use, randn(0, 3, 5), randn(3), randn(3))
case("rectified", lambda x, w, b: F.relu(train(x, w, b)), randn(4, 3, 5, 2), randn(3), randn(3))
case("rectified", lambda x, w, b: F.relu(train(x, w, b)), randn(2, 3, 37), randn(3), randn(3))
case("rectified at 6", lambda x, w, b: F.relu6(train(x, w, b)), randn(4, 3, 5, 2), randn(3) * 5, randn(3) + 4)
case("added", lambda x, w, b, r: train(x, w, b) + r, randn(4, 3, 5, 2), randn(3), randn(3), randn(4, 3, 5, 2))
def add_rectified(x, w, b, r):
    return F.relu(train(x, w, b) + r)
case("added and rectified", add_rectified, randn(4, 3, 5, 2), randn(3), randn(3), randn(4, 3, 5, 2))
case("added and rectified", add_rectified, randn(2, 3, 37), randn(3), randn(3), randn(2, 3, 37))
def use_rectified(x, w, b, r):
    return F.relu6(use(x, w, b) + r)
case("added and rectified in use", use_rectified, randn(4, 3, 5, 2), randn(3), randn(3), randn(4, 3, 5, 2) * 4)
case("rectified in use", lambda x, w, b: F.relu(use(x, w, b)), randn(4, 3, 5, 2), randn(3), randn(3))
def twice(f):
    def used(*inputs):
        y = f(*inputs)
        return y * 0.5 + torch.sin(y)
    return used
def rectified(x, w, b):
    return F.relu(train(x, w, b))
def add(x, w, b, r):
    return train(x, w, b) + r
case("rectified and used twice", twice(rectified), randn(4, 3, 5, 2), randn(3), randn(3))
case("rectified and used twice", twice(rectified), randn(2, 3, 73), randn(3), randn(3))
case("added and used twice", twice(add), randn(4, 3, 5, 2), randn(3), randn(3), randn(4, 3, 5, 2))
added_inputs = randn(4, 3, 5, 2), randn(3), randn(3), randn(4, 3, 5, 2)
case("added and rectified and used twice", twice(add_rectified), *added_inputs)
case("added and rectified and used twice", twice(add_rectified), randn(2, 3, 73), randn(3), randn(3), randn(2, 3, 73))
case("added and rectified in use and used twice", twice(use_rectified), *added_inputs)
def running(x, mean, var):
    mean, var = mean.detach().clone(), var.detach().clone()
    F.batch_norm(x.detach(), mean, var, None, None, True, 0.3)
    return torch.stack((mean, var))
case("running", running, randn(4, 3, 5), randn(3), uniform(0.5, 2, 3), order=0)
*/

using namespace gradus;

TEST_CASE("batch_norm in training") {
  auto train = []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
    return batch_norm(x, {}, {}, weight, bias);
  };
  test::check_operator("batch_norm", train,
                       {.double_tolerance = 1e-11,
                        .float_tolerance = 1e-5,
                        .bf16_tolerance = 0.05,
                        .large = {randn<double>({40, 6, 30, 30}), randn<double>({6}), randn<double>({6})}});
  test::check_operator<double, float>("far from zero", train, {.double_tolerance = 1e-10, .float_tolerance = 1e-4});
  test::check_operator<double>("without weight", []<class T>(const Tensor<T>& x) { return batch_norm(x, {}, {}); });
  test::check_operator<double>("eps", []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
    return batch_norm(x, {}, {}, weight, bias, {.eps = 0.5});
  });
}

namespace {

template <class T>
Tensor<T> batch_norm_in_use(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                            Rectifier activation = Rectifier::none, const Tensor<T>& residual = {}) {
  auto mean = cast<T>(tensor<double>({0.5, -1, 2})).to(x.device()),
       var = cast<T>(tensor<double>({1, 0.5, 2})).to(x.device());
  return batch_norm(x, mean, var, weight, bias, {.training = false, .activation = activation}, residual);
}

}  // namespace

TEST_CASE("batch_norm in use") {
  using test::check_operator;
  check_operator<double, float>("in use",
                                []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
                                  return batch_norm_in_use(x, weight, bias);
                                },
                                {.float_tolerance = 1e-5});
  check_operator<double, float>("rectified in use",
                                []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
                                  return batch_norm_in_use(x, weight, bias, Rectifier::relu);
                                },
                                {.float_tolerance = 1e-5});
  check_operator<double, float>(
      "added and rectified in use",
      []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, const Tensor<T>& residual) {
        return batch_norm_in_use(x, weight, bias, Rectifier::relu6, residual);
      },
      {.float_tolerance = 1e-5});
}

namespace {
/// y itself, or a result whose gradient is made of two of y's.
template <class T>
Tensor<T> used(const Tensor<T>& y, bool twice) {
  return twice ? y * 0.5 + sin(y) : y;
}
auto batch_norm_rectified(Rectifier activation, bool twice = false) {
  return [activation, twice]<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
    return used(batch_norm(x, {}, {}, weight, bias, {.activation = activation}), twice);
  };
}
auto batch_norm_added(Rectifier activation, bool twice = false) {
  return [activation, twice]<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                                      const Tensor<T>& residual) {
    return used(batch_norm(x, {}, {}, weight, bias, {.activation = activation}, residual), twice);
  };
}
}  // namespace

TEST_CASE("batch_norm with a residual and an activation") {
  auto tolerances = test::OperatorOptions{.double_tolerance = 1e-11, .float_tolerance = 1e-5};
  test::check_operator<double, float>("rectified", batch_norm_rectified(Rectifier::relu), tolerances);
  test::check_operator<double, float>("rectified at 6", batch_norm_rectified(Rectifier::relu6), tolerances);
  test::check_operator<double, float>("added", batch_norm_added(Rectifier::none), tolerances);
  test::check_operator<double, float>("added and rectified", batch_norm_added(Rectifier::relu), tolerances);
}

TEST_CASE("batch_norm adds the gradients of a result that is used twice") {
  auto tolerances = test::OperatorOptions{.double_tolerance = 1e-11, .float_tolerance = 1e-5};
  auto images = randn<double>({20, 6, 30, 30}), channels = randn<double>({6});
  tolerances.large = {images, channels, channels};
  test::check_operator<double, float>("rectified and used twice", batch_norm_rectified(Rectifier::relu, true),
                                      tolerances);
  tolerances.large = {images, channels, channels, randn<double>(images.shape())};
  tolerances.bf16_tolerance = 0.05;
  test::check_operator("added and used twice", batch_norm_added(Rectifier::none, true), tolerances);
  test::check_operator<double, float>("added and rectified and used twice", batch_norm_added(Rectifier::relu, true),
                                      tolerances);
  test::check_operator<double, float>(
      "added and rectified in use and used twice",
      []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias, const Tensor<T>& residual) {
        return used(batch_norm_in_use(x, weight, bias, Rectifier::relu6, residual), true);
      },
      {.float_tolerance = 1e-5});
}

TEST_CASE("batch_norm writes no gradient into memory that others see") {
  auto x = randn<float>({4, 3, 8, 9}).set_requires_grad(), residual = randn<float>({4, 3, 8, 9}).set_requires_grad();
  auto y = batch_norm(x, {}, {}, {}, {}, {.activation = Rectifier::relu}, residual);
  auto dy = randn<float>({4, 3, 8, 9});
  auto before = std::pair(y.to_vector(), dy.to_vector());
  y.backward(dy, true);
  CHECK(y.to_vector() == before.first);
  auto first = std::pair(x.grad().to_vector(), residual.grad().to_vector());
  x.set_grad({});
  residual.set_grad({});
  y.backward(dy);
  CHECK(y.to_vector() == before.first);
  CHECK(dy.to_vector() == before.second);
  CHECK(std::pair(x.grad().to_vector(), residual.grad().to_vector()) == first);
}

TEST_CASE("batch_norm and its activation are what they are one after the other") {
  auto check = []<class T>(T) {
    auto x = randn<T>({4, 3, 8, 5}), weight = randn<T>({3}), bias = randn<T>({3}) + 2.0f,
         residual = randn<T>({4, 3, 8, 5});
    for (auto activation : {Rectifier::none, Rectifier::relu, Rectifier::relu6}) {
      auto after = [&](const Tensor<T>& y) {
        return activation == Rectifier::none ? y : activation == Rectifier::relu ? relu(y) : relu6(y);
      };
      auto at_once = batch_norm(x, {}, {}, weight, bias, {.activation = activation});
      CHECK(at_once.to_vector() == after(batch_norm(x, {}, {}, weight, bias)).to_vector());
      if constexpr (std::is_same_v<T, float>) {
        auto added = batch_norm(x, {}, {}, weight, bias, {.activation = activation}, residual);
        CHECK(added.to_vector() == after(batch_norm(x, {}, {}, weight, bias) + residual).to_vector());
      }
    }
  };
  check(float());
  check(bf16());
}

TEST_CASE("batch_norm passes NaN through its activation, and back where it was not cut") {
  auto x = randn<float>({2, 2, 4, 4});
  x.mutable_data()[3] = std::numeric_limits<float>::quiet_NaN();  // of channel 0
  x.set_requires_grad();
  auto y = batch_norm(x, {}, {}, {}, {}, {.activation = Rectifier::relu6});
  CHECK(std::isnan(y.data()[0]));
  CHECK_FALSE(std::isnan(y.data()[16]));
  sum(y).backward();
  CHECK(std::isnan(x.grad().data()[0]));
  CHECK_FALSE(std::isnan(x.grad().data()[16]));
}

TEST_CASE("batch_norm moves its running statistics") {
  test::check_operator<double>("running", []<class T>(const Tensor<T>& x, const Tensor<T>& mean, const Tensor<T>& var) {
    auto running_mean = mean.clone(), running_var = var.clone();
    batch_norm(x, running_mean, running_var, {}, {}, {.momentum = 0.3});
    return stack(std::vector<Tensor<T>>{running_mean, running_var});
  });
}

TEST_CASE("what batch_norm refuses") {
  test::check_error<ShapeError>([] { return batch_norm(zeros<float>({3}), {}, {}); },
                                "batch_norm: input is (3,), but must be (n, channels, ...)");
  test::check_error<ShapeError>(
      [] {
        return batch_norm(zeros<float>({2, 3}), {}, {}, ones<float>({2}));
      },
      "batch_norm: input is (2, 3) but a parameter is (2,): it must be (3,)");
  test::check_error<ValueError>(
      [] {
        return batch_norm(zeros<float>({1, 3}), {}, {});
      },
      "batch_norm: input is (1, 3), but training needs more than one value a channel");
  test::check_error<ValueError>(
      [] {
        return batch_norm(zeros<float>({2, 3}), {}, {}, {}, {}, {.training = false});
      },
      "batch_norm: without training it needs running_mean and running_var");
  test::check_error<ShapeError>(
      [] {
        return batch_norm(zeros<float>({2, 3}), {}, {}, {}, {}, {}, zeros<float>({3}));
      },
      "batch_norm: input is (2, 3) but the residual is (3,): they must be of one shape");
}

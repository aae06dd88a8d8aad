// Gradients of whole models against finite differences, in double.
#include "gradus/autograd/gradcheck.hpp"

#include "gradus/models/lenet.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

namespace {

/// Without kinks, so that second derivatives exist everywhere.
struct Smooth {
  nn::Conv2d<double> conv{1, 2, {.kernel = 3, .padding = 1}};
  nn::BatchNorm2d<double> norm{2};
  nn::Linear<double> output{2 * 4 * 3, 3};
  GRADUS_FIELDS(conv, norm, output)

  Tensor<double> operator()(const Tensor<double>& x) { return output(flatten(tanh(norm(conv(x))))); }
};

template <class Model>
auto loss_of(Model& model, const Shape& batch) {
  return [&model, x = test::hashed<double>(1, batch, -1, 1), labels = test::hashed_labels(2, batch[0], 3)] {
    return cross_entropy(model(x), labels);
  };
}

}  // namespace

TEST_CASE("a small network passes gradcheck and gradgradcheck") {
  Smooth model;
  test::fill_hashed<double>(model);
  auto report = gradcheck_model(model, loss_of(model, {3, 1, 4, 3}), {.tolerance = 1e-8});
  CHECK(report.elements == count_parameters(model));
  CHECK(gradgradcheck_model(model, loss_of(model, {3, 1, 4, 3}), {.tolerance = 1e-7}).elements ==
        count_parameters(model) + 1);
}

TEST_CASE("the models pass gradcheck") {
  models::Mlp<double> mlp({4, 6, 5, 3});
  test::fill_hashed<double>(mlp);
  CHECK(gradcheck_model(mlp, loss_of(mlp, {7, 4})).elements == count_parameters(mlp));

  models::LeNet<double> lenet(3);
  test::fill_hashed<double>(lenet);
  CHECK(gradcheck_model(lenet, loss_of(lenet, {2, 1, 28, 28}), {.max_elements = 5}).elements == 7 * 5 + 3);

  models::ResNet9<double> resnet(1, 3, 2);
  test::fill_hashed<double>(resnet);
  CHECK(gradcheck_model(resnet, loss_of(resnet, {4, 1, 16, 16}), {.max_elements = 3}).elements > 50);
}

#include "gradus/nn/batch_norm2d.hpp"

#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def running(x, evaluated, options):
    norm = torch.nn.BatchNorm2d(3, **options).double()
    rows = []
    for batch in x:
        norm(batch)
        rows += [norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.double().expand(3)]
    norm.eval()
    rows.append(norm(evaluated).detach().flatten().clone())
    assert norm.num_batches_tracked == len(x)
    return torch.cat(rows)

x = lambda: (2 * randn(4, 2, 3, 2, 5) + 1, randn(1, 3, 1, 4))
case("running", lambda a, b: running(a, b, {}), *x(), order=0)
case("running faster", lambda a, b: running(a, b, dict(momentum=0.5, eps=0.125)), *x(), order=0)

def evaluated(x, weight, bias, mean, variance):
    return torch.nn.functional.batch_norm(x, mean.detach(), variance.detach(), weight, bias, False, 0.1, 0.01)

case("evaluated", evaluated, randn(2, 3, 2, 2), randn(3), randn(3), randn(3), uniform(0.25, 2, 3), order=1)
*/

using namespace gradus;

namespace {

/// Statistics after each batch, then the output for the last argument after eval(): one vector, as in the golden case.
template <Floating T>
std::vector<double> running(const Tensor<T>& batches, const Tensor<T>& last, nn::BatchNorm2dOptions options) {
  nn::BatchNorm2d<T> norm(3, options);
  std::vector<double> all;
  auto append = [&](const auto& values) { all.insert(all.end(), values.begin(), values.end()); };
  for (int64_t i = 0; i < batches.size(0); ++i) {
    norm(select(batches, 0, i));
    append(norm.running_mean.tensor().to_vector());
    append(norm.running_var.tensor().to_vector());
    append(std::vector<int64_t>(3, norm.num_batches_tracked.tensor().item()));
  }
  eval(norm);
  auto mean = norm.running_mean.tensor().to_vector();
  append(norm(last).to_vector());
  CHECK(norm.running_mean.tensor().to_vector() == mean);
  CHECK(norm.num_batches_tracked.tensor().item() == batches.size(0));
  return all;
}

}  // namespace

TEST_CASE("BatchNorm2d: running statistics move as PyTorch's, and are used after eval()") {
  auto check = [](const char* group, nn::BatchNorm2dOptions options) {
    auto one = test::golden_cases(group, __FILE__)[0];
    auto x = one.inputs[0].as<double>(), last = one.inputs[1].as<double>();
    auto shape = one.output.shape();
    auto in_double = from_vector(running(x, last, options), shape);
    auto in_float = from_vector(running(cast<float>(x), cast<float>(last), options), shape);
    CHECK(test::mismatch(in_double, one.output, {1e-12}) == "");
    CHECK(test::mismatch(in_float, one.output, {1e-5}) == "");
  };
  check("running", {});
  check("running faster", {.eps = 0.125, .momentum = 0.5});
}

TEST_CASE("BatchNorm2d after eval(): values and gradients") {
  test::check_operator("evaluated",
                       []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
                                   const Tensor<T>& mean, const Tensor<T>& variance) {
                         nn::BatchNorm2d<T> norm(3, {.eps = 0.01});
                         norm.weight = Parameter<T>(weight);
                         norm.bias = Parameter<T>(bias);
                         norm.running_mean = Buffer<T>(mean.detach());
                         norm.running_var = Buffer<T>(variance.detach());
                         eval(norm);
                         return norm(x);
                       },
                       {.signed_zeros = false, .float_tolerance = 5e-6, .bf16_tolerance = 1.0 / 16});
}

TEST_CASE("BatchNorm2d starts as PyTorch's") {
  nn::BatchNorm2d<float> norm(2);
  CHECK(norm.weight.tensor().to_vector() == std::vector<float>{1, 1});
  CHECK(norm.bias.tensor().to_vector() == std::vector<float>{0, 0});
  CHECK(norm.running_mean.tensor().to_vector() == std::vector<float>{0, 0});
  CHECK(norm.running_var.tensor().to_vector() == std::vector<float>{1, 1});
  CHECK(norm.num_batches_tracked.tensor().item() == 0);
  CHECK(norm.options.eps == 1e-5);
  CHECK(norm.options.momentum == 0.1);
  CHECK(norm.training.on);
  CHECK(parameters(norm).size() == 2);
  CHECK(count_parameters(norm) == 4);
}

TEST_CASE("BatchNorm2d refuses what it cannot normalise") {
  nn::BatchNorm2d<float> norm(3);
  train(norm);
  test::check_error<ShapeError>(
      [&] {
        norm(zeros<float>({2, 3}));
      },
      "BatchNorm2d: batch_norm: input is (2, 3), but must be (n, channels, height, width)");
  test::check_error<ShapeError>(
      [&] {
        norm(zeros<float>({2, 4, 1, 1}));
      },
      "BatchNorm2d: batch_norm: input is (2, 4, 1, 1) but a parameter is (3,): it must be (4,)");
  test::check_error<ValueError>(
      [&] {
        norm(zeros<float>({1, 3, 1, 1}));
      },
      "BatchNorm2d: batch_norm: input is (1, 3, 1, 1), but training needs more than one value a channel");
  CHECK(norm.num_batches_tracked.tensor().item() == 0);
  eval(norm);
  CHECK(norm(zeros<float>({1, 3, 1, 1})).shape() == Shape{1, 3, 1, 1});
}

// Runs an optimizer on a model of one vector with gradients that are given in advance.
#pragma once

#include "gradus/autograd/parameter.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

namespace gradus::test {

template <Floating T>
struct Vector {
  Parameter<T> weight;
  GRADUS_FIELDS(weight)

  explicit Vector(const Tensor<T>& start) : weight(start.clone()) {}
};

/// What the parameter is after each step: start (n,), gradients (steps, n) -> (steps, n).
/// make(model) gives the optimizer.
template <Floating T, class Make>
Tensor<double> trajectory(const Tensor<double>& start, const Tensor<double>& gradients, Make make) {
  Vector<T> model(cast<T>(start));
  auto optimizer = make(model);
  auto rows = zeros<double>(gradients.shape());
  for (int64_t step = 0; step < gradients.size(0); ++step) {
    Tensor<T>(model.weight.tensor()).set_grad(cast<T>(select(gradients, 0, step)));
    optimizer.step();
    select(rows, 0, step).copy_(cast<double>(model.weight.tensor().detach()));
  }
  return rows;
}

/// PyTorch's trajectories of the golden cases `group`, in double and float; bf16, which rounds after every step what
/// the optimizer keeps exactly, is held against our own double from the same rounded numbers.
template <class Make>
void check_trajectories(const std::string& group, Make make, const char* test = __builtin_FILE()) {
  for (const auto& one : golden_cases(group, test)) {
    INFO(one.name);
    auto start = one.inputs[0].as<double>(), gradients = one.inputs[1].as<double>();
    CHECK(mismatch(trajectory<double>(start, gradients, make), one.output, {1e-13}) == "");
    CHECK(mismatch(trajectory<float>(start, gradients, make), one.output, {2e-6}) == "");
    auto rounded_start = cast<double>(cast<bf16>(start)), rounded = cast<double>(cast<bf16>(gradients));
    CHECK(mismatch(trajectory<bf16>(start, gradients, make), trajectory<double>(rounded_start, rounded, make),
                   {1.0 / 256 + 1e-5}) == "");
  }
}

}  // namespace gradus::test

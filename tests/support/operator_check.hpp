// One description of an operator case drives every check.
//
// The case itself (inputs, and what PyTorch makes of them) comes from the golden comment of the test file, through
// tests/golden/<name of the test file>.safetensors; see tests/golden/make_golden.py. A test says how the operator is
// called, and check_operator runs, for every case of that name and for double, float and bf16:
//   - values, gradients and gradients of gradients against PyTorch (double), or against our own double (the others);
//   - finite differences of first and second order, where the case is smooth;
//   - backward(), grad() for each input alone, and grad() with create_graph against each other;
//   - inputs and incoming gradients scattered over memory; inputs that stay as they were;
//   - for pointwise operators: the same bits at any position, length and layout, and when broadcast by hand;
//   - the same bits with 1, 2 and 3 threads (pointwise: on the case repeated; others: on `large` inputs).
// Memory is filled with NaN before each run, so that what is never written is seen.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/any_tensor.hpp"
#include "tests/support/simulated_card.hpp"

namespace gradus::test {

struct OperatorOptions {
  bool pointwise = false;
  bool signed_zeros = true;         ///< at kinks and special values, -0 is not 0
  bool gpu = true;                  ///< it can run there: not so a kernel that reads memory by itself
  double double_tolerance = 1e-12;  ///< relative to max(1, |wanted|), here and below; gradients get 10 times as much
  double float_tolerance = 1e-6;
  double bf16_tolerance = 1.0 / 128;  ///< one unit in the last place, for operators that round once
  std::vector<AnyTensor> large = {};  ///< inputs (floating ones in double) of a size that several threads share
};

/// An operator instantiated for one element type.
struct TypedOperator {
  DType element;
  std::vector<DType> operands;
  std::function<AnyTensor(const std::vector<AnyTensor>&)> call;
};

/// Inputs and what is wanted of them; what a case does not state stays undefined.
struct OperatorCase {
  std::string name;
  std::vector<AnyTensor> inputs;
  AnyTensor output, dy;
  std::vector<AnyTensor> gradients, directions, seconds;  ///< one an input

  bool has_gradient() const { return dy.defined(); }
  bool smooth() const;
};

/// A check and what went wrong; empty when nothing did.
struct CheckResult {
  std::string check, problem;
};

/// All checks of one case. types[0] is the one that the others are compared with.
std::vector<CheckResult> run_checks(const std::vector<TypedOperator>& types, const OperatorCase& operator_case,
                                    const OperatorOptions& options);
/// The thread checks on options.large.
std::vector<CheckResult> run_large_checks(const std::vector<TypedOperator>& types, const OperatorOptions& options);

/// Reads the cases of `group` from the golden file of the test file `test`.
std::vector<OperatorCase> golden_cases(const std::string& group, const std::string& test);
/// Runs every case of `group` and reports to Catch2.
void check_cases(const std::string& group, const std::vector<TypedOperator>& types, const OperatorOptions& options,
                 const char* test);

template <Element T, class F, class R, class... A>
TypedOperator typed_operator(F f, R (F::*call)(A...) const) {
  auto erased = [=]<size_t... K>(std::index_sequence<K...>) {
    return [=](const std::vector<AnyTensor>& in) -> AnyTensor {
      return (f.*call)(in[K].as<typename std::decay_t<A>::value_type>()...);
    };
  };
  return {dtype_of<T>, {dtype_of<typename std::decay_t<A>::value_type>...}, erased(std::index_sequence_for<A...>{})};
}

/// check_operator("gelu", []<class T>(const Tensor<T>& x) { return gelu(x); }, {.pointwise = true});
/// Operands that are not of the case's element type have theirs in the signature: `const Tensor<int64_t>& labels`.
template <Element First, Element... Rest, class F>
void check_operator(const std::string& group, F f, OperatorOptions options = {}, const char* test = __builtin_FILE()) {
  check_cases(group,
              {typed_operator<First>(f, &F::template operator()<First>),
               typed_operator<Rest>(f, &F::template operator()<Rest>)...},
              options, test);
}
template <class F>
requires(!Element<F>) void check_operator(const std::string& group, F f, OperatorOptions options = {},
                                          const char* test = __builtin_FILE()) {
  check_operator<double, float, bf16>(group, f, std::move(options), test);
}

}  // namespace gradus::test

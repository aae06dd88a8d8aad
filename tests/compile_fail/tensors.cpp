// Mistakes of element types and of formulas.
#include "gradus/autograd/parameter.hpp"
#include "gradus/ops/pointwise/exp.hpp"
#include "gradus/tensor.hpp"
#include "gradus/tensor/eigen.hpp"

using namespace gradus;

void use() {
  auto x = zeros<float>({2});
  auto wide = zeros<double>({2});
  auto whole = zeros<int64_t>({2});
  auto flags = zeros<bool>({2});
  [[maybe_unused]] float slope = 0.1f;

#ifdef GRADUS_FAIL_capturing_formula  // expect: pointwise: the lambda must not capture
  pointwise("leaky", [slope](auto v) { return where(v > 0.0, v, slope * v); })(x);
#else
  pointwise("leaky", [](auto v, auto s) { return where(v > 0.0, v, s * v); })(x, slope);
#endif

#ifdef GRADUS_FAIL_formula_of_two_types  // expect: pointwise: tensors of different element types; convert one with cast
  pointwise("product", [](auto a, auto b) { return a * b; })(x, wide);
#else
  pointwise("product", [](auto a, auto b) { return a * b; })(x, cast<float>(wide));
#endif

#ifdef GRADUS_FAIL_sum_of_two_types  // expect: no match for | invalid operands to binary expression
  x + wide;
#else
  cast<double>(x) + wide;
#endif

#ifdef GRADUS_FAIL_fraction_beside_whole_numbers  // expect: no match for | invalid operands to binary expression
  whole * 0.5;
#else
  cast<double>(whole) * 0.5;
#endif

#ifdef GRADUS_FAIL_arithmetic_on_bool  // expect: no match for | invalid operands to binary expression
  flags + flags;
#else
  cast<int32_t>(flags) + cast<int32_t>(flags);
#endif

#ifdef GRADUS_FAIL_exp_of_whole_numbers  // expect: no matching function for call to
  gradus::exp(whole);
#else
  gradus::exp(cast<float>(whole));
#endif

#ifdef GRADUS_FAIL_whole_parameter  // expect: constraint
  Parameter<int64_t> parameter(whole);
#else
  Buffer<int64_t> parameter(whole);
#endif

#ifdef GRADUS_FAIL_gradient_of_whole_numbers  // expect: no matching function for call to
  differentiable("round", whole, wrt(x, [](const Tensor<int64_t>& dy) { return cast<float>(dy); }));
#else
  differentiable("round", cast<float>(whole), wrt(x, [](const Tensor<float>& dy) { return dy; }));
#endif

#ifdef GRADUS_FAIL_gradient_with_respect_to_whole_numbers  // expect: no matching function for call to
  grad(select(x, 0, 0), whole);
#else
  grad(select(x, 0, 0), x);
#endif

#ifdef GRADUS_FAIL_element_of_another_kind  // expect: constraint
  Tensor<short> shorts;
#else
  Tensor<int32_t> shorts;
#endif

#ifdef GRADUS_FAIL_number_becomes_tensor_unasked  // expect: conversion | no viable
  Tensor<float> y = 2.5f;
#else
  Tensor<float> y = tensor<float>(2.5f);
#endif

#ifdef GRADUS_FAIL_text_as_index  // expect: no match for call | no matching function for call
  x("0");
#else
  x(0);
#endif

#ifdef GRADUS_FAIL_eigen_of_bf16  // expect: no matching function for call to
  as_eigen(zeros<bf16>({2, 2}));
#else
  as_eigen(y);
#endif

#ifdef GRADUS_FAIL_eigen_of_f16  // expect: no matching function for call to
  as_eigen(zeros<f16>({2, 2}));
#endif

#ifdef GRADUS_FAIL_writing_through_a_read_only_matrix  // expect: lvalue required | not assignable | cannot assign
  as_eigen(x)(0, 0) = 1;
#else
  as_mutable_eigen(x)(0, 0) = 1;
#endif
}

// Operators of every kind in half precision, by the cases of their own tests; a file of its own, so that those compile
// no longer.
#include "gradus/ops/attention/attention.hpp"
#include "gradus/ops/indexing/embedding.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/softmax.hpp"
#include "gradus/ops/norm/batch_norm.hpp"
#include "gradus/ops/norm/layer_norm.hpp"
#include "gradus/ops/pointwise/gelu.hpp"
#include "gradus/ops/pointwise/silu.hpp"
#include "gradus/ops/product/linear.hpp"
#include "gradus/ops/product/matmul.hpp"
#include "gradus/ops/reduction/sum.hpp"
#include "gradus/ops/window/conv2d.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/operator_check.hpp"

using namespace gradus;

namespace {

/// Held against float. bf16_tolerance is that of the operator's own test: f16 has an eighth.
template <class F>
void check_f16(const char* test, const char* group, F f, test::OperatorOptions options = {}) {
  options.float_tolerance = 1e-4;
  test::check_operator<float, f16>(group, f, options, test);
}

template <class T>
using Whole = Tensor<int64_t>;

}  // namespace

TEST_CASE("pointwise operators in half precision") {
  check_f16("gelu_test.cpp", "gelu", []<class T>(const Tensor<T>& x) { return gelu(x); }, {.pointwise = true});
  check_f16("silu_test.cpp", "silu", []<class T>(const Tensor<T>& x) { return silu(x); }, {.pointwise = true});
}
TEST_CASE("products in half precision") {
  check_f16("matmul_test.cpp", "matmul", []<class T>(const Tensor<T>& a, const Tensor<T>& b) { return matmul(a, b); });
  check_f16("linear_test.cpp", "linear",
            []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
              return linear(x, weight, bias);
            });
  check_f16("conv2d_test.cpp", "conv2d",
            []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
              return conv2d(x, weight, bias);
            },
            {.bf16_tolerance = 0.03});
}
TEST_CASE("softmax, losses and sums in half precision") {
  check_f16("softmax_test.cpp", "softmax", []<class T>(const Tensor<T>& x) { return softmax(x); },
            {.bf16_tolerance = 0.03});
  check_f16("cross_entropy_test.cpp", "cross_entropy",
            []<class T>(const Tensor<T>& x, const Whole<T>& labels) { return cross_entropy(x, labels); },
            {.bf16_tolerance = 0.02});
  check_f16("sum_test.cpp", "sum over the last axis", []<class T>(const Tensor<T>& x) { return sum(x, -1); },
            {.bf16_tolerance = 0.03});
}
TEST_CASE("norms in half precision") {
  check_f16("layer_norm_test.cpp", "layer_norm",
            []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
              return layer_norm(x, weight.shape(), weight, bias);
            },
            {.bf16_tolerance = 0.05});
  check_f16("batch_norm_test.cpp", "batch_norm",
            []<class T>(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
              return batch_norm(x, {}, {}, weight, bias);
            },
            {.bf16_tolerance = 0.05});
}
TEST_CASE("embedding and attention in half precision") {
  check_f16("embedding_test.cpp", "embedding",
            []<class T>(const Whole<T>& ids, const Tensor<T>& weight) { return embedding(ids, weight); },
            {.bf16_tolerance = 0.03});
  check_f16("attention_test.cpp", "plain",
            []<class T>(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
              return scaled_dot_product_attention(q, k, v);
            },
            {.bf16_tolerance = 0.04});
}

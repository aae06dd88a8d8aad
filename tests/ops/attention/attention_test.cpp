#include "gradus/ops/attention/attention.hpp"

#include "gradus/autograd/gradcheck.hpp"
#include "gradus/ops/reduction/mean.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

/* golden
from torch.nn.attention import SDPBackend, sdpa_kernel
def attend(mask=None, **options):
    def run(q, k, v):
        with sdpa_kernel(SDPBackend.MATH):  # the one that has second derivatives
            return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=q.shape[1] != k.shape[1], **options)
    return run
def qkv(n, heads, queries, d, keys=None, kv_heads=None, width=None):
    keys, kv_heads = queries if keys is None else keys, kv_heads or heads
    return randn(n, heads, queries, d), randn(n, kv_heads, keys, d), randn(n, kv_heads, keys, width or d)
case("plain", attend(), *qkv(2, 1, 3, 4, keys=5, width=6))
case("plain", attend(), *qkv(1, 1, 1, 1))
case("plain", attend(), *qkv(1, 1, 1, 1, keys=40))
case("plain", attend(), *qkv(1, 1, 49, 1, keys=2))
case("plain", attend(), *qkv(1, 1, 0, 3, keys=2))
case("plain", attend(), *qkv(0, 2, 3, 2))
case("grouped", attend(), *qkv(1, 4, 3, 2, keys=5, kv_heads=2))
case("grouped", attend(), *qkv(1, 3, 9, 2, kv_heads=1))
case("causal", attend(is_causal=True), *qkv(1, 2, 4, 2))
case("causal", attend(is_causal=True), *qkv(1, 1, 49, 1))
case("causal", attend(is_causal=True), *qkv(1, 1, 3, 2, keys=5))
case("causal", attend(is_causal=True), *qkv(1, 1, 5, 2, keys=3))
case("scaled", attend(scale=0.3), *qkv(1, 1, 4, 3))
i, j = torch.arange(4)[:, None] + 3, torch.arange(7)[None, :]
case("cached", attend(mask=j <= i), *qkv(1, 1, 4, 2, keys=7))
case("window", attend(mask=(j <= i) & (i - j < 3)), *qkv(1, 1, 4, 2, keys=7))
case("window both ways", attend(mask=(i - j).abs() < 2), *qkv(1, 1, 4, 2, keys=7))
slopes = torch.tensor([0.5, 0.25]).double()[:, None, None]
case("alibi", attend(mask=-slopes * (i - j).abs()), *qkv(1, 2, 4, 2, keys=7))
visible = torch.tensor([[True, False, True, True, False], [True] * 5, [False] * 4 + [True]])
case("masked", attend(mask=visible), *qkv(1, 2, 3, 2, keys=5))
case("padded", attend(mask=visible[:2, None, None, :]), *qkv(2, 1, 3, 2, keys=5))
def biased(q, k, v, b):
    return attend(mask=b)(q, k, v)
case("biased", biased, *qkv(2, 2, 3, 2, keys=5), randn(2, 3, 5))
*/

using namespace gradus;

namespace {

/// Attention with options that do not depend on the element type.
auto attention_with(bool causal, int64_t first_query = 0, int64_t window = 0, double scale = 0) {
  return [=]<class T>(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
    return scaled_dot_product_attention(
        q, k, v, {.causal = causal, .window = window, .first_query = first_query, .scale = scale});
  };
}

test::OperatorOptions attention_tolerances() {
  return {.double_tolerance = 1e-11, .float_tolerance = 2e-5, .bf16_tolerance = 0.04};
}

}  // namespace

TEST_CASE("attention") {
  manual_seed(1);
  auto options = attention_tolerances();
  options.large = {randn<double>({2, 3, 70, 5}), randn<double>({2, 3, 300, 5}), randn<double>({2, 3, 300, 4})};
  test::check_operator("plain", attention_with(false), options);
  options.large = {randn<double>({1, 2, 600, 5}), randn<double>({1, 1, 600, 5}), randn<double>({1, 1, 600, 4})};
  test::check_operator<double, float>("grouped", attention_with(false), options);
  test::check_operator<double>("scaled", attention_with(false, 0, 0, 0.3), attention_tolerances());
}

TEST_CASE("attention with a part of the keys hidden") {
  test::check_operator<double, float>("causal", attention_with(true), attention_tolerances());
  test::check_operator<double>("cached", attention_with(true, 3), attention_tolerances());
  test::check_operator<double>("window", attention_with(true, 3, 3), attention_tolerances());
  test::check_operator<double>("window both ways", attention_with(false, 3, 2), attention_tolerances());
}

TEST_CASE("attention with masks") {
  auto visible = from_vector<uint8_t>({1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1}, {3, 5});
  auto seen = cast<bool>(visible);
  auto attend = [](const Tensor<bool>& mask) {
    return [=]<class T>(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
      return scaled_dot_product_attention(q, k, v, {.mask = mask.to(q.device())});
    };
  };
  test::check_operator<double>("masked", attend(seen), attention_tolerances());
  test::check_operator<double, float>("padded", attend(reshape(slice(seen, 0, 0, 2), {2, 1, 1, 5})),
                                      attention_tolerances());
}

TEST_CASE("attention with terms added to scores") {
  auto alibi = []<class T>(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
    return scaled_dot_product_attention(q, k, v, {.alibi = tensor<T>({0.5, 0.25}).to(q.device()), .first_query = 3});
  };
  test::check_operator<double>("alibi", alibi, attention_tolerances());
  auto biased = []<class T>(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Tensor<T>& bias) {
    return scaled_dot_product_attention(q, k, v, {.bias = bias});
  };
  test::check_operator<double, float>("biased", biased, attention_tolerances());
}

TEST_CASE("a query that sees no key gives 0 and gradients of 0") {
  auto q = randn<double>({1, 2, 5, 3}), k = randn<double>({1, 2, 60, 3}), v = randn<double>({1, 2, 60, 4});
  auto mask = full<bool>({5, 60}, true);
  std::fill_n(mask.mutable_data() + 2 * 60, 60, false);
  auto minus = where(mask, full<double>({5, 60}, 0), -std::numeric_limits<double>::infinity());
  for (auto* x : {&q, &k, &v}) x->set_requires_grad(true);
  auto run = [&](const AttentionOptions<double>& options) {
    auto y = scaled_dot_product_attention(q, k, v, options);
    auto gradients = grad(sum(y * y), std::vector{q, k, v});
    CHECK(sum(abs(select(y, 2, 2))).item() == 0);
    CHECK(sum(abs(select(gradients[0], 2, 2))).item() == 0);
    CHECK(sum(abs(select(y, 2, 1))).item() > 0);
    for (const auto& gradient : gradients) CHECK(std::isfinite(sum(gradient).item()));
    return gradients;
  };
  auto by_mask = run({.mask = mask}), by_bias = run({.bias = minus});
  for (size_t i = 0; i < 3; ++i) CHECK(test::mismatch(by_bias[i], by_mask[i], {1e-13}) == "");
  minus.set_requires_grad(true);
  auto by_operators = run({.bias = minus});
  for (size_t i = 0; i < 3; ++i) CHECK(test::mismatch(by_operators[i], by_mask[i], {1e-11}) == "");
  auto none = scaled_dot_product_attention(q, slice(k, 2, 0, 0), slice(v, 2, 0, 0));
  CHECK(none.shape() == Shape{1, 2, 5, 4});
  CHECK(sum(abs(none)).item() == 0);
}

TEST_CASE("blocks of attention give what ordinary operators give") {
  manual_seed(3);
  auto heads = 4, kv_heads = 2, queries = 101, keys = 307;
  auto q = randn<double>({2, heads, queries, 5}), k = randn<double>({2, kv_heads, keys, 5}),
       v = randn<double>({2, kv_heads, keys, 9}), dy = randn<double>({2, heads, queries, 9});
  for (auto* x : {&q, &k, &v}) x->set_requires_grad(true);
  auto mask = rand<double>({2, 1, queries, keys}) < 0.7;
  auto bias = randn<double>({heads, queries, keys});
  auto slopes = tensor<double>({0.1, 0.05, 0.02, 0.0});
  auto check = [&](AttentionOptions<double> options) {
    auto run = [&](bool by_operators) {
      manual_seed(7);  // the same weights are dropped
      options.bias = options.bias.defined() ? options.bias.clone() : zeros<double>({1, 1});
      options.bias.set_requires_grad(by_operators);
      auto y = scaled_dot_product_attention(q, k, v, options);
      auto results = grad(sum(y * dy), std::vector{q, k, v});
      results.push_back(y.detach());
      return results;
    };
    auto got = run(false), want = run(true);
    for (size_t i = 0; i < got.size(); ++i) CHECK(test::mismatch(got[i], want[i], {1e-11}) == "");
  };
  check({});
  check({.causal = true, .first_query = 150});
  check({.mask = mask, .causal = true, .window = 60, .first_query = 206, .scale = 0.2});
  check({.window = 50, .alibi = slopes, .first_query = 100});
  check({.mask = mask, .bias = bias, .alibi = slopes, .dropout = 0.3});
  check({.causal = true, .window = 30});
  for (auto few : {1, 2, 3}) {  // without packing
    auto last = [&](const Tensor<double>& x) { return slice(x, 2, queries - few, queries); };
    AttentionOptions<double> options{
        .mask = slice(mask, 2, 0, few), .causal = true, .window = 250, .alibi = slopes, .first_query = keys - few};
    auto want = options;
    want.bias = zeros<double>({1, 1}).set_requires_grad(true);
    CHECK(test::mismatch(scaled_dot_product_attention(last(q), k, v, options),
                         scaled_dot_product_attention(last(q), k, v, want), {1e-12}) == "");
  }
}

TEST_CASE("dropout of attention keeps the mean and has gradients of both orders") {
  manual_seed(5);
  auto q = randn<double>({1, 2, 40, 4}), k = randn<double>({1, 2, 50, 4}), v = ones<double>({1, 2, 50, 3});
  auto sums = zeros<double>({1, 2, 40, 3});
  for (int i = 0; i < 400; ++i) sums = sums + scaled_dot_product_attention(q, k, v, {.dropout = 0.25});
  CHECK(mean(sums).item() / 400 == Approx(1).epsilon(0.005));
  auto f = [](const std::vector<Tensor<double>>& x) {
    manual_seed(1);
    return scaled_dot_product_attention(x[0], x[1], x[1], {.dropout = 0.5});
  };
  gradcheck(f, {slice(q, 2, 0, 5), slice(k, 2, 0, 4)});
  gradgradcheck(f, {slice(q, 2, 0, 5), slice(k, 2, 0, 4)});
}

TEST_CASE("attention needs memory for tokens, not for their pairs") {
  manual_seed(1);
  auto tokens = 2048;
  auto peak = [&](const Tensor<float>& bias) {
    auto q = randn<float>({1, 1, tokens, 64}).set_requires_grad(true);
    auto before = memory_stats().bytes_in_use;
    reset_peak_memory();
    sum(scaled_dot_product_attention(q, q, q, {.bias = bias, .causal = true})).backward();
    return memory_stats().peak_bytes - before;
  };
  auto by_operators = peak(zeros<float>({1, 1}).set_requires_grad(true));
  CHECK(by_operators / peak({}) >= 10);
}

TEST_CASE("what attention refuses") {
  auto q = zeros<float>({2, 4, 5, 3}), k = zeros<float>({2, 2, 6, 3}), v = zeros<float>({2, 2, 6, 7});
  auto refused = [&](const Tensor<float>& query, const Tensor<float>& key, const Tensor<float>& value,
                     const std::string& text, const AttentionOptions<float>& options = {}) {
    test::check_error<ShapeError>([&] { return scaled_dot_product_attention(query, key, value, options); },
                                  "scaled_dot_product_attention: " + text);
  };
  refused(select(q, 0, 0), k, v,
          "query is (4, 5, 3), key (2, 2, 6, 3) and value (2, 2, 6, 7), but they must be (n, heads, queries, d), (n, "
          "heads, keys, d) and (n, heads, keys, width)");
  refused(q, slice(k, 2, 0, 5), v,
          "query is (2, 4, 5, 3), key (2, 2, 5, 3) and value (2, 2, 6, 7), but all need the same n, key and value the "
          "same heads and keys, query and key the same depth");
  refused(slice(q, 1, 0, 3), k, v, "query has 3 heads and key 2, but the first must be a multiple of the second");
  refused(q, k, v, "mask is (4, 5), but must broadcast to (n, heads, queries, keys) = (2, 4, 5, 6)",
          {.mask = full<bool>({4, 5}, true)});
  refused(q, k, v, "bias is (1, 2, 4, 5, 6), but must broadcast to (n, heads, queries, keys) = (2, 4, 5, 6)",
          {.bias = zeros<float>({1, 2, 4, 5, 6})});
  refused(q, k, v, "alibi is (2,), but must hold a slope a head: (4,)", {.alibi = zeros<float>({2})});
  test::check_error<ValueError>([&] { return scaled_dot_product_attention(q, k, v, {.window = -1}); },
                                "scaled_dot_product_attention: window is -1 and first_query 0, but neither may be "
                                "negative");
  test::check_error<ValueError>([&] { return scaled_dot_product_attention(q, k, v, {.dropout = 1}); },
                                "scaled_dot_product_attention: dropout is 1, but must be in [0, 1)");
}

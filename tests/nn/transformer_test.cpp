// Attention and transformer layers against torch.nn's, with the weights of hashed.hpp.
#include "gradus/nn/transformer.hpp"

#include "gradus/autograd/gradcheck.hpp"
#include "gradus/nn/mixture_of_experts.hpp"
#include "gradus/nn/positions.hpp"
#include "gradus/nn/rms_norm.hpp"
#include "gradus/ops/view/cast.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/hashed.hpp"
#include "tests/support/operator_check.hpp"

/* golden
from torch.nn.attention import SDPBackend, sdpa_kernel
nn = torch.nn
torch.backends.mha.set_fastpath_enabled(False)
hidden = torch.tensor([[False, False, True, False], [False, True, False, False]])  # True: not seen, in torch.nn
later = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)

def plain(f):
    def run(*inputs):
        with sdpa_kernel(SDPBackend.MATH):
            return f(*inputs)
    return run
self_attn = fill_hashed(nn.MultiheadAttention(6, 2))
case("self", plain(lambda x: self_attn(x, x, x)[0]), randn(4, 2, 6))
case("self causal", plain(lambda x: self_attn(x, x, x, attn_mask=later)[0]), randn(4, 2, 6))
first = fill_hashed(nn.MultiheadAttention(6, 3, bias=False, batch_first=True))
case("cross", plain(lambda q, k: first(q, k, k, key_padding_mask=hidden)[0]), randn(2, 3, 6), randn(2, 4, 6))
other = fill_hashed(nn.MultiheadAttention(6, 2, kdim=5, vdim=3))
case("other sizes", plain(lambda q, k, v: other(q, k, v)[0]), randn(2, 2, 6), randn(3, 2, 5), randn(3, 2, 3))
for name, given in {"encoder": {}, "encoder first": dict(norm_first=True, activation="gelu", batch_first=True)}.items():
    layer = fill_hashed(nn.TransformerEncoderLayer(6, 2, 8, 0.0, **given))
    case(name, plain(layer), randn(4, 2, 6))
whole = fill_hashed(nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, 0.0, norm_first=True, batch_first=True),
                                          2, nn.LayerNorm(6), enable_nested_tensor=False))
case("whole encoder", plain(lambda x: whole(x, src_key_padding_mask=hidden)), randn(2, 4, 6))
for name, given in {"decoder": {}, "decoder first": dict(norm_first=True, bias=False)}.items():
    decoder = fill_hashed(nn.TransformerDecoderLayer(6, 2, 8, 0.0, **given))
    case(name, plain(lambda x, memory: decoder(x, memory, tgt_mask=later)), randn(4, 2, 6), randn(3, 2, 6))
*/

using namespace gradus;

namespace {

template <Floating T, class Layer, class... A>
Tensor<T> with_hashed(Layer layer, const A&... arguments) {
  test::fill_hashed<T>(layer);
  return layer(arguments...);
}

Tensor<bool> seen_tokens() { return cast<bool>(from_vector<uint8_t>({1, 1, 0, 1, 1, 0, 1, 1}, {2, 4})); }

test::OperatorOptions layer_tolerances() { return {.double_tolerance = 1e-11, .float_tolerance = 1e-4}; }

}  // namespace

TEST_CASE("MultiheadAttention is torch.nn's") {
  test::check_operator<double, float>(
      "self", []<class T>(const Tensor<T>& x) { return with_hashed<T>(nn::MultiheadAttention<T>(6, {.heads = 2}), x); },
      layer_tolerances());
  test::check_operator<double>(
      "self causal",
      []<class T>(const Tensor<T>& x) {
        return with_hashed<T>(nn::MultiheadAttention<T>(6, {.heads = 2}), x, nn::AttentionMask{.causal = true});
      },
      layer_tolerances());
  test::check_operator<double>(
      "cross",
      []<class T>(const Tensor<T>& q, const Tensor<T>& k) {
        return with_hashed<T>(nn::MultiheadAttention<T>(6, {.heads = 3, .bias = false, .batch_first = true}), q, k, k,
                              nn::AttentionMask{.tokens = seen_tokens()});
      },
      layer_tolerances());
  test::check_operator<double>(
      "other sizes",
      []<class T>(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
        return with_hashed<T>(nn::MultiheadAttention<T>(6, {.heads = 2, .key_size = 5, .value_size = 3}), q, k, v);
      },
      layer_tolerances());
}

TEST_CASE("transformer layers are torch.nn's") {
  nn::TransformerOptions plain{.heads = 2, .feed_forward = 8, .dropout = 0};
  auto first = plain;
  first.norm_first = true;
  auto gelu_first = first;
  gelu_first.activation = nn::Activation::gelu;
  gelu_first.batch_first = true;
  auto encoder = [](const nn::TransformerOptions& options) {
    return [=]<class T>(const Tensor<T>& x) { return with_hashed<T>(nn::TransformerEncoderLayer<T>(6, options), x); };
  };
  test::check_operator<double, float>("encoder", encoder(plain), layer_tolerances());
  test::check_operator<double>("encoder first", encoder(gelu_first), layer_tolerances());
  auto batch = first;
  batch.batch_first = true;
  test::check_operator<double>(
      "whole encoder",
      [batch]<class T>(const Tensor<T>& x) {
        return with_hashed<T>(nn::TransformerEncoder<T>(6, 2, batch), x, nn::AttentionMask{.tokens = seen_tokens()});
      },
      layer_tolerances());
  first.bias = false;
  auto decoder = [](const nn::TransformerOptions& options) {
    return [=]<class T>(const Tensor<T>& x, const Tensor<T>& memory) {
      return with_hashed<T>(nn::TransformerDecoderLayer<T>(6, options), x, memory);
    };
  };
  test::check_operator<double, float>("decoder", decoder(plain), layer_tolerances());
  test::check_operator<double>("decoder first", decoder(first), layer_tolerances());
}

TEST_CASE("a mask of tokens and one of pairs together hide what either hides") {
  manual_seed(1);
  nn::MultiheadAttention<double> layer(6, {.heads = 2, .batch_first = true});
  auto x = randn<double>({2, 4, 6});
  auto tokens = seen_tokens();
  auto pairs = rand<double>({4, 4}) < 0.7;
  pairs.mutable_data()[0] = true;
  auto both = Tensor<bool>::empty({2, 1, 4, 4});
  for (int64_t i = 0; i < 32; ++i) both.mutable_data()[i] = tokens.data()[i / 16 * 4 + i % 4] && pairs.data()[i % 16];
  CHECK(test::bit_mismatch(layer(x, {.mask = pairs, .tokens = tokens}), layer(x, {.mask = both})) == "");
}

TEST_CASE("an encoder layer that is computed again has the same gradients") {
  auto run = [](bool again) {
    manual_seed(2);
    nn::TransformerEncoder<float> encoder(8, 2, {.heads = 2, .feed_forward = 16, .recompute = again});
    auto x = randn<float>({5, 3, 8}).set_requires_grad(true);
    sum(encoder(x) * test::hashed<float>(9, {5, 3, 8}, -1, 1)).backward();
    std::vector<Tensor<float>> gradients{x.grad()};
    for (const auto& parameter : parameters(encoder)) gradients.push_back(parameter.grad());
    return gradients;
  };
  auto want = run(false), got = run(true);
  for (size_t i = 0; i < want.size(); ++i) CHECK(test::bit_mismatch(got[i], want[i]) == "");
}

TEST_CASE("a part that is computed again has no gradients of gradients") {
  nn::TransformerEncoderLayer<double> layer(4, {.heads = 1, .feed_forward = 4, .dropout = 0, .recompute = true});
  auto x = randn<double>({2, 1, 4}).set_requires_grad(true);
  test::check_error<AutogradError>([&] { return grad(sum(layer(x)), x, {.create_graph = true}); },
                                   "backward: gradients of gradients do not pass a part that is computed again; switch "
                                   "its recompute off");
  auto only_weights = sum(layer(x.detach()));
  only_weights.backward();
  CHECK(layer.linear1.weight.grad().defined());
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("a mixture of experts weighs the best experts of each token") {
  manual_seed(4);
  nn::MixtureOfExperts<double> layer(6, 8, {.experts = 5, .chosen = 2});
  auto x = randn<double>({3, 4, 6});
  auto [y, balance] = layer(x);
  CHECK(y.shape() == Shape{3, 4, 6});
  for (int64_t token = 0; token < 12; ++token) {
    auto of = slice(reshape(x, {12, 6}), 0, token, token + 1);  // (1, 6)
    auto scores = layer.gate(of).to_vector();
    auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    auto second = best == 0 ? 1 : 0;
    for (int64_t i = 0; i < 5; ++i) {
      if (i != best && scores[static_cast<size_t>(i)] > scores[static_cast<size_t>(second)])
        second = static_cast<int>(i);
    }
    auto share = 1 / (1 + std::exp(scores[static_cast<size_t>(second)] - scores[static_cast<size_t>(best)]));
    auto want = layer.experts[static_cast<size_t>(best)](of) * share +
                layer.experts[static_cast<size_t>(second)](of) * (1 - share);
    CHECK(test::mismatch(slice(reshape(y, {12, 6}), 0, token, token + 1), want, {1e-13}) == "");
  }
  CHECK(balance.item() > 0.9);
  gradcheck_model(layer, [&] {
    auto result = layer(x);
    return sum(result.y * result.y) + result.balance;
  });
}

TEST_CASE("positions as sines and cosines") {
  auto table = nn::sinusoidal_positions<double>(3, 5);
  auto want = [](int64_t position, int64_t i) {
    auto angle = static_cast<double>(position) / std::pow(10000.0, static_cast<double>(i / 2 * 2) / 5);
    return i % 2 == 0 ? std::sin(angle) : std::cos(angle);
  };
  for (int64_t i = 0; i < 15; ++i) CHECK(table.data()[i] == Approx(want(i / 5, i % 5)).margin(1e-15));
}

TEST_CASE("what attention layers refuse") {
  using Attention = nn::MultiheadAttention<float>;
  test::check_error<ValueError>([] { return Attention(6, {.heads = 4}); },
                                "MultiheadAttention: 6 numbers do not spread over 4 heads");
  test::check_error<ValueError>([] { return Attention(6, {.dropout = 1.5}); },
                                "MultiheadAttention: dropout is 1.5, but must be in [0, 1)");
  test::check_error<ShapeError>(
      [] {
        return Attention(6, {})(zeros<float>({2, 6}));
      },
      "MultiheadAttention: an input is (2, 6), but must be (tokens, n, size)");
  test::check_error<ShapeError>(
      [] {
        return Attention(6, {})(zeros<float>({2, 1, 6}), {.tokens = full<bool>({2}, true)});
      },
      "attention: the mask of tokens is (2,), but must be (n, keys)");
  test::check_error<ValueError>([] { return nn::MixtureOfExperts<float>(4, 4, {.experts = 2, .chosen = 3}); },
                                "MixtureOfExperts: 3 of 2 experts cannot be chosen");
  test::check_error<ValueError>([] { return nn::TransformerDecoderLayer<float>(8, {.recompute = true}); },
                                "TransformerDecoderLayer: recompute is for layers that read one tensor; wrap the layer "
                                "in recompute() with its memory in the function");
}

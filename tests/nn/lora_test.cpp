// Low-rank adapters: what they compute, what is trained, and PEFT's files (tests/data_files/lora).
#include "gradus/nn/lora.hpp"

#include "gradus/autograd/gradcheck.hpp"
#include "gradus/io/lora.hpp"
#include "gradus/io/model.hpp"
#include "gradus/models/bert.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

/// As tests/data_files/lora/make.py builds it.
template <Floating T = float>
struct AdaptedNet {
  nn::Linear<T> first{5, 4}, second{4, 3}, head{3, 2, {.bias = false}};
  GRADUS_FIELDS(first, second, head)
  Tensor<T> operator()(const Tensor<T>& x) const { return head(tanh(second(tanh(first(x))))); }
};

const std::string lora_files = std::string(GRADUS_TEST_DATA_DIR) + "/lora";

template <Floating T>
void randomize_adapters(AdaptedNet<T>& net) {
  for (auto* layer : {&net.first, &net.second})
    if (layer->lora_B.defined()) layer->lora_B = Parameter<T>(randn<T>(layer->lora_B.shape()));
}

std::vector<std::string> names_of(const AdaptedNet<float>& net) {
  std::vector<std::string> names;
  for (const auto& named : named_parameters(net)) names.push_back(named.name);
  return names;
}

}  // namespace

TEST_CASE("adapters change nothing at first, then what their matrices say") {
  manual_seed(1);
  AdaptedNet<double> net;
  auto x = randn<double>({2, 3, 5});
  auto before = net(x);
  CHECK(nn::add_lora<double>(net, {.rank = 2, .alpha = 6, .layers = {"first", "second"}}) == 2);
  CHECK(test::mismatch(net(x), before) == "");
  CHECK(net.first.lora_A.shape() == Shape{2, 5});
  CHECK(net.first.lora_B.shape() == Shape{4, 2});
  CHECK_FALSE(net.head.lora_A.defined());
  randomize_adapters(net);
  const auto& l = net.first;
  auto want = linear(x, l.weight.tensor() + matmul(l.lora_B.tensor(), l.lora_A.tensor()) * 3.0, l.bias.tensor());
  CHECK(test::mismatch(l(x), want, {.relative = 1e-12, .scale = 1}) == "");
  gradcheck_model(net, [&] { return net(x); });
}

TEST_CASE("only adapters and what is unfrozen are trained") {
  manual_seed(2);
  AdaptedNet<float> net;
  nn::add_lora(net, {.rank = 2, .dropout = 0.25, .layers = {"first", "second"}});
  CHECK(count_parameters(net) == 2 * (5 + 4) + 2 * (4 + 3));
  unfreeze(net.head);
  CHECK(count_parameters(net) == 32 + 6);
  auto untouched = net;  // a copy: frozen where the model is, with adapters of its own
  CHECK(count_parameters(untouched) == 38);
  optim::AdamW adam(net, {.lr = 0.01});
  auto x = randn<float>({16, 5});
  auto labels = randint<int64_t>(0, 2, {16});
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    auto loss = cross_entropy(net(x), labels);
    adam.zero_grad();
    loss.backward();
    CHECK_FALSE(net.first.weight.grad().defined());
    adam.step();
    (step == 0 ? first : last) = static_cast<double>(loss.item());
  }
  CHECK(last < 0.8 * first);
  CHECK(net.first.weight.tensor().to_vector() == untouched.first.weight.tensor().to_vector());
  CHECK(net.second.bias.tensor().to_vector() == untouched.second.bias.tensor().to_vector());
  CHECK(net.first.lora_A.tensor().to_vector() != untouched.first.lora_A.tensor().to_vector());
  CHECK(net.head.weight.tensor().to_vector() != untouched.head.weight.tensor().to_vector());
}

TEST_CASE("dropout of adapters is on while training only") {
  manual_seed(3);
  AdaptedNet<float> net;
  nn::add_lora(net, {.rank = 2, .dropout = 0.5});
  randomize_adapters(net);
  auto x = randn<float>({8, 5});
  CHECK(net.first(x).to_vector() != net.first(x).to_vector());
  eval(net);
  CHECK(net.first(x).to_vector() == net.first(x).to_vector());
}

TEST_CASE("merged adapters give the same results and are gone") {
  manual_seed(4);
  AdaptedNet<float> net;
  auto names = names_of(net);
  nn::add_lora(net, {.rank = 3});
  randomize_adapters(net);
  auto x = randn<float>({7, 5});
  auto before = net(x);
  CHECK(nn::merge_lora(net) == 3);
  CHECK(test::mismatch(net(x), before, {.relative = 1e-5, .scale = 1}) == "");
  CHECK(names_of(net) == names);
  CHECK(count_parameters(net) == 0);
  CHECK(nn::merge_lora(net) == 0);
  nn::add_lora(net);  // and there is room for others
}

TEST_CASE("layers of a Sequential get adapters, too") {
  manual_seed(5);
  nn::Sequential<float> net(nn::Linear<float>(4, 6), nn::Relu(), nn::Linear<float>(6, 2));
  CHECK(nn::add_lora(net, {.rank = 1, .layers = {"2"}}) == 1);
  CHECK(count_parameters(net) == 8);
  auto loss = sum(net(randn<float>({3, 4})));
  loss.backward();
  auto trained = named_parameters(net);
  for (const auto& named : trained) {
    INFO(named.name);
    CHECK((named.name == "2.lora_A" || named.name == "2.lora_B") == named.tensor.grad().defined());
  }
}

TEST_CASE("a transformer's attention gets adapters by name") {
  manual_seed(6);
  models::BertClassifier<float> model(
      {.vocabulary = 20, .context = 8, .layers = 2, .heads = 2, .width = 8, .feed_forward = 16}, 2);
  CHECK(nn::add_lora(model, {.rank = 2, .layers = {"query", "self.value"}}) == 4);
  unfreeze(model.classifier);
  CHECK(count_parameters(model) == 4 * 2 * (8 + 8) + 8 * 2 + 2);
}

TEST_CASE("adapters that PEFT wrote") {
  auto expected = io::SafeTensors::read(lora_files + "/expected.safetensors");
  AdaptedNet<float> net;
  io::load(lora_files + "/base.safetensors", net);
  auto x = expected.get_as<float>("x");
  CHECK(test::mismatch(net(x), expected.get_as<float>("before"), {.relative = 1e-5, .scale = 1}) == "");
  io::load_lora(lora_files, net);
  CHECK(test::mismatch(net(x), expected.get_as<float>("after"), {.relative = 1e-5, .scale = 1}) == "");
  CHECK(count_parameters(net) == 2 * (5 + 4) + 2 * (4 + 3));

  test::TemporaryFolder folder;
  io::save_lora(folder / "adapter", net);
  AdaptedNet<float> again;
  io::load(lora_files + "/base.safetensors", again);
  io::load_lora(folder / "adapter", again);
  CHECK(again(x).to_vector() == net(x).to_vector());
  auto theirs = io::SafeTensors::read(lora_files + "/adapter_model.safetensors");
  CHECK(io::SafeTensors::read(folder / "adapter/adapter_model.safetensors").names() == theirs.names());
}

TEST_CASE("adapters that do not fit say why, and change nothing") {
  AdaptedNet<float> net;
  test::check_error<ValueError>(
      [&] { nn::add_lora(net, {.layers = {"query"}}); },
      "add_lora: no dense layer of float fits; the paths of those there are end in first, head, second");
  test::check_error<ValueError>(
      [&] { nn::add_lora<double>(net); },
      "add_lora: no dense layer of double fits; the paths of those there are end in nothing: there are none");
  test::check_error<ValueError>([&] { nn::add_lora(net, {.rank = 0}); },
                                "add_lora: rank 0 and dropout 0, but must be at least 1, and in [0, 1)");
  test::TemporaryFolder folder;
  test::check_error<ValueError>([&] { io::save_lora(folder / "x", net); },
                                "save_lora: the model has no adapters; nn::add_lora makes them");
  auto copy_with = [&](const std::string& config) {
    test::write_bytes(folder / "adapter_config.json", config);
    test::write_bytes(folder / "adapter_model.safetensors",
                      test::read_bytes(lora_files + "/adapter_model.safetensors"));
    return folder / "";
  };
  auto at = folder / "adapter_config.json", weights = (folder / "") + "/adapter_model.safetensors";
  auto refuses = [&](const std::string& config, const std::string& text) {
    test::check_error<FormatError>([&] { io::load_lora(copy_with(config), net); }, text);
    CHECK(count_parameters(net) == 5 * 4 + 4 + 4 * 3 + 3 + 6);
  };
  auto config = (folder / "") + "/adapter_config.json: ";
  refuses(R"({"peft_type": "IA3"})", config + "peft_type 'IA3', but only LORA is known");
  refuses(R"({"peft_type": "LORA"})", config + "json: the object has no member 'r'");
  refuses(R"({"peft_type": "LORA", "r": 2, "use_dora": true})", config + "use_dora is not known");
  refuses(R"({"peft_type": "LORA", "r": 2, "rank_pattern": {"first": 4}})", config + "rank_pattern is not known");
  refuses(R"({"peft_type": "LORA", "r": 0})", config + "r is 0 and lora_dropout 0");
  refuses(R"({"peft_type": "LORA", "r": 3})",
          weights + ": base_model.model.first.lora_A.weight is (2, 5), but must be (3, 5)");
  nn::Linear<float> other(5, 4);
  test::check_error<FormatError>(
      [&] { io::load_lora(lora_files, other); },
      lora_files + "/adapter_model.safetensors: 4 tensors, but the model has dense layers for 0 of them");
  nn::add_lora(net);
  test::check_error<ValueError>([&] { nn::add_lora(net); },
                                "add_lora: layer 'first' has an adapter already; merge_lora puts it into the weight");
  test::check_error<ValueError>([&] { io::load_lora(lora_files, net); },
                                "load_lora: layer 'first' has an adapter already");
}

TEST_CASE("an optimizer of a frozen model has nothing to train") {
  AdaptedNet<float> net;
  freeze(net);
  test::check_error<ValueError>([&] { optim::AdamW adam(net); }, "AdamW: the model has no parameters to train");
  unfreeze(net.second);
  optim::AdamW adam(net, {.lr = 0.1});
  auto before = net;
  sum(net(randn<float>({3, 5}))).backward();
  adam.step();
  zero_grad(net);
  CHECK(net.first.weight.tensor().to_vector() == before.first.weight.tensor().to_vector());
  CHECK(net.second.weight.tensor().to_vector() != before.second.weight.tensor().to_vector());
}

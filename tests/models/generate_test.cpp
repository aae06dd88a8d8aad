#include "gradus/models/generate.hpp"

#include <map>

#include "gradus/models/gpt.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

namespace {

/// A model whose next token depends on the last one alone: row i holds the probabilities behind token i.
struct Chain {
  std::vector<std::vector<double>> next;
  int64_t room = 50;
  mutable int64_t fed = 0;

  struct Cache {
    int64_t reordered = 0;
    void reorder(const std::vector<int64_t>&) { ++reordered; }
  };
  Cache make_cache() const { return {}; }
  int64_t context() const { return room; }
  Tensor<double> hidden(const Tensor<int64_t>& ids, Cache*) const {
    fed += ids.numel();
    auto x = Tensor<double>::empty({ids.size(0), ids.size(1), 1});
    for (int64_t i = 0; i < ids.numel(); ++i) x.mutable_data()[i] = static_cast<double>(ids.data()[i]);
    return x;
  }
  Tensor<double> logits(const Tensor<double>& x_in) const {
    auto x = contiguous(x_in);
    auto tokens = std::ssize(next);
    auto y = Tensor<double>::empty({x.size(0), x.size(1), tokens});
    for (int64_t i = 0; i < y.numel(); ++i) {
      auto from = static_cast<size_t>(x.data()[i / tokens]);
      y.mutable_data()[i] = std::log(next[from][static_cast<size_t>(i % tokens)]);
    }
    return y;
  }
};

using Tokens = std::vector<int64_t>;

/// Token 0 leads to 1 (0.6) or 2 (0.4); 1 leads evenly to 3, 4, 5; 2 surely to 3; these end in 6.
Chain forked() {
  return {{{0, 0.6, 0.4, 0, 0, 0, 0},
           {0, 0, 0, 0.34, 0.33, 0.33, 0},
           {0, 0, 0, 1, 0, 0, 0},
           {0, 0, 0, 0, 0, 0, 1},
           {0, 0, 0, 0, 0, 0, 1},
           {0, 0, 0, 0, 0, 0, 1},
           {0, 0, 0, 0, 0, 0, 1}}};
}

}  // namespace

TEST_CASE("the likeliest token is taken at temperature 0, the likeliest sequence by beams") {
  auto chain = forked();
  CHECK(models::generate(chain, {0}, {.max_tokens = 3, .temperature = 0}) == Tokens{1, 3, 6});
  CHECK(models::generate(chain, {0}, {.max_tokens = 3, .beams = 2}) == Tokens{2, 3, 6});
  CHECK(models::generate(chain, {0}, {.max_tokens = 9, .beams = 3, .stop = {{3, 6}, {6}}}) == Tokens{2});
}

TEST_CASE("making ends where it is told to") {
  auto chain = forked();
  CHECK(models::generate(chain, {0}, {.max_tokens = 9, .temperature = 0, .stop = {{5, 6}, {3, 6}}}) == Tokens{1});
  Tokens heard;
  auto made = models::generate(chain, {0}, {.temperature = 0, .on_token = [&](int64_t token) {
                                              heard.push_back(token);
                                              return token != 3;
                                            }});
  CHECK(made == Tokens{1, 3});
  CHECK(heard == made);
  chain.room = 4;
  CHECK(models::generate(chain, {0, 0}, {.temperature = 0}) == Tokens{1, 3, 6});
  CHECK(models::generate(chain, {0}, {.max_tokens = 0}).empty());
}

TEST_CASE("tokens are drawn with their probabilities, of the likeliest only where that is asked for") {
  Chain dice{{{0.5, 0.25, 0.15, 0.1}, {0.5, 0.25, 0.15, 0.1}, {0.5, 0.25, 0.15, 0.1}, {0.5, 0.25, 0.15, 0.1}}, 40000};
  auto shares = [&](models::GenerateOptions options) {
    manual_seed(1);
    options.max_tokens = 4000;
    std::map<int64_t, double> share;
    for (auto token : models::generate(dice, {0}, options)) share[token] += 1.0 / 4000;
    return share;
  };
  auto all = shares({});
  CHECK(all[0] == Approx(0.5).margin(0.03));
  CHECK(all[3] == Approx(0.1).margin(0.02));
  auto two = shares({.top_k = 2});
  CHECK(two.size() == 2);
  CHECK(two[1] == Approx(1.0 / 3).margin(0.03));
  auto three = shares({.top_p = 0.8});
  CHECK(three.size() == 3);
  CHECK(three[2] == Approx(0.15 / 0.9).margin(0.03));
  CHECK(shares({.top_p = 0.5}).size() == 1);
  auto sharp = shares({.temperature = 0.5});  // squares of the probabilities
  CHECK(sharp[1] == Approx(0.0625 / 0.345).margin(0.03));
  CHECK(shares({}) == all);
}

TEST_CASE("what was seen is less likely with a repetition penalty") {
  Chain two{{{0.6, 0.4}, {0.6, 0.4}}};
  CHECK(models::generate(two, {0}, {.max_tokens = 2, .temperature = 0, .repetition_penalty = 2}) == Tokens{1, 0});
}

TEST_CASE("a token costs one step of the model") {
  auto chain = forked();
  models::generate(chain, {0, 0, 0}, {.max_tokens = 5});
  CHECK(chain.fed == 3 + 4);
}

TEST_CASE("a GPT goes on from a prompt the same way with a cache of one beam and of several") {
  models::Gpt<double> gpt({.vocabulary = 17, .context = 24, .layers = 2, .heads = 2, .width = 16, .dropout = 0});
  test::fill_hashed<double>(gpt);
  eval(gpt);
  auto greedy = models::generate(gpt, {3, 1, 4}, {.max_tokens = 30, .temperature = 0});
  CHECK(greedy.size() == 22);  // one more than the context holds is known
  auto tokens = Tokens{3, 1, 4};
  for (auto token : greedy) {
    auto logits = no_grad([&] { return gpt(from_vector(tokens, {1, std::ssize(tokens)})); });
    auto last = slice(logits, 1, std::ssize(tokens) - 1, std::ssize(tokens)).to_vector();
    CHECK(token == std::max_element(last.begin(), last.end()) - last.begin());
    tokens.push_back(token);
  }
  auto log_probability = [&](const Tokens& made) {
    auto all = Tokens{3, 1, 4};
    all.insert(all.end(), made.begin(), made.end());
    auto logits = no_grad([&] { return gpt(from_vector(all, {1, std::ssize(all)})); });
    double sum = 0;
    for (size_t i = 0; i < made.size(); ++i) {
      auto row = slice(logits, 1, static_cast<int64_t>(i) + 2, static_cast<int64_t>(i) + 3).to_vector();
      models::detail::to_log_probabilities(row);
      sum += row[static_cast<size_t>(made[i])];
    }
    return sum;
  };
  auto beams = models::generate(gpt, {3, 1, 4}, {.max_tokens = 6, .beams = 5});
  CHECK(beams.size() == 6);
  CHECK(log_probability(beams) >= log_probability(Tokens(greedy.begin(), greedy.begin() + 6)));
}

TEST_CASE("what generate refuses") {
  auto chain = forked();
  auto refused = [&](const models::GenerateOptions& options, const std::string& text) {
    test::check_error<ValueError>([&] { return models::generate(chain, {0}, options); }, "generate: " + text);
  };
  refused({.temperature = -1}, "temperature is -1, but must be 0 or more");
  refused({.top_p = 0}, "top_k is 0 and top_p 0, but must be 0 or more, and in (0, 1]");
  refused({.repetition_penalty = 0}, "repetition_penalty is 0, but must be more than 0");
  refused({.beams = 0}, "0 beams, but there must be at least one");
  refused({.beams = 2, .on_token = [](int64_t) { return true; }},
          "beams change to the end, so on_token needs beams = 1");
  test::check_error<ValueError>([&] { return models::generate(chain, {}); },
                                "generate: the prompt is empty; begin with a token that begins a text");
  chain.room = 2;
  test::check_error<ValueError>(
      [&] {
        return models::generate(chain, {0, 0, 0});
      },
      "generate: the prompt has 3 tokens, but the context holds 2; keep its end");
  Chain broken{{{std::nan(""), 1}, {1, 1}}};
  test::check_error<ValueError>([&] { return models::generate(broken, {0}); },
                                "generate: the model's logits are not finite");
}

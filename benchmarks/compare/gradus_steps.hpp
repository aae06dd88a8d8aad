// The workloads of `./run compare` in Gradus: a network, its loss and AdamW, as a function that does one step.
#pragma once

#include <functional>
#include <sstream>
#include <string_view>

#include "gradus/gradus.hpp"

namespace gradus::compare {

using Step = std::function<float(int64_t)>;  // number of the step -> loss

/// A program of one workload alone is compiled with -DGRADUS_ONLY="mlp"; its size and compile time are measured.
#if defined(GRADUS_ONLY)
inline constexpr std::string_view only = GRADUS_ONLY;
#else
inline constexpr std::string_view only = "";
#endif

/// Batches that are used in turn. Numbers are rounded to the elements of the model, targets of a loss are not.
template <Element Input, Element Label>
struct Batches {
  std::vector<Tensor<Input>> inputs;
  std::vector<Tensor<Label>> targets;

  explicit Batches(const std::string& path) {
    auto file = io::SafeTensors::read(path);
    for (int i = 0; i < static_cast<int>(file.names().size()) / 2; ++i) {
      auto x = "x" + std::to_string(i);
      if constexpr (Floating<Input>) inputs.push_back(cast<Input>(file.get<float>(x)));
      else inputs.push_back(file.get<Input>(x));
      targets.push_back(file.get<Label>("y" + std::to_string(i)));
    }
  }
  size_t at(int64_t step) const { return static_cast<size_t>(step) % inputs.size(); }
};

/// T: elements of the model's weights and activations. The loss is taken in float.
template <Floating T, Element Input, Element Label, class Model, class Loss>
Step training(Model made, const std::string& stem, Loss loss_of) {
  auto model = std::make_shared<Model>(std::move(made));
  io::load(stem + ".weights.safetensors", *model);
  auto adam = std::make_shared<optim::AdamW<T>>(*model, optim::AdamWOptions{.lr = 1e-4});
  auto batches = std::make_shared<Batches<Input, Label>>(stem + ".batches.safetensors");
  return [=](int64_t step) {
    auto i = batches->at(step);
    auto y = (*model)(batches->inputs[i]);
    auto loss = loss_of(cast<float>(y), batches->targets[i]);
    loss.backward();
    adam->step();
    adam->zero_grad();
    return loss.item();
  };
}

/// Ratings of users and items: ids (n, 2) -> (n).
template <Floating T>
struct MatrixFactorisation {
  nn::Embedding<T> users, items;
  GRADUS_FIELDS(users, items)

  MatrixFactorisation(int64_t user_count, int64_t item_count, int64_t width)
      : users(user_count, width), items(item_count, width) {}
  Tensor<T> operator()(const Tensor<int64_t>& ids) const {
    return sum(users(select(ids, 1, 0)) * items(select(ids, 1, 1)), 1);
  }
};

template <Floating T>
Step add_with_gradient(const std::string& stem) {
  auto batches = Batches<T, float>(stem + ".batches.safetensors");
  auto a = batches.inputs[0], b = cast<T>(batches.targets[0]);
  a.set_requires_grad();
  b.set_requires_grad();
  return [=](int64_t) mutable {
    auto y = sum(a + b);
    y.backward();
    a.set_grad({});
    b.set_grad({});
    return static_cast<float>(y.item());
  };
}

/// "mlp:64,32,10" -> {64, 32, 10}; "mlp" -> the default.
inline std::vector<int64_t> sizes_of(std::string_view workload, std::vector<int64_t> otherwise) {
  auto colon = workload.find(':');
  if (colon == std::string_view::npos) return otherwise;
  std::vector<int64_t> sizes;
  std::istringstream text{std::string(workload.substr(colon + 1))};
  for (std::string size; std::getline(text, size, ',');) sizes.push_back(std::stoll(size));
  return sizes;
}

/// Sizes are context, layers, heads, width and vocabulary.
template <Floating T>
models::Gpt<T> gpt_of(const std::vector<int64_t>& sizes) {
  return models::Gpt<T>({.vocabulary = sizes.at(4),
                         .context = sizes.at(0),
                         .layers = sizes.at(1),
                         .heads = sizes.at(2),
                         .width = sizes.at(3),
                         .dropout = 0});
}

inline const std::vector<int64_t> small_gpt = {256, 6, 6, 384, 4096};

/// Makes one token a step, always the likeliest, and begins again with the prompt every 120 steps.
template <Floating T>
Step decoding(const std::string& stem) {
  auto model = std::make_shared<models::Gpt<T>>(gpt_of<T>(small_gpt));
  io::load(stem + ".weights.safetensors", *model);
  eval(*model);
  auto prompt = Batches<int64_t, int64_t>(stem + ".batches.safetensors").inputs[0];
  auto cache = std::make_shared<nn::DecoderCache<T>>(model->make_cache());
  auto ids = prompt;
  return [=](int64_t step) mutable {
    NoGradGuard guard;
    if (step % 120 == 0) {
      cache->clear();
      ids = prompt;
    }
    auto logits = (*model)(ids, cache.get());  // (1, tokens, 4096)
    auto last = select(logits, 1, -1);         // (1, 4096)
    ids = argmax(last, 1, true);               // (1, 1)
    return static_cast<float>(max(last).item());
  };
}

/// "mlp" and "gpt" can name other sizes, see sizes_of. ValueError for a name that is none of theirs.
template <Floating T>
Step make_step(std::string_view workload, const std::string& stem) {
  auto classes = [](const Tensor<float>& y, const Tensor<int64_t>& labels) { return cross_entropy(y, labels); };
  auto squares = [](const Tensor<float>& y, const Tensor<float>& target) { return mse_loss(y, target); };
  auto chances = [](const Tensor<float>& y, const Tensor<float>& target) { return bce_with_logits(y, target); };
  auto tokens = [](const Tensor<float>& y, const Tensor<int64_t>& labels) {
    return cross_entropy(flatten(y, 0, 1), flatten(labels, 0));
  };
  auto base = workload.substr(0, workload.find(':'));
// A branch for each; in a program of one workload the others are never compiled.
#define GRADUS_WORKLOAD(name, ...)              \
  if constexpr (only.empty() || only == name) { \
    if (base == name) return __VA_ARGS__;       \
  }
  GRADUS_WORKLOAD("mlp",
                  training<T, T, int64_t>(models::Mlp<T>(sizes_of(workload, {784, 512, 512, 10})), stem, classes))
  GRADUS_WORKLOAD("deep_mlp", training<T, T, float>(models::Mlp<T>({28, 300, 300, 300, 300, 300, 1}), stem, squares))
  GRADUS_WORKLOAD("lenet", training<T, T, int64_t>(models::LeNet<T>(), stem, classes))
  GRADUS_WORKLOAD("resnet9", training<T, T, int64_t>(models::ResNet9<T>(3, 10, 32), stem, classes))
  GRADUS_WORKLOAD("resnet18", training<T, T, int64_t>(models::resnet18<T>(10), stem, classes))
  GRADUS_WORKLOAD("mobilenet_v2",
                  training<T, T, int64_t>(models::MobileNetV2<T>({.classes = 10, .dropout = 0}), stem, classes))
  GRADUS_WORKLOAD("unet", training<T, T, float>(models::UNet<T>({.width = 16, .levels = 3}), stem, chances))
  GRADUS_WORKLOAD("lstm", training<T, T, float>(models::LstmForecaster<T>(16, 14), stem, squares))
  GRADUS_WORKLOAD("gru", training<T, T, float>(models::GruForecaster<T>(16, 14), stem, squares))
  GRADUS_WORKLOAD("bert", training<T, int64_t, int64_t>(models::BertClassifier<T>({.vocabulary = 4096,
                                                                                   .context = 128,
                                                                                   .layers = 4,
                                                                                   .heads = 6,
                                                                                   .width = 384,
                                                                                   .feed_forward = 1536,
                                                                                   .dropout = 0},
                                                                                  10),
                                                        stem, classes))
  GRADUS_WORKLOAD("gpt", training<T, int64_t, int64_t>(gpt_of<T>(sizes_of(workload, small_gpt)), stem, tokens))
  GRADUS_WORKLOAD("decode", decoding<T>(stem))
  GRADUS_WORKLOAD("factors", training<T, int64_t, float>(MatrixFactorisation<T>(6000, 4000, 32), stem, squares))
  GRADUS_WORKLOAD("tiny_mlp", training<T, T, float>(models::Mlp<T>({4, 8, 1}), stem, squares))
  GRADUS_WORKLOAD("logistic", training<T, T, float>(nn::Linear<T>(64, 1), stem, chances))
  GRADUS_WORKLOAD("add_4x4", add_with_gradient<T>(stem))
#undef GRADUS_WORKLOAD
  throw ValueError(join("compare: there is no workload '", workload, "'"));
}

#if !defined(GRADUS_ONLY)  // each in a unit of its own, because together they take a compiler minutes
extern template Step make_step<float>(std::string_view, const std::string&);
extern template Step make_step<bf16>(std::string_view, const std::string&);
#endif

}  // namespace gradus::compare

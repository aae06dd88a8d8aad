// Low-rank adaptation (Hu et al., 2022): a pre-trained model stays as it is, and small matrices beside its dense layers
// are trained.
#pragma once

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "gradus/nn/linear.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

struct LoraOptions {
  int64_t rank = 8;
  double alpha = 16;                     ///< what is learnt counts alpha / rank
  double dropout = 0;                    ///< of the input of the small matrices, while training
  std::vector<std::string> layers = {};  ///< ends of paths, such as "query" or "self.query"; empty: every Linear
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// A Linear of a model, wherever it stands.
template <Floating T>
struct LinearParts {
  std::string path;
  Parameter<T>*weight = nullptr, *a = nullptr, *b = nullptr;
  LowRank<T>* lora = nullptr;
};

/// All of a model's, in the order of its fields: a LowRank follows the parameters of its layer.
template <Floating T, class Model>
std::vector<LinearParts<T>> linear_layers(Model& model) {
  std::vector<LinearParts<T>> layers;
  LinearParts<T> seen;
  gradus::detail::walk_fields("", model, [&](const std::string& path, auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (std::is_same_v<Part, Parameter<T>>) {
      if (path == "weight" || path.ends_with(".weight")) seen.weight = &part;
      if (path == "lora_A" || path.ends_with(".lora_A")) seen.a = &part;
      if (path == "lora_B" || path.ends_with(".lora_B")) seen.b = &part;
      return false;
    } else if constexpr (std::is_same_v<Part, LowRank<T>>) {
      seen.path = path.size() > 5 ? path.substr(0, path.size() - 5) : "";  // without ".lora"
      seen.lora = &part;
      layers.push_back(seen);
      return false;
    } else {
      return true;
    }
  });
  return layers;
}

inline bool ends_with_any(const std::string& path, const std::vector<std::string>& ends) {
  return ends.empty() || std::any_of(ends.begin(), ends.end(),
                                     [&](const std::string& end) { return path == end || path.ends_with('.' + end); });
}

template <Floating T>
Tensor<T> add_low_rank(const Linear<T>& layer, const Tensor<T>& x, const Tensor<T>& y) {
  auto dropped = dropout(x, layer.lora.dropout, layer.training.on);
  auto narrow = linear(dropped, layer.lora_A.tensor()) * layer.lora.scale;  // scaled where it is small: (..., rank)
  return y + linear(narrow, layer.lora_B.tensor());
}

/// Adapters as they start: A uniform as a dense layer's weight, B 0, so that nothing changes at first.
template <Floating T>
void start_adapter(const LinearParts<T>& layer, const LoraOptions& options) {
  auto out = layer.weight->shape()[0], in = layer.weight->shape()[1];
  *layer.a = Parameter<T>(init::fan_in_uniform<T>({options.rank, in}, in));
  *layer.b = Parameter<T>(zeros<T>({out, options.rank}));
  layer.lora->scale = options.alpha / static_cast<double>(options.rank);
  layer.lora->dropout = options.dropout;
  layer.lora->add = &add_low_rank<T>;
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Freezes the model and puts adapters beside those of its dense layers that options.layers names: make the optimizer
/// after this. What else is to be trained, such as a new head, is unfrozen afterwards: unfreeze(model.classifier).
/// Returns how many layers have adapters. ValueError when no layer fits, or when there are adapters already.
template <Floating T = float, class Model>
int64_t add_lora(Model& model, const LoraOptions& options = {}) {
  require<ValueError>(options.rank >= 1 && options.dropout >= 0 && options.dropout < 1, "add_lora: rank ", options.rank,
                      " and dropout ", options.dropout, ", but must be at least 1, and in [0, 1)");
  std::vector<detail::LinearParts<T>> chosen;
  std::set<std::string> names;
  for (const auto& layer : detail::linear_layers<T>(model)) {
    names.insert(layer.path.substr(layer.path.rfind('.') + 1));
    if (!detail::ends_with_any(layer.path, options.layers)) continue;
    require<ValueError>(layer.lora->add == nullptr, "add_lora: layer '", layer.path,
                        "' has an adapter already; merge_lora puts it into the weight");
    chosen.push_back(layer);
  }
  std::string known;
  for (const auto& name : names) known += (known.empty() ? "" : ", ") + name;
  require<ValueError>(!chosen.empty(), "add_lora: no dense layer of ", dtype_of<T>,
                      " fits; the paths of those there are end in ", known.empty() ? "nothing: there are none" : known);
  freeze(model);
  for (const auto& layer : chosen) detail::start_adapter(layer, options);
  gradus::detail::name_parts(model);
  return std::ssize(chosen);
}

/// Puts what the adapters have learnt into the weights and takes them away: the same results, without their cost. The
/// weights stay frozen. Returns how many there were.
template <Floating T = float, class Model>
int64_t merge_lora(Model& model) {
  int64_t count = 0;
  for (const auto& layer : detail::linear_layers<T>(model)) {
    if (layer.lora->add == nullptr) continue;
    no_grad([&] {
      auto weight = layer.weight->tensor();
      weight.copy_(weight + matmul(layer.b->tensor(), layer.a->tensor()) * layer.lora->scale);
    });
    *layer.a = *layer.b = Parameter<T>();
    *layer.lora = {};
    ++count;
  }
  return count;
}

}  // namespace gradus::nn::inline GRADUS_BUILD

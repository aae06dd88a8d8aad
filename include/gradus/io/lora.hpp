// Adapters in files of their own, as Hugging Face's PEFT keeps them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "gradus/io/atomic_file.hpp"
#include "gradus/io/file.hpp"
#include "gradus/io/json_reader.hpp"
#include "gradus/io/safetensors.hpp"
#include "gradus/io/write_safetensors.hpp"
#include "gradus/nn/lora.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// What PEFT writes before the path of a layer. Where its model stands within another, more:
/// "base_model.model.transformer." for GPT-2.
inline constexpr std::string_view peft_prefix = "base_model.model.";

/// Writes the model's adapters into a folder, which is made: adapter_model.safetensors and adapter_config.json, with
/// PEFT's names, "base_model.model.<path>.lora_A.weight". ValueError when the model has none, or when those of its
/// layers have different ranks. Other parts that were trained, such as a head, are saved by io::save.
template <Floating T = float, class Model>
void save_lora(const std::string& folder, Model& model, std::string_view prefix = peft_prefix) {
  std::vector<SafeTensorsEntry> entries;
  auto layers = Json::array();
  int64_t rank = 0;
  double alpha = 0, dropout = 0;
  for (const auto& layer : nn::detail::linear_layers<T>(model)) {
    if (layer.lora->add == nullptr) continue;
    auto its_rank = layer.a->shape()[0];
    require<ValueError>(rank == 0 || rank == its_rank, "save_lora: adapters of rank ", rank, " and of ", its_rank);
    rank = its_rank;
    alpha = layer.lora->scale * static_cast<double>(rank);
    dropout = layer.lora->dropout;
    layers.push_back(layer.path);
    entries.emplace_back(join(prefix, layer.path, ".lora_A.weight"), layer.a->tensor().impl());
    entries.emplace_back(join(prefix, layer.path, ".lora_B.weight"), layer.b->tensor().impl());
  }
  require<ValueError>(rank > 0, "save_lora: the model has no adapters; nn::add_lora makes them");
  std::filesystem::create_directories(folder);
  write_safetensors(folder + "/adapter_model.safetensors", entries);
  write_file(folder + "/adapter_config.json", to_pretty_string(Json::object({{"peft_type", "LORA"},
                                                                             {"r", rank},
                                                                             {"lora_alpha", alpha},
                                                                             {"lora_dropout", dropout},
                                                                             {"target_modules", layers},
                                                                             {"bias", "none"},
                                                                             {"fan_in_fan_out", false},
                                                                             {"base_model_name_or_path", nullptr},
                                                                             {"task_type", nullptr},
                                                                             {"inference_mode", true}})) +
                                                  '\n');
}

/// Adapters from such a folder, into a model that has none yet: freezes it and adds them where the file has some.
/// FormatError when they do not fit the model, which then stays as it was.
template <Floating T = float, class Model>
void load_lora(const std::string& folder, Model& model, std::string_view prefix = peft_prefix) {
  auto path = folder + "/adapter_config.json";
  nn::LoraOptions options;
  try {
    auto config = parse_json(detail::read_whole_file(path));
    auto number = [&](std::string_view key, double otherwise) {
      const auto* value = config.find(key);
      return value == nullptr || value->is_null() ? otherwise : value->as_number();
    };
    const auto& type = config.at("peft_type").as_string();
    require<FormatError>(type == "LORA", "peft_type '", type, "', but only LORA is known");
    for (auto key : {"use_dora", "use_rslora", "lora_bias", "rank_pattern", "alpha_pattern"}) {
      const auto* value = config.find(key);
      auto used =
          value != nullptr && !value->is_null() && (value->is_object() ? !value->keys().empty() : value->as_bool());
      require<FormatError>(!used, key, " is not known");
    }
    options.rank = config.at("r").as_int();
    options.alpha = number("lora_alpha", 8);
    options.dropout = number("lora_dropout", 0);
    require<FormatError>(options.rank >= 1 && options.dropout >= 0 && options.dropout < 1, "r is ", options.rank,
                         " and lora_dropout ", options.dropout);
  } catch (FormatError& error) {
    error.add_context(path);
    throw;
  }
  path = folder + "/adapter_model.safetensors";
  auto file = SafeTensors::read(path);
  std::vector<std::pair<nn::detail::LinearParts<T>, std::string>> found;
  for (const auto& layer : nn::detail::linear_layers<T>(model)) {
    auto name = join(prefix, layer.path, ".lora_");
    if (!file.contains(name + "A.weight") && !file.contains(name + "B.weight")) continue;
    require<ValueError>(layer.lora->add == nullptr, "load_lora: layer '", layer.path, "' has an adapter already");
    auto out = layer.weight->shape()[0], in = layer.weight->shape()[1];
    for (const auto& [end, shape] :
         {std::pair<std::string, Shape>{"A.weight", {options.rank, in}}, {"B.weight", {out, options.rank}}}) {
      require<FormatError>(file.contains(name + end), path, ": has no ", name, end);
      require<FormatError>(file.shape(name + end) == shape, path, ": ", name, end, " is ", file.shape(name + end),
                           ", but must be ", shape);
    }
    found.push_back({layer, name});
  }
  require<FormatError>(2 * found.size() == file.names().size() && !found.empty(), path, ": ", file.names().size(),
                       " tensors, but the model has dense layers for ", 2 * found.size(), " of them");
  std::vector<std::pair<Tensor<T>, Tensor<T>>> values;
  for (const auto& [layer, name] : found)
    values.push_back({file.template get_as<T>(name + "A.weight"), file.template get_as<T>(name + "B.weight")});
  freeze(model);
  for (size_t i = 0; i < found.size(); ++i) {
    nn::detail::start_adapter(found[i].first, options);
    *found[i].first.a = Parameter<T>(values[i].first);
    *found[i].first.b = Parameter<T>(values[i].second);
  }
  gradus::detail::name_parts(model);
}

}  // namespace gradus::io::inline GRADUS_BUILD

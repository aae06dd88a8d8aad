// Models from folders of Hugging Face: config.json says how large they are, the weights lie beside it.
#pragma once

#include <algorithm>
#include <filesystem>

#include "gradus/io/weights.hpp"
#include "gradus/models/bert.hpp"
#include "gradus/models/llama.hpp"
#include "gradus/models/vit.hpp"

namespace gradus::models::detail::inline GRADUS_BUILD {

/// The members of config.json, with what is wrong named.
class Config {
  template <class F>
  auto in_file(F&& f) const {
    try {
      return f();
    } catch (FormatError& error) {
      error.add_context(path_);
      throw;
    }
  }

 public:
  GRADUS_COLD Config(const std::string& folder, std::string_view type) : path_(folder + "/config.json") {
    try {
      json_ = io::parse_json(io::detail::read_whole_file(path_));
      const auto* found = json_.find("model_type");
      require<FormatError>(found == nullptr || found->as_string() == type, "model_type is '",
                           found == nullptr ? "" : found->as_string(), "', not '", type, "'");
    } catch (FormatError& error) {
      error.add_context(path_);
      throw;
    }
  }
  GRADUS_COLD int64_t size(std::string_view key, int64_t missing = -1) const {
    return in_file([&] {
      const auto* found = json_.find(key);
      if (found == nullptr || found->is_null()) {
        require<FormatError>(missing >= 0, "there is no ", key);
        return missing;
      }
      auto value = found->as_int();
      require<FormatError>(value > 0 && value <= 1 << 30, key, " is ", value);
      return value;
    });
  }
  GRADUS_COLD double number(std::string_view key, double missing) const {
    return in_file([&] {
      const auto* found = json_.find(key);
      return found == nullptr || found->is_null() ? missing : found->as_number();
    });
  }
  GRADUS_COLD bool flag(std::string_view key, bool missing) const {
    return in_file([&] {
      const auto* found = json_.find(key);
      return found == nullptr || found->is_null() ? missing : found->as_bool();
    });
  }
  GRADUS_COLD std::string text(std::string_view key, const std::string& missing) const {
    return in_file([&] {
      const auto* found = json_.find(key);
      return found == nullptr || found->is_null() ? missing : found->as_string();
    });
  }
  /// Refuses what the model of this library does not do.
  GRADUS_COLD void expect(std::string_view key, const std::string& wanted) const {
    auto found = text(key, wanted);
    require<FormatError>(found == wanted, path_, ": ", key, " is '", found, "', but this model knows only '", wanted,
                         "'");
  }
  const std::string& path() const { return path_; }
  /// Base of the rotary positions: "rope_theta", or the same within "rope_parameters", as newer files have it.
  /// Stretched positions are refused.
  GRADUS_COLD double rotary_theta() const {
    for (auto key : {"rope_scaling", "rope_parameters"}) {
      const auto* rope = json_.find(key);
      if (rope == nullptr || rope->is_null()) continue;
      auto type = in_file([&] {
        const auto* found = rope->find("rope_type");
        return found == nullptr ? std::string(rope->find("type") == nullptr ? "default" : rope->at("type").as_string())
                                : found->as_string();
      });
      require<FormatError>(type == "default", path_, ": ", key, " of type '", type,
                           "', a stretching of the rotary positions, is not known");
      if (const auto* theta = rope->find("rope_theta")) return in_file([&] { return theta->as_number(); });
    }
    return number("rope_theta", 10000);
  }

 private:
  std::string path_;
  io::Json json_;
};

/// Writes config.json and model.safetensors. `transposed`: the ends of the names of weights that the files hold as (in,
/// out).
template <class Model>
void write_folder(const std::string& folder, const Model& model, const io::Json& config, const std::string& prefix,
                  const std::vector<std::string>& transposed) {
  std::vector<io::SafeTensorsEntry> entries;
  gradus::detail::for_each_model_tensor(model, [&](const std::string& path, const auto& part) {
    require<ValueError>(!path.ends_with(".lora_A"),
                        "the model has adapters; nn::merge_lora puts them into the weights");
    auto ends = [&](const std::string& end) { return path.ends_with(end); };
    auto tensor = part.tensor().detach();
    if (std::any_of(transposed.begin(), transposed.end(), ends)) tensor = contiguous(transpose(tensor));
    entries.emplace_back(prefix + path, tensor.impl());
  });
  std::filesystem::create_directories(folder);
  io::write_safetensors(folder + "/model.safetensors", entries, {{"format", "pt"}});
  io::write_file(folder + "/config.json", io::to_pretty_string(config) + '\n');
}

}  // namespace gradus::models::detail::inline GRADUS_BUILD

namespace gradus::models::inline GRADUS_BUILD {

/// GPT-2 from a folder of Hugging Face (config.json and weights), in eval mode. IoError when a file cannot be read,
/// FormatError when it is of another model or does not fit; so for the others.
template <Floating T = float>
Gpt<T> gpt2_from(const std::string& folder) {
  detail::Config config(folder, "gpt2");
  config.expect("activation_function", "gelu_new");
  GptOptions o{.vocabulary = config.size("vocab_size"),
               .context = config.size("n_positions"),
               .layers = config.size("n_layer"),
               .heads = config.size("n_head"),
               .width = config.size("n_embd"),
               .dropout = config.number("resid_pdrop", 0.1),
               .eps = config.number("layer_norm_epsilon", 1e-5)};
  io::Weights weights(folder);
  weights.rename("transformer.*", "*").drop("h.*.attn.bias").drop("h.*.attn.masked_bias").drop("lm_head.weight");
  for (const char* name : {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"})
    weights.transpose(join("h.*.", name, ".weight"));
  nn::init::NoDraws all_are_read;
  Gpt<T> model(o);
  io::load(weights, model);
  eval(model);
  return model;
}

/// Writes a GPT-2 as Hugging Face's folders have it: gpt2_from and the Python package transformers read it. ValueError
/// when it has adapters.
template <Floating T>
void gpt2_to(const std::string& folder, const Gpt<T>& model) {
  const auto& o = model.options;
  auto config = io::Json::object({{"model_type", "gpt2"},
                                  {"architectures", io::Json::array({"GPT2LMHeadModel"})},
                                  {"vocab_size", o.vocabulary},
                                  {"n_positions", o.context},
                                  {"n_layer", o.layers},
                                  {"n_head", o.heads},
                                  {"n_embd", o.width},
                                  {"activation_function", "gelu_new"},
                                  {"layer_norm_epsilon", o.eps},
                                  {"resid_pdrop", o.dropout},
                                  {"embd_pdrop", o.dropout},
                                  {"attn_pdrop", o.dropout},
                                  {"bos_token_id", nullptr},
                                  {"eos_token_id", nullptr}});
  detail::write_folder(folder, model, config, "transformer.",
                       {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"});
}

/// Llama, TinyLlama, Mistral and others of this shape.
template <Floating T = float>
Llama<T> llama_from(const std::string& folder, std::string_view type = "llama") {
  detail::Config config(folder, type);
  config.expect("hidden_act", "silu");
  LlamaOptions o{.vocabulary = config.size("vocab_size"),
                 .context = config.size("max_position_embeddings"),
                 .layers = config.size("num_hidden_layers"),
                 .heads = config.size("num_attention_heads"),
                 .kv_heads = config.size("num_key_value_heads", config.size("num_attention_heads")),
                 .width = config.size("hidden_size"),
                 .feed_forward = config.size("intermediate_size"),
                 .eps = config.number("rms_norm_eps", 1e-6),
                 .rotary = {.theta = config.rotary_theta()},
                 .window = config.size("sliding_window", 0),
                 .tie_word_embeddings = config.flag("tie_word_embeddings", false)};
  auto head = config.size("head_dim", o.width / o.heads);
  require<FormatError>(head * o.heads == o.width, config.path(), ": head_dim is ", head, ", but this model knows only ",
                       o.width / o.heads, ", the width shared by the heads");
  io::Weights weights(folder);
  weights.drop("model.layers.*.self_attn.rotary_emb.inv_freq");
  if (o.tie_word_embeddings) weights.drop("lm_head.weight");
  nn::init::NoDraws all_are_read;
  Llama<T> model(o);
  io::load(weights, model);
  eval(model);
  return model;
}

/// Writes a Llama as Hugging Face's folders have it, see gpt2_to.
template <Floating T>
void llama_to(const std::string& folder, const Llama<T>& model) {
  const auto& o = model.options;
  auto mistral = o.window > 0;
  auto config =
      io::Json::object({{"model_type", mistral ? "mistral" : "llama"},
                        {"architectures", io::Json::array({mistral ? "MistralForCausalLM" : "LlamaForCausalLM"})},
                        {"vocab_size", o.vocabulary},
                        {"max_position_embeddings", o.context},
                        {"num_hidden_layers", o.layers},
                        {"num_attention_heads", o.heads},
                        {"num_key_value_heads", o.kv_heads},
                        {"hidden_size", o.width},
                        {"intermediate_size", o.feed_forward},
                        {"hidden_act", "silu"},
                        {"rms_norm_eps", o.eps},
                        {"rope_theta", o.rotary.theta},
                        {"tie_word_embeddings", o.tie_word_embeddings},
                        {"bos_token_id", nullptr},
                        {"eos_token_id", nullptr}});
  if (mistral) config.set("sliding_window", o.window);
  detail::write_folder(folder, model, config, "", {});
}

/// BERT, MiniLM and the BERT-shaped models of sentence-transformers; a pooler that is missing from the file is left
/// out.
template <Floating T = float>
Bert<T> bert_from(const std::string& folder) {
  detail::Config config(folder, "bert");
  config.expect("hidden_act", "gelu");
  config.expect("position_embedding_type", "absolute");
  io::Weights weights(folder);
  weights.rename("bert.*", "*").drop("cls.*").drop("embeddings.position_ids").drop("classifier.*");
  BertOptions o{.vocabulary = config.size("vocab_size"),
                .context = config.size("max_position_embeddings"),
                .types = config.size("type_vocab_size"),
                .layers = config.size("num_hidden_layers"),
                .heads = config.size("num_attention_heads"),
                .width = config.size("hidden_size"),
                .feed_forward = config.size("intermediate_size"),
                .dropout = config.number("hidden_dropout_prob", 0.1),
                .eps = config.number("layer_norm_eps", 1e-12),
                .pooler = weights.contains("pooler.dense.weight")};
  nn::init::NoDraws all_are_read;
  Bert<T> model(o);
  io::load(weights, model);
  eval(model);
  return model;
}

/// A vision transformer for classification.
template <Floating T = float>
Vit<T> vit_from(const std::string& folder) {
  detail::Config config(folder, "vit");
  config.expect("hidden_act", "gelu");
  io::Weights weights(folder);
  weights.drop("vit.pooler.*");
  require<FormatError>(weights.contains("classifier.bias"), weights.path(), " has no tensor 'classifier.bias'");
  VitOptions o{.image = config.size("image_size"),
               .patch = config.size("patch_size"),
               .channels = config.size("num_channels", 3),
               .classes = weights.shape("classifier.bias").numel(),
               .layers = config.size("num_hidden_layers"),
               .heads = config.size("num_attention_heads"),
               .width = config.size("hidden_size"),
               .feed_forward = config.size("intermediate_size"),
               .dropout = config.number("hidden_dropout_prob", 0),
               .eps = config.number("layer_norm_eps", 1e-12)};
  nn::init::NoDraws all_are_read;
  Vit<T> model(o);
  io::load(weights, model);
  eval(model);
  return model;
}

}  // namespace gradus::models::inline GRADUS_BUILD

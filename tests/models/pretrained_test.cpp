// Folders in Hugging Face's layout, made by PyTorch, and what PyTorch's models say with these weights.
#include "gradus/models/pretrained.hpp"

#include "gradus/nn/lora.hpp"

#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

const std::string pretrained = std::string(GRADUS_TEST_DATA_DIR) + "/pretrained/";

Tensor<float> expected(const std::string& name) {
  return io::SafeTensors::read(pretrained + "expected.safetensors").get<float>(name);
}

}  // namespace

TEST_CASE("pre-trained weights in Hugging Face's folders give PyTorch's outputs") {
  auto ids = tensor<int64_t>({{1, 5, 2, 7, 3}});
  NoGradGuard guard;
  test::Tolerance close{1e-5};
  CHECK(test::mismatch(models::gpt2_from(pretrained + "gpt2")(ids), expected("gpt2"), close) == "");
  CHECK(test::mismatch(models::llama_from(pretrained + "llama")(ids), expected("llama"), close) == "");
  CHECK(test::mismatch(models::bert_from(pretrained + "bert")(ids).pooled, expected("bert"), close) == "");
  auto image = reshape(arange<float>(192), {1, 3, 8, 8}) / 100.0f - 1.0f;
  CHECK(test::mismatch(models::vit_from(pretrained + "vit")(image), expected("vit"), close) == "");
  auto narrow = models::llama_from<bf16>(pretrained + "llama")(ids);
  CHECK(test::mismatch(cast<float>(narrow), expected("llama"), {0.1}) == "");
}

TEST_CASE("the base of rotary positions stands in one of two places") {
  test::TemporaryFolder folder;
  auto config = test::read_bytes(pretrained + "llama/config.json");
  for (auto name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"})
    test::write_bytes(folder / name, test::read_bytes(pretrained + "llama/" + name));
  auto with = [&](const std::string& from, const std::string& to) {
    auto changed = config;
    changed.replace(changed.find(from), from.size(), to);
    test::write_bytes(folder / "config.json", changed);
    return models::llama_from(folder / "");
  };
  CHECK(with("10000.0", "500.0").options.rotary.theta == 500);
  auto in_object = R"("rope_parameters": {"rope_theta": 500.0, "rope_type": "default"})";
  CHECK(with("\"rope_theta\": 10000.0", in_object).options.rotary.theta == 500);
  auto path = (folder / "") + "/config.json: ";
  test::check_error<FormatError>(
      [&] { with("\"rope_scaling\": null", R"("rope_scaling": {"type": "linear", "factor": 2})"); },
      path + "rope_scaling of type 'linear', a stretching of the rotary positions, is not known");
  test::check_error<FormatError>(
      [&] { with("\"rope_scaling\": null", R"("rope_parameters": {"rope_type": "llama3"})"); },
      path + "rope_parameters of type 'llama3', a stretching of the rotary positions, is not known");
  test::check_error<FormatError>([&] { with("\"rope_scaling\": null", R"("head_dim": 4)"); },
                                 path + "head_dim is 4, but this model knows only 2, the width shared by the heads");
}

TEST_CASE("folders that are written give the same outputs") {
  test::TemporaryFolder folder;
  auto ids = from_vector<int64_t>({1, 5, 3, 10}, {1, 4});
  auto gpt = models::gpt2_from(pretrained + "gpt2");
  models::gpt2_to(folder / "gpt2", gpt);
  CHECK(models::gpt2_from(folder / "gpt2")(ids).to_vector() == gpt(ids).to_vector());
  auto llama = models::llama_from(pretrained + "llama");
  models::llama_to(folder / "llama", llama);
  CHECK(models::llama_from(folder / "llama")(ids).to_vector() == llama(ids).to_vector());
  nn::add_lora(gpt);
  test::check_error<ValueError>([&] { models::gpt2_to(folder / "none", gpt); },
                                "the model has adapters; nn::merge_lora puts them into the weights");
}

TEST_CASE("what folders of pre-trained weights are refused for") {
  test::check_error<FormatError>([] { return models::llama_from(pretrained + "gpt2"); },
                                 pretrained + "gpt2/config.json: model_type is 'gpt2', not 'llama'");
  test::check_error<IoError>([] { return models::bert_from(pretrained + "none"); },
                             "cannot open " + pretrained + "none/config.json: No such file or directory");
  test::TemporaryFolder folder;
  auto config = test::read_bytes(pretrained + "bert/config.json");
  auto with = [&](const std::string& from, const std::string& to) {
    auto changed = config;
    changed.replace(changed.find(from), from.size(), to);
    test::write_bytes(folder / "config.json", changed);
  };
  with("\"hidden_size\": 8", "\"hidden_sizes\": 8");
  test::write_bytes(folder / "model.safetensors", test::read_bytes(pretrained + "bert/model.safetensors"));
  test::check_error<FormatError>([&] { return models::bert_from(folder / ""); },
                                 folder / "" + "/config.json: there is no hidden_size");
  with("\"gelu\"", "\"relu\"");
  test::check_error<FormatError>([&] { return models::bert_from(folder / ""); },
                                 folder / "" + "/config.json: hidden_act is 'relu', but this model knows only 'gelu'");
  with("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2");
  test::check_error_contains<FormatError>(
      [&] { return models::bert_from(folder / ""); },
      "load: " + (folder / "") + " does not fit the model Bert:\n  missing in the file (16):");
  with("\"vocab_size\": 11", "\"vocab_size\": 12");
  test::check_error_contains<FormatError>(
      [&] { return models::bert_from(folder / ""); },
      "load: " + (folder / "") +
          " does not fit the model Bert:\n  mismatched (1):\n    embeddings.word_embeddings.weight: F32 (11, "
          "8) in the file, float (12, 8) in the model");
}

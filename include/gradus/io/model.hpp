// Saves and loads the parameters and buffers of a model, by name.
#pragma once

#include <algorithm>

#include "gradus/autograd/parameter.hpp"
#include "gradus/io/safetensors.hpp"
#include "gradus/io/write_safetensors.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// Writes every parameter and buffer under its path ("conv1.weight") into one safetensors file.
template <class Model>
void save(const std::string& path, const Model& model, const std::map<std::string, std::string>& metadata = {}) {
  std::vector<SafeTensorsEntry> entries;
  for (auto& tensor : gradus::detail::model_tensors(model)) entries.emplace_back(tensor.name, std::move(tensor.impl));
  write_safetensors(path, entries, metadata);
}

struct LoadOptions {
  bool strict = true;  ///< every name of the model must be in the file, and the other way round
};

/// How a file and a model differ.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the model, not in the file
  std::vector<std::string> unexpected;  ///< in the file, not in the model
};

}  // namespace gradus::io::inline GRADUS_BUILD

namespace gradus::io::detail::inline GRADUS_BUILD {

GRADUS_COLD inline void list_names(std::string& text, std::string_view title, const std::vector<std::string>& names) {
  constexpr size_t shown = 20;
  if (names.empty()) return;
  text += join("\n  ", title, " (", names.size(), "):");
  for (size_t i = 0; i < std::min(names.size(), shown); ++i) text += join(i == 0 ? " " : ", ", names[i]);
  if (names.size() > shown) text += join(" and ", names.size() - shown, " more");
}

/// File is SafeTensors, or Weights.
template <class File>
GRADUS_COLD LoadReport load_tensors(const File& file, const std::string& model_name,
                                    const std::vector<gradus::detail::NamedImpl>& targets, const LoadOptions& options) {
  LoadReport report;
  std::vector<std::string> mismatched;
  auto unused = file.names();
  for (const auto& [name, impl, trained] : targets) {
    if (!file.contains(name)) {
      report.missing.push_back(name);
      continue;
    }
    unused.erase(std::lower_bound(unused.begin(), unused.end(), name));
    if (file.shape(name) == impl->shape && file.converts(name, impl->dtype)) continue;
    mismatched.push_back(join("\n    ", name, ": ", file.dtype(name), " ", file.shape(name), " in the file, ",
                              impl->dtype, " ", impl->shape, " in the model"));
  }
  report.unexpected = std::move(unused);
  if (!mismatched.empty() || (options.strict && !(report.missing.empty() && report.unexpected.empty()))) {
    auto text = join("load: ", file.path(), " does not fit the model ", model_name, ":");
    list_names(text, "missing in the file", report.missing);
    list_names(text, "not in the model", report.unexpected);
    if (!mismatched.empty()) text += join("\n  mismatched (", mismatched.size(), "):");
    for (const auto& line : mismatched) text += line;
    throw FormatError(text);
  }

  // Everything is read before anything is written: a disk that fails half way changes nothing.
  std::vector<gradus::detail::TensorRef> sources;
  for (const auto& [name, impl, trained] : targets)
    sources.push_back(file.contains(name) ? file.read_as(name, impl->dtype) : gradus::detail::TensorRef());
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!sources[i]) continue;
    targets[i].impl->storage->bump("load");
    gradus::detail::copy_elements(*targets[i].impl, *sources[i]);
  }
  return report;
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// Fills the model's parameters and buffers from a file, by name; floating types are converted. FormatError with the
/// list of all missing, unexpected and mismatched names, and a model left as it was, unless everything fits; with
/// {.strict = false} missing and unexpected names are allowed and returned.
template <class Model>
LoadReport load(const SafeTensors& file, Model& model, LoadOptions options = {}) {
  return detail::load_tensors(file, gradus::detail::type_name<Model>(), gradus::detail::model_tensors(model), options);
}

template <class Model>
LoadReport load(const std::string& path, Model& model, LoadOptions options = {}) {
  return load(SafeTensors::read(path), model, options);
}

}  // namespace gradus::io::inline GRADUS_BUILD

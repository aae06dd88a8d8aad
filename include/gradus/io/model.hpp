// Saves and loads the parameters and buffers of a model, by name.
#pragma once

#include <functional>

#include "gradus/autograd/parameter.hpp"
#include "gradus/io/safetensors.hpp"
#include "gradus/io/write_safetensors.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// Writes every parameter and buffer under its path ("conv1.weight") into one safetensors file.
template <class Model>
void save(const std::string& path, const Model& model, const std::map<std::string, std::string>& metadata = {}) {
  std::vector<SafeTensorsEntry> entries;
  for (auto& [name, tensor] : gradus::detail::model_tensors(model)) entries.emplace_back(name, std::move(tensor));
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

inline void list_names(std::string& text, std::string_view title, const std::vector<std::string>& names) {
  constexpr size_t shown = 20;
  if (names.empty()) return;
  text += join("\n  ", title, " (", names.size(), "):");
  for (size_t i = 0; i < std::min(names.size(), shown); ++i) text += join(i == 0 ? " " : ", ", names[i]);
  if (names.size() > shown) text += join(" and ", names.size() - shown, " more");
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// Fills the model's parameters and buffers from a file, by name; floating types are converted. FormatError with the
/// list of all missing, unexpected and mismatched names, and a model left as it was, unless everything fits; with
/// {.strict = false} missing and unexpected names are allowed and returned.
template <class Model>
LoadReport load(const SafeTensors& file, Model& model, LoadOptions options = {}) {
  LoadReport report;
  std::vector<std::string> mismatched;
  auto unused = file.names();
  gradus::detail::for_each_model_tensor(model, [&](const std::string& name, auto& part) {
    using T = typename std::remove_cvref_t<decltype(part)>::value_type;
    if (!file.contains(name)) return report.missing.push_back(name);
    unused.erase(std::lower_bound(unused.begin(), unused.end(), name));
    const auto& info = file.info(name);
    if (info.shape == part.shape() && detail::converts(*info.dtype, detail::safetensors_type_of<T>())) return;
    mismatched.push_back(join("\n    ", name, ": ", info.dtype->name, " ", info.shape, " in the file, ", dtype_of<T>,
                              " ", part.shape(), " in the model"));
  });
  report.unexpected = std::move(unused);
  if (!mismatched.empty() || (options.strict && !(report.missing.empty() && report.unexpected.empty()))) {
    auto text = join("load: ", file.path(), " does not fit the model ", gradus::detail::type_name<Model>(), ":");
    detail::list_names(text, "missing in the file", report.missing);
    detail::list_names(text, "not in the model", report.unexpected);
    if (!mismatched.empty()) text += join("\n  mismatched (", mismatched.size(), "):");
    for (const auto& line : mismatched) text += line;
    throw FormatError(text);
  }

  // Everything is read before anything is written: a disk that fails half way changes nothing.
  std::vector<std::function<void()>> writes;
  gradus::detail::for_each_model_tensor(model, [&](const std::string& name, auto& part) {
    using T = typename std::remove_cvref_t<decltype(part)>::value_type;
    if (!file.contains(name)) return;
    writes.push_back(
        [target = part.tensor(), source = file.template get_as<T>(name)]() mutable { target.copy_(source); });
  });
  no_grad([&] {
    for (auto& write : writes) write();
  });
  return report;
}

template <class Model>
LoadReport load(const std::string& path, Model& model, LoadOptions options = {}) {
  return load(SafeTensors::read(path), model, options);
}

}  // namespace gradus::io::inline GRADUS_BUILD

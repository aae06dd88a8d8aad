// A model as a table.
#pragma once

#include <string>
#include <vector>

#include "gradus/core/text_table.hpp"
#include "gradus/nn/sequential.hpp"

namespace gradus::nn::detail::inline GRADUS_BUILD {

GRADUS_COLD inline std::string parent_path(const std::string& path) {
  return path.substr(0, std::max<size_t>(path.rfind('.') + 1, 1) - 1);
}

/// Adds up what a walk over a model finds.
class SummaryRows {
 public:
  GRADUS_COLD void add_tensor(const std::string& path, const gradus::detail::TensorRef& tensor, bool trained) {
    auto owner = path.find('.') == std::string::npos ? std::string() : parent_path(path);
    auto row = rows_.size();
    while (row > 0 && rows_[row - 1][0] != owner) --row;
    if (row-- == 0) return;
    bytes_ += tensor->numel * size_of(tensor->dtype);
    if (trained) parameters_[row] += tensor->numel;
    if (!trained && tensor->numel == 1) return;  // counters say nothing here
    auto& tensors = rows_[row][2];
    tensors += (tensors.empty() ? "" : ", ") + path.substr(path.rfind('.') + 1) + ' ' + to_string(tensor->shape);
  }
  /// `erased`: its type is known from its name alone, and a layer of that name may stand there already.
  GRADUS_COLD void add_layer(const std::string& path, const std::string& type, bool erased) {
    if (!erased && !rows_.empty() && rows_.back()[0] == path && !path.empty()) return;
    rows_.push_back({path, type, ""});
    parameters_.push_back(0);
  }

  GRADUS_COLD std::string table(const std::string& model_name) const {
    std::vector<std::vector<std::string>> lines = {{"layer", "type", "tensors", "parameters"}};
    int64_t total = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (is_container(rows_[i])) continue;  // its layers speak for it
      lines.push_back(rows_[i]);
      lines.back().push_back(gradus::detail::with_commas(parameters_[i]));
      total += parameters_[i];
    }
    lines.push_back({"total", "", join((bytes_ + 1023) / 1024, " KiB"), gradus::detail::with_commas(total)});
    return model_name + '\n' + gradus::detail::text_table(lines, 3);
  }

 private:
  /// Holds no tensors itself, but other layers, or is the model.
  bool is_container(const std::vector<std::string>& row) const {
    const auto& path = row[0];
    if (!row[2].empty()) return false;
    if (path.empty()) return true;
    for (const auto& other : rows_) {
      if (other[0].size() > path.size() && other[0].starts_with(path + '.')) return true;
    }
    return false;
  }

  std::vector<std::vector<std::string>> rows_;  // path, type, tensors
  std::vector<int64_t> parameters_;             // of each row
  int64_t bytes_ = 0;
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// A table of the model's layers, a line for each that holds tensors and for each erased one: path, type, the shapes of
/// their tensors, and how many numbers are trained.
template <class Model>
std::string summary(const Model& model) {
  detail::SummaryRows rows;
  gradus::detail::walk_fields("", model, [&](const std::string& path, const auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (gradus::detail::is_model_tensor<Part>) {
      if (part.defined()) rows.add_tensor(path, part.tensor().impl(), Part::trained);
    } else if constexpr (std::is_same_v<Part, LayerType>) {
      rows.add_layer(path, part.name, true);
    } else if constexpr (gradus::detail::HasFields<const Part>) {
      rows.add_layer(path, gradus::detail::type_name<Part>(), false);
    }
    return true;
  });
  return rows.table(gradus::detail::type_name<Model>());
}

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {
using nn::summary;
}  // namespace gradus::inline GRADUS_BUILD

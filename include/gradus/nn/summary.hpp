// A model as a table.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "gradus/nn/sequential.hpp"

namespace gradus::nn::detail::inline GRADUS_BUILD {

struct SummaryRow {
  std::string path, type, tensors;
  int64_t parameters = 0;
};

/// "1,234,567".
inline std::string with_commas(int64_t number) {
  auto digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

inline std::string parent_path(const std::string& path) {
  return path.substr(0, std::max<size_t>(path.rfind('.') + 1, 1) - 1);
}

/// A row for each layer that holds tensors, and for each erased layer without.
template <class Model>
std::vector<SummaryRow> summary_rows(const Model& model, int64_t& bytes) {
  std::vector<SummaryRow> rows;
  gradus::detail::walk_fields("", model, [&](const std::string& path, const auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (gradus::detail::is_model_tensor<Part>) {
      if (!part.defined()) return false;
      auto owner = path.find('.') == std::string::npos ? std::string() : parent_path(path);
      auto row = std::find_if(rows.rbegin(), rows.rend(), [&](const auto& r) { return r.path == owner; });
      if (row == rows.rend()) return false;
      auto count = part.tensor().numel();
      bytes += count * static_cast<int64_t>(sizeof(typename Part::value_type));
      if (Part::trained) row->parameters += count;
      if (!Part::trained && count == 1) return false;  // counters say nothing here
      row->tensors +=
          (row->tensors.empty() ? "" : ", ") + path.substr(path.rfind('.') + 1) + ' ' + to_string(part.shape());
    } else if constexpr (std::is_same_v<Part, LayerType>) {
      rows.push_back({path, part.name, "", 0});
    } else if constexpr (gradus::detail::HasFields<const Part>) {
      if (rows.empty() || rows.back().path != path || path.empty())
        rows.push_back({path, gradus::detail::type_name<Part>(), "", 0});
    }
    return true;
  });
  // Containers hold nothing themselves: their layers speak for them.
  std::erase_if(rows, [&](const SummaryRow& row) {
    auto inside = [&](const SummaryRow& other) {
      return other.path.size() > row.path.size() && other.path.starts_with(row.path.empty() ? "" : row.path + '.');
    };
    return row.tensors.empty() && (row.path.empty() || std::any_of(rows.begin(), rows.end(), inside));
  });
  return rows;
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// A table of the model's layers: path, type, the shapes of their tensors, and how many numbers are trained.
template <class Model>
std::string summary(const Model& model) {
  int64_t bytes = 0;
  auto rows = detail::summary_rows(model, bytes);
  size_t paths = 5, types = 4, tensors = 7;
  int64_t total = 0;
  for (const auto& row : rows) {
    paths = std::max(paths, row.path.size());
    types = std::max(types, row.type.size());
    tensors = std::max(tensors, row.tensors.size());
    total += row.parameters;
  }
  auto line = [&](const std::string& a, const std::string& b, const std::string& c, const std::string& d) {
    auto left = [](const std::string& text, size_t width) {
      return text + std::string(width - std::min(width, text.size()), ' ');
    };
    return left(a, paths) + "  " + left(b, types) + "  " + left(c, tensors) + "  " +
           std::string(10 - std::min<size_t>(10, d.size()), ' ') + d + '\n';
  };
  auto rule = std::string(paths + types + tensors + 16, '-') + '\n';
  auto text = gradus::detail::type_name<Model>() + '\n' + rule + line("layer", "type", "tensors", "parameters") + rule;
  for (const auto& row : rows) text += line(row.path, row.type, row.tensors, detail::with_commas(row.parameters));
  return text + rule + line("total", "", std::to_string((bytes + 1023) / 1024) + " KiB", detail::with_commas(total));
}

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {
using nn::summary;
}  // namespace gradus::inline GRADUS_BUILD

// What a model does with a sample: its operators in the order they ran, read from the recorded graph.
#pragma once

#include <algorithm>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gradus/nn/mode_guard.hpp"
#include "gradus/nn/summary.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// One operator of a run.
struct OperatorRow {
  std::string layer;            ///< path of the layer whose parameter it reads, or the name of the model's own one
  std::string op;               ///< "conv2d"
  std::optional<Shape> output;  ///< absent where no user of the output knows it
  int64_t parameters = 0;       ///< trained numbers that it reads first: weights used twice count once
  int64_t multiply_adds = 0;    ///< of conv2d, linear, matmul, lstm, gru and rnn; 0 for all others
};

/// What inspect() found.
struct Inspection {
  std::string model;                ///< the type's name
  std::vector<Shape> inputs;        ///< the samples' shapes
  std::vector<OperatorRow> rows;    ///< in the order they ran
  std::vector<std::string> unused;  ///< paths of the parameters that the output does not depend on
  int64_t parameters = 0;           ///< all that are trained, used or not
  int64_t multiply_adds = 0;        ///< for the samples as given, so of a whole batch
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

using gradus::detail::GraphNode;
using gradus::detail::TensorRef;

struct ParameterLeaf {
  std::string path;
  int64_t numel = 0;
  bool used = false;
};
using ParameterLeaves = std::unordered_map<const GraphNode*, ParameterLeaf>;

/// Records although somebody may have switched it off, and lets frozen parameters be seen, while it lives.
class RecordEverything {
 public:
  RecordEverything() : before_(std::exchange(gradus::detail::recording(), true)) {}
  ~RecordEverything() {
    for (auto& parameter : frozen_) parameter->node = {};
    gradus::detail::recording() = before_;
  }
  RecordEverything(const RecordEverything&) = delete;
  RecordEverything& operator=(const RecordEverything&) = delete;

  template <Floating T>
  void thaw(Tensor<T> parameter) {
    if (parameter.requires_grad()) return;
    parameter.set_requires_grad();
    frozen_.push_back(parameter.impl());
  }

 private:
  bool before_;
  std::vector<TensorRef> frozen_;
};

/// Calls f(tensor) for the tensor, or for each in a tuple, pair or array, or in what tensors() gives.
template <class Output, class F>
void for_each_output(const Output& output, F&& f) {
  if constexpr (requires { output.impl(); }) f(output);
  else if constexpr (requires { output.tensors(); }) for_each_output(output.tensors(), f);
  else std::apply([&](const auto&... part) { (for_each_output(part, f), ...); }, output);
}

/// "conv1" for "conv1.weight"; the model's own tensors speak for themselves.
inline std::string owner_path(const std::string& path) {
  return path.find('.') == std::string::npos ? path : parent_path(path);
}

/// Of a recurrent operator, whose first input is (steps, n, in) and whose weights follow `states` others: each step
/// multiplies with every weight, also where a sequence has ended.
inline int64_t recurrent_multiply_adds(std::span<const Shape> in, size_t states) {
  int64_t weights = 0;
  for (const auto& shape : in.subspan(1 + states)) weights += shape.rank() == 2 ? shape.numel() : 0;
  return in[0][0] * in[0][1] * weights;
}

inline int64_t multiply_adds(const GraphNode& node, const Shape& output) {
  auto name = std::string_view(node.name);
  auto in = node.input_shapes();
  if (name == "conv2d") return output.numel() * in[1][1] * in[1][2] * in[1][3];  // weight (out, in / groups, kh, kw)
  if (name == "linear") return output.numel() * in[1][1];                        // weight (out, in)
  if (name == "matmul") return output.numel() * in[0].back();                    // a (..., m, k)
  if (name == "lstm") return recurrent_multiply_adds(in, 2);
  if (name == "gru" || name == "rnn") return recurrent_multiply_adds(in, 1);
  return 0;
}

inline void read_graph(Inspection& result, const std::vector<TensorRef>& outputs, ParameterLeaves& leaves) {
  std::unordered_map<const GraphNode*, std::optional<Shape>> shapes;  // of each operator's first known output
  std::vector<const GraphNode*> order;
  auto visit = [&](const GraphNode* node, const Shape* shape) {
    if (node == nullptr || node->is_leaf()) return;
    auto [place, is_new] = shapes.try_emplace(node);
    if (is_new) order.push_back(node);
    if (shape != nullptr && !place->second) place->second = *shape;
  };
  for (const auto& output : outputs) visit(output->node.get(), &output->shape);
  for (size_t i = 0; i < order.size(); ++i) {
    auto edges = order[i]->edges();
    auto known = order[i]->input_shapes();
    for (size_t k = 0; k < edges.size(); ++k) visit(edges[k].node.get(), k < known.size() ? &known[k] : nullptr);
  }
  std::sort(order.begin(), order.end(),
            [](const GraphNode* a, const GraphNode* b) { return a->sequence < b->sequence; });
  for (const auto* node : order) {
    OperatorRow row{"", node->name, shapes[node]};
    for (const auto& edge : node->edges()) {
      auto leaf = leaves.find(edge.node.get());
      if (leaf == leaves.end()) continue;
      auto& parameter = leaf->second;
      if (row.layer.empty()) row.layer = owner_path(parameter.path);
      if (!std::exchange(parameter.used, true)) row.parameters += parameter.numel;
    }
    if (row.output) row.multiply_adds = multiply_adds(*node, *row.output);
    result.multiply_adds += row.multiply_adds;
    result.rows.push_back(std::move(row));
  }
}

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Runs the model once on the samples, in eval mode and recorded, and reads what it did from the graph; the model is
/// left as it was. Operators that no floating sample and no parameter leads to are not seen, nor are those that record
/// nothing (argmax, comparisons). The model returns a tensor, or a tuple, pair or array of them, or a struct whose
/// tensors() gives such. Throws what the model throws, and AutogradError when nothing was recorded.
template <class Model, Element... S>
requires(sizeof...(S) > 0) Inspection inspect(Model&& model, const Tensor<S>&... samples) {
  static_assert(!std::is_const_v<std::remove_reference_t<Model>>,
                "inspect, summary: the model must not be const, since it is in eval mode while it runs");
  detail::ModeGuard mode(model, false);
  detail::RecordEverything record;
  Inspection result;
  result.model = gradus::detail::type_name<std::remove_cvref_t<Model>>();
  result.inputs = {samples.shape()...};
  result.parameters = count_parameters(model);
  detail::ParameterLeaves leaves;
  std::vector<const gradus::detail::GraphNode*> in_order;
  gradus::detail::for_each_model_tensor(model, [&](const std::string& path, auto& part) {
    if constexpr (std::remove_cvref_t<decltype(part)>::trained) {
      record.thaw(part.tensor());
      in_order.push_back(part.tensor().impl()->node.get());
      leaves[in_order.back()] = {path, part.tensor().numel()};
    }
  });
  std::vector<gradus::detail::TensorRef> outputs;
  auto as_leaf = [](const auto& sample) {
    auto leaf = sample.detach();
    if constexpr (Floating<typename std::remove_cvref_t<decltype(leaf)>::value_type>) leaf.set_requires_grad();
    return leaf;
  };
  detail::for_each_output(model(as_leaf(samples)...), [&](const auto& y) { outputs.push_back(y.impl()); });
  detail::read_graph(result, outputs, leaves);
  require<AutogradError>(!result.rows.empty(), "inspect: ", result.model,
                         " recorded nothing: no operator leads from a sample or a parameter to its output");
  for (const auto* node : in_order) {
    if (!leaves[node].used) result.unused.push_back(leaves[node].path);
  }
  return result;
}

/// A number for people, three digits of it: "950", "12.3 k", "1.23 M", "4.24 G".
inline std::string readable_count(int64_t number) {
  if (number < 1000) return std::to_string(number);
  auto value = static_cast<double>(number) / 1000;
  constexpr std::string_view units = "kMGTPE";
  size_t unit = 0;
  for (; value >= 999.5; value /= 1000) ++unit;
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.*f %c", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[unit]);
  return buffer;
}

/// A table: layer, operator, shape of the output, trained numbers, multiply-adds; totals below.
GRADUS_COLD inline std::string to_string(const Inspection& inspection) {
  using gradus::detail::with_commas;
  std::vector<std::vector<std::string>> lines = {{"layer", "operator", "output", "parameters", "multiply-adds"}};
  auto unless_zero = [](int64_t number, std::string text) { return number == 0 ? std::string() : text; };
  for (const auto& row : inspection.rows) {
    lines.push_back({row.layer, row.op, row.output ? to_string(*row.output) : "?",
                     unless_zero(row.parameters, with_commas(row.parameters)),
                     unless_zero(row.multiply_adds, readable_count(row.multiply_adds))});
  }
  lines.push_back({"total", "", "", with_commas(inspection.parameters), readable_count(inspection.multiply_adds)});
  auto text = inspection.model + " on ";
  for (size_t i = 0; i < inspection.inputs.size(); ++i) text += (i > 0 ? ", " : "") + to_string(inspection.inputs[i]);
  text += '\n' + gradus::detail::text_table(lines, 3);
  if (inspection.unused.empty()) return text;
  text += "not used for this output:";
  for (const auto& path : inspection.unused) text += ' ' + path;
  return text + '\n';
}

/// What the model does with samples, as a table: see inspect(). `summary(model)` shows its layers without a run.
template <class Model, Element... S>
requires(sizeof...(S) > 0) std::string summary(Model&& model, const Tensor<S>&... samples) {
  return to_string(inspect(model, samples...));
}

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {
using nn::inspect;
using nn::summary;
}  // namespace gradus::inline GRADUS_BUILD

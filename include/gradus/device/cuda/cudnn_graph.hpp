// A graph for cuDNN that is put together from operations, and the plan that cuDNN makes of it.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "gradus/device/cuda/cudnn_table.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

using CudnnSizes = std::array<int64_t, 4>;

inline CudnnSizes dense_strides(const CudnnSizes& sizes) {
  return {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1};
}
/// With the second axis innermost.
inline CudnnSizes channels_last_strides(const CudnnSizes& sizes) {
  return {sizes[1] * sizes[2] * sizes[3], 1, sizes[3] * sizes[1], sizes[1]};
}

/// A tensor of a graph.
struct CudnnTensor {
  Handle descriptor = nullptr;
  CudnnSizes sizes{};
};

/// For whom plans are made: a card at hand, by its handle, or one that is only described.
struct CudnnTarget {
  Handle handle = nullptr, properties = nullptr;
};

/// What cuDNN made of a graph, ready to run.
class CudnnPlan {
 public:
  CudnnPlan(const Cudnn& api, const char* op, CudnnDescriptor plan)
      : api_(&api), op_(op), plan_(std::move(plan)), workspace_bytes_(plan_.number(workspace_size)) {}

  /// The plan that text() told of, for the same kind of card; nothing when this cuDNN does not take it.
  static std::optional<CudnnPlan> from_text(const Cudnn& api, const char* op, const std::string& text,
                                            const CudnnTarget& target) {
    CudnnDescriptor plan(api, op, CudnnKind::plan);
    if (target.handle != nullptr) plan.set(400, CudnnValue::handle, target.handle);
    if (target.properties != nullptr) plan.set(407, CudnnValue::descriptor, target.properties);
    auto size = static_cast<int64_t>(text.size());
    if (api.set(plan.handle(), plan_text, CudnnValue::character, size, text.data()) != 0) return std::nullopt;
    if (api.finalize(plan.handle()) != 0) return std::nullopt;
    return CudnnPlan(api, op, std::move(plan));
  }
  /// What it is, compiled code and all; "" when this cuDNN does not tell.
  std::string text() const {
    int64_t count = 0;
    auto read = [&](int64_t wanted, char* to) {
      return api_->get(plan_.handle(), plan_text, CudnnValue::character, wanted, &count, to) == 0 && count > 0;
    };
    if (!read(0, nullptr)) return "";
    std::string text(static_cast<size_t>(count), '\0');
    return read(count, text.data()) ? text : "";
  }

  const char* op() const { return op_; }
  int64_t workspace_bytes() const { return workspace_bytes_; }

  /// Memory for each tensor of the graph by its id, and for what cuDNN needs besides.
  void run(Handle handle, std::span<const int64_t> ids, std::span<const void* const> data, void* workspace) const {
    CudnnDescriptor pack(*api_, op_, CudnnKind::variant_pack);
    pack.set(pack_ids, ids)
        .set(pack_pointers, CudnnValue::pointer, static_cast<int64_t>(data.size()), data.data())
        .set(pack_workspace, CudnnValue::pointer, workspace)
        .finalize();
    api_->check(api_->execute(handle, plan_.handle(), pack.handle()), "cudnnBackendExecute", op_);
  }

 private:
  static constexpr int workspace_size = 402, plan_text = 405, pack_ids = 1000, pack_pointers = 1001,
                       pack_workspace = 1003;

  const Cudnn* api_;
  const char* op_;
  CudnnDescriptor plan_;
  int64_t workspace_bytes_;
};

/// Operations on tensors of four axes. Tensors with an id lie in memory; the others live only within the graph, in
/// float unless another type is asked for.
class CudnnGraph {
 public:
  CudnnGraph(const Cudnn& api, const char* op) : api_(api), op_(op) {}

  CudnnTensor tensor(int64_t id, CudnnType type, const CudnnSizes& sizes, const CudnnSizes& strides) {
    return tensor(id, type, sizes, strides, false, false);
  }
  /// A number that is given with the pointers, as a pointer to it.
  CudnnTensor number(int64_t id, CudnnType type = CudnnType::f32) {
    return tensor(id, type, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
  }
  CudnnTensor inner(const CudnnSizes& sizes, CudnnType type = CudnnType::f32) {
    return inner(sizes, dense_strides(sizes), type);
  }
  CudnnTensor inner(const CudnnSizes& sizes, const CudnnSizes& strides, CudnnType type) {
    return tensor(next_inner_++, type, sizes, strides, true, false);
  }

  CudnnTensor pointwise(CudnnPointwise mode, const CudnnTensor& x, CudnnType type = CudnnType::f32) {
    return pointwise(mode, x, nullptr, nullptr, inner(x.sizes, type), type);
  }
  CudnnTensor pointwise(CudnnPointwise mode, const CudnnTensor& x, const CudnnTensor& b,
                        CudnnType type = CudnnType::f32) {
    return pointwise(mode, x, b.descriptor, nullptr, inner(x.sizes, type), type);
  }
  /// Into a tensor that lies in memory.
  void pointwise_to(const CudnnTensor& y, CudnnPointwise mode, const CudnnTensor& x) {
    pointwise(mode, x, nullptr, nullptr, y, CudnnType::f32);
  }
  void pointwise_to(const CudnnTensor& y, CudnnPointwise mode, const CudnnTensor& x, const CudnnTensor& b,
                    CudnnType compute = CudnnType::f32) {
    pointwise(mode, x, b.descriptor, nullptr, y, compute);
  }
  /// y = max(x, 0); NaN stays NaN.
  void relu_to(const CudnnTensor& y, const CudnnTensor& x, CudnnType compute) {
    auto& how = make(CudnnKind::pointwise);
    int keeps_nan = 1;
    how.set(0, CudnnValue::pointwise_mode, CudnnPointwise::relu)
        .set(1, CudnnValue::data_type, compute)
        .set(2, CudnnValue::nan_propagation, keeps_nan);
    operation(CudnnKind::operation_pointwise, {{751, x}, {753, y}}, 750, how.finalize().handle());
  }
  /// Each element's place along an axis.
  CudnnTensor index(const CudnnTensor& x, int64_t axis) {
    return pointwise(CudnnPointwise::index, x, nullptr, nullptr, inner(x.sizes, CudnnType::i32), CudnnType::f32, axis);
  }
  /// x where the condition holds, else b.
  CudnnTensor select(const CudnnTensor& condition, const CudnnTensor& x, const CudnnTensor& b) {
    return pointwise(CudnnPointwise::select, x, b.descriptor, condition.descriptor, inner(x.sizes), CudnnType::f32);
  }

  /// (..., m, k) (..., k, n) -> (..., m, n)
  CudnnTensor matmul(const CudnnTensor& a, const CudnnTensor& b, CudnnType type = CudnnType::f32) {
    auto c = inner({a.sizes[0], a.sizes[1], a.sizes[2], b.sizes[3]}, type);
    matmul_to(c, a, b);
    return c;
  }
  void matmul_to(const CudnnTensor& c, const CudnnTensor& a, const CudnnTensor& b) {
    auto product = make(CudnnKind::matmul).set(1500, CudnnValue::data_type, CudnnType::f32).finalize().handle();
    operation(CudnnKind::operation_matmul, {{1520, a}, {1521, b}, {1522, c}}, 1523, product);
  }
  /// Of the axes that `sizes` has a 1 for.
  CudnnTensor reduce(CudnnReduction how, const CudnnTensor& x, const CudnnSizes& sizes) {
    auto y = inner(sizes);
    reduce_to(y, how, x);
    return y;
  }
  void reduce_to(const CudnnTensor& y, CudnnReduction how, const CudnnTensor& x) {
    auto reduction = make(CudnnKind::reduction)
                         .set(1601, CudnnValue::data_type, CudnnType::f32)
                         .set(1600, CudnnValue::reduction_operator, how)
                         .finalize()
                         .handle();
    operation(CudnnKind::operation_reduction, {{1610, x}, {1611, y}}, 1612, reduction);
  }
  /// The same elements seen with the last two axes exchanged.
  CudnnTensor transpose(const CudnnTensor& x, const CudnnSizes& strides, CudnnType type) {
    CudnnSizes sizes{x.sizes[0], x.sizes[1], x.sizes[3], x.sizes[2]};
    auto y = tensor(next_inner_++, type, sizes, strides, true, false);
    auto& op = make(CudnnKind::operation_reshape);
    op.set(2200, CudnnValue::descriptor, x.descriptor).set(2201, CudnnValue::descriptor, y.descriptor).finalize();
    operations_.push_back(op.handle());
    return y;
  }

  struct Window {
    int64_t stride[2], padding[2], dilation[2];
  };
  /// y = x * w, or the gradient of x or of w: `kind` says which; the tensors are x or its gradient, w or its gradient,
  /// y or its gradient.
  void convolve(int kind, const Window& window, const CudnnTensor& x, const CudnnTensor& w, const CudnnTensor& y,
                CudnnType compute) {
    int64_t axes = 2;
    auto convolution = make(CudnnKind::convolution)
                           .set(100, CudnnValue::data_type, compute)
                           .set(101, CudnnValue::convolution_mode, 1)
                           .set(102, window.dilation)
                           .set(103, window.stride)
                           .set(104, window.padding)
                           .set(105, window.padding)
                           .set(106, CudnnValue::int64, axes)
                           .finalize()
                           .handle();
    // Numbers of the attributes: alpha, beta, convolution, then the tensors.
    struct Names {
      int alpha, x, w, y;
    };
    auto names = kind == CudnnKind::convolution_forward         ? Names{700, 704, 703, 705}
                 : kind == CudnnKind::convolution_backward_data ? Names{706, 710, 709, 711}
                                                                : Names{712, 716, 715, 717};
    auto& op = make(kind);
    if (compute == CudnnType::f64) {
      op.set(names.alpha, CudnnValue::f64, 1.0).set(names.alpha + 1, CudnnValue::f64, 0.0);
    } else {
      op.set(names.alpha, CudnnValue::f32, 1.0f).set(names.alpha + 1, CudnnValue::f32, 0.0f);
    }
    op.set(names.alpha + 2, CudnnValue::descriptor, convolution)
        .set(names.x, CudnnValue::descriptor, x.descriptor)
        .set(names.w, CudnnValue::descriptor, w.descriptor)
        .set(names.y, CudnnValue::descriptor, y.descriptor)
        .finalize();
    operations_.push_back(op.handle());
  }

  /// The first plan of those that cuDNN proposes which it can also make, of an engine without `unwanted` notes; nothing
  /// when there is none, and `why` says why.
  std::optional<CudnnPlan> plan(const CudnnTarget& target, int unwanted = 0, std::string* why = nullptr) const {
    CudnnDescriptor graph(api_, op_, CudnnKind::operation_graph);
    graph.set(801, CudnnValue::descriptor, static_cast<int64_t>(operations_.size()), operations_.data());
    if (target.handle != nullptr) graph.set(800, CudnnValue::handle, target.handle);
    auto refused = [&]() -> std::optional<CudnnPlan> {
      if (why != nullptr) *why = api_.why();
      return std::nullopt;
    };
    if (auto status = api_.finalize(graph.handle()); status != 0) {
      if (!Cudnn::refuses(status)) api_.check(status, "cudnnBackendFinalize", op_);
      return refused();
    }
    for (auto mode : {3, 2}) {  // cuDNN's own choice; what always works
      CudnnDescriptor heuristics(api_, op_, CudnnKind::heuristics);
      heuristics.set(201, CudnnValue::descriptor, graph.handle()).set(200, CudnnValue::heuristics_mode, mode);
      if (target.properties != nullptr) heuristics.set(204, CudnnValue::descriptor, target.properties);
      if (api_.finalize(heuristics.handle()) != 0) continue;
      std::vector<CudnnDescriptor> configs;
      std::vector<Handle> handles;
      for (int i = 0; i < 8; ++i) {
        configs.emplace_back(api_, op_, CudnnKind::engine_config);
        handles.push_back(configs.back().handle());
      }
      int64_t count = 0;
      if (api_.get(heuristics.handle(), 202, CudnnValue::descriptor, 8, &count, handles.data()) != 0) continue;
      for (int64_t i = 0; i < count; ++i) {
        if (unwanted != 0 && (notes_of(handles[static_cast<size_t>(i)]) & unwanted) != 0) continue;
        CudnnDescriptor plan(api_, op_, CudnnKind::plan);
        plan.set(401, CudnnValue::descriptor, handles[static_cast<size_t>(i)]);
        if (target.handle != nullptr) plan.set(400, CudnnValue::handle, target.handle);
        if (target.properties != nullptr) plan.set(407, CudnnValue::descriptor, target.properties);
        if (api_.finalize(plan.handle()) == 0) return CudnnPlan(api_, op_, std::move(plan));
      }
    }
    return refused();
  }

 private:
  /// What cuDNN says of how the engine of a configuration computes: a bit for each of its notes.
  int notes_of(Handle config) const {
    CudnnDescriptor engine(api_, op_, CudnnKind::engine);
    auto handle = engine.handle();
    int64_t count = 0;
    api_.check(api_.get(config, 300, CudnnValue::descriptor, 1, &count, &handle), "cudnnBackendGetAttribute", op_);
    int bits = 0;
    auto read = [&](int attribute, int type, int first_bit) {
      int notes[16] = {};
      if (api_.get(handle, attribute, type, 16, &count, notes) != 0) return;
      for (int64_t i = 0; i < std::min<int64_t>(count, 16); ++i) bits |= 1 << (first_bit + notes[i]);
    };
    read(1303, CudnnValue::numerical_note, 0);
    read(1305, CudnnValue::behavior_note, 16);
    return bits;
  }

  CudnnDescriptor& make(int kind) { return descriptors_.emplace_back(api_, op_, kind); }

  CudnnTensor tensor(int64_t id, CudnnType type, const CudnnSizes& sizes, const CudnnSizes& strides, bool is_inner,
                     bool by_value) {
    auto& made = make(CudnnKind::tensor);
    int64_t alignment = by_value ? 4 : 16;
    made.set(901, CudnnValue::data_type, type)
        .set(902, sizes)
        .set(903, strides)
        .set(906, CudnnValue::int64, id)
        .set(900, CudnnValue::int64, alignment);
    if (is_inner) made.set(907, CudnnValue::boolean, true);
    if (by_value) made.set(908, CudnnValue::boolean, true);
    return {made.finalize().handle(), sizes};
  }

  CudnnTensor pointwise(CudnnPointwise mode, const CudnnTensor& x, Handle b, Handle condition, const CudnnTensor& y,
                        CudnnType compute, int64_t axis = -1) {
    auto& how = make(CudnnKind::pointwise);
    how.set(0, CudnnValue::pointwise_mode, mode).set(1, CudnnValue::data_type, compute);
    if (axis >= 0) how.set(9, CudnnValue::int64, axis);
    auto descriptor = how.finalize().handle();
    auto& op = make(CudnnKind::operation_pointwise);
    op.set(750, CudnnValue::descriptor, descriptor).set(751, CudnnValue::descriptor, x.descriptor);
    if (b != nullptr) op.set(752, CudnnValue::descriptor, b);
    if (condition != nullptr) op.set(758, CudnnValue::descriptor, condition);
    op.set(753, CudnnValue::descriptor, y.descriptor).finalize();
    operations_.push_back(op.handle());
    return y;
  }

  void operation(int kind, std::initializer_list<std::pair<int, CudnnTensor>> tensors, int attribute, Handle how) {
    auto& op = make(kind);
    for (const auto& [name, tensor] : tensors) op.set(name, CudnnValue::descriptor, tensor.descriptor);
    op.set(attribute, CudnnValue::descriptor, how).finalize();
    operations_.push_back(op.handle());
  }

  const Cudnn& api_;
  const char* op_;
  std::deque<CudnnDescriptor> descriptors_;  // of which references stay good
  std::vector<Handle> operations_;
  int64_t next_inner_ = 1000;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

// One recorded operator: edges to the operators its inputs came from, and how to pass gradients along them.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

struct GraphNode;
using NodeRef = Ref<GraphNode>;

/// Where an input's gradient goes: one output of the operator that made the input. Empty: not wanted.
struct Edge {
  NodeRef node;
  int output = 0;
};

/// What users want done with the gradients of a node's outputs. Defined in hooks.hpp: programs without hooks do not
/// compile it.
struct GradientHooks {
  virtual ~GradientHooks() = default;
  virtual void run(GraphNode& node) const = 0;
};

/// Looks at every result and gradient of this thread. Defined in anomaly.hpp.
struct AnomalyWatch {
  const std::string* layer = nullptr;  ///< path of a tensor of the layer that computes now

  virtual ~AnomalyWatch() = default;
  virtual void check_output(const char* op, const TensorImpl& y) = 0;
  /// A gradient that the operator with this sequence number hands to one of its inputs.
  virtual void check_gradient(const char* op, uint64_t sequence, const TensorImpl& gradient) = 0;
};

/// Null: nobody watches on this thread.
inline AnomalyWatch*& anomaly_watch() {
  thread_local AnomalyWatch* watch = nullptr;
  return watch;
}
/// Called with every result of a differentiable operator.
inline void watch_output(const char* op, const TensorRef& y) {
  if (auto* watch = anomaly_watch(); watch != nullptr) [[unlikely]]
    watch->check_output(op, *y);
}

/// Tells the watch which layer computes now.
class WatchedLayer {
 public:
  explicit WatchedLayer(const std::string& path_of_tensor) {
    if (auto* watch = anomaly_watch(); watch != nullptr) [[unlikely]]
      before_ = std::exchange((watch_ = watch)->layer, &path_of_tensor);
  }
  ~WatchedLayer() {
    if (watch_ != nullptr) watch_->layer = before_;
  }
  WatchedLayer(const WatchedLayer&) = delete;
  WatchedLayer& operator=(const WatchedLayer&) = delete;

 private:
  AnomalyWatch* watch_ = nullptr;
  const std::string* before_ = nullptr;
};

inline bool& recording() {
  thread_local bool flag = true;
  return flag;
}

struct GraphNode : Pooled {
  std::atomic<int> references{0};
  const char* name;
  uint64_t sequence;  ///< inputs have smaller numbers than what is computed from them

  // State of a backward walk.
  TensorRef gradient;                     ///< of output 0, summed over the users seen so far
  std::vector<TensorRef> more_gradients;  ///< of outputs 1, 2, ...
  bool queued = false;
  bool wanted = true;
  bool freed = false;
  /// The operator has one output and adds the first two of its gradients itself: the second waits as that of output 1.
  bool adds_gradients = false;

  std::unique_ptr<GradientHooks> hooks;

  explicit GraphNode(const char* op) : name(op), sequence(next_sequence()) {}
  [[gnu::noinline]] virtual ~GraphNode() {}  // else compiled again in every kind of node

  virtual bool is_leaf() const { return false; }
  virtual std::span<const Edge> edges() const = 0;
  /// The inputs' shapes, in the order of edges(): what a look at the graph learns sizes from. () where there is none.
  virtual std::span<const Shape> input_shapes() const { return {}; }
  /// Takes the gradients of the outputs and hands one to each wanted edge.
  virtual void run_backward(class BackwardWalk& walk) = 0;
  /// Lets go of saved tensors and edges.
  virtual void release() = 0;
  /// a + b for gradients of the outputs; recorded while gradients are. May add into a.
  virtual TensorRef add(TensorRef a, const TensorRef& b) const = 0;
  /// What a leaf has collected goes where the leaf goes.
  virtual void move_collected(Device) {}

  /// One more gradient of an output.
  void receive(int output, TensorRef arrived) {
    auto* slot = &gradient_of(output);
    if (*slot && adds_gradients && !recording()) slot = &gradient_of(1);
    *slot = *slot ? add(std::move(*slot), arrived) : std::move(arrived);
  }
  /// For others than the operator itself, who want to see one gradient.
  void add_waiting() {
    if (!adds_gradients || more_gradients.empty()) return;
    gradient = add(std::move(gradient), more_gradients[0]);
    more_gradients.clear();
  }
  /// What output `output` has received; the node does not keep it. Null: nothing.
  TensorRef take_gradient(int output) {
    auto seen = output == 0 || more_gradients.size() >= static_cast<size_t>(output);
    return seen ? std::move(gradient_of(output)) : TensorRef();
  }
  TensorRef& gradient_of(int output) {
    if (output == 0) return gradient;
    auto slot = static_cast<size_t>(output - 1);
    if (more_gradients.size() <= slot) more_gradients.resize(slot + 1);
    return more_gradients[slot];
  }

 private:
  static uint64_t next_sequence() {
    static std::atomic<uint64_t> counter{0};
    return counter.fetch_add(1, std::memory_order_relaxed);
  }
};

/// Deletes a node without recursion: a dying node's parents wait in a list until it is gone.
inline void destroy_node(GraphNode* node) noexcept {
  struct Waiting {
    GraphNode* first = nullptr;
    bool draining = false;
  };
  thread_local Waiting waiting;
  // A node that nobody refers to has no walk state: its sequence number's place can hold the list.
  node->sequence = reinterpret_cast<uint64_t>(waiting.first);
  waiting.first = node;
  if (waiting.draining) return;
  waiting.draining = true;
  while (waiting.first != nullptr) {
    auto* next = waiting.first;
    waiting.first = reinterpret_cast<GraphNode*>(next->sequence);
    delete next;
  }
  waiting.draining = false;
}

inline void add_reference(GraphNode* node) noexcept { node->references.fetch_add(1, std::memory_order_relaxed); }
inline void drop_reference(GraphNode* node) noexcept {
  if (node->references.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy_node(node);
}

/// Whether the backward walk of this thread frees the graph behind it, so that nobody will read what it holds.
inline bool& walk_frees_graph() {
  thread_local bool flag = false;
  return flag;
}

/// The operator whose backward runs on this thread now, for error texts; "" when none does.
inline const char*& running_backward() {
  thread_local const char* name = "";
  return name;
}

/// a + b where the sum itself is to be recorded; defined in differentiable.hpp.
template <Floating T>
TensorRef add_recorded(const TensorRef& a, const TensorRef& b);

/// a + b in ordinary memory, not recorded: into a's own when nobody else can see it. Channels last where a or b is.
template <Floating T>
TensorRef add_values(TensorRef a, const TensorRef& b) {
  auto turned = is_channels_last(*a) || is_channels_last(*b);
  auto lies = [turned](const TensorImpl& x) { return turned ? is_channels_last(x) : x.is_contiguous(); };
  auto laid = [turned](const TensorImpl& x) {
    auto copy = allocate_images(x.dtype, x.shape, x.storage->device(), turned);
    copy_elements(*copy, x);
    return copy;
  };
  if (!(a.unique() && a->storage.unique() && lies(*a))) a = laid(*a);
  auto dense = lies(*b) ? b : laid(*b);
#if defined(GRADUS_CUDA)
  if (on_card(*a)) {
    add_on_card(*a, *dense);
    return a;
  }
#endif
  auto* to = reinterpret_cast<T*>(a->data());
  auto* from = reinterpret_cast<const T*>(dense->data());
  parallel_for(a->numel, elements_per_chunk, [=](int64_t first, int64_t last) {
    for_each_register(to + first, last - first, Compute<T>(0), [&](int64_t i, const auto& x, int64_t count) {
      store_some(x + load_some<Compute<T>>(from + first + i, count), to + first + i, count);
    });
  });
  return a;
}

/// The sum of two gradients of one tensor.
template <Floating T>
TensorRef add_gradients(TensorRef a, const TensorRef& b) {
  if (recording() && (a->node || b->node)) return add_recorded<T>(a, b);
  return add_values<T>(std::move(a), b);
}

/// A trained tensor: the end of every path.
template <Floating T>
struct LeafNode final : GraphNode {
  LeafNode() : GraphNode("leaf") {}
  bool is_leaf() const override { return true; }
  std::span<const Edge> edges() const override { return {}; }
  void run_backward(BackwardWalk&) override;
  void release() override {}
  TensorRef add(TensorRef a, const TensorRef& b) const override { return add_gradients<T>(std::move(a), b); }
  void move_collected(Device device) override {
    if (!collected) return;
    auto moved = allocate_impl(collected->dtype, collected->shape, device);
    copy_elements(*moved, *collected);
    collected = moved;
  }

  TensorRef collected;            ///< what Tensor::grad() returns
  std::atomic<bool> busy{false};  ///< a backward walk is adding to `collected`
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Nothing that this thread computes is recorded while one of these lives.
class NoGradGuard {
 public:
  NoGradGuard() : before_(std::exchange(detail::recording(), false)) {}
  ~NoGradGuard() { detail::recording() = before_; }
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool before_;
};

/// Runs f() without recording and returns what it returns.
template <class F>
decltype(auto) no_grad(F&& f) {
  NoGradGuard guard;
  return f();
}

/// Whether this thread records operators now.
inline bool grad_enabled() { return detail::recording(); }

}  // namespace gradus::inline GRADUS_BUILD

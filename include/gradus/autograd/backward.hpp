// The walk from outputs to leaves: iterative, newest operator first, so that an operator runs when all
// users of its outputs have run.
#pragma once

#include <algorithm>
#include <vector>

#include "gradus/autograd/node.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A place whose gradient is returned instead of collected.
struct Target {
  NodeRef node;
  int output = 0;
  TensorRef gradient;
};

inline void require_graph(const GraphNode& node) {
  require<AutogradError>(!node.freed, "backward: the graph of '", node.name,
                         "' was freed by an earlier backward; pass retain_graph = true there to walk it twice");
}

class BackwardWalk {
 public:
  BackwardWalk(bool retain_graph, std::vector<Target>* targets = nullptr)
      : retain_graph_(retain_graph), targets_(targets) {}
  ~BackwardWalk() {  // after an exception: no half-summed gradient may stay
    for (auto& node : heap_) {
      node->gradient = {};
      node->more_gradients.clear();
      node->queued = false;
    }
  }
  BackwardWalk(const BackwardWalk&) = delete;
  BackwardWalk& operator=(const BackwardWalk&) = delete;

  /// Adds `gradient` to what output `edge.output` of `edge.node` has received.
  void deliver(const Edge& edge, TensorRef gradient) {
    if (!edge.node || !gradient || !edge.node->wanted) return;
    if (auto* watch = anomaly_watch(); watch != nullptr && running_ != 0) [[unlikely]]
      watch->check_gradient(running_backward(), running_, *gradient);
    auto& node = *edge.node;
    node.receive(edge.output, std::move(gradient));
    if (node.queued) return;
    node.queued = true;
    heap_.push_back(edge.node);
    std::push_heap(heap_.begin(), heap_.end(), older);
  }

  bool collects() const { return targets_ == nullptr; }

  void run() {
    struct Restore {
      bool before;
      ~Restore() { walk_frees_graph() = before; }
    } restore{std::exchange(walk_frees_graph(), !retain_graph_)};
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), older);
      auto node = std::move(heap_.back());
      heap_.pop_back();
      visit(*node);
    }
  }

 private:
  static bool older(const NodeRef& a, const NodeRef& b) { return a->sequence < b->sequence; }

  static void reset(GraphNode& node) {
    node.gradient = {};
    node.more_gradients.clear();
    node.queued = false;
  }

  void visit(GraphNode& node) {
    struct Leave {
      GraphNode& node;
      const char* outer;
      ~Leave() {
        reset(node);
        running_backward() = outer;
      }
    } leave{node, std::exchange(running_backward(), node.name)};
    running_ = node.sequence;
    if (node.hooks || targets_ != nullptr) node.add_waiting();
    if (node.hooks) [[unlikely]]
      node.hooks->run(node);
    if (targets_ != nullptr) {
      for (auto& target : *targets_) {
        if (target.node.get() == &node) target.gradient = node.gradient_of(target.output);
      }
    }
    if (targets_ != nullptr && !wants_inputs(node)) return;  // the walk ends at this target; its own graph stays
    require_graph(node);
    try {
      node.run_backward(*this);
    } catch (OutOfMemoryError& error) {  // memory does not know for whom it was asked
      error.add_context(join("backward of '", node.name, "'"));
      throw;
    }
    if (!retain_graph_ && !node.is_leaf()) {
      node.freed = true;
      node.release();
    }
  }

  static bool wants_inputs(const GraphNode& node) {
    auto edges = node.edges();
    return std::any_of(edges.begin(), edges.end(), [](const Edge& edge) { return edge.node && edge.node->wanted; });
  }

  bool retain_graph_;
  uint64_t running_ = 0;  // sequence number of the operator whose backward runs
  std::vector<Target>* targets_;
  std::vector<NodeRef> heap_;
};

template <Floating T>
void LeafNode<T>::run_backward(BackwardWalk& walk) {
  if (!walk.collects()) return;
  auto arrived = std::move(gradient);
#ifndef NDEBUG
  require<AutogradError>(!busy.exchange(true, std::memory_order_acquire),
                         "backward: two threads add to the gradient of one leaf at the same time");
  struct Done {
    std::atomic<bool>& busy;
    ~Done() { busy.store(false, std::memory_order_release); }
  } done{busy};
#endif
  if (collected) {
    collected = add_gradients<T>(std::move(collected), arrived);
  } else if (arrived->node || (arrived.unique() && arrived->storage.unique() && arrived->is_contiguous())) {
    collected = std::move(arrived);
  } else {  // others see this memory, and the caller may change .grad() in place
    collected = allocate_impl(arrived->dtype, arrived->shape, arrived->storage->device());
    copy_elements(*collected, *arrived);
  }
}

/// Marks the nodes from which a target can be reached as wanted, all others under `root` as not, so that
/// grad() computes nothing that nobody asked for. Returns every node seen, to be reset with `want_all`.
inline std::vector<NodeRef> want_targets(const std::vector<NodeRef>& roots, const std::vector<Target>& targets) {
  std::vector<NodeRef> seen;
  auto visit = [&](const NodeRef& node) {
    if (!node || !node->wanted) return;
    node->wanted = false;
    seen.push_back(node);
  };
  for (const auto& root : roots) visit(root);
  for (size_t i = 0; i < seen.size(); ++i) {
    auto node = seen[i];  // a copy: seen grows
    for (const auto& edge : node->edges()) visit(edge.node);
  }
  std::sort(seen.begin(), seen.end(), [](const NodeRef& a, const NodeRef& b) { return a->sequence < b->sequence; });
  for (const auto& node : seen) {
    for (const auto& target : targets) node->wanted |= target.node == node;
    for (const auto& edge : node->edges()) node->wanted |= edge.node && edge.node->wanted;
  }
  return seen;
}
inline void want_all(const std::vector<NodeRef>& nodes) {
  for (const auto& node : nodes) node->wanted = true;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// Which layers and operators a step's memory goes to.
#pragma once

#include <algorithm>
#include <unordered_map>

#include "gradus/autograd/node.hpp"
#include "gradus/core/text_table.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/device/cuda/context.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

/// An operator of a layer, forward or backward, and the memory of tensors while it ran. In bytes.
struct LayerMemory {
  std::string layer;       ///< its path in the model; empty outside of layers, and before an optimizer walked the model
  std::string op;          ///< "linear", "backward of linear"; "rest" for what ran behind the last operator
  int64_t peak_bytes = 0;  ///< the most in use at one time, all layers' tensors together
  int64_t kept_bytes = 0;  ///< how much more was in use behind it than before it
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// Reads the memory's counters behind every operator.
class MemoryWatch final : public AnomalyWatch {
 public:
  explicit MemoryWatch(Device device) : device_(device) { read(); }

  void check_output(const char* op, const TensorImpl& y) override {
    if (*running_backward() != 0) return;  // a part of that
    auto path = layer == nullptr ? std::string() : layer->substr(0, std::max<size_t>(layer->rfind('.') + 1, 1) - 1);
    if (y.node) layers_.emplace(y.node->sequence, path);
    add(path, op);
  }
  void check_gradient(const char* op, uint64_t sequence, const TensorImpl&) override {
    auto found = layers_.find(sequence);
    add(found == layers_.end() ? "" : found->second, std::string("backward of ") + op);
  }
  std::vector<LayerMemory> finish() {
    add("", "rest");
    return std::move(rows_);
  }

 private:
  void add(const std::string& path, const std::string& op) {
    auto before = in_use_;
    auto peak = read();
    auto row = std::find_if(rows_.begin(), rows_.end(), [&](const auto& r) { return r.layer == path && r.op == op; });
    if (row == rows_.end()) row = rows_.insert(row, {path, op});
    row->peak_bytes = std::max(row->peak_bytes, peak);
    row->kept_bytes += in_use_ - before;
  }
  /// What is in use now; returns the most since the last call.
  int64_t read() {
#if defined(GRADUS_CUDA)
    if (!device_.is_cpu()) {
      auto& context = cuda::detail::Context::of(device_);
      auto stats = context.stats();
      context.reset_peak();
      in_use_ = stats.bytes_in_use;
      return stats.peak_bytes;
    }
#endif
    auto stats = CachingAllocator::instance().stats();
    CachingAllocator::instance().reset_peak();
    in_use_ = stats.bytes_in_use;
    return stats.peak_bytes;
  }

  Device device_;
  int64_t in_use_ = 0;
  std::vector<LayerMemory> rows_;
  std::unordered_map<uint64_t, std::string> layers_;  // of operators that were recorded
};

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Runs work(), a training step say, and tells what memory of the device was in use while each operator ran, in the
/// order in which they ran first; the same operator of a layer counts once. Peak counters of the device begin anew. Not
/// within an AnomalyGuard or a captured step.
///   std::cout << to_table(memory_by_layer(device, [&] { cross_entropy(model(x), y).backward(); }));
template <class Work>
std::vector<LayerMemory> memory_by_layer(Device device, Work&& work) {
  detail::MemoryWatch watch(device);
  struct Watching {
    detail::AnomalyWatch* before;
    ~Watching() { detail::anomaly_watch() = before; }
  } watching{std::exchange(detail::anomaly_watch(), &watch)};
  work();
  return watch.finish();
}

/// A line an operator of a layer, and the highest peak below.
GRADUS_COLD inline std::string to_table(const std::vector<LayerMemory>& rows) {
  auto kib = [](int64_t bytes) { return detail::with_commas((bytes + (bytes < 0 ? -1023 : 1023)) / 1024); };
  std::vector<std::vector<std::string>> lines = {{"layer", "operator", "peak KiB", "kept KiB"}};
  int64_t peak = 0, kept = 0;
  for (const auto& row : rows) {
    lines.push_back({row.layer, row.op, kib(row.peak_bytes), kib(row.kept_bytes)});
    peak = std::max(peak, row.peak_bytes);
    kept += row.kept_bytes;
  }
  lines.push_back({"peak", "", kib(peak), kib(kept)});
  return detail::text_table(lines, 2);
}

}  // namespace gradus::inline GRADUS_BUILD

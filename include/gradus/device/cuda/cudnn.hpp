// What cuDNN planned for each card, kept in memory and on disk.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "gradus/device/cuda/context.hpp"
#include "gradus/device/cuda/cudnn_graph.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// Whether operators keep to kernels whose results are the same bits in every run. Off at the start.
GRADUS_SHARED inline std::atomic<bool>& deterministic_only() {
  static std::atomic<bool> only{false};
  return only;
}

/// The plan of a graph, from disk or by make(api, target): some take half a second to make. `card` and `key` tell cards
/// and graphs apart.
template <class Make>
std::optional<CudnnPlan> plan_from_disk(const KernelCache& disk, const Cudnn& api, const char* op,
                                        const std::string& card, const std::string& key, const CudnnTarget& target,
                                        Make&& make) {
  auto file = join(op, ".plan.", hash_of(join("gradus 1 cudnn ", api.version(), ' ', card, '\n', key)));
  if (auto text = disk.find(file); !text.empty()) {
    if (auto plan = CudnnPlan::from_text(api, op, text, target)) return plan;
  }
  std::optional<CudnnPlan> plan = make(api, target);
  if (auto text = plan ? plan->text() : ""; !text.empty()) disk.keep(file, text);
  return plan;
}

/// What cuDNN planned for one card, kept for each kind of graph.
class GRADUS_SHARED CudnnPlans {
 public:
  /// Null when this machine has no cuDNN, or it does not work on this card.
  GRADUS_SHARED static CudnnPlans* of(Device device) {
    if (Cudnn::find() == nullptr) return nullptr;
    auto& plans = one_of_card<CudnnPlans>(device, [device] { return new CudnnPlans(Context::of(device)); });
    return plans.handle_ != nullptr ? &plans : nullptr;
  }

  size_t version() const { return api_.version(); }
  Handle handle() const { return handle_; }
  /// Calls that take the handle are made by one thread at a time.
  [[nodiscard]] std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  /// The plan of `name` for a shape, made by make(api, target) -> optional plan the first time on this machine. Null
  /// when cuDNN has none.
  template <class Shape, class Make>
  const CudnnPlan* find(const char* op, const char* name, const Shape& shape, Make&& make) {
    static_assert(std::is_trivially_copyable_v<Shape>);
    std::string key(name);
    key.append(reinterpret_cast<const char*>(&shape), sizeof(shape));
    if (KernelCache::keeps_texts()) keep(name, key);
    std::lock_guard lock(mutex_);
    auto [found, fresh] = plans_.try_emplace(std::move(key));
    if (fresh) {
      try {
        context_.call_library(op, [&] {
          found->second = plan_from_disk(disk_, api_, op, card_, found->first, {handle_, nullptr}, make);
        });
      } catch (const CudnnRefusal&) {
        found->second.reset();
      } catch (...) {
        plans_.erase(found);  // the next call asks again
        throw;
      }
    }
    return found->second ? &*found->second : nullptr;
  }

  /// Memory, or the place of a number, for each id of the plan's graph.
  void run(const CudnnPlan& plan, const std::vector<std::pair<int64_t, const void*>>& tensors) {
    std::vector<int64_t> ids;
    std::vector<const void*> data;
    for (const auto& [id, at] : tensors) {
      ids.push_back(id);
      data.push_back(at);
    }
    auto bytes = static_cast<size_t>(plan.workspace_bytes());
    auto* workspace = bytes > 0 ? context_.allocate(bytes, plan.op()) : nullptr;
    std::unique_ptr<void, std::function<void(void*)>> owner(workspace, [this](void* at) { context_.release(at); });
    std::lock_guard lock(mutex_);
    auto launching = context_.count_launch(plan.op());
    context_.call_library(plan.op(), [&] { plan.run(handle_, ids, data, workspace); });
  }

 private:
  /// Writes what a graph is made of beside the kernels: tests ask other cards' cuDNN for it.
  static void keep(const char* name, const std::string& key) {
    auto path = join(KernelCache::default_folder(), '/', name, '.', hash_of(key), ".graph");
    std::error_code none;
    if (!std::filesystem::exists(path, none)) std::ofstream(path, std::ios::binary) << key;
  }
  explicit CudnnPlans(Context& context)
      : context_(context), api_(*Cudnn::find()), disk_(KernelCache::default_folder()) {
    int driver = 0;
    context.check(context.driver().driver_version(&driver), "cuDriverGetVersion", "");
    card_ = join(context.name(), " sm_", context.architecture(), ' ', context.multiprocessors(), ' ', driver);
    if (api_.create(&handle_) != 0) handle_ = nullptr;
    if (handle_ == nullptr) return;
    auto answer = api_.set_stream(handle_, context.stream());
    if (answer != 0) api_.destroy(handle_);
    api_.check(answer, "cudnnSetStream", "convolution and attention");
  }

  Context& context_;
  const Cudnn& api_;
  KernelCache disk_;
  std::string card_;
  Handle handle_ = nullptr;
  std::mutex mutex_;
  std::map<std::string, std::optional<CudnnPlan>> plans_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

namespace gradus::cuda::inline GRADUS_STABLE {

/// Version of the cuDNN that convolution and attention use on a card, as 91900 for 9.19; 0: none, own kernels do it.
inline size_t cudnn_version(Device device) {
  const auto* plans = detail::CudnnPlans::of(device);
  return plans != nullptr ? plans->version() : 0;
}

/// Keeps to kernels whose results are the same bits in every run. Only cuDNN's gradient of attention in bf16 is not
/// one: without it attention takes memory for all scores. Off unless asked for, as in PyTorch.
inline void use_deterministic(bool on = true) { detail::deterministic_only() = on; }

}  // namespace gradus::cuda::inline GRADUS_STABLE

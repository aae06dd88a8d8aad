// A training step that is recorded once and repeated by one launch.
#pragma once

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "gradus/core/device.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/device/cuda/context.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

/// What capture() returns. Its first calls run the step as it is; then one call records it, and it and all that follow
/// launch the record. The result is that of the recorded call: its tensors keep their memory and are written again by
/// each call. Moved, not copied.
template <class Step>
class CapturedStep {
 public:
  using Result = std::invoke_result_t<Step&>;

  CapturedStep(Device device, Step step, int warm_ups)
      : state_(std::make_unique<State>(device, std::move(step), warm_ups)) {}

  Result operator()() {
    auto& s = *state_;
#if defined(GRADUS_CUDA)
    if (!s.device.is_cpu() && s.warm_ups == 0) {
      auto recorded = s.executable != nullptr;
      if (!recorded) s.record_step();
      cuda::detail::Context::of(s.device).replay(s.record, s.executable, recorded);
      if constexpr (std::is_void_v<Result>) return;
      else return *s.result;
    }
#endif
    if (s.warm_ups > 0) --s.warm_ups;
    return s.step();
  }

 private:
  struct State {
    State(Device where, Step what, int calls) : device(where), step(std::move(what)), warm_ups(calls) {}
    State(const State&) = delete;
#if defined(GRADUS_CUDA)
    ~State() {
      result.reset();
      if (record.arena > 0) cuda::detail::Context::known(device).forget(record, executable);
    }

    void record_step() {
      auto& context = cuda::detail::Context::of(device);
      context.begin_capture(record);
      auto recording = true;
      try {
        if constexpr (std::is_void_v<Result>) step();
        else result.emplace(step());
        recording = false;
        executable = context.end_capture(true);
      } catch (...) {
        if (recording) context.end_capture(false);
        result.reset();
        context.forget(record, nullptr);
        record = {};
        throw;
      }
    }

    cuda::detail::Handle executable = nullptr;
    cuda::detail::CaptureRecord record;
#endif

    Device device;
    Step step;
    int warm_ups;
    std::optional<std::conditional_t<std::is_void_v<Result>, std::monostate, Result>> result;
  };
  std::unique_ptr<State> state_;
};

/// Makes a step on a GPU one launch, which spares the host's time for each kernel: small networks become several times
/// as fast. On the CPU it is the step as it is.
///
///     auto step = capture(device, [&] {
///       auto loss = cross_entropy(model(x), labels);
///       loss.backward();
///       adam.step();
///       adam.zero_grad();
///       return loss;
///     });
///     for (auto& batch : loader) {
///       x.copy_(batch.x.to(device));  // the step reads where it read when it was recorded
///       labels.copy_(batch.y.to(device));
///       auto loss = step();
///     }
///
/// The same kernels run in the same order, so results are the same bits as without. Learning rates, step counts and the
/// random numbers of dropout go on as they would. All else that the host decides is as it was in the recorded call:
/// shapes, branches, numbers. What needs the host within the step (item(), copies to and from it, waiting) throws
/// CaptureError, which names it; so does dropout within recompute(). Optimizers that step within must live as long as
/// the captured step and stay where they are. One thread uses the card while the step is recorded. The step keeps
/// memory of its own for what it makes.
template <class Step>
CapturedStep<Step> capture(Device device, Step step, int warm_ups = 2) {
  return {device, std::move(step), warm_ups};
}

}  // namespace gradus::inline GRADUS_BUILD

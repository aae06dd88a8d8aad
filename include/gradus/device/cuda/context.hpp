// One card as the library uses it: the driver's context, a stream on which all work is in order, memory, loaded
// kernels, and what went wrong in kernels that cannot throw.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "gradus/core/device.hpp"
#include "gradus/core/dtype.hpp"
#include "gradus/device/cuda/cublaslt_table.hpp"
#include "gradus/device/cuda/kernels.hpp"
#include "gradus/device/cuda/memory.hpp"
#include "gradus/device/cuda/nvtx.hpp"
#include "gradus/device/cuda/timings.hpp"
#include "gradus/device/cuda/uploads.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// What a kernel writes when an index is out of range; it goes on with one that is in range.
struct KernelFault {
  long long op = 0;  ///< a const char*: the operator's name; 0: nothing happened
  long long value = 0, bound = 0, lowest = 0;
};

/// What a step leaves behind that is captured: cuda::capture() explains.
struct CaptureRecord {
  int arena = 0;
  std::vector<void*> held;  ///< memory of others that the step gave back while it was captured
  std::vector<std::function<void(Handle)>> refreshes;  ///< run before each replay: what changes from step to step
};

/// Blocks and threads of a launch.
struct Grid {
  int64_t blocks = 1;
  int threads = 256;
  int shared_bytes = 0;
};

/// The one T of a card, made by make() on first use and never destroyed: static tensors may outlive any static object.
template <class T, class Make>
GRADUS_SHARED T& one_of_card(Device device, Make&& make) {
  static std::mutex mutex;
  static std::array<std::atomic<T*>, 64> all{};
  auto& one = all[static_cast<size_t>(device.index())];
  if (auto* made = one.load(std::memory_order_acquire); made != nullptr) [[likely]]
    return *made;
  std::lock_guard lock(mutex);
  if (one == nullptr) one = make();
  return *one;
}

class GRADUS_SHARED Context {
 public:
  GRADUS_SHARED static Context& of(Device device) {
    auto& context = known(device);
    context.make_current();
    return context;
  }
  /// The same without a call of the driver, so that memory can be given back in any thread and when the card is lost.
  GRADUS_SHARED static Context& known(Device device) {
    return one_of_card<Context>(device, [device] { return new Context(device.index()); });
  }

  const Driver& driver() const { return driver_; }
  Handle stream() const { return stream_; }
  int architecture() const { return architecture_; }
  int multiprocessors() const { return multiprocessors_; }
  const std::string& name() const { return name_; }
  CudaStats stats() {
    std::lock_guard lock(mutex_);
    auto now = stats_;
    now.launches = launches_;
    now.copies = copies_;
    now.waits = waits_;
    return now;
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.bytes_in_use;
  }

  void* allocate(size_t bytes, const char* op) {
    std::lock_guard lock(mutex_);
    auto* block = memory_.allocate(bytes, uploading ? MemoryPool::uploads : memory_.arena(), op);
    if (poison_ && !uploading) driver_.set_bytes(pointer(block), 0xff, bytes, stream_);
    return block;
  }
  void release(void* block) noexcept {
    std::lock_guard lock(mutex_);
    auto arena = memory_.arena_of(block);
    if (record_ != nullptr && arena != record_->arena) return record_->held.push_back(block);
    if (arena == MemoryPool::uploads) {
      static_cast<void>(try_make_current());
      uploads_.given_back();
    }
    memory_.release(block);
  }
  MemoryPool& memory() { return memory_; }
  Kernels& kernels() { return kernels_; }
  Uploads& uploads() { return uploads_; }
  /// New memory holds NaN: for tests.
  void set_poison(bool on) { poison_ = on; }

  /// Copies in the stream's order, but for uploads. The host's memory may be changed as soon as to_device returns, and
  /// to_host waits.
  void to_device(void* to, const void* from, size_t bytes, const char* op) {
    if (bytes == 0) return;
    ++copies_;
    if (uploading) return uploads_.send(to, from, bytes, op);
    refuse_in_capture(op, "takes data from the host");
    check(driver_.to_device(pointer(to), from, bytes, stream_), "cuMemcpyHtoDAsync", op);
  }
  void to_host(void* to, const void* from, size_t bytes, const char* op) {
    if (bytes == 0) return;
    refuse_in_capture(op, "brings data to the host");
    ++copies_;
    check(driver_.to_host(to, pointer(from), bytes, stream_), "cuMemcpyDtoHAsync", op);
    wait(op);
  }
  void on_device(void* to, const void* from, size_t bytes, const char* op) {
    if (bytes == 0) return;
    auto timed_copy = timed(op, "copy");
    check(driver_.on_device(pointer(to), pointer(from), bytes, stream_), "cuMemcpyDtoDAsync", op);
  }
  /// From another card: behind what both were given to do so far, and before what either is given next.
  void from_other_card(void* to, Context& other, const void* from, size_t bytes, const char* op) {
    if (bytes == 0) return;
    refuse_in_capture(op, "copies between two GPUs");
    other.refuse_in_capture(op, "copies between two GPUs");
    static std::mutex one_at_a_time;
    std::lock_guard lock(one_at_a_time);
    check(driver_.stream_wait(stream_, other.mark(op), 0), "cuStreamWaitEvent", op);
    check(driver_.between_devices(pointer(to), context_, pointer(from), other.context_, bytes, stream_),
          "cuMemcpyPeerAsync", op);
    auto* copied = mark(op);
    check(driver_.stream_wait(other.stream_, copied, 0), "cuStreamWaitEvent", op);
  }
  void set_bytes(void* to, unsigned char value, size_t bytes, const char* op) {
    if (bytes == 0) return;
    auto timed_fill = timed(op, "fill");
    check(driver_.set_bytes(pointer(to), value, bytes, stream_), "cuMemsetD8Async", op);
  }

  /// Until all work so far is done. Throws IndexError when a kernel met an index out of range.
  void wait(const char* op) {
    refuse_in_capture(op, "waits for the GPU");
    ++waits_;
    check(driver_.stream_synchronize(stream_), "cuStreamSynchronize", op);
    if (fault_->op == 0) [[likely]]
      return;
    auto fault = std::exchange(*fault_, {});
    throw IndexError(join(reinterpret_cast<const char*>(fault.op), ": index ", fault.value,
                          " is out of range: it must be in [", fault.lowest, ", ", fault.bound,
                          ") (seen on the GPU, when the host waited for '", op, "')"));
  }
  /// Where kernels report; memory of the host that they can write.
  KernelFault* fault() const { return fault_; }

  void launch(Handle function, const Grid& grid, void** arguments, const char* op) {
    if (grid.blocks == 0) return;
    auto launching = count_launch(op, function);
    check(driver_.launch(function, static_cast<unsigned>(grid.blocks), 1, 1, static_cast<unsigned>(grid.threads), 1, 1,
                         static_cast<unsigned>(grid.shared_bytes), stream_, arguments, nullptr),
          "cuLaunchKernel", op);
  }

  /// What is launched while it lives has the operator's name for profilers, and is timed if that was asked for.
  struct Launching {
    NamedRange range;
    std::optional<TimedWork> time;
  };
  /// Counts a launch. Kernels of libraries have no function.
  [[nodiscard]] Launching count_launch(const char* op, Handle function = nullptr) {
    ++launches_;
    return {NamedRange(op), timed(op, "library", function)};
  }
  [[nodiscard]] std::optional<TimedWork> timed(const char* op, const char* what, Handle function = nullptr) {
    if (!timings_.on() || capturing()) [[likely]]
      return std::nullopt;
    return timings_.time(op, kernels_.name_of(function, what));
  }
  /// From here on work is not done but recorded.
  void begin_capture(CaptureRecord& record) {
    wait("capture");
    {
      std::lock_guard lock(mutex_);
      memory_.empty_cache();
      memory_.use_arena(record.arena = ++arenas_);
      record_ = &record;
    }
    auto result = driver_.capture_begin(stream_, capture_relaxed);
    if (result != 0) {
      stop_recording();
      record = {};
    }
    check(result, "cuStreamBeginCapture", "capture");
  }
  /// What was recorded, ready to run; null when it is not `wanted`.
  Handle end_capture(bool wanted) {
    stop_recording();
    Handle graph = nullptr, executable = nullptr;
    auto ended = driver_.capture_end(stream_, &graph);
    auto made = wanted && ended == 0 ? driver_.graph_instantiate(&executable, graph, 0) : 0;
    if (graph != nullptr) driver_.graph_destroy(graph);
    if (!wanted) return nullptr;
    check(ended, "cuStreamEndCapture", "capture");
    check(made, "cuGraphInstantiate", "capture");
    return executable;
  }
  void replay(const CaptureRecord& record, Handle executable, bool refreshed) {
    for (const auto& refresh : record.refreshes)
      if (refreshed) refresh(executable);
    ++launches_;
    check(driver_.graph_launch(executable, stream_), "cuGraphLaunch", "captured step");
  }
  /// The memory of a captured step serves everybody again.
  void forget(CaptureRecord& record, Handle executable) noexcept {
    static_cast<void>(try_make_current());  // this thread may not have used the card yet
    if (executable != nullptr) driver_.graph_executable_destroy(executable);
    std::lock_guard lock(mutex_);
    for (auto* block : std::exchange(record.held, {})) memory_.release(block);
    memory_.end_arena(record.arena);
  }
  bool capturing() const { return record_ != nullptr; }
  /// While a step is captured: what the host does before each replay.
  void on_replay(std::function<void()> action) {
    record_->refreshes.emplace_back([action = std::move(action)](Handle) { action(); });
  }
  /// While a step is captured: arguments(launch) calls launch(pointers to what the kernel launched last takes) before
  /// each replay.
  template <class Arguments>
  void refresh_launch(Handle function, const Grid& grid, const char* op, Arguments&& arguments) {
    int status = 0;
    uint64_t id = 0;
    Handle graph = nullptr;
    const Handle* last = nullptr;
    size_t count = 0;
    check(driver_.capture_info(stream_, &status, &id, &graph, &last, &count), "cuStreamGetCaptureInfo", op);
    require<CudaError>(count == 1, "cuStreamGetCaptureInfo for ", op, ": ", count, " nodes were launched last, not 1");
    record_->refreshes.emplace_back([this, node = *last, function, grid, op,
                                     arguments = std::forward<Arguments>(arguments)](Handle graph_now) mutable {
      arguments([&](void** pointers) {
        KernelNode launch{function,
                          {static_cast<unsigned>(grid.blocks), 1, 1},
                          {static_cast<unsigned>(grid.threads), 1, 1},
                          static_cast<unsigned>(grid.shared_bytes),
                          pointers,
                          nullptr,
                          nullptr,
                          nullptr};
        check(driver_.graph_set_kernel(graph_now, node, &launch), "cuGraphExecKernelNodeSetParams", op);
      });
    });
  }

  void start_timing() { timings_.start(); }
  /// Waits for the card.
  std::vector<KernelTime> stop_timing() {
    return timings_.stop([this] { wait("profile"); });
  }

  void check(int result, const char* call, const char* op) const { driver_.check(result, call, op); }
  /// Runs calls of a library. Its errors do not say that the card is lost, so the driver is asked when one fails.
  template <class Calls>
  void call_library(const char* op, Calls&& calls) {
    try {
      calls();
    } catch (const CudaError& error) {
      auto answer = capturing() ? 0 : driver_.stream_synchronize(stream_);
      if (!Driver::is_lost(answer)) throw;
      throw DeviceLostError(
          join(error.what(), "; cuStreamSynchronize for ", op, ": ", driver_.describe(answer), Driver::lost));
    }
  }
  static DevicePointer pointer(const void* at) { return reinterpret_cast<DevicePointer>(at); }

  /// Blocks that fill the card a few times over, or fewer when there is less to do.
  int64_t blocks_for(int64_t threads, int block) const {
    return std::clamp<int64_t>((threads + block - 1) / block, 0, int64_t{multiprocessors_} * 16);
  }

 private:
  explicit Context(int index)
      : driver_(Driver::get()),
        index_(index),
        stream_(start()),
        memory_(driver_, stats_, index, stream_),
        uploads_(driver_, stream_),
        kernels_(driver_, architecture_),
        timings_(driver_, stream_) {
    if (const auto* limit = std::getenv("GRADUS_CUDA_MEMORY"); limit != nullptr)
      memory_.set_limit(std::strtoull(limit, nullptr, 10));
    if (const auto* pool = std::getenv("GRADUS_CUDA_POOL"); pool != nullptr)
      memory_.set_keep(pool != std::string_view("off"));
  }

  Handle start() {
    int device = 0, major = 0, minor = 0;
    check(driver_.device_get(&device, index_), "cuDeviceGet", "");
    check(driver_.device_attribute(&major, attribute_major, device), "cuDeviceGetAttribute", "");
    check(driver_.device_attribute(&minor, attribute_minor, device), "cuDeviceGetAttribute", "");
    check(driver_.device_attribute(&multiprocessors_, attribute_multiprocessors, device), "cuDeviceGetAttribute", "");
    architecture_ = 10 * major + minor;
    char name[256] = {};
    check(driver_.device_name(name, sizeof(name) - 1, device), "cuDeviceGetName", "");
    name_ = name;
    check(driver_.context_retain(&context_, device), "cuDevicePrimaryCtxRetain", "");
    make_current();
    void* fault = nullptr;
    check(driver_.allocate_host(&fault, sizeof(KernelFault), 0), "cuMemHostAlloc", "");
    Handle stream = nullptr;
    auto made = driver_.stream_create(&stream, stream_non_blocking);
    if (made != 0) driver_.release_host(fault);
    check(made, "cuStreamCreate", "");
    fault_ = new (fault) KernelFault;
    return stream;
  }
  /// The driver's calls of this thread are about this card.
  void make_current() const { check(try_make_current(), "cuCtxSetCurrent", ""); }
  int try_make_current() const noexcept {
    thread_local Handle current = nullptr;
    if (current == context_) return 0;
    auto result = driver_.context_set(context_);
    if (result == 0) current = context_;
    return result;
  }
  void refuse_in_capture(const char* op, const char* what) const {
    require<CaptureError>(!capturing(), "a step with '", op, "' cannot be captured: it ", what,
                          "; do that before or after the captured step, and call zero_grad() before going on");
  }
  void stop_recording() {
    std::lock_guard lock(mutex_);
    record_ = nullptr;
    memory_.use_arena(0);
  }
  /// An event behind all work so far, for other cards to wait for.
  Handle mark(const char* op) {
    make_current();
    if (mark_ == nullptr) check(driver_.event_create(&mark_, event_no_timing), "cuEventCreate", op);
    check(driver_.event_record(mark_, stream_), "cuEventRecord", op);
    return mark_;
  }
  const Driver& driver_;
  int index_, architecture_ = 0, multiprocessors_ = 1;
  std::string name_;
  KernelFault* fault_ = nullptr;
  Handle context_ = nullptr, stream_ = nullptr;  // start() makes these and what stands before
  Handle mark_ = nullptr;
  std::mutex mutex_;
  CudaStats stats_;  // of memory; the others are counted without the mutex
  std::atomic<int64_t> launches_{0}, copies_{0}, waits_{0};
  MemoryPool memory_;
  Uploads uploads_;
  Kernels kernels_;
  Timings timings_;
  bool poison_ = false;
  CaptureRecord* record_ = nullptr;
  int arenas_ = 0;
};

/// How many cards a program can use; 0 where driver, run-time compiler or library of products are not there or too old.
/// `reason`, when given, says why there are none.
GRADUS_SHARED inline int device_count(std::string* reason = nullptr) noexcept {
  struct Found {
    int count = 0;
    std::string reason;
  };
  static const Found found = [] {
    Found result;
    try {
      const auto& driver = Driver::get();
      driver.check(driver.device_count(&result.count), "cuDeviceGetCount", "");
      if (result.count == 0) {
        result.reason = "the driver shows no card";
        return result;
      }
      static_cast<void>(Nvrtc::get());
      static_cast<void>(CublasLt::get());
    } catch (const std::exception& error) {
      result.count = 0;
      result.reason = error.what();
    }
    return result;
  }();
  if (reason != nullptr) *reason = found.reason;
  return found.count;
}

/// From here on Device::best() and Device::cuda() know of cards.
inline const bool cards_are_known = (gradus::detail::count_cards = &device_count, true);

/// Runs a kernel of a family: launch("relu", device, family, {DType::f32}, "forward", {blocks, threads}, arguments...).
/// Arguments are passed as they are: their types must be those of the kernel's parameters.
template <class... Arguments>
void launch(const char* op, Device device, const KernelText& family, std::initializer_list<DType> types,
            const char* entry, const Grid& grid, const Arguments&... arguments) {
  if (grid.blocks == 0) return;
  auto& context = Context::of(device);
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  context.launch(context.kernels().get(family, types, entry), grid, pointers, op);
}
/// The same for a kernel of whose arguments some change from step to step: where the step is captured,
/// refresh(arguments by reference...) sets them before each replay.
template <class Refresh, class... Arguments>
void launch_refreshed(const char* op, Device device, const KernelText& family, std::initializer_list<DType> types,
                      const char* entry, const Grid& grid, Refresh&& refresh, const Arguments&... arguments) {
  launch(op, device, family, types, entry, grid, arguments...);
  auto& context = Context::of(device);
  if (!context.capturing() || grid.blocks == 0) return;
  context.refresh_launch(context.kernels().get(family, types, entry), grid, op,
                         [refresh, kept = std::tuple<Arguments...>(arguments...)](auto&& launch_with) mutable {
                           std::apply(
                               [&](auto&... values) {
                                 refresh(values...);
                                 void* pointers[] = {static_cast<void*>(&values)...};
                                 launch_with(pointers);
                               },
                               kept);
                         });
}
/// The same with a thread for each of `count` pieces of work, which the kernel goes through by GRADUS_EACH.
template <class... Arguments>
void launch_each(const char* op, Device device, const KernelText& family, std::initializer_list<DType> types,
                 const char* entry, int64_t count, const Arguments&... arguments) {
  launch(op, device, family, types, entry, {Context::of(device).blocks_for(count, 256)}, arguments...);
}
inline constexpr int64_t most_blocks = 1 << 16;
/// The same with a block for each of `count` pieces of work, in a loop when there are very many.
template <class... Arguments>
void launch_blocks(const char* op, Device device, const KernelText& family, std::initializer_list<DType> types,
                   const char* entry, int64_t count, const Arguments&... arguments) {
  launch(op, device, family, types, entry, {std::min(count, most_blocks)}, arguments...);
}

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

namespace gradus::cuda::inline GRADUS_STABLE {

/// Counters of a card.
inline CudaStats stats(Device device) { return detail::Context::of(device).stats(); }
/// Peak memory counts from here.
inline void reset_peak(Device device) { detail::Context::of(device).reset_peak(); }
/// Until the card has done all it was given.
inline void synchronize(Device device) { detail::Context::of(device).wait("synchronize"); }

/// Runs work() and tells what its kernels took on the card, the longest first. The events around each kernel cost time
/// of their own, so the sum is more than work() takes alone; not within a captured step.
template <class Work>
std::vector<KernelTime> profile(Device device, Work&& work) {
  auto& context = detail::Context::of(device);
  context.start_timing();
  try {
    work();
  } catch (...) {
    auto problem = std::current_exception();
    try {
      context.stop_timing();
    } catch (const Error&) {  // comes of the same problem
    }
    std::rethrow_exception(problem);
  }
  return context.stop_timing();
}

}  // namespace gradus::cuda::inline GRADUS_STABLE

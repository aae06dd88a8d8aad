// NVIDIA's driver, opened while a program runs: a table of the functions that are used. A simulated card fills the
// same table.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <string>

#include "gradus/core/device.hpp"
#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cuda/library.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

using DevicePointer = unsigned long long;
using Handle = void*;  ///< of a context, stream, event, module, function or graph

/// How a kernel of a graph is launched.
struct KernelNode {
  Handle function;
  unsigned grid[3], block[3], shared_bytes;
  void **arguments, **extra;
  Handle kernel, context;
};

/// The functions of libcuda that are used: name in the table, symbol in the library, arguments. All give 0 or an error.
#define GRADUS_CUDA_DRIVER(F)                                                                                       \
  F(init, "cuInit", unsigned flags)                                                                                 \
  F(driver_version, "cuDriverGetVersion", int* version)                                                             \
  F(device_count, "cuDeviceGetCount", int* count)                                                                   \
  F(device_get, "cuDeviceGet", int* device, int ordinal)                                                            \
  F(device_name, "cuDeviceGetName", char* name, int size, int device)                                               \
  F(device_attribute, "cuDeviceGetAttribute", int* value, int attribute, int device)                                \
  F(error_name, "cuGetErrorName", int error, const char** text)                                                     \
  F(error_text, "cuGetErrorString", int error, const char** text)                                                   \
  F(context_retain, "cuDevicePrimaryCtxRetain", Handle* context, int device)                                        \
  F(context_set, "cuCtxSetCurrent", Handle context)                                                                 \
  F(memory_info, "cuMemGetInfo_v2", size_t* free, size_t* total)                                                    \
  F(allocate, "cuMemAlloc_v2", DevicePointer* pointer, size_t bytes)                                                \
  F(release, "cuMemFree_v2", DevicePointer pointer)                                                                 \
  F(allocate_host, "cuMemHostAlloc", void** pointer, size_t bytes, unsigned flags)                                  \
  F(release_host, "cuMemFreeHost", void* pointer)                                                                   \
  F(to_device, "cuMemcpyHtoDAsync_v2", DevicePointer to, const void* from, size_t bytes, Handle stream)             \
  F(to_host, "cuMemcpyDtoHAsync_v2", void* to, DevicePointer from, size_t bytes, Handle stream)                     \
  F(on_device, "cuMemcpyDtoDAsync_v2", DevicePointer to, DevicePointer from, size_t bytes, Handle stream)           \
  F(between_devices, "cuMemcpyPeerAsync", DevicePointer to, Handle to_context, DevicePointer from,                  \
    Handle from_context, size_t bytes, Handle stream)                                                               \
  F(set_bytes, "cuMemsetD8Async", DevicePointer to, unsigned char value, size_t count, Handle stream)               \
  F(stream_create, "cuStreamCreate", Handle* stream, unsigned flags)                                                \
  F(stream_synchronize, "cuStreamSynchronize", Handle stream)                                                       \
  F(stream_wait, "cuStreamWaitEvent", Handle stream, Handle event, unsigned flags)                                  \
  F(event_create, "cuEventCreate", Handle* event, unsigned flags)                                                   \
  F(event_record, "cuEventRecord", Handle event, Handle stream)                                                     \
  F(event_synchronize, "cuEventSynchronize", Handle event)                                                          \
  F(event_elapsed, "cuEventElapsedTime", float* milliseconds, Handle from, Handle to)                               \
  F(event_destroy, "cuEventDestroy_v2", Handle event)                                                               \
  F(module_load, "cuModuleLoadData", Handle* module, const void* image)                                             \
  F(module_function, "cuModuleGetFunction", Handle* function, Handle module, const char* name)                      \
  F(function_attribute, "cuFuncSetAttribute", Handle function, int attribute, int value)                            \
  F(launch, "cuLaunchKernel", Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
    unsigned block_y, unsigned block_z, unsigned shared_bytes, Handle stream, void** arguments, void** extra)       \
  F(capture_begin, "cuStreamBeginCapture_v2", Handle stream, int mode)                                              \
  F(capture_end, "cuStreamEndCapture", Handle stream, Handle* graph)                                                \
  F(capture_info, "cuStreamGetCaptureInfo_v2", Handle stream, int* status, uint64_t* id, Handle* graph,             \
    const Handle** last, size_t* count)                                                                             \
  F(graph_instantiate, "cuGraphInstantiateWithFlags", Handle* executable, Handle graph, unsigned long long flags)   \
  F(graph_set_kernel, "cuGraphExecKernelNodeSetParams_v2", Handle executable, Handle node,                          \
    const KernelNode* parameters)                                                                                   \
  F(graph_launch, "cuGraphLaunch", Handle executable, Handle stream)                                                \
  F(graph_destroy, "cuGraphDestroy", Handle graph)                                                                  \
  F(graph_executable_destroy, "cuGraphExecDestroy", Handle executable)

struct Driver {
#define GRADUS_DETAIL_MEMBER(member, symbol, ...) int (*member)(__VA_ARGS__) = nullptr;
  GRADUS_CUDA_DRIVER(GRADUS_DETAIL_MEMBER)
#undef GRADUS_DETAIL_MEMBER

  /// Out of an open library.
  static Driver from(const Library& library) {
    Driver api;
#define GRADUS_DETAIL_FIND(member, symbol, ...) library.find(api.member, symbol);
    GRADUS_CUDA_DRIVER(GRADUS_DETAIL_FIND)
#undef GRADUS_DETAIL_FIND
    return api;
  }

  /// This machine's. CudaError when there is none.
  GRADUS_SHARED static const Driver& get() {
    static const Driver api = [] {
      auto library = Library::open({"libcuda.so.1", "libcuda.so"}, {"/usr/lib/wsl/lib", "/usr/local/nvidia/lib64"});
      require<CudaError>(static_cast<bool>(library), "NVIDIA's driver (libcuda) was not found: ", library.reason());
      require_version(library);
      auto found = from(library);
      found.check(found.init(0), "cuInit", "");
      return found;
    }();
    return api;
  }

  /// What an answer of the driver means, as "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string describe(int result) const {
    const char *name = nullptr, *text = nullptr;
    error_name(result, &name);
    error_text(result, &text);
    return join(name != nullptr ? name : "error ", name != nullptr ? "" : std::to_string(result), " (",
                text != nullptr ? text : "unknown", ")");
  }
  /// Throws CudaError unless `result` is 0; `what` is the operator or kernel it was for. OutOfMemoryError when memory
  /// is what was missing, and DeviceLostError when no call will work any more.
  void check(int result, const char* call, const char* what) const {
    if (result == 0) [[likely]]
      return;
    auto text = join(call, *what != '\0' ? " for " : "", what, ": ", describe(result));
    if (result == error_out_of_memory) throw OutOfMemoryError(text + less_memory);
    if (is_lost(result)) throw DeviceLostError(text + lost);
    throw CudaError(text);
  }

  static constexpr int error_out_of_memory = 2, oldest_version = 12000;
  static constexpr const char* less_memory = "; use a smaller batch, bf16, or recompute()";
  static constexpr const char* lost =
      "; the GPU is lost to this program, maybe by an earlier kernel: start it again, from its last checkpoint";
  /// Whether all that follows will give an error too: a memory or hardware fault, or a kernel that was ended.
  static bool is_lost(int result) {
    constexpr int errors[] = {46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 720};
    return std::find(std::begin(errors), std::end(errors), result) != std::end(errors);
  }
  /// "12.4" for 12040
  static std::string version_text(int version) { return join(version / 1000, '.', version % 1000 / 10); }

 private:
  /// An old one lacks functions; its version says more than their names.
  static void require_version(const Library& library) {
    int (*version_of)(int*) = nullptr;
    int version = 0;
    library.find(version_of, "cuDriverGetVersion");
    require<CudaError>(version_of(&version) == 0, "cuDriverGetVersion: NVIDIA's driver (", library.path(),
                       ") does not work");
    require<CudaError>(version >= oldest_version, "NVIDIA's driver (", library.path(), ") is of CUDA ",
                       version_text(version), ", but ", version_text(oldest_version),
                       " or newer is needed: update the driver");
  }
};

// Numbers of the driver's enumerations.
inline constexpr int attribute_multiprocessors = 16, attribute_major = 75, attribute_minor = 76;
inline constexpr int function_max_dynamic_shared = 8;
inline constexpr unsigned stream_non_blocking = 1, event_no_timing = 2;
inline constexpr int capture_relaxed = 2;  // memory may be asked for in between

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

// cuDNN, opened while a program runs: a table of the functions that are used, the numbers that they are called with,
// and its descriptors.
#pragma once

#include <optional>
#include <span>

#include "gradus/core/dtype.hpp"
#include "gradus/device/cuda/cublaslt_table.hpp"
#include "gradus/device/cuda/nvrtc.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

#define GRADUS_CUDNN(F)                                                                                               \
  F(size_t, version, "cudnnGetVersion")                                                                               \
  F(int, create, "cudnnCreate", Handle* handle)                                                                       \
  F(int, destroy, "cudnnDestroy", Handle handle)                                                                      \
  F(int, set_stream, "cudnnSetStream", Handle handle, Handle stream)                                                  \
  F(void, last_error, "cudnnGetLastErrorString", char* text, size_t bytes)                                            \
  F(int, descriptor_create, "cudnnBackendCreateDescriptor", int kind, Handle* descriptor)                             \
  F(int, descriptor_destroy, "cudnnBackendDestroyDescriptor", Handle descriptor)                                      \
  F(int, set, "cudnnBackendSetAttribute", Handle descriptor, int attribute, int type, int64_t count,                  \
    const void* values)                                                                                               \
  F(int, get, "cudnnBackendGetAttribute", Handle descriptor, int attribute, int type, int64_t wanted, int64_t* count, \
    void* values)                                                                                                     \
  F(int, finalize, "cudnnBackendFinalize", Handle descriptor)                                                         \
  F(int, execute, "cudnnBackendExecute", Handle handle, Handle plan, Handle pack)

/// cuDNN does not know what it was asked for: own kernels do it. Other errors are none of the graph's.
class CudnnRefusal : public CudaError {
 public:
  using CudaError::CudaError;
};

struct Cudnn {
#define GRADUS_DETAIL_MEMBER(result, member, symbol, ...) result (*member)(__VA_ARGS__) = nullptr;
  GRADUS_CUDNN(GRADUS_DETAIL_MEMBER)
#undef GRADUS_DETAIL_MEMBER

  static Cudnn from(const Library& library) {
    Cudnn api;
#define GRADUS_DETAIL_FIND(result, member, symbol, ...) library.find(api.member, symbol);
    GRADUS_CUDNN(GRADUS_DETAIL_FIND)
#undef GRADUS_DETAIL_FIND
    return api;
  }

  /// This machine's, or null when it has none, one older than 9.0, or GRADUS_CUDNN=off forbids it: then own kernels do
  /// the work.
  GRADUS_SHARED static const Cudnn* find() {
    static const std::optional<Cudnn> api = []() -> std::optional<Cudnn> {
      const auto* choice = std::getenv("GRADUS_CUDNN");
      if (choice != nullptr && std::string_view(choice) == "off") return std::nullopt;
      // cuDNN opens these two by name; where they lie off the loader's path, ours are found because they are open.
      static_cast<void>(Nvrtc::get());
      static_cast<void>(CublasLt::get());
      auto library = Library::open({"libcudnn.so.9"}, toolkit_folders());
      if (!library) return std::nullopt;
      try {
        auto found = from(library);
        if (found.version() >= 90000) return found;
      } catch (const CudaError&) {  // too old for one of the functions
      }
      return std::nullopt;
    }();
    return api ? &*api : nullptr;
  }

  /// What went wrong last on this thread, in cuDNN's words.
  std::string why() const {
    char text[2048] = {};
    last_error(text, sizeof(text));
    return text;
  }
  void check(int status, const char* call, const char* op) const {
    if (status == 0) return;
    auto text = join(call, " for ", op, ": error ", status, ": ", why());
    if (refuses(status)) throw CudnnRefusal(text);
    throw CudaError(text);
  }
  /// A bad parameter, or something that is not supported.
  static bool refuses(int status) { return status >= 2000 && status < 4000; }
};

/// The numbers of cuDNN's header that are used here, under its own names in lower case.
struct CudnnKind {
  static constexpr int pointwise = 0, convolution = 1, engine = 2, engine_config = 3, heuristics = 4, plan = 5,
                       convolution_forward = 10, convolution_backward_filter = 11, convolution_backward_data = 12,
                       operation_pointwise = 13, operation_graph = 15, variant_pack = 16, tensor = 17, matmul = 18,
                       operation_matmul = 19, reduction = 21, operation_reduction = 22, operation_reshape = 31,
                       device_properties = 38;
};
struct CudnnValue {
  static constexpr int handle = 0, data_type = 1, boolean = 2, int64 = 3, f32 = 4, f64 = 5, pointer = 6,
                       convolution_mode = 7, heuristics_mode = 8, nan_propagation = 10, numerical_note = 11,
                       pointwise_mode = 14, descriptor = 15, reduction_operator = 18, behavior_note = 19,
                       character = 24;
};
enum class CudnnType : int { f32 = 0, f64 = 1, f16 = 2, i32 = 4, bf16 = 9, boolean = 11 };
enum class CudnnPointwise : int {
  add = 0,
  mul = 1,
  max = 3,
  div = 6,
  sub = 9,
  exp = 13,
  log = 15,
  identity = 21,
  relu = 100,
  greater_equal = 303,
  index = 501,
  select = 601
};
/// What cuDNN notes of an engine, a bit each: of its numbers, and from bit 16 on of its ways.
struct CudnnNote {
  static constexpr int tensor_cores = 1 << 0, rounds_inputs = 1 << 1, rounds_sums = 1 << 2, nondeterministic = 1 << 4,
                       compiled_at_run_time = 1 << 16;
};
enum class CudnnReduction : int { add = 0, max = 3 };

inline CudnnType cudnn_type(DType type) {
  return type == DType::bf16  ? CudnnType::bf16
         : type == DType::f16 ? CudnnType::f16
         : type == DType::f64 ? CudnnType::f64
                              : CudnnType::f32;
}

/// Owns one of cuDNN's descriptors. Attributes are set, then it is made final.
class CudnnDescriptor {
 public:
  CudnnDescriptor(const Cudnn& api, const char* op, int kind) : api_(&api), op_(op) {
    api.check(api.descriptor_create(kind, &handle_), "cudnnBackendCreateDescriptor", op);
  }
  CudnnDescriptor(CudnnDescriptor&& other) noexcept
      : api_(other.api_), op_(other.op_), handle_(std::exchange(other.handle_, nullptr)) {}
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(op_, other.op_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~CudnnDescriptor() {
    if (handle_ != nullptr) api_->descriptor_destroy(handle_);
  }

  Handle handle() const { return handle_; }
  template <class T>
  CudnnDescriptor& set(int attribute, int type, const T& value) {
    return set(attribute, type, 1, &value);
  }
  CudnnDescriptor& set(int attribute, std::span<const int64_t> values) {
    return set(attribute, CudnnValue::int64, static_cast<int64_t>(values.size()), values.data());
  }
  CudnnDescriptor& set(int attribute, int type, int64_t count, const void* values) {
    api_->check(api_->set(handle_, attribute, type, count, values), "cudnnBackendSetAttribute", op_);
    return *this;
  }
  CudnnDescriptor& finalize() {
    api_->check(api_->finalize(handle_), "cudnnBackendFinalize", op_);
    return *this;
  }
  int64_t number(int attribute) const {
    int64_t count = 0, value = 0;
    api_->check(api_->get(handle_, attribute, CudnnValue::int64, 1, &count, &value), "cudnnBackendGetAttribute", op_);
    return value;
  }

 private:
  const Cudnn* api_;
  const char* op_;
  Handle handle_ = nullptr;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

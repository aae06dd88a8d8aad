// Reference-counted memory behind tensors, and the type-erased tensor record that handles point to.
#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <utility>

#include "gradus/core/device.hpp"
#include "gradus/core/dtype.hpp"
#include "gradus/core/shape.hpp"
#include "gradus/device/cpu/allocator.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/device/cuda/context.hpp"
#endif

namespace gradus::detail::inline GRADUS_BUILD {

struct GraphNode;  // autograd/node.hpp, which tensors know by these two functions only
void add_reference(GraphNode* node) noexcept;
void drop_reference(GraphNode* node) noexcept;

/// Objects that count their own references.
template <class P>
void add_reference(P* object) noexcept {
  object->references.fetch_add(1, std::memory_order_relaxed);
}
template <class P>
void drop_reference(P* object) noexcept {
  if (object->references.fetch_sub(1, std::memory_order_acq_rel) == 1) P::destroy(object);
}

/// Intrusive reference: half the size of a shared_ptr and one allocation less.
template <class P>
class Ref {
 public:
  Ref() = default;
  explicit Ref(P* object) : object_(object) { retain(); }
  Ref(const Ref& other) : object_(other.object_) { retain(); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) drop_reference(object_);
  }

  P* get() const { return object_; }
  P* operator->() const { return object_; }
  P& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  bool unique() const { return object_ != nullptr && object_->references.load(std::memory_order_acquire) == 1; }
  friend bool operator==(const Ref& a, const Ref& b) { return a.object_ == b.object_; }

 private:
  void retain() {
    if (object_ != nullptr) add_reference(object_);
  }
  P* object_ = nullptr;
};

/// A block of memory. Small header and data share one allocation; foreign memory keeps its owner alive; that of a GPU
/// comes from its pool.
class Storage {
 public:
  static constexpr size_t header = 64;  // keeps the data on its 64-byte boundary

  static Ref<Storage> allocate(size_t bytes, Device device, [[maybe_unused]] const char* op = "storage") {
#if defined(GRADUS_CUDA)
    if (!device.is_cpu()) {
      auto& context = cuda::detail::Context::of(device);
      auto* memory = static_cast<char*>(context.allocate(bytes, op));
      auto* record = CachingAllocator::instance().allocate(header);
      return Ref<Storage>(new (record) Storage(memory, bytes, device, nullptr));
    }
#endif
    auto* block = CachingAllocator::instance().allocate(header + bytes);
    auto* storage = new (block) Storage(static_cast<char*>(block) + header, bytes, device, nullptr);
    return Ref<Storage>(storage);
  }
  /// Memory of somebody else; `owner` (may be empty) is held as long as the storage lives.
  static Ref<Storage> foreign(void* data, size_t bytes, std::shared_ptr<void> owner) {
    auto* block = CachingAllocator::instance().allocate(header);
    return Ref<Storage>(new (block) Storage(static_cast<char*>(data), bytes, Device::cpu(), std::move(owner)));
  }
  static void destroy(Storage* storage) noexcept {
    auto inside = storage->data_ == reinterpret_cast<char*>(storage) + header;
    auto bytes = header + (inside ? storage->bytes_ : 0);
#if defined(GRADUS_CUDA)
    if (!storage->device_.is_cpu()) cuda::detail::Context::known(storage->device_).release(storage->data_);
#endif
    storage->~Storage();
    CachingAllocator::instance().deallocate(storage, bytes);
  }

  /// False for memory of somebody else.
  bool is_own() const { return !device_.is_cpu() || data_ == reinterpret_cast<const char*>(this) + header; }
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  /// Counts in-place changes; `writer` is the operator that made the last one.
  uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  const char* last_writer() const { return last_writer_; }
  void bump(const char* writer) {
    last_writer_ = writer;
    version_.fetch_add(1, std::memory_order_relaxed);
  }

  std::atomic<int> references{0};

 private:
  Storage(char* data, size_t bytes, Device device, std::shared_ptr<void> owner)
      : data_(data), bytes_(bytes), device_(device), owner_(std::move(owner)) {}

  std::atomic<uint32_t> version_{0};
  char* data_;
  size_t bytes_;
  Device device_;
  const char* last_writer_ = "";
  std::shared_ptr<void> owner_;
};
static_assert(sizeof(Storage) <= Storage::header);

/// What tensor handles point to: a view of a storage, and its place in the autograd graph.
struct TensorImpl : Pooled {
  std::atomic<int> references{0};
  DType dtype = DType::f32;
  int output = 0;  ///< which output of `node` this is
  Ref<Storage> storage;
  int64_t offset = 0;  ///< in elements
  Shape shape;
  Strides strides;  ///< in elements
  int64_t numel = 0;
  Ref<GraphNode> node;  ///< empty: a constant

  static void destroy(TensorImpl* impl) noexcept { delete impl; }

  char* data() const { return storage->data() + offset * size_of(dtype); }
  bool is_contiguous() const {
    int64_t expected = 1;
    for (int i = shape.rank() - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != expected) return numel == 0;
      expected *= shape[i];
    }
    return true;
  }
};
using TensorRef = Ref<TensorImpl>;

inline TensorRef make_impl(DType dtype, Ref<Storage> storage, int64_t offset, const Shape& shape,
                           const Strides& strides) {
  TensorRef impl(new TensorImpl);
  impl->dtype = dtype;
  impl->storage = std::move(storage);
  impl->offset = offset;
  impl->shape = shape;
  impl->strides = strides;
  impl->numel = shape.numel();
  return impl;
}

inline TensorRef allocate_impl(DType dtype, const Shape& shape, Device device, const char* op = "copy") {
  int64_t bytes = 0;
  for (auto size : shape) require<ShapeError>(size >= 0, "tensor: shape ", shape, " has a negative size");
  auto fits = !__builtin_mul_overflow(shape.numel(), int64_t{size_of(dtype)}, &bytes);
  require<OutOfMemoryError>(fits, "tensor: shape ", shape, " needs more memory than 63 bits can count");
  auto storage = Storage::allocate(static_cast<size_t>(bytes), device, op);
  return make_impl(dtype, std::move(storage), 0, shape, contiguous_strides(shape));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

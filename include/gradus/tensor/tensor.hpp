// Tensor<T>: a cheap handle to an n-dimensional array. Copies share memory; clone() copies it.
// This folder knows storage, shape and strides; arithmetic and recorded views are free functions in ops/.
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "gradus/tensor/copy.hpp"
#include "gradus/tensor/storage.hpp"

namespace gradus::inline GRADUS_BUILD {

/// An n-dimensional array with elements of type T, or rather a handle to one: copies share memory, clone() copies it.
/// Arithmetic and views are free functions. Members that end in `_`, and those called mutable or set, write in place.
template <Element T>
class Tensor {
 public:
  using value_type = T;

  /// An undefined tensor: no shape, no memory. `defined()` tells.
  Tensor() = default;
  /// Internal: a handle to a record whose element type is T.
  explicit Tensor(detail::TensorRef impl) : impl_(std::move(impl)) {}

  /// Uninitialised memory; OutOfMemoryError names `op`, for which it is.
  static Tensor empty(const Shape& shape, Device device = Device::cpu(), const char* op = "empty") {
    return Tensor(detail::allocate_impl(dtype_of<T>, shape, device, op));
  }
  /// A view of foreign memory, row-major; `owner` is held as long as a tensor uses it.
  static Tensor view_of(T* data, const Shape& shape, std::shared_ptr<void> owner = nullptr) {
    for (auto size : shape) require<ShapeError>(size >= 0, "view_of: shape ", shape, " has a negative size");
    require<ValueError>(data != nullptr || shape.numel() == 0, "view_of: no memory for shape ", shape);
    auto bytes = static_cast<size_t>(shape.numel()) * sizeof(T);
    return Tensor(detail::make_impl(dtype_of<T>, detail::Storage::foreign(data, bytes, std::move(owner)), 0, shape,
                                    contiguous_strides(shape)));
  }

  bool defined() const { return static_cast<bool>(impl_); }
  const Shape& shape() const { return checked().shape; }
  const Strides& strides() const { return checked().strides; }
  int rank() const { return shape().rank(); }
  /// Size along an axis; negative axes count from the end.
  int64_t size(int64_t axis) const { return shape()[normalize_axis("size", axis, rank())]; }
  int64_t numel() const { return checked().numel; }
  Device device() const { return checked().storage->device(); }
  bool is_contiguous() const { return checked().is_contiguous(); }

  /// First element; elements are at data()[sum of index * stride]. On a GPU the host must not touch it.
  const T* data() const { return reinterpret_cast<const T*>(checked().data()); }
  /// The same for writing: counts as an in-place change. Refused while the tensor is part of a graph.
  T* mutable_data() {
    begin_write("mutable_data");
    return reinterpret_cast<T*>(impl_->data());
  }

  /// All elements of a contiguous tensor on the CPU.
  std::span<const T> span() const {
    require_contiguous("span");
    require_cpu("span");
    return {data(), static_cast<size_t>(numel())};
  }
  std::span<T> mutable_span() {
    require_contiguous("mutable_span");
    require_cpu("mutable_span");
    return {mutable_data(), static_cast<size_t>(numel())};
  }
  /// A copy in row-major order, of any tensor.
  std::vector<T> to_vector() const {
    auto dense = device().is_cpu() ? (is_contiguous() ? *this : clone()) : moved_to(Device::cpu());
    return std::vector<T>(dense.data(), dense.data() + numel());
  }

  /// The value of a tensor with one element.
  T item() const {
    require<ShapeError>(numel() == 1, "item: a tensor of shape ", shape(), " has ", numel(),
                        " elements, but must have one");
    return device().is_cpu() ? *data() : *moved_to(Device::cpu()).data();
  }
  /// One element: x(2, 0). Negative indices count from the end.
  template <std::convertible_to<int64_t>... Index>
  T operator()(Index... index) const {
    auto offset = offset_of("element access", {static_cast<int64_t>(index)...});
    return device().is_cpu() ? data()[offset] : place(offset).item();
  }
  /// Writes one element: x.set({2, 0}, 1.5f).
  void set(std::initializer_list<int64_t> index, T value) {
    auto offset = offset_of("set", index);
    auto* to = mutable_data();
    if (device().is_cpu()) to[offset] = value;
    else place(offset).fill_(value);
  }

  /// A dense copy with memory of its own, outside any graph.
  Tensor clone() const {
    auto result = empty(shape(), device());
    detail::copy_elements(*result.impl_, *impl_);
    return result;
  }
  /// The same memory outside any graph.
  Tensor detach() const {
    const auto& self = checked();
    return Tensor(detail::make_impl(self.dtype, self.storage, self.offset, self.shape, self.strides));
  }
  /// On that device: itself when it is there already, else a dense copy, whose gradient comes back to this one.
  Tensor to(Device target) const {
    if (target == device()) return *this;
    auto result = moved_to(target);
    if (impl_->node) record_move(result);
    return result;
  }

  /// In-place writes. They do not record, and are refused on a tensor that is part of a graph (use no_grad).
  Tensor& fill_(T value) {
    begin_write("fill_");
    detail::fill_elements(*impl_, &value);
    return *this;
  }
  Tensor& zero_() { return fill_(T(0)); }
  Tensor& copy_(const Tensor& source) {
    require<ShapeError>(source.shape() == shape(), "copy_: source is ", source.shape(), " but the target is ", shape());
    begin_write("copy_");
    detail::copy_elements(*impl_, *source.impl_);
    return *this;
  }

  // Autograd: defined in autograd/autograd.hpp.

  /// True for a leaf that was asked to, and for everything computed from one while recording.
  bool requires_grad() const { return static_cast<bool>(checked().node); }
  /// Starts or stops collecting gradients in this leaf. Only floating types; only leaves.
  Tensor& set_requires_grad(bool wanted = true);
  /// The gradient collected by backward(); undefined before. Only leaves have one.
  Tensor grad() const;
  /// Replaces the collected gradient; an undefined tensor clears it.
  void set_grad(Tensor gradient);
  /// Gradients of this scalar with respect to every leaf it came from, added to their grad().
  void backward(bool retain_graph = false) const;
  /// The same from a tensor of any shape, weighted by `gradient`.
  void backward(const Tensor& gradient, bool retain_graph = false) const;

  /// Internal: the record behind the handle.
  const detail::TensorRef& impl() const { return impl_; }
  /// Internal: announces an in-place change by operator `name`; throws AutogradError where it is not allowed.
  void begin_write(const char* name);

 private:
  const detail::TensorImpl& checked() const {
    require<ValueError>(defined(), "tensor: used before it was given a value");
    return *impl_;
  }
  Tensor moved_to(Device target) const {
    auto result = empty(shape(), target);
    detail::copy_elements(*result.impl_, *impl_);
    return result;
  }
  /// Defined in autograd/differentiable.hpp.
  void record_move(Tensor& moved) const;
  void require_cpu(const char* name) const {
    require<DeviceError>(device().is_cpu(), name, ": the tensor is on ", device(), "; call .to(Device::cpu()) first");
  }
  /// One element as a tensor of its own.
  Tensor place(int64_t offset) const {
    return Tensor(detail::make_impl(impl_->dtype, impl_->storage, impl_->offset + offset, {}, {}));
  }
  void require_contiguous(const char* name) const {
    require<ShapeError>(is_contiguous(), name, ": tensor of shape ", shape(), " with strides ", strides(),
                        " is not contiguous; call contiguous(x) first");
  }
  int64_t offset_of(const char* name, std::initializer_list<int64_t> index) const {
    require<IndexError>(static_cast<int>(index.size()) == rank(), name, ": ", index.size(),
                        " indices for a tensor of shape ", shape());
    int64_t offset = 0;
    int axis = 0;
    for (auto i : index) {
      auto size = shape()[axis];
      require<IndexError>(i >= -size && i < size, name, ": index ", i, " is out of range for axis ", axis, " of shape ",
                          shape());
      offset += (i < 0 ? i + size : i) * strides()[axis++];
    }
    return offset;
  }

  detail::TensorRef impl_;
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// The memory of an operand that may be undefined.
template <Element T>
const T* data_or_null(const Tensor<T>& x) {
  return x.defined() ? x.data() : nullptr;
}

/// The same of a result that an operator fills.
template <Element T>
T* memory_or_null(const Tensor<T>& x) {
  return x.defined() ? reinterpret_cast<T*>(x.impl()->data()) : nullptr;
}

/// The tensors, those that are defined, must be on `device`.
template <Element... T>
void require_device(const char* op, Device device, const Tensor<T>&... tensors) {
  auto check = [&](const auto& x) {
    if (!x.defined()) return;
    require<DeviceError>(x.device() == device, op, ": tensors on ", device, " and ", x.device(),
                         "; move one with .to(device)");
  };
  (check(tensors), ...);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

#include "tests/support/any_tensor.hpp"

#include <cstring>

namespace gradus::test {
namespace {

AnyTensor laid_out(const AnyTensor& x, const Strides& strides, int64_t offset, int64_t elements) {
  auto memory = detail::allocate_impl(x.dtype(), {elements}, Device::cpu());
  std::memset(memory->data(), 0xff, static_cast<size_t>(elements * size_of(x.dtype())));
  auto view = detail::make_impl(x.dtype(), memory->storage, offset, x.shape(), strides);
  detail::copy_elements(*view, *x.impl());
  return AnyTensor(view);
}

AnyTensor view_of(const AnyTensor& x, const Shape& shape, const Strides& strides, int64_t offset) {
  return AnyTensor(detail::make_impl(x.dtype(), x.impl()->storage, x.impl()->offset + offset, shape, strides));
}

}  // namespace

AnyTensor AnyTensor::cast(DType type) const {
  if (type == dtype()) return *this;
  auto result = detail::allocate_impl(type, shape(), Device::cpu());
  with_type(type, [&]<class To>(To) {
    with_type(dtype(), [&]<class From>(From) {
      if constexpr (!std::is_same_v<To, From>) detail::cast_elements<To, From>(*result, *impl_);
    });
  });
  return AnyTensor(result);
}

AnyTensor AnyTensor::clone() const {
  auto result = detail::allocate_impl(dtype(), shape(), Device::cpu());
  detail::copy_elements(*result, *impl_);
  return AnyTensor(result);
}

std::vector<double> AnyTensor::values() const { return cast(DType::f64).as<double>().to_vector(); }

AnyTensor scattered(const AnyTensor& x) {
  auto strides = Strides::filled(x.shape().rank(), 0);
  int64_t step = 2;
  for (int axis = 0; axis < x.shape().rank(); ++axis) {
    strides[axis] = step;
    step *= std::max<int64_t>(x.shape()[axis], 1);
  }
  return laid_out(x, strides, 3, step + 3);
}

AnyTensor gapped(const AnyTensor& x) {
  auto padded = x.shape();
  if (padded.rank() > 0) padded[padded.rank() - 1] += 3;
  return laid_out(x, contiguous_strides(padded), 1, padded.numel() + 1);
}

AnyTensor on_device(const AnyTensor& x, Device device) {
  auto bytes = x.impl()->storage->bytes();
  auto from = detail::make_impl(DType::u8, x.impl()->storage, 0, {static_cast<int64_t>(bytes)}, {1});
  auto to = detail::allocate_impl(DType::u8, from->shape, device);
  detail::copy_elements(*to, *from);
  return AnyTensor(detail::make_impl(x.dtype(), to->storage, x.impl()->offset, x.shape(), x.impl()->strides));
}

AnyTensor channels_last(const AnyTensor& x) {
  if (x.shape().rank() != 4) return x;
  auto images = detail::allocate_images(x.dtype(), x.shape(), x.impl()->storage->device(), true);
  detail::copy_elements(*images, *x.impl());
  return AnyTensor(images);
}

AnyTensor part_of(const AnyTensor& vector, int64_t first, int64_t count) {
  return view_of(vector, {count}, vector.impl()->strides, first * vector.impl()->strides[0]);
}

AnyTensor repeated(const AnyTensor& x, int64_t count) {
  auto dense = x.clone();
  auto result = detail::allocate_impl(x.dtype(), {count}, Device::cpu());
  for (int64_t first = 0; first < count; first += x.numel()) {
    auto n = std::min(x.numel(), count - first);
    auto bytes = size_of(x.dtype());
    std::memcpy(result->data() + first * bytes, dense.impl()->data(), static_cast<size_t>(n * bytes));
  }
  return AnyTensor(result);
}

AnyTensor broadcast(const AnyTensor& x, const Shape& shape) {
  return view_of(x, shape, detail::broadcast_strides(x.shape(), x.impl()->strides, shape), 0).clone();
}

}  // namespace gradus::test

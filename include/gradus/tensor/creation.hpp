// Tensors from values, ranges and random numbers.
#pragma once

#include <cmath>
#include <initializer_list>
#include <limits>

#include "gradus/core/rng.hpp"
#include "gradus/device/cpu/random_fill.hpp"
#include "gradus/tensor/tensor.hpp"

namespace gradus::inline GRADUS_BUILD {

/// Uninitialised memory.
template <Element T>
Tensor<T> empty(const Shape& shape, Device device = Device::cpu()) {
  return Tensor<T>::empty(shape, device);
}
/// Every element is `value`.
template <Element T>
Tensor<T> full(const Shape& shape, std::type_identity_t<T> value, Device device = Device::cpu()) {
  auto result = Tensor<T>::empty(shape, device, "full");
  detail::fill_elements(*result.impl(), &value);
  return result;
}
/// Every element is 0, or false.
template <Element T>
Tensor<T> zeros(const Shape& shape, Device device = Device::cpu()) {
  return full<T>(shape, T(0), device);
}
/// Every element is 1, or true.
template <Element T>
Tensor<T> ones(const Shape& shape, Device device = Device::cpu()) {
  return full<T>(shape, T(1), device);
}
/// Zeros in the shape of x, on its device; ones_like and full_like likewise.
template <Element T>
Tensor<T> zeros_like(const Tensor<T>& x) {
  return zeros<T>(x.shape(), x.device());
}
template <Element T>
Tensor<T> ones_like(const Tensor<T>& x) {
  return ones<T>(x.shape(), x.device());
}
template <Element T>
Tensor<T> full_like(const Tensor<T>& x, std::type_identity_t<T> value) {
  return full<T>(x.shape(), value, x.device());
}

/// A scalar: tensor<float>(2.5).
template <Element T>
Tensor<T> tensor(std::type_identity_t<T> value) {
  return full<T>({}, value);
}
/// A vector: tensor<float>({1, 2, 3}).
template <Element T>
Tensor<T> tensor(std::initializer_list<T> values) {
  auto result = Tensor<T>::empty({static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}
/// A matrix: tensor<float>({{1, 2}, {3, 4}}). Rows must be of one length.
template <Element T>
Tensor<T> tensor(std::initializer_list<std::initializer_list<T>> rows) {
  auto columns = rows.size() == 0 ? size_t{0} : rows.begin()->size();
  auto result = Tensor<T>::empty({static_cast<int64_t>(rows.size()), static_cast<int64_t>(columns)});
  auto* to = result.mutable_data();
  for (const auto& row : rows) {
    require<ShapeError>(row.size() == columns, "tensor: a row of ", row.size(), " values after rows of ", columns);
    to = std::copy(row.begin(), row.end(), to);
  }
  return result;
}
/// A copy of `values`, row-major, in the given shape.
template <Element T>
Tensor<T> from_span(std::span<const T> values, const Shape& shape) {
  require<ShapeError>(static_cast<int64_t>(values.size()) == shape.numel(), "from_span: ", values.size(),
                      " values for shape ", shape);
  auto result = Tensor<T>::empty(shape);
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}
template <Element T>
Tensor<T> from_vector(const std::vector<T>& values, const Shape& shape) {
  if constexpr (std::is_same_v<T, bool>) {
    require<ShapeError>(static_cast<int64_t>(values.size()) == shape.numel(), "from_vector: ", values.size(),
                        " values for shape ", shape);
    auto result = Tensor<T>::empty(shape);
    std::copy(values.begin(), values.end(), result.mutable_data());
    return result;
  } else {
    return from_span(std::span<const T>(values), shape);
  }
}

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <class T>
int64_t arange_count(T start, T stop, T step) {
  require<ValueError>(step != T(0), "arange: the step must not be 0");
  if constexpr (Integer<T>) {
    auto forward = step > T(0);
    if (forward ? start >= stop : start <= stop) return 0;
    auto low = static_cast<uint64_t>(forward ? start : stop), high = static_cast<uint64_t>(forward ? stop : start);
    auto width = forward ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
    return static_cast<int64_t>((high - low - 1) / width) + 1;
  } else {
    auto count = std::ceil((static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step));
    require<ValueError>(count < 0x1p62, "arange: from ", static_cast<double>(start), " to ", static_cast<double>(stop),
                        " in steps of ", static_cast<double>(step), " is no countable range");
    return count > 0 ? static_cast<int64_t>(count) : 0;
  }
}

/// The largest T below `bound`: what rounds up to the end of a half-open range is put there.
template <Floating T>
T largest_below(double bound) {
  auto value = static_cast<T>(bound);
  if (static_cast<double>(value) < bound) return value;
  if constexpr (HalfWidth<T>) {
    auto below = static_cast<float>(value) > 0   ? value.bits - 1
                 : static_cast<float>(value) < 0 ? value.bits + 1
                                                 : 0x8001;
    return std::bit_cast<T>(static_cast<uint16_t>(below));
  } else {
    return std::nextafter(value, -std::numeric_limits<T>::infinity());
  }
}

/// Normal with mean 0 and this standard deviation, from the thread's generator.
template <Floating T>
Tensor<T> normal_numbers(const Shape& shape, double deviation) {
  auto result = Tensor<T>::empty(shape);
  auto* to = result.mutable_data();
  auto stream = default_generator().reserve(2 * result.numel());
  parallel_for(result.numel(), elements_per_chunk / 4,
               [&](int64_t first, int64_t last) { fill_normal(stream, first, last, deviation, to); });
  return result;
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// start, start + step, ... below stop (above it when step is negative).
template <Numeric T>
Tensor<T> arange(std::type_identity_t<T> start, std::type_identity_t<T> stop, std::type_identity_t<T> step = T(1)) {
  auto result = Tensor<T>::empty({detail::arange_count(start, stop, step)});
  auto* to = result.mutable_data();
  for (int64_t i = 0; i < result.numel(); ++i) {
    if constexpr (Integer<T>) {  // unsigned: i * step may leave the range of T where the sum does not
      to[i] = static_cast<T>(static_cast<uint64_t>(start) + static_cast<uint64_t>(i) * static_cast<uint64_t>(step));
    } else {
      to[i] = static_cast<T>(static_cast<double>(start) + static_cast<double>(i) * static_cast<double>(step));
    }
  }
  return result;
}
template <Numeric T>
Tensor<T> arange(std::type_identity_t<T> stop) {
  return arange<T>(T(0), stop);
}

/// `count` values from first to last, both included.
template <Floating T>
Tensor<T> linspace(double first, double last, int64_t count) {
  require<ValueError>(count >= 0, "linspace: ", count, " values");
  auto result = Tensor<T>::empty({count});
  auto* to = result.mutable_data();
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<T>(
        count == 1 ? first : first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1));
  }
  return result;
}

/// The (n, n) identity matrix.
template <Numeric T>
Tensor<T> eye(int64_t n) {
  auto result = zeros<T>({n, n});
  auto* to = result.mutable_data();
  for (int64_t i = 0; i < n; ++i) to[i * (n + 1)] = T(1);
  return result;
}

/// Uniform in [low, high), from the thread's generator.
template <Floating T>
Tensor<T> rand(const Shape& shape, double low = 0, double high = 1) {
  require<ValueError>(high > low && std::isfinite(high - low), "rand: the range [", low, ", ", high,
                      ") is empty or not finite");
  auto last_value = detail::largest_below<T>(high);
  auto result = Tensor<T>::empty(shape);
  auto* to = result.mutable_data();
  auto stream = default_generator().reserve(result.numel());
  parallel_for(result.numel(), detail::elements_per_chunk, [&](int64_t first, int64_t last) {
    detail::fill_uniform(stream, first, last, low, high, last_value, to);
  });
  return result;
}
/// Normal with mean 0 and variance 1 (Box and Muller, 1958).
template <Floating T>
Tensor<T> randn(const Shape& shape) {
  return detail::normal_numbers<T>(shape, 1);
}
/// Whole numbers in [low, high), each as likely. Throws ValueError when T does not hold them all.
template <Integer T>
Tensor<T> randint(int64_t low, int64_t high, const Shape& shape) {
  require<ValueError>(high > low, "randint: the range [", low, ", ", high, ") is empty");
  require<ValueError>(
      low >= int64_t{std::numeric_limits<T>::lowest()} && high - 1 <= int64_t{std::numeric_limits<T>::max()},
      "randint: the range [", low, ", ", high, ") does not fit ", dtype_of<T>);
  auto count = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  auto result = Tensor<T>::empty(shape);
  auto* to = result.mutable_data();
  auto stream = default_generator().reserve(2 * result.numel());
  parallel_for(result.numel(), detail::elements_per_chunk / 4, [&](int64_t first, int64_t last) {
    for (auto i = first; i < last; ++i) to[i] = static_cast<T>(static_cast<uint64_t>(low) + stream.below(i, count));
  });
  return result;
}
/// 0 ... n - 1 in random order.
inline Tensor<int64_t> randperm(int64_t n) {
  require<ValueError>(n >= 0, "randperm: ", n, " numbers");
  auto result = arange<int64_t>(n);
  default_generator().reserve(2 * n).shuffle(result.mutable_data(), n);
  return result;
}

}  // namespace gradus::inline GRADUS_BUILD

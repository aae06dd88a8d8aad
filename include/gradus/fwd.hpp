// Names without definitions, for headers that only pass Gradus's types on.
#pragma once

#include "gradus/core/dtype.hpp"

namespace gradus::inline GRADUS_STABLE {
class Device;
class Error;
class Generator;
}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::inline GRADUS_BUILD {
class Shape;

template <Element T>
class Tensor;
template <Element T, bool Trained>
class ModelTensor;  // Parameter<T> is ModelTensor<T, true>, Buffer<T> is ModelTensor<T, false>
}  // namespace gradus::inline GRADUS_BUILD

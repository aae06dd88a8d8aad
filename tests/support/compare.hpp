// Comparisons of tensors that say what differs. NaN equals NaN, infinities equal themselves.
#pragma once

#include <limits>
#include <string>

#include "tests/support/any_tensor.hpp"

namespace gradus::test {

/// Allowed error: relative to the wanted value, but never less than relative to `scale`.
struct Tolerance {
  double relative = 0;
  double scale = 1;
};

/// Empty when shapes and values agree, else the first difference: "element (0, 1): got 1.5, want 2.5 ...".
std::string mismatch(const AnyTensor& got, const AnyTensor& want, Tolerance tolerance = {});
/// The same for every bit of two tensors of one element type.
std::string bit_mismatch(const AnyTensor& got, const AnyTensor& want);
/// Zeros whose signs differ count as well.
std::string sign_mismatch(const AnyTensor& got, const AnyTensor& want);

/// How many numbers of C lie between `got` and the exact value, in units of the last place at `exact`; 0 when both
/// are NaN or the same infinity (an exact value beyond C's range is one), infinite when only one is.
template <class C>
double ulp_error(C got, long double exact);

}  // namespace gradus::test

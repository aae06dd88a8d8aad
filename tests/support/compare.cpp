#include "tests/support/compare.hpp"

#include <cmath>
#include <cstring>

#include "gradus/autograd/gradcheck.hpp"

namespace gradus::test {
namespace {

std::string shapes_differ(const AnyTensor& got, const AnyTensor& want) {
  if (!got.defined() || !want.defined()) {
    return got.defined() == want.defined() ? "" : join("got ", got.defined() ? "a" : "no", " tensor");
  }
  return got.shape() == want.shape() ? "" : join("got shape ", got.shape(), ", want ", want.shape());
}

bool agree(double got, double want, Tolerance tolerance) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got);
  if (std::isinf(want) || std::isinf(got)) return got == want;
  return std::abs(got - want) <= tolerance.relative * std::max(std::abs(want), tolerance.scale);
}

}  // namespace

std::string mismatch(const AnyTensor& got, const AnyTensor& want, Tolerance tolerance) {
  auto text = shapes_differ(got, want);
  if (!text.empty() || !got.defined()) return text;
  auto a = got.values(), b = want.values();
  for (size_t i = 0; i < a.size(); ++i) {
    if (agree(a[i], b[i], tolerance)) continue;
    return join("element ", detail::unravel(static_cast<int64_t>(i), want.shape()), ": got ", a[i], ", want ", b[i],
                ", they differ by ", std::abs(a[i] - b[i]), " where ",
                tolerance.relative * std::max(std::abs(b[i]), tolerance.scale), " is allowed");
  }
  return "";
}

std::string bit_mismatch(const AnyTensor& got, const AnyTensor& want) {
  auto text = shapes_differ(got, want);
  if (!text.empty() || !got.defined()) return text;
  if (got.dtype() != want.dtype()) return join("got ", got.dtype(), ", want ", want.dtype());
  auto a = got.clone(), b = want.clone();
  auto bytes = static_cast<size_t>(size_of(a.dtype()));
  if (std::memcmp(a.impl()->data(), b.impl()->data(), static_cast<size_t>(a.numel()) * bytes) == 0) return text;
  auto x = got.values(), y = want.values();
  for (int64_t i = 0; i < a.numel(); ++i) {
    auto at = static_cast<size_t>(i) * bytes;
    if (std::memcmp(a.impl()->data() + at, b.impl()->data() + at, bytes) == 0) continue;
    auto where = static_cast<size_t>(i);
    if (std::isnan(x[where]) && std::isnan(y[where])) continue;  // of two, a compiler may pass on the one or the other
    return join("element ", detail::unravel(i, want.shape()), ": got ", x[where], ", want the bits of ", y[where]);
  }
  return "";
}

std::string sign_mismatch(const AnyTensor& got, const AnyTensor& want) {
  auto text = shapes_differ(got, want);
  if (!text.empty() || !got.defined()) return text;
  auto a = got.values(), b = want.values();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != 0 || b[i] != 0 || std::signbit(a[i]) == std::signbit(b[i])) continue;
    return join("element ", detail::unravel(static_cast<int64_t>(i), want.shape()), ": got ", a[i], ", want ", b[i]);
  }
  return "";
}

template <class C>
double ulp_error(C got, long double exact) {
  constexpr auto infinite = std::numeric_limits<double>::infinity();
  if (std::isnan(exact) || std::isnan(got)) return std::isnan(exact) && std::isnan(got) ? 0 : infinite;
  auto rounded = static_cast<C>(exact);
  if (std::isinf(rounded) || std::isinf(got)) {
    // The last number before infinity and infinity itself are neighbours.
    if (rounded == got) return 0;
    return std::abs(std::isinf(got) ? rounded : got) == std::numeric_limits<C>::max() ? 1 : infinite;
  }
  int exponent = 0;
  std::frexp(std::max<long double>(std::abs(exact), std::numeric_limits<C>::min()), &exponent);
  auto unit = std::ldexp(1.0L, exponent - std::numeric_limits<C>::digits);
  return static_cast<double>(std::abs(static_cast<long double>(got) - exact) / unit);
}

template double ulp_error(float, long double);
template double ulp_error(double, long double);

}  // namespace gradus::test

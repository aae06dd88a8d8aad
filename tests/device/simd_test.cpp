// Every operation on a register against plain C++, lane by lane, on values where arithmetic is delicate.
#include "gradus/device/cpu/simd.hpp"

#include <bit>
#include <limits>
#include <vector>

#include "tests/support/catch.hpp"

using namespace gradus;
using namespace gradus::detail;

namespace {

template <class C>
std::vector<C> delicate_values() {
  using Limits = std::numeric_limits<C>;
  std::vector<C> values;
  if constexpr (std::is_floating_point_v<C>) {
    values = {C(0),
              -C(0),
              C(1),
              -C(1),
              C(0.1),
              C(-2.75),
              C(3e5),
              -C(1e-30),
              Limits::infinity(),
              -Limits::infinity(),
              Limits::quiet_NaN(),
              Limits::max(),
              Limits::lowest(),
              Limits::min(),
              Limits::denorm_min(),
              C(7.5),
              C(4)};
  } else {
    values = {0, 1, -1, 2, -2, 3, 7, -7, 100, -100, 12345, Limits::max(), Limits::lowest(), Limits::max() - 1};
  }
  return values;
}

/// Equal bits, or both NaN.
template <class C>
bool same(C a, C b) {
  if constexpr (std::is_floating_point_v<C>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  }
  return std::bit_cast<Bits<C>>(a) == std::bit_cast<Bits<C>>(b);
}

/// Whole numbers wrap; the compiler may assume that the signed ones do not.
template <class C>
C wrapping(char op, C a, C b) {
  if constexpr (std::is_floating_point_v<C>) {
    return op == '+' ? a + b : op == '-' ? a - b : a * b;
  } else {
    using U = std::make_unsigned_t<C>;
    auto x = static_cast<U>(a), y = static_cast<U>(b);
    return static_cast<C>(op == '+' ? x + y : op == '-' ? x - y : x * y);
  }
}

/// Calls check(lanes of a, lanes of b) so that every pair of delicate values meets, each value in every lane.
template <class C, class F>
void for_registers(F&& check) {
  auto values = delicate_values<C>();
  auto count = values.size();
  for (size_t shift = 0; shift < count; ++shift) {
    for (size_t start = 0; start < count; ++start) {
      C a[simd_lanes], b[simd_lanes];
      for (size_t lane = 0; lane < simd_lanes; ++lane) {
        a[lane] = values[(start + lane) % count];
        b[lane] = values[(start + lane + shift) % count];
      }
      check(a, b);
    }
  }
}

/// The number of lanes in which op(registers) is not want(elements).
template <class C>
int wrong_lanes(std::type_identity_t<Simd<C> (*)(const Simd<C>&, const Simd<C>&)> op,
                std::type_identity_t<C (*)(C, C)> want) {
  int wrong = 0;
  for_registers<C>([&](const C* a, const C* b) {
    auto got = op(Simd<C>::load(a), Simd<C>::load(b));
    for (int lane = 0; lane < simd_lanes; ++lane) wrong += !same<C>(got.lane(lane), want(a[lane], b[lane]));
  });
  return wrong;
}
template <class C>
int wrong_mask_lanes(std::type_identity_t<Mask<C> (*)(const Simd<C>&, const Simd<C>&)> op,
                     std::type_identity_t<bool (*)(C, C)> want) {
  int wrong = 0;
  for_registers<C>([&](const C* a, const C* b) {
    auto got = op(Simd<C>::load(a), Simd<C>::load(b));
    bool stored[simd_lanes];
    got.store(stored);
    for (int lane = 0; lane < simd_lanes; ++lane) {
      wrong += got.lane(lane) != want(a[lane], b[lane]) || stored[lane] != got.lane(lane);
    }
  });
  return wrong;
}

}  // namespace

TEMPLATE_TEST_CASE("simd: arithmetic", "", float, double, int32_t, int64_t) {
  using C = TestType;
  using S = const Simd<C>&;
  CHECK(wrong_lanes<C>([](S a, S b) { return a + b; }, [](C a, C b) { return wrapping('+', a, b); }) == 0);
  CHECK(wrong_lanes<C>([](S a, S b) { return a - b; }, [](C a, C b) { return wrapping('-', a, b); }) == 0);
  CHECK(wrong_lanes<C>([](S a, S b) { return a * b; }, [](C a, C b) { return wrapping('*', a, b); }) == 0);
  auto negated = [](C a, C) {
    if constexpr (std::is_floating_point_v<C>) return -a;
    else return wrapping('-', C(0), a);
  };
  CHECK(wrong_lanes<C>([](S a, S) { return -a; }, negated) == 0);
  auto quotient = [](C a, C b) {
    if constexpr (std::is_floating_point_v<C>) return a / b;
    else return b == 0 ? C(0) : b == -1 ? wrapping('-', C(0), a) : static_cast<C>(a / b);
  };
  CHECK(wrong_lanes<C>([](S a, S b) { return a / b; }, quotient) == 0);
}

TEMPLATE_TEST_CASE("simd: magnitude, maximum, minimum", "", float, double, int32_t, int64_t) {
  using C = TestType;
  using S = const Simd<C>&;
  auto magnitude = [](C a, C) {
    if constexpr (std::is_floating_point_v<C>) return std::fabs(a);
    else return a < 0 ? wrapping('-', C(0), a) : a;
  };
  CHECK(wrong_lanes<C>([](S a, S) { return abs(a); }, magnitude) == 0);
  CHECK(wrong_lanes<C>([](S a, S b) { return maximum(a, b); }, [](C a, C b) { return a > b || a != a ? a : b; }) == 0);
  CHECK(wrong_lanes<C>([](S a, S b) { return minimum(a, b); }, [](C a, C b) { return a < b || a != a ? a : b; }) == 0);
}

TEMPLATE_TEST_CASE("simd: square root and fused multiply-add", "", float, double) {
  using C = TestType;
  using S = const Simd<C>&;
  CHECK(wrong_lanes<C>([](S a, S) { return sqrt(a); }, [](C a, C) { return std::sqrt(a); }) == 0);
#if defined(__FMA__)
  CHECK(wrong_lanes<C>([](S a, S b) { return fma(a, b, Simd<C>(0.3)); },
                       [](C a, C b) { return std::fma(a, b, C(0.3)); }) == 0);
#endif
}

TEMPLATE_TEST_CASE("simd: comparisons", "", float, double, int32_t, int64_t) {
  using C = TestType;
  using S = const Simd<C>&;
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a < b; }, [](C a, C b) { return a < b; }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a <= b; }, [](C a, C b) { return a <= b; }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a > b; }, [](C a, C b) { return a > b; }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a >= b; }, [](C a, C b) { return a >= b; }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a == b; }, [](C a, C b) { return a == b; }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a != b; }, [](C a, C b) { return a != b; }) == 0);
}

TEMPLATE_TEST_CASE("simd: masks", "", float, double, int32_t, int64_t) {
  using C = TestType;
  using S = const Simd<C>&;
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a > Simd<C>(0) && b > Simd<C>(0); },
                            [](C a, C b) { return a > C(0) && b > C(0); }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S b) { return a > Simd<C>(0) || b > Simd<C>(0); },
                            [](C a, C b) { return a > C(0) || b > C(0); }) == 0);
  CHECK(wrong_mask_lanes<C>([](S a, S) { return !(a > Simd<C>(0)); }, [](C a, C) { return !(a > C(0)); }) == 0);
  CHECK(wrong_lanes<C>([](S a, S b) { return where(a > b, a, C(1)); }, [](C a, C b) { return a > b ? a : C(1); }) == 0);
  Mask<C> all(true), none(false);
  for (int lane = 0; lane < simd_lanes; ++lane) {
    CHECK(all.lane(lane));
    CHECK(!none.lane(lane));
  }
}

TEST_CASE("simd: masks change their width") {
  bool pattern[simd_lanes], narrow[simd_lanes], wide[simd_lanes];
  for (int lane = 0; lane < simd_lanes; ++lane) pattern[lane] = lane % 3 == 0;
  auto mask = Mask<float>::from_bools(pattern);
  Mask<double> widened(mask);
  Mask<int32_t> narrowed(widened);
  widened.store(wide);
  narrowed.store(narrow);
  for (int lane = 0; lane < simd_lanes; ++lane) {
    CHECK(wide[lane] == pattern[lane]);
    CHECK(narrow[lane] == pattern[lane]);
  }
}

TEMPLATE_TEST_CASE("simd: the same number in every lane", "", float, double, int32_t, int64_t) {
  using C = TestType;
  int wrong = 0;
  for (auto value : delicate_values<C>()) {
    Simd<C> x(value);
    for (int lane = 0; lane < simd_lanes; ++lane) wrong += !same<C>(x.lane(lane), value);
  }
  CHECK(wrong == 0);
  CHECK(Simd<C>(2.9).lane(15) == static_cast<C>(2.9));
}

TEST_CASE("simd: elements of every type are loaded and stored") {
  uint8_t bytes[simd_lanes], bytes_back[simd_lanes];
  bool flags[simd_lanes];
  for (int lane = 0; lane < simd_lanes; ++lane) {
    bytes[lane] = static_cast<uint8_t>(240 + lane);
    flags[lane] = lane % 2 == 1;
  }
  auto from_bytes = Simd<int32_t>::load(bytes), from_flags = Simd<int32_t>::load(flags);
  (from_bytes + Simd<int32_t>(10)).store(bytes_back);
  for (int lane = 0; lane < simd_lanes; ++lane) {
    CHECK(from_bytes.lane(lane) == 240 + lane);
    CHECK(from_flags.lane(lane) == lane % 2);
    CHECK(bytes_back[lane] == static_cast<uint8_t>(250 + lane));  // wraps
  }
}

TEMPLATE_TEST_CASE("simd: two bytes are stored as one element rounds, and loaded", "", bf16, f16) {
  int wrong = 0;
  for (uint32_t upper = 0; upper < 0x10000; ++upper) {  // every exponent and mantissa, near the middle between two
    constexpr uint32_t lower[] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff};
    float values[simd_lanes];
    for (size_t lane = 0; lane < simd_lanes; ++lane) {
      values[lane] = std::bit_cast<float>(upper << 16 | lower[lane % std::size(lower)]);
    }
    TestType stored[simd_lanes];
    Simd<float>::load(values).store(stored);
    auto loaded = Simd<float>::load(stored);
    for (int lane = 0; lane < simd_lanes; ++lane) {
      wrong += stored[lane].bits != TestType(values[lane]).bits;
      wrong += !same(loaded.lane(lane), static_cast<float>(stored[lane]));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("simd: every f16 is loaded as one element is") {
  int wrong = 0;
  for (uint32_t first = 0; first < 0x10000; first += simd_lanes) {
    f16 stored[simd_lanes];
    for (uint32_t lane = 0; lane < simd_lanes; ++lane) stored[lane].bits = static_cast<uint16_t>(first + lane);
    auto loaded = Simd<float>::load(stored);
    for (int lane = 0; lane < simd_lanes; ++lane) wrong += !same(loaded.lane(lane), static_cast<float>(stored[lane]));
  }
  CHECK(wrong == 0);
}

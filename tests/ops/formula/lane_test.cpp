// Lane<C> and Simd<C> give the same bits for every formula and its gradients: the register's arithmetic is that of
// single elements, and literals and names mean the same in both.
#include "tests/ops/formula/contraction_off.hpp"

#include <cstring>
#include <vector>

#include "gradus/ops/formula/lane.hpp"
#include "tests/ops/formula/formulas.hpp"
#include "tests/ops/formula/samples.hpp"
#include "tests/support/catch.hpp"

namespace {

using gradus::detail::Dual;
using gradus::detail::Lane;
using gradus::detail::LaneMask;
using gradus::detail::Mask;
using gradus::detail::Simd;
using gradus::detail::simd_lanes;
using gradus::test::FormulaDomain;
using gradus::test::FormulaSignature;

template <class C, bool is_condition>
auto register_of(const C* from) {
  if constexpr (is_condition) {
    bool lanes[simd_lanes];
    for (int i = 0; i < simd_lanes; ++i) lanes[i] = from[i] > C(0);
    return Mask<C>::from_bools(lanes);
  } else {
    return Simd<C>::load(from);
  }
}
template <class C, bool is_condition>
auto lane_of(C value) {
  if constexpr (is_condition) return LaneMask<C>(value > C(0));
  else return Lane<C>(value);
}

template <size_t I, class V, size_t K>
auto seeded(std::integral_constant<size_t, K>, const V& value, const auto& seed) {
  if constexpr (I == K) return Dual<V>{value, seed};
  else return value;
}

/// Lanes in which register and element differ in a bit. (Which NaN an operation gives is the machine's choice.)
template <class C>
int differences(const Simd<C>& y, const std::vector<C>& want) {
  int count = 0;
  for (int i = 0; i < simd_lanes; ++i) {
    auto got = y.lane(i), wanted = want[static_cast<size_t>(i)];
    if (got != got && wanted != wanted) continue;
    count += std::memcmp(&got, &wanted, sizeof(C)) != 0;
  }
  return count;
}
template <class C>
int differences(const Mask<C>& y, const std::vector<bool>& want) {
  int count = 0;
  for (int i = 0; i < simd_lanes; ++i) count += y.lane(i) != want[static_cast<size_t>(i)];
  return count;
}

/// operands[k] holds one register of elements.
template <class C, class F, FormulaSignature s, size_t... K>
int value_differences(const C (&operands)[4][simd_lanes], std::index_sequence<K...>) {
  constexpr auto conditions = static_cast<size_t>(s.conditions);
  auto y = F{}(register_of<C, (K < conditions)>(operands[K])...);
  constexpr bool is_mask = std::is_same_v<decltype(y), Mask<C>>;
  std::vector<std::conditional_t<is_mask, bool, C>> want;
  for (int i = 0; i < simd_lanes; ++i) {
    auto one = F{}(lane_of<C, (K < conditions)>(operands[K][i])...);
    if constexpr (is_mask) want.push_back(one.holds);
    else want.push_back(one.value);
  }
  return differences(y, want);
}

template <size_t I, class C, class F, FormulaSignature s, size_t... K>
int gradient_differences(const C (&operands)[4][simd_lanes], std::index_sequence<K...>) {
  constexpr auto conditions = static_cast<size_t>(s.conditions);
  auto dy = Simd<C>::load(operands[3]);
  auto dx = F{}(seeded<I>(std::integral_constant<size_t, K>{}, register_of<C, (K < conditions)>(operands[K]), dy)...);
  std::vector<C> want;
  for (int i = 0; i < simd_lanes; ++i) {
    auto one = F{}(seeded<I>(std::integral_constant<size_t, K>{}, lane_of<C, (K < conditions)>(operands[K][i]),
                             Lane<C>(operands[3][i]))...);
    want.push_back(Lane<C>(one.derivative).value);
  }
  return differences<C>(dx.derivative, want);
}

template <class C>
struct CompareBits {
  template <FormulaSignature s, class F>
  void operator()(const gradus::detail::Pointwise<F>& formula) const {
    if constexpr (std::is_floating_point_v<C> || s.domain != FormulaDomain::floating) {
      INFO(formula.name());
      constexpr auto all = std::make_index_sequence<static_cast<size_t>(s.operands)>{};
      auto values = gradus::test::formula_samples<C>();
      for (size_t first = 0; first < 1024; first += simd_lanes) {
        C operands[4][simd_lanes];
        for (size_t k = 0; k < 4; ++k) {
          for (size_t i = 0; i < simd_lanes; ++i) operands[k][i] = gradus::test::formula_sample(values, k, first + i);
        }
        CHECK(value_differences<C, F, s>(operands, all) == 0);
        if constexpr (std::is_floating_point_v<C> && s.domain != FormulaDomain::logical) {
          gradients<F, s>(operands, all);
        }
      }
    }
  }

  template <class F, FormulaSignature s, size_t... I>
  void gradients(const C (&operands)[4][simd_lanes], std::index_sequence<I...> all) const {
    auto one = [&]<size_t J>(std::integral_constant<size_t, J>) {
      constexpr auto is_condition = J < static_cast<size_t>(s.conditions);
      if constexpr (!is_condition && gives_number<F, s>(all)) {
        INFO("gradient of operand " << J);
        CHECK(gradient_differences<J, C, F, s>(operands, all) == 0);
      }
    };
    (one(std::integral_constant<size_t, I>{}), ...);
  }

  template <class F, FormulaSignature s, size_t... K>
  static constexpr bool gives_number(std::index_sequence<K...>) {
    return std::is_same_v<decltype(F{}(lane_of<C, (K < static_cast<size_t>(s.conditions))>(C())...)), Lane<C>>;
  }
};

}  // namespace

TEST_CASE("a formula gives the same bits for one element as in a register", "[formula]") {
  SECTION("float") { gradus::test::for_each_formula(CompareBits<float>{}); }
#if !defined(__SANITIZE_ADDRESS__)  // the same code in half the registers: minutes of compile time
  SECTION("double") { gradus::test::for_each_formula(CompareBits<double>{}); }
#endif
  SECTION("int32") { gradus::test::for_each_formula(CompareBits<int32_t>{}); }
  SECTION("int64") { gradus::test::for_each_formula(CompareBits<int64_t>{}); }
}

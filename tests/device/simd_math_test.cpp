// The error of every function on registers, in units of the last place, against the C library one precision higher.
// The table of limits is what the library promises: tighten it when a formula gets better.
#include "gradus/device/cpu/simd_math.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

/// Numbers of every magnitude by evenly spread bit patterns (NaN and infinities among them), and the ranges where
/// functions do something.
template <class C>
std::vector<C> samples() {
  constexpr auto infinity = std::numeric_limits<C>::infinity();
  std::vector<C> x = {0,
                      C(-0.0),
                      1,
                      -1,
                      std::numeric_limits<C>::min(),
                      std::numeric_limits<C>::denorm_min(),
                      std::numeric_limits<C>::max(),
                      infinity,
                      -infinity,
                      std::numeric_limits<C>::quiet_NaN()};
  constexpr int64_t count = 60000;
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (sizeof(C) == 4) x.push_back(std::bit_cast<C>(static_cast<uint32_t>(i) * 71582u));
    else x.push_back(std::bit_cast<C>(static_cast<uint64_t>(i) * 307445734561825u));
    auto place = C(2) * static_cast<C>(i) / static_cast<C>(count) - 1;  // [-1, 1)
    for (C width : {C(1), C(8), C(120), C(800)}) x.push_back(width * place);
  }
  x.resize((x.size() + 15) / 16 * 16);
  return x;
}

/// Checks f, which computes 16 numbers, against `exact` within `limit` ulp.
template <class C, class Exact>
void check_ulp(const char* name, double limit, void (*f)(const C* from, C* to), Exact exact) {
  static const auto x = samples<C>();
  double worst = 0;
  C at = 0;
  for (size_t i = 0; i < x.size(); i += 16) {
    C y[16];
    f(x.data() + i, y);
    for (size_t lane = 0; lane < 16; ++lane) {
      auto error = test::ulp_error(y[lane], static_cast<long double>(exact(x[i + lane])));
      if (error > worst) {
        worst = error;
        at = x[i + lane];
      }
    }
  }
  INFO(name << "(" << at << ") is off by " << worst << " ulp, where " << limit << " is the limit");
  CHECK(worst <= limit);
}

/// 0 where exp(-x) is beyond C, as in PyTorch: there the exact value is subnormal.
template <class C, class Exact>
Exact rounded_sigmoid(Exact x) {
  auto e = std::exp(-x);
  return e > static_cast<Exact>(std::numeric_limits<C>::max()) ? 0 : 1 / (1 + e);
}

/// What exp_of_negative is: 0 where exp(x) is hardly normal, and not for numbers above 0.
template <class C, class Exact>
Exact normal_exp(Exact x) {
  auto low = std::log(static_cast<Exact>(std::numeric_limits<C>::min()));
  return x < low ? 0 : std::exp(std::min(x, static_cast<Exact>(0)));
}
template <class C>
detail::Simd<C> normal_exp_lanes(const detail::Simd<C>& x) {
  auto y = detail::exp_of_negative(detail::at_most(x, 0));
  return detail::where(y < std::numeric_limits<C>::min(), C(0), y);
}

/// What log1p_of_exp is for: not for numbers above 0.
template <class C, class Exact>
Exact softplus_of_negative(Exact x) {
  return std::log1p(std::exp(std::min(x, static_cast<Exact>(0))));
}
template <class C>
detail::Simd<C> log1p_of_exp_lanes(const detail::Simd<C>& x) {
  return detail::log1p_of_exp(detail::at_most(x, 0));
}

/// The largest distance of the normal distribution function from its exact value.
template <class C>
double worst_normal() {
  const auto x = samples<C>();
  double worst = 0;
  for (size_t i = 0; i < x.size(); i += 16) {
    C y[16];
    detail::normal_cdf(detail::Simd<C>::load(x.data() + i)).store(y);
    for (size_t lane = 0; lane < 16; ++lane) {
      auto exact = std::erfc(static_cast<long double>(x[i + lane]) * -0.70710678118654752440L) / 2;
      if (std::isnan(x[i + lane])) CHECK(std::isnan(y[lane]));
      else worst = std::max(worst, static_cast<double>(std::abs(y[lane] - exact)));
      if (std::abs(x[i + lane]) > 10) CHECK(y[lane] == (x[i + lane] > 0 ? 1 : 0));
    }
  }
  return worst;
}

#define GRADUS_TEST_LANES(C, name) [](const C* from, C* to) { name(detail::Simd<C>::load(from)).store(to); }

}  // namespace

TEST_CASE("accuracy of functions on float registers") {
  auto check = [](const char* name, double limit, void (*f)(const float*, float*), double (*exact)(double)) {
    check_ulp<float>(name, limit, f, exact);
  };
  check("exp", 1, GRADUS_TEST_LANES(float, exp), std::exp);
  check("exp_of_negative", 1, GRADUS_TEST_LANES(float, normal_exp_lanes), normal_exp<float, double>);
  check("expm1", 2, GRADUS_TEST_LANES(float, expm1), std::expm1);
  check("log", 1, GRADUS_TEST_LANES(float, log), std::log);
  check("log1p", 1.5, GRADUS_TEST_LANES(float, log1p), std::log1p);
  check("log1p_of_exp", 3, GRADUS_TEST_LANES(float, log1p_of_exp_lanes), softplus_of_negative<float, double>);
  check("tanh", 2.5, GRADUS_TEST_LANES(float, tanh), std::tanh);
  check("sigmoid", 2.5, GRADUS_TEST_LANES(float, sigmoid), rounded_sigmoid<float, double>);
  check("erf", 2.5, GRADUS_TEST_LANES(float, erf), std::erf);
  check("sin", 2, GRADUS_TEST_LANES(float, sin), std::sin);
  check("cos", 2, GRADUS_TEST_LANES(float, cos), std::cos);
  check("floor", 0, GRADUS_TEST_LANES(float, floor), std::floor);
  check("sqrt", 0.5, GRADUS_TEST_LANES(float, sqrt), std::sqrt);
}

TEST_CASE("accuracy of functions on double registers") {
  using Long = long double;
  auto check = [](const char* name, double limit, void (*f)(const double*, double*), Long (*exact)(Long)) {
    check_ulp<double>(name, limit, f, exact);
  };
  check("exp", 1, GRADUS_TEST_LANES(double, exp), std::exp);
  check("exp_of_negative", 1, GRADUS_TEST_LANES(double, normal_exp_lanes), normal_exp<double, Long>);
  check("expm1", 2, GRADUS_TEST_LANES(double, expm1), std::expm1);
  check("log", 1, GRADUS_TEST_LANES(double, log), std::log);
  check("log1p", 1.5, GRADUS_TEST_LANES(double, log1p), std::log1p);
  check("log1p_of_exp", 2, GRADUS_TEST_LANES(double, log1p_of_exp_lanes), softplus_of_negative<double, Long>);
  check("tanh", 2.5, GRADUS_TEST_LANES(double, tanh), std::tanh);
  check("sigmoid", 2.5, GRADUS_TEST_LANES(double, sigmoid), rounded_sigmoid<double, Long>);
  check("erf", 2.5, GRADUS_TEST_LANES(double, erf), std::erf);
  check("sin", 2, GRADUS_TEST_LANES(double, sin), std::sin);
  check("cos", 2, GRADUS_TEST_LANES(double, cos), std::cos);
  check("floor", 0, GRADUS_TEST_LANES(double, floor), std::floor);
  check("sqrt", 0.5, GRADUS_TEST_LANES(double, sqrt), std::sqrt);
}

TEST_CASE("the normal distribution function, and exactly 0 and 1 far out") {
  CHECK(worst_normal<float>() <= 0x1.a0p-23);  // 1.6 2^-23
  CHECK(worst_normal<double>() <= 0x1p-51);
}

TEST_CASE("at_least and at_most keep a NaN on their left") {
  constexpr auto nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  using Lanes = detail::Simd<float>;
  CHECK(std::isnan(detail::at_least(Lanes(nan), Lanes(1)).lane(3)));
  CHECK(std::isnan(detail::at_most(Lanes(nan), Lanes(1)).lane(3)));
  CHECK(detail::at_least(Lanes(-infinity), Lanes(1)).lane(0) == 1);
  CHECK(detail::at_most(Lanes(infinity), Lanes(1)).lane(0) == 1);
  CHECK(detail::at_least(detail::Simd<double>(2), 1).lane(15) == 2);
  CHECK(detail::at_most(detail::Simd<double>(2), 1).lane(15) == 1);
}

TEST_CASE("accuracy of pow") {
  double worst_float = 0, worst_double = 0;
  for (int base = 1; base <= 400; ++base) {
    for (int row = 0; row < 4; ++row) {
      float x[16], y[16], z[16];
      double dx[16], dy[16], dz[16];
      for (int lane = 0; lane < 16; ++lane) {
        dx[lane] = x[lane] = static_cast<float>(base) * 0.37f;
        dy[lane] = y[lane] = static_cast<float>(row * 16 + lane - 32) * 0.3f;
      }
      pow(detail::Simd<float>::load(x), detail::Simd<float>::load(y)).store(z);
      pow(detail::Simd<double>::load(dx), detail::Simd<double>::load(dy)).store(dz);
      for (int lane = 0; lane < 16; ++lane) {
        auto exact = std::pow(static_cast<long double>(dx[lane]), static_cast<long double>(dy[lane]));
        worst_float = std::max(worst_float, test::ulp_error(z[lane], exact));
        worst_double = std::max(worst_double, test::ulp_error(dz[lane], exact));
      }
    }
  }
  CHECK(worst_float <= 0.51);
  CHECK(worst_double <= 1);
}

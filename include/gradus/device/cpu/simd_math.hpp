// exp, log, tanh, ... on registers, by packet arithmetic alone, for float and double. Ranges are reduced with
// constants split in two or three (Cody and Waite, 1980); the polynomials interpolate at Chebyshev nodes. The
// measured errors stand in tests/device/simd_math_test.cpp.
#pragma once

#include <limits>

#include "gradus/device/cpu/simd.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Everything that differs between the two precisions.
template <class C>
struct MathConstants;

template <>
struct MathConstants<float> {
  static constexpr int mantissa_bits = 23, exponent_bias = 127;
  static constexpr float round_magic = 0x1.8p23f, subnormal_scale = 0x1p24f, subnormal_exponent = 24;
  static constexpr float exp_low = -104, exp_high = 89, exp_zero = -88, expm1_low = -25, tanh_high = 10, erf_high = 4,
                         trig_high = 8000;
  static constexpr float ln2[] = {0.693359375f, -2.12194440e-4f};
  static constexpr float half_pi[] = {1.5703125f, 0.000483751296997f, 7.54953362047e-8f, 2.56334415159e-12f};
  static constexpr float expm1[] = {0.5f, 0.166665340551258626f, 0.041667236343533853f, 0.00836747603772206f,
                                    0.00138638956778519f};
  static constexpr float log[] = {0.666666665535855383f, 0.400001225845840959f, 0.285507364053582024f,
                                  0.233327618077414034f};
  static constexpr float log1p_to_1[] = {-0.4999993276692009f,  0.333305110915249175f,  -0.249585831103821136f,
                                         0.196953726042696161f, -0.153553064811299633f, 0.106803955220639572f,
                                         -0.05766283699320863f, 0.02020373183054684f,   -0.00331828642589676f};
  static constexpr float erf[] = {1.12837916706154342f,    -0.376126384680287104f,  0.112837824952368445f,
                                  -0.0268654307276702429f, 0.0052210318078580228f,  -0.000848408040553510629f,
                                  0.00011265959025606609f, -9.66704457148699642e-6f};
  static constexpr float erfc[] = {0.255395676310505744f,    -0.427185848311650024f,  0.241658194112857019f,
                                   -0.0789784731470691866f,  0.00373290802734917457f, 0.00699395402508392682f,
                                   -0.00084765557867121685f, -0.0009395269021825956f, 0.0000498767419334444443f};
  static constexpr float normal_high = 5.54371717f;
  static constexpr float normal_above[] = {0.398942262f,    0.0336600915f,   0.00466234051f,
                                           0.000166416998f, 6.29442047e-06f, 2.26458106e-08f};
  static constexpr float normal_below[] = {1.0f,           0.251039684f,    0.0285274815f,
                                           0.00187113916f, 7.26548096e-05f, 1.19018125e-06f};
  static constexpr float sin[] = {-0.166666646502981021f, 0.0083327459375481149f, -0.000195873873202413619f};
  static constexpr float cos[] = {0.0416666646474634086f, -0.00138883006980739659f, 0.000024547437462501829f};
};

template <>
struct MathConstants<double> {
  static constexpr int mantissa_bits = 52, exponent_bias = 1023;
  static constexpr double round_magic = 0x1.8p52, subnormal_scale = 0x1p54, subnormal_exponent = 54;
  static constexpr double exp_low = -746, exp_high = 710, exp_zero = -709, expm1_low = -45, tanh_high = 20,
                          erf_high = 6, trig_high = 1.5e6;
  static constexpr double ln2[] = {0.69314718036912381649, 1.9082149292705878161e-10};
  static constexpr double half_pi[] = {1.5707963267341256142, 6.0771005063039659766e-11, 2.0222662487959507324e-21, 0};
  static constexpr double expm1[] = {0.5,
                                     0.16666666666666671,
                                     0.0416666666666666698,
                                     0.00833333333332608312,
                                     0.00138888888888837112,
                                     0.000198412698750022788,
                                     0.0000248015873256774619,
                                     2.75572551700008874e-6,
                                     2.75572734787185805e-7,
                                     2.51053127296221018e-8,
                                     2.09147553258932022e-9};
  static constexpr double log[] = {0.666666666666666665, 0.400000000000008895, 0.285714285707959386,
                                   0.22222222393451755,  0.181817954546195479, 0.153862497831452132,
                                   0.132685034477923653, 0.130894437362697415};
  static constexpr double erf[] = {1.12837916709551257,     -0.376126389031837525,     0.112837916709551256,
                                   -0.0268661706451312185,  0.00522397762544167401,    -0.000854832702340300061,
                                   0.000120553329788794839, -0.0000149256502369675017, 1.64621107820186364e-6,
                                   -1.63657686488320721e-7, 1.48060271461287517e-8,    -1.22777344867955238e-9,
                                   9.32372351815302663e-11, -6.19673642878769998e-12,  2.80671281956112625e-13};
  static constexpr double erfc[] = {
      0.255395676310505744,      -0.427185847413958395,   0.241658194242466329,     -0.0789785810157325263,
      0.00373289240434948349,    0.00699746173922847606,  -0.000847143252275225317, -0.000981977026916264705,
      0.0000435556442720989287,  0.000174361143115436502, 0.0000275247673631650497, -0.0000275790131190219086,
      -0.0000139614900674239696, 1.3805842477253988e-6,   3.76016771671931325e-6,   1.25598978613456933e-6,
      -5.06091543869304822e-7,   -6.14447716799506562e-7, 1.3408848717362391e-7};
  static constexpr double sin[] = {-0.166666666666666667,  0.00833333333333333147,  -0.000198412698412650171,
                                   2.75573192193019374e-6, -2.50521062195283667e-8, 1.60585295732917381e-10,
                                   -7.5865766484052612e-13};
  static constexpr double cos[] = {0.0416666666666666667,  -0.00138888888888888879, 0.0000248015873015846198,
                                   -2.7557319221382126e-7, 2.0876755783897637e-9,   -1.14704597502448532e-11,
                                   4.7458049232498397e-14};
};

/// c[0] + c[1] x + c[2] x^2 + ...
template <class C, size_t N>
GRADUS_INLINE Simd<C> polynomial(const Simd<C>& x, const C (&c)[N]) {
  Simd<C> y(c[N - 1]);
  GRADUS_UNROLL
  for (int i = static_cast<int>(N) - 2; i >= 0; --i) y = fma(y, x, Simd<C>(c[i]));
  return y;
}
/// The same as two chains of every other power, which wait for themselves half as long; rounded once more.
template <class C, size_t N>
GRADUS_INLINE Simd<C> polynomial_in_two(const Simd<C>& x, const C (&c)[N]) {
  auto square = x * x;
  Simd<C> one(c[N - 1]), other(c[N - 2]);
  GRADUS_UNROLL
  for (int i = static_cast<int>(N) - 3; i >= 1; i -= 2) {
    one = fma(one, square, Simd<C>(c[i]));
    other = fma(other, square, Simd<C>(c[i - 1]));
  }
  if constexpr (N % 2 == 0) return fma(one, x, other);
  else return fma(other, x, fma(one, square, Simd<C>(c[0])));
}

template <class C>
GRADUS_INLINE Simd<C> from_bits(const Packet<Bits<C>> (&bits)[Simd<C>::packets]) {
  Simd<C> x;
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) x.p[k] = reinterpret_cast<Packet<C>>(bits[k]);
  return x;
}

/// The magnitude of a with the sign of b.
template <class C>
GRADUS_INLINE Simd<C> copy_sign(const Simd<C>& a, const Simd<C>& b) {
  constexpr auto magnitude = std::numeric_limits<Bits<C>>::max();
  Simd<C> y;
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) {
    auto bits_a = reinterpret_cast<Packet<Bits<C>>>(a.p[k]), bits_b = reinterpret_cast<Packet<Bits<C>>>(b.p[k]);
    y.p[k] = reinterpret_cast<Packet<C>>((bits_a & magnitude) | (bits_b & ~magnitude));
  }
  return y;
}

/// A number cut into its nearest whole number of steps and the rest.
template <class C>
struct Reduced {
  Simd<C> rest, steps;
  Simd<C> shifted;  ///< steps in its lowest bits
};

/// x = steps * ln 2 + rest, |rest| <= ln 2 / 2. `bias` is added to the lowest bits of `shifted`.
template <class C>
GRADUS_INLINE Reduced<C> reduce_by_ln2(const Simd<C>& x, int bias = 0) {
  using K = MathConstants<C>;
  auto magic = K::round_magic + static_cast<C>(bias);
  auto shifted = fma(x, Simd<C>(1.4426950408889634), Simd<C>(magic));
  auto n = shifted - magic;
  return {fma(n, Simd<C>(-K::ln2[1]), fma(n, Simd<C>(-K::ln2[0]), x)), n, shifted};
}

/// 2^n from numbers whose lowest bits are n plus the exponent's bias, and others nothing that is left: 0 for the lowest
/// n.
template <class C>
GRADUS_INLINE Simd<C> power_of_two(const Simd<C>& shifted) {
  Simd<C> y;
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) {
    using Word = std::make_unsigned_t<Bits<C>>;
    y.p[k] =
        reinterpret_cast<Packet<C>>(reinterpret_cast<Packet<Word>>(shifted.p[k]) << MathConstants<C>::mantissa_bits);
  }
  return y;
}

/// y 2^steps, rounded once where the machine can: it may be subnormal, where two factors are needed.
template <class C>
GRADUS_INLINE Simd<C> times_power_of_two(Simd<C> y, const Reduced<C>& x) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<C, float>) y.p[0] = _mm512_maskz_scalef_ps(0xffff, y.p[0], x.steps.p[0]);
  else
    for (int k = 0; k < 2; ++k) y.p[k] = _mm512_maskz_scalef_pd(0xff, y.p[k], x.steps.p[k]);
  return y;
#else
  using K = MathConstants<C>;
  Simd<C> half, other;
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) {
    auto steps = reinterpret_cast<Packet<Bits<C>>>(x.shifted.p[k]) - std::bit_cast<Bits<C>>(K::round_magic);
    auto n = steps >> 1;
    half.p[k] = reinterpret_cast<Packet<C>>(n + K::exponent_bias);
    other.p[k] = reinterpret_cast<Packet<C>>(steps - n + K::exponent_bias);
  }
  return y * power_of_two(half) * power_of_two(other);
#endif
}

/// exp(x) - 1 - 0 for |x| <= ln 2 / 2.
template <class C>
GRADUS_INLINE Simd<C> expm1_small(const Simd<C>& x) {
  return fma(x * x, polynomial(x, MathConstants<C>::expm1), x);
}

/// The larger of two; a where it is NaN, either where only b is. By one instruction, which compilers do not find.
template <std::floating_point C>
GRADUS_INLINE Simd<C> at_least(Simd<C> a, const std::type_identity_t<Simd<C>>& b) {
#if defined(__AVX512F__)  // the masked forms: g++ 12 warns of its own unmasked ones
  if constexpr (std::is_same_v<C, float>) a.p[0] = _mm512_maskz_max_ps(0xffff, b.p[0], a.p[0]);
  else
    for (int k = 0; k < 2; ++k) a.p[k] = _mm512_maskz_max_pd(0xff, b.p[k], a.p[k]);
  return a;
#elif defined(__SSE2__)
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) a.p[k] = Eigen::internal::pmax<Packet<C>>(a.p[k], b.p[k]);
  return a;
#else
  return where(a < b, b, a);
#endif
}
/// The smaller, else as at_least.
template <std::floating_point C>
GRADUS_INLINE Simd<C> at_most(Simd<C> a, const std::type_identity_t<Simd<C>>& b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<C, float>) a.p[0] = _mm512_maskz_min_ps(0xffff, b.p[0], a.p[0]);
  else
    for (int k = 0; k < 2; ++k) a.p[k] = _mm512_maskz_min_pd(0xff, b.p[k], a.p[k]);
  return a;
#elif defined(__SSE2__)
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) a.p[k] = Eigen::internal::pmin<Packet<C>>(a.p[k], b.p[k]);
  return a;
#else
  return where(a > b, b, a);
#endif
}

template <class C>
GRADUS_INLINE Simd<C> exp_small(const Simd<C>& x) {
  return fma(fma(polynomial(x, MathConstants<C>::expm1), x, Simd<C>(1)), x, Simd<C>(1));
}

template <class C>
GRADUS_INLINE Simd<C> exp(const Simd<C>& x) {
  using K = MathConstants<C>;
  auto reduced = reduce_by_ln2(at_most(at_least(x, K::exp_low), K::exp_high));
  return times_power_of_two(exp_small(reduced.rest), reduced);
}

/// exp(x) for x that is not above 0, or so little that it is rounding: as exp, but 0 where that is subnormal. It takes
/// half the operations.
template <class C>
GRADUS_INLINE Simd<C> exp_of_negative(const Simd<C>& x) {
  using K = MathConstants<C>;
  // The lowest power of two that is reached has no bit set: it is 0.
  auto reduced = reduce_by_ln2(at_least(x, K::exp_zero), K::exponent_bias);
  return exp_small(reduced.rest) * power_of_two(reduced.shifted);
}

template <class C>
GRADUS_INLINE Simd<C> expm1(const Simd<C>& x) {
  using K = MathConstants<C>;
  // 2^(n - 1): 2^n itself may overflow where the result does not.
  auto reduced = reduce_by_ln2(at_most(at_least(x, K::expm1_low), K::exp_high), K::exponent_bias - 1);
  auto scale = power_of_two(reduced.shifted);
  return copy_sign((fma(scale, expm1_small(reduced.rest), scale - 0.5)) * 2, x);
}

/// log(m 2^(exponent + shift)) for x = m 2^exponent, which is positive and not subnormal, m in [sqrt(1/2), sqrt(2)).
/// For more digits than x has, rest(m - 1, 2^(1 - exponent)) gives m - 1 with them.
template <class C, class Rest>
GRADUS_INLINE Simd<C> log_of_normal(const Simd<C>& x, const Simd<C>& shift, Rest&& rest) {
  using K = MathConstants<C>;
  using Word = std::make_unsigned_t<Bits<C>>;  // wraps at NaN and below 0, which callers replace
  constexpr auto two = std::bit_cast<Word>(C(2)), lowest = std::bit_cast<Word>(C(0.70710678118654752));
  Packet<Bits<C>> mantissa[Simd<C>::packets], scale[Simd<C>::packets];
  Simd<C> exponent;
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) {
    auto bits = reinterpret_cast<Packet<Word>>(x.p[k]);
    auto whole = reinterpret_cast<Packet<Bits<C>>>(bits - lowest) >> K::mantissa_bits;
    exponent.p[k] = __builtin_convertvector(whole, Packet<C>);
    auto shifted = reinterpret_cast<Packet<Word>>(whole) << K::mantissa_bits;
    mantissa[k] = reinterpret_cast<Packet<Bits<C>>>(bits - shifted);
    scale[k] = reinterpret_cast<Packet<Bits<C>>>(two - shifted);
  }
  exponent = exponent + shift;
  auto f = rest(from_bits<C>(mantissa) - 1, from_bits<C>(scale));
  auto s = f / (f + 2);  // log(1 + f) = 2 atanh(s)
  auto z = s * s;
  auto r = z * polynomial_in_two(z, K::log);
  return fma(exponent, Simd<C>(K::ln2[0]), f - (s * (f - r) - exponent * K::ln2[1]));
}

template <class C>
GRADUS_INLINE Simd<C> log(const Simd<C>& x) {
  using K = MathConstants<C>;
  constexpr auto infinity = std::numeric_limits<C>::infinity();
  auto small = x < std::numeric_limits<C>::min();
  auto y = log_of_normal(where(small, x * K::subnormal_scale, x), where(small, -K::subnormal_exponent, C(0)),
                         [](const Simd<C>& f, const Simd<C>&) GRADUS_INLINE_LAMBDA { return f; });
  y = where(x == infinity, infinity, y);
  y = where(x == 0, -infinity, y);
  return where(x >= 0, y, std::numeric_limits<C>::quiet_NaN());
}

template <class C>
GRADUS_INLINE Simd<C> log1p(const Simd<C>& x) {
  constexpr auto infinity = std::numeric_limits<C>::infinity();
  auto u = x + 1;
  auto y = log_of_normal(u, Simd<C>(0), [&](const Simd<C>& f, const Simd<C>& scale) GRADUS_INLINE_LAMBDA {
    return fma(0.5 * (x - (u - 1)), scale, f);  // what rounding took from u
  });
  y = where(u == infinity, infinity, y);
  y = where(u == 0, -infinity, y);
  y = where(u >= 0, y, std::numeric_limits<C>::quiet_NaN());
  return where(x == 0, x, y);
}

/// log(1 + exp(x)) for x that is not above 0.
template <class C>
GRADUS_INLINE Simd<C> log1p_of_exp(const Simd<C>& x) {
  using K = MathConstants<C>;
  auto reduced = reduce_by_ln2(at_least(x, K::exp_low));
  auto e = times_power_of_two(exp_small(reduced.rest), reduced);
  if constexpr (std::is_same_v<C, float>) return fma(e * e, polynomial_in_two(e, K::log1p_to_1), e);
  else return log1p(e);
}

template <class C>
GRADUS_INLINE Simd<C> tanh(const Simd<C>& x) {
  using K = MathConstants<C>;
  auto reduced = reduce_by_ln2(at_most(2 * abs(x), 2 * K::tanh_high), K::exponent_bias);
  auto scale = power_of_two(reduced.shifted);
  auto e = fma(scale, expm1_small(reduced.rest), scale - 1);  // expm1(2 |x|), which does not overflow here
  auto large = e > 4;  // then as 1 - 2 / (e + 2), in which the rounding of e + 2 counts for little
  return copy_sign(where(large, -2, e) / (e + 2) + where(large, 1, 0), x);
}

template <class C>
GRADUS_INLINE Simd<C> sigmoid(const Simd<C>& x) {
  return Simd<C>(1) / (exp(-x) + 1);
}

template <class C>
GRADUS_INLINE Simd<C> erf(const Simd<C>& x) {
  using K = MathConstants<C>;
  auto magnitude = abs(x);
  auto a = where(magnitude > K::erf_high, K::erf_high, magnitude);
  auto near = a * polynomial(a * a, K::erf);
  auto far = 1 - exp_of_negative(-(a * a)) * polynomial((a - 2) / (a + 2), K::erfc);
  return copy_sign(where(a < 1, near, far), x);
}

/// The normal distribution function, (1 + erf(x / sqrt(2))) / 2: within 1.6 2^-23 in float, exactly 0 and 1 far out.
template <class C>
GRADUS_INLINE Simd<C> normal_cdf(const Simd<C>& x) {
  if constexpr (std::is_same_v<C, float>) {
    using K = MathConstants<C>;
    auto z = x * x;
    auto near = x * polynomial(z, K::normal_above) / polynomial(z, K::normal_below);
    return where(abs(x) > K::normal_high, copy_sign(Simd<C>(0.5), x), near) + 0.5;
  } else {
    return 0.5 * (1.0 + erf(0.7071067811865476 * x));
  }
}

template <class C>
GRADUS_INLINE bool any(const Mask<C>& mask) {
  auto bits = mask.p[0];
  GRADUS_UNROLL
  for (int k = 1; k < Mask<C>::packets; ++k) bits |= mask.p[k];
  Bits<C> result = 0;
  for (int i = 0; i < Mask<C>::packet_lanes; ++i) result |= bits[i];
  return result != 0;
}

/// Replaces the lanes that a fast formula does not cover by the C library's values.
template <class C, class F>
GRADUS_INLINE Simd<C> repair(const Simd<C>& y, const Mask<C>& wrong, F&& exact) {
  if (!any(wrong)) [[likely]]
    return y;
  alignas(64) C lanes[simd_lanes];
  y.store(lanes);
  for (int i = 0; i < simd_lanes; ++i) {
    if (wrong.lane(i)) lanes[i] = exact(i);
  }
  return Simd<C>::load(lanes);
}

/// sin(x + quarter_turns * pi / 2).
template <class C>
GRADUS_INLINE Simd<C> sin_shifted(const Simd<C>& x, std::make_unsigned_t<Bits<C>> quarter_turns) {
  using K = MathConstants<C>;
  auto shifted = fma(x, Simd<C>(0.6366197723675814), Simd<C>(K::round_magic));
  auto n = shifted - K::round_magic;
  auto r = x;
  for (auto piece : K::half_pi) r = fma(-n, Simd<C>(piece), r);
  auto z = r * r;
  auto sine = fma(r * z, polynomial(z, K::sin), r);
  auto cosine = fma(z * z, polynomial(z, K::cos), fma(z, Simd<C>(-0.5), Simd<C>(1)));
  Simd<C> y;
  GRADUS_UNROLL
  for (int k = 0; k < Simd<C>::packets; ++k) {
    using Word = std::make_unsigned_t<Bits<C>>;  // wraps where x is too large, whose lanes are repaired
    auto turns = reinterpret_cast<Packet<Word>>(shifted.p[k]) - std::bit_cast<Word>(K::round_magic) + quarter_turns;
    auto value = (turns & 1) == 0 ? sine.p[k] : cosine.p[k];
    y.p[k] = (turns & 2) == 0 ? value : -value;
  }
  return y;
}

template <class C>
GRADUS_INLINE Simd<C> sin(const Simd<C>& x) {
  auto y = where(x == 0, x, sin_shifted(x, 0));  // the polynomial's first product would make 0 of -0
  return repair(y, !(abs(x) <= MathConstants<C>::trig_high), [&](int i) { return std::sin(x.lane(i)); });
}
template <class C>
GRADUS_INLINE Simd<C> cos(const Simd<C>& x) {
  return repair(sin_shifted(x, 1), !(abs(x) <= MathConstants<C>::trig_high),
                [&](int i) { return std::cos(x.lane(i)); });
}

template <class C>
GRADUS_INLINE Simd<C> floor(const Simd<C>& x) {
  constexpr auto whole = static_cast<C>(Bits<C>(1) << MathConstants<C>::mantissa_bits);  // from here on all numbers are
  auto nearest = copy_sign((abs(x) + whole) - whole, x);
  auto below = where(nearest > x, nearest - 1, nearest);
  return where(abs(x) < whole, copy_sign(below, x), x);
}

/// Between Simd<float> and Simd<double>.
template <class To, class From>
GRADUS_INLINE Simd<To> convert(const Simd<From>& x) {
  alignas(64) From from[simd_lanes];
  alignas(64) To to[simd_lanes];
  x.store(from);
  for (int i = 0; i < simd_lanes; ++i) to[i] = static_cast<To>(from[i]);
  return Simd<To>::load(to);
}

/// float goes by exp(y log x) in double; double, for which that is not exact enough, by the C library.
template <class C>
GRADUS_INLINE Simd<C> pow(const Simd<C>& x, const std::type_identity_t<Simd<C>>& y) {
  auto exact = [&](int i) { return std::pow(x.lane(i), y.lane(i)); };
  if constexpr (std::is_same_v<C, double>) {
    return repair(x, Mask<double>(true), exact);
  } else {
    constexpr auto infinity = std::numeric_limits<C>::infinity();
    auto plain = x > 0 && x < infinity && abs(y) < infinity;
    return repair(convert<float>(exp(convert<double>(y) * log(convert<double>(x)))), !plain, exact);
  }
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// The transforms of Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray, 2016), on registers of channels.
//
// A tile of 6 x 6 pixels and a kernel of 3 x 3 become 36 numbers each, whose products are summed over the channels and
// become 4 x 4 results: 36 multiplications for 144. The points 0, +-5/8, +-3/2 and infinity, found by search, keep
// the rounding error at about twice that of plain sums in float; with the usual 0, +-1, +-2 it is four times.
#pragma once

#include "gradus/device/cpu/gemm_kernel.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

struct Winograd {
  static constexpr int tile = 4, reach = 6, positions = 36;
  static constexpr double a = 0.625, b = 1.5, a2 = a * a, b2 = b * b;
  static constexpr double at_0 = a2 * b2, at_a = 2 * a2 * (a2 - b2), at_b = 2 * b2 * (b2 - a2);
  /// A tile's line of pixels to its transform, row by row: what multiplies each pixel.
  static constexpr double of_input[6][6] = {{a2 * b2, 0, -(a2 + b2), 0, 1, 0}, {0, -a* b2, -b2, a, 1, 0},
                                            {0, a* b2, -b2, -a, 1, 0},         {0, -a2* b, -a2, b, 1, 0},
                                            {0, a2* b, -a2, -b, 1, 0},         {0, a2* b2, 0, -(a2 + b2), 0, 1}};
  /// The same for a line of 4 output gradients.
  static constexpr double of_gradient[6][4] = {{1, 0, 0, 0},      {1, a, a2, a* a2},   {1, -a, a2, -a* a2},
                                               {1, b, b2, b* b2}, {1, -b, b2, -b* b2}, {0, 0, 0, 1}};
};

/// One line of a tile: 6 pixels -> 6 positions.
template <class C, class P>
GRADUS_INLINE void winograd_input_line(const P (&d)[6], P (&v)[6]) {
  using namespace Eigen::internal;
  using W = Winograd;
  auto k = [](double x) GRADUS_INLINE_LAMBDA { return pset1<P>(static_cast<C>(x)); };
  v[0] = pmadd(k(W::at_0), d[0], pmadd(k(-W::a2 - W::b2), d[2], d[4]));
  auto even = pmadd(k(-W::b2), d[2], d[4]), odd = pmadd(k(-W::b2), d[1], d[3]);
  v[1] = pmadd(k(W::a), odd, even);
  v[2] = pmadd(k(-W::a), odd, even);
  even = pmadd(k(-W::a2), d[2], d[4]), odd = pmadd(k(-W::a2), d[1], d[3]);
  v[3] = pmadd(k(W::b), odd, even);
  v[4] = pmadd(k(-W::b), odd, even);
  v[5] = pmadd(k(W::at_0), d[1], pmadd(k(-W::a2 - W::b2), d[3], d[5]));
}

/// 4 output gradients -> 6 positions.
template <class C, class P>
GRADUS_INLINE void winograd_gradient_line(const P (&d)[4], P (&v)[6]) {
  using namespace Eigen::internal;
  using W = Winograd;
  auto k = [](double x) GRADUS_INLINE_LAMBDA { return pset1<P>(static_cast<C>(x)); };
  v[0] = d[0];
  auto even = pmadd(k(W::a2), d[2], d[0]), odd = pmadd(k(W::a2), d[3], d[1]);
  v[1] = pmadd(k(W::a), odd, even);
  v[2] = pmadd(k(-W::a), odd, even);
  even = pmadd(k(W::b2), d[2], d[0]), odd = pmadd(k(W::b2), d[3], d[1]);
  v[3] = pmadd(k(W::b), odd, even);
  v[4] = pmadd(k(-W::b), odd, even);
  v[5] = d[3];
}

/// 3 weights -> 6 positions.
template <class C, class P>
GRADUS_INLINE void winograd_kernel_line(const P (&g)[3], P (&u)[6]) {
  using namespace Eigen::internal;
  using W = Winograd;
  auto k = [](double x) GRADUS_INLINE_LAMBDA { return pset1<P>(static_cast<C>(x)); };
  u[0] = pmul(k(1 / W::at_0), g[0]);
  auto even = pmadd(k(W::a2 / W::at_a), g[2], pmul(k(1 / W::at_a), g[0])), odd = pmul(k(W::a / W::at_a), g[1]);
  u[1] = padd(even, odd);
  u[2] = psub(even, odd);
  even = pmadd(k(W::b2 / W::at_b), g[2], pmul(k(1 / W::at_b), g[0])), odd = pmul(k(W::b / W::at_b), g[1]);
  u[3] = padd(even, odd);
  u[4] = psub(even, odd);
  u[5] = g[2];
}

/// 6 positions -> 4 results.
template <class C, class P>
GRADUS_INLINE void winograd_result_line(const P (&m)[6], P (&y)[4]) {
  using namespace Eigen::internal;
  using W = Winograd;
  auto k = [](double x) GRADUS_INLINE_LAMBDA { return pset1<P>(static_cast<C>(x)); };
  auto sum_a = padd(m[1], m[2]), difference_a = psub(m[1], m[2]);
  auto sum_b = padd(m[3], m[4]), difference_b = psub(m[3], m[4]);
  y[0] = padd(m[0], padd(sum_a, sum_b));
  y[1] = pmadd(k(W::a), difference_a, pmul(k(W::b), difference_b));
  y[2] = pmadd(k(W::a2), sum_a, pmul(k(W::b2), sum_b));
  y[3] = pmadd(k(W::a * W::a2), difference_a, pmadd(k(W::b * W::b2), difference_b, m[5]));
}

/// 6 positions -> gradients of 3 weights.
template <class C, class P>
GRADUS_INLINE void winograd_weight_line(const P (&m)[6], P (&g)[3]) {
  using namespace Eigen::internal;
  using W = Winograd;
  auto k = [](double x) GRADUS_INLINE_LAMBDA { return pset1<P>(static_cast<C>(x)); };
  auto sum_a = padd(m[1], m[2]), difference_a = psub(m[1], m[2]);
  auto sum_b = padd(m[3], m[4]), difference_b = psub(m[3], m[4]);
  g[0] = pmadd(k(1 / W::at_0), m[0], pmadd(k(1 / W::at_a), sum_a, pmul(k(1 / W::at_b), sum_b)));
  g[1] = pmadd(k(W::a / W::at_a), difference_a, pmul(k(W::b / W::at_b), difference_b));
  g[2] = pmadd(k(W::a2 / W::at_a), sum_a, pmadd(k(W::b2 / W::at_b), sum_b, m[5]));
}

/// A line's transform in both directions: In x In registers, load(i, j), become Out x Out, given to store(i, j, value).
template <class C, int In, int Out, class Load, class Line, class Store>
GRADUS_INLINE void winograd_square(Load load, Line line, Store store) {
  using P = typename GemmTile<C>::P;
  P half[Out][In];
  GRADUS_UNROLL
  for (int j = 0; j < In; ++j) {
    P in[In], out[Out];
    GRADUS_UNROLL
    for (int i = 0; i < In; ++i) in[i] = load(i, j);
    line(in, out);
    GRADUS_UNROLL
    for (int i = 0; i < Out; ++i) half[i][j] = out[i];
  }
  GRADUS_UNROLL
  for (int i = 0; i < Out; ++i) {
    P out[Out];
    line(half[i], out);
    GRADUS_UNROLL
    for (int j = 0; j < Out; ++j) store(i, j, out[j]);
  }
}

/// One row of positions of such a transform: the columns are combined by the coefficients given, then transformed.
template <class C, int In, class Line>
GRADUS_INLINE void winograd_row(const C* from, int64_t row, int64_t column, const double (&coefficients)[In], Line line,
                                C* to, int64_t position) {
  using namespace Eigen::internal;
  using P = typename GemmTile<C>::P;
  P half[In], out[6];
  GRADUS_UNROLL
  for (int j = 0; j < In; ++j) half[j] = pset1<P>(C(0));
  for (int i = 0; i < In; ++i) {
    if (coefficients[i] == 0) continue;
    auto factor = pset1<P>(static_cast<C>(coefficients[i]));
    GRADUS_UNROLL
    for (int j = 0; j < In; ++j) half[j] = pmadd(factor, ploadu<P>(from + i * row + j * column), half[j]);
  }
  line(half, out);
  GRADUS_UNROLL
  for (int j = 0; j < 6; ++j) pstoreu(to + j * position, out[j]);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

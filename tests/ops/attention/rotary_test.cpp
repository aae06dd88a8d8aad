#include "gradus/ops/attention/rotary.hpp"

#include "gradus/ops/view/slice.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/operator_check.hpp"

/* golden
def rotated(x, first=0, theta=1e4, size=None, scale=1):
    size = size or x.shape[-1]
    t = (torch.arange(x.shape[2]).double() + first) / scale
    angles = torch.outer(t, theta ** (-torch.arange(0, size, 2).double() / size))
    angles = torch.cat([angles, angles], -1)
    part, rest = x[..., :size], x[..., size:]
    half = torch.cat([-part[..., size // 2:], part[..., :size // 2]], -1)
    return torch.cat([part * angles.cos() + half * angles.sin(), rest], -1)
case("rotary", rotated, randn(2, 3, 5, 8))
case("rotary", rotated, randn(1, 1, 2, 34))
case("rotary", rotated, randn(1, 0, 3, 2))
case("rotary later", lambda x: rotated(x, 7, 100, 4, 2), randn(2, 2, 3, 6))
*/

using namespace gradus;

TEST_CASE("rotary") {
  test::check_operator("rotary",
                       []<class T>(const Tensor<T>& x) { return rotary(x, rotary_table<T>(x.size(2), x.size(3))); },
                       {.bf16_tolerance = 0.03, .large = {randn<double>({2, 8, 100, 16})}});
  test::check_operator<double, float>("rotary later", []<class T>(const Tensor<T>& x) {
    return rotary(x, rotary_table<T>(20, 4, {.theta = 100, .scale = 2}), 7);
  });
}

TEST_CASE("rotary in parts is rotary of the whole") {
  auto x = randn<float>({1, 2, 6, 4});
  auto table = rotary_table<float>(6, 4);
  auto whole = rotary(x, table);
  CHECK(test::bit_mismatch(rotary(slice(x, 2, 4, 6), table, 4), slice(whole, 2, 4, 6)) == "");
}

TEST_CASE("what rotary refuses") {
  auto table = rotary_table<float>(5, 4);
  test::check_error<ShapeError>(
      [&] {
        return rotary(zeros<float>({1, 2, 3, 2}), table);
      },
      "rotary: x is (1, 2, 3, 2) and the table (5, 2), but they must be (n, heads, tokens, d) "
      "and (positions, at most d / 2)");
  test::check_error<IndexError>(
      [&] {
        return rotary(zeros<float>({1, 2, 3, 4}), table, 3);
      },
      "rotary: positions 3 to 5, but the table holds 5");
  test::check_error<ValueError>([&] { return rotary_table<float>(5, 3); },
                                "rotary_table: 5 positions of 3 numbers, but their count must be even");
}

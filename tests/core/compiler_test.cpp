// What compilers got wrong that this library was built with.
#include <array>
#include <cstdint>

#include "gradus/core/config.hpp"
#include "tests/support/catch.hpp"

namespace {

struct Options {
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1}, groups = 1;
};

template <class F>
[[gnu::noinline]] std::array<int64_t, 7> seen_by(F f) {
  return f();
}

/// Kept in a closure, as the options of an operator are in its gradient.
auto keep(Options options) {
  return [options] {
    return std::array<int64_t, 7>{options.stride[0],   options.stride[1],   options.padding[0], options.padding[1],
                                  options.dilation[0], options.dilation[1], options.groups};
  };
}

}  // namespace

TEST_CASE("compiler: constants that begin alike and end with zeros stay as they are") {
  CHECK(seen_by(keep({})) == std::array<int64_t, 7>{1, 1, 0, 0, 1, 1, 1});
  CHECK(seen_by(keep({.padding = {2, 2}})) == std::array<int64_t, 7>{1, 1, 2, 2, 1, 1, 1});
  CHECK(seen_by(keep({.stride = {3, 3}})) == std::array<int64_t, 7>{3, 3, 0, 0, 1, 1, 1});
}

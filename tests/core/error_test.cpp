#include "gradus/core/error.hpp"

#include <cstdint>
#include <string>

#include "gradus/core/device.hpp"
#include "gradus/core/dtype.hpp"
#include "gradus/core/shape.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace app {
struct Point {
  int x;
  friend std::string to_string(const Point& point) { return "point " + std::to_string(point.x); }
};
}  // namespace app

TEST_CASE("error: parts of every kind are joined") {
  CHECK(join("a", std::string("b"), std::string_view("c"), 'd', true, false) == "abcdtruefalse");
  CHECK(join(1, ' ', -2, ' ', uint8_t{200}, ' ', int64_t{1} << 62) == "1 -2 200 4611686018427387904");
  CHECK(join(0.1f, ' ', 0.1, ' ', 1e300, ' ', 3.0) == "0.1 0.1 1e+300 3");
  CHECK(join(-1.7976931348623157e308, ' ', -2.2250738585072014e-308) ==
        "-1.7976931348623157e+308 -2.2250738585072014e-308");
  CHECK(join(Shape{2, 3}, ' ', DType::bf16, ' ', Device::cpu(), ' ', app::Point{4}) == "(2, 3) bf16 cpu point 4");
  char buffer[] = "e";
  char* text = buffer;
  CHECK(join(text, static_cast<const char*>(text), "f") == "eef");
  CHECK(join().empty());
}

TEST_CASE("error: require throws the class it names, only when the check fails") {
  CHECK_NOTHROW(require<ShapeError>(true, "never seen"));
  check_error<ShapeError>([] { require<ShapeError>(false, "op: got ", 3, ", but ", 2, " is the rule"); },
                          "op: got 3, but 2 is the rule");
  check_error<IoError>([] { require<IoError>(false, "io"); }, "io");
}

TEST_CASE("error: every class is an Error and a std::runtime_error") {
  CHECK_THROWS_AS(require<ShapeError>(false, ""), Error);
  CHECK_THROWS_AS(require<TypeError>(false, ""), Error);
  CHECK_THROWS_AS(require<IndexError>(false, ""), Error);
  CHECK_THROWS_AS(require<ValueError>(false, ""), Error);
  CHECK_THROWS_AS(require<DeviceError>(false, ""), Error);
  CHECK_THROWS_AS(require<AutogradError>(false, ""), Error);
  CHECK_THROWS_AS(require<FormatError>(false, ""), Error);
  CHECK_THROWS_AS(require<IoError>(false, ""), std::runtime_error);
}

TEST_CASE("error: context is put in front, and survives a rethrow") {
  auto fail = [] {
    try {
      try {
        require<ShapeError>(false, "linear: input is (128, 3136)");
      } catch (Error& error) {
        error.add_context("LeNet.output");
        throw;
      }
    } catch (Error& error) {
      error.add_context("trainer");
      throw;
    }
  };
  check_error<ShapeError>(fail, "trainer: LeNet.output: linear: input is (128, 3136)");
}

TEST_CASE("device: the CPU is the default, and a GPU that this build lacks says so") {
  CHECK(Device() == Device::cpu());
  CHECK(Device::cpu().is_cpu());
  CHECK(Device::cpu().index() == 0);
  CHECK(to_string(Device::cpu()) == "cpu");
  if (detail::count_cards != nullptr) return;  // with GPU support: tests/cuda/card_test.cpp
  CHECK(Device::best() == Device::cpu());
  check_error<DeviceError>([] { Device::cuda(1); },
                           "Device::cuda(1): this program was built without GPU support; use Device::best()");
}

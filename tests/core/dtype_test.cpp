#include "gradus/core/dtype.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "tests/support/catch.hpp"

using namespace gradus;

namespace {
float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
}  // namespace

TEST_CASE("dtype: names and sizes") {
  CHECK(to_string(dtype_of<float>) == "float");
  CHECK(to_string(dtype_of<double>) == "double");
  CHECK(to_string(dtype_of<bf16>) == "bf16");
  CHECK(to_string(dtype_of<int64_t>) == "int64");
  CHECK(to_string(dtype_of<int32_t>) == "int32");
  CHECK(to_string(dtype_of<uint8_t>) == "uint8");
  CHECK(to_string(dtype_of<bool>) == "bool");
  CHECK(size_of(DType::f32) == sizeof(float));
  CHECK(size_of(DType::f64) == sizeof(double));
  CHECK(size_of(DType::bf16) == sizeof(bf16));
  CHECK(size_of(DType::i64) == sizeof(int64_t));
  CHECK(size_of(DType::i32) == sizeof(int32_t));
  CHECK(size_of(DType::u8) == sizeof(uint8_t));
  CHECK(size_of(DType::boolean) == sizeof(bool));
}

TEST_CASE("dtype: bf16 rounds to nearest, ties to even") {
  CHECK(bf16(1.0f).bits == 0x3f80);
  CHECK(bf16(from_bits(0x3f807fff)).bits == 0x3f80);  // just below the middle
  CHECK(bf16(from_bits(0x3f808000)).bits == 0x3f80);  // the middle, to even: down
  CHECK(bf16(from_bits(0x3f808001)).bits == 0x3f81);  // just above
  CHECK(bf16(from_bits(0x3f818000)).bits == 0x3f82);  // the middle, to even: up
  CHECK(bf16(from_bits(0xbf818000)).bits == 0xbf82);
  CHECK(bf16(from_bits(0x3fffffff)).bits == 0x4000);  // the carry runs into the exponent
  CHECK(bf16(-0.0f).bits == 0x8000);
  CHECK(bf16(from_bits(0x00008001)).bits == 0x0001);  // subnormal
}

TEST_CASE("dtype: bf16 keeps NaN and infinities, and overflows to infinity") {
  auto infinity = std::numeric_limits<float>::infinity();
  CHECK(bf16(infinity).bits == 0x7f80);
  CHECK(bf16(-infinity).bits == 0xff80);
  CHECK(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(std::isnan(static_cast<float>(bf16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isnan(static_cast<float>(bf16(from_bits(0x7f800001)))));  // only low bits tell it from infinity
  CHECK(std::isnan(static_cast<float>(bf16(from_bits(0xffffffff)))));
}

TEST_CASE("dtype: every bf16 survives the way through float") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    auto value = std::bit_cast<bf16>(static_cast<uint16_t>(bits));
    auto back = bf16(static_cast<float>(value));
    auto is_nan = std::isnan(static_cast<float>(value));
    wrong += is_nan ? !std::isnan(static_cast<float>(back)) : back.bits != value.bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("dtype: bf16 is made of other numbers") {
  CHECK(static_cast<float>(bf16(3)) == 3.0f);
  CHECK(static_cast<float>(bf16(0.5)) == 0.5f);
  CHECK(static_cast<float>(bf16(int64_t{-256})) == -256.0f);
  CHECK(bf16(2.0f) < bf16(3.0f));
}

TEST_CASE("dtype: compute types and lowest values") {
  CHECK(std::is_same_v<Compute<bf16>, float>);
  CHECK(std::is_same_v<Compute<uint8_t>, int32_t>);
  CHECK(std::is_same_v<Compute<bool>, int32_t>);
  CHECK(std::is_same_v<Compute<double>, double>);
  CHECK(lowest_value<float>() == -std::numeric_limits<float>::infinity());
  CHECK(static_cast<float>(lowest_value<bf16>()) == -std::numeric_limits<float>::infinity());
  CHECK(lowest_value<int32_t>() == std::numeric_limits<int32_t>::lowest());
  CHECK(lowest_value<uint8_t>() == 0);
}

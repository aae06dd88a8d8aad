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
  CHECK(to_string(dtype_of<f16>) == "f16");
  CHECK(to_string(dtype_of<int64_t>) == "int64");
  CHECK(to_string(dtype_of<int32_t>) == "int32");
  CHECK(to_string(dtype_of<uint8_t>) == "uint8");
  CHECK(to_string(dtype_of<bool>) == "bool");
  CHECK(size_of(DType::f32) == sizeof(float));
  CHECK(size_of(DType::f64) == sizeof(double));
  CHECK(size_of(DType::bf16) == sizeof(bf16));
  CHECK(size_of(DType::f16) == sizeof(f16));
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

TEST_CASE("dtype: f16 rounds to nearest, ties to even") {
  CHECK(f16(1.0f).bits == 0x3c00);
  CHECK(f16(1 + 0x1p-11f).bits == 0x3c00);      // the middle, to even: down
  CHECK(f16(1 + 0x1.8p-10f).bits == 0x3c02);    // the middle, to even: up
  CHECK(f16(1 + 0x1.002p-11f).bits == 0x3c01);  // just above
  CHECK(f16(-0.0f).bits == 0x8000);
  CHECK(f16(0x1.ffffp0f).bits == 0x4000);   // the carry runs into the exponent
  CHECK(f16(0x1.fffp-15f).bits == 0x0400);  // and from the subnormal ones into the least normal one
  CHECK(f16(0x1p-24f).bits == 0x0001);      // the least of all
  CHECK(f16(0x1p-25f).bits == 0x0000);      // the middle, to even: down
  CHECK(f16(0x1.8p-24f).bits == 0x0002);    // the middle, to even: up
  CHECK(f16(-0x1.0001p-25f).bits == 0x8001);
  CHECK(f16(1e-40f).bits == 0);
  CHECK(f16(65504).bits == 0x7bff);
  CHECK(f16(65519.99f).bits == 0x7bff);
  CHECK(f16(65520).bits == 0x7c00);
  CHECK(f16(-1e30).bits == 0xfc00);
  CHECK(f16(-std::numeric_limits<float>::infinity()).bits == 0xfc00);
  CHECK(std::isnan(static_cast<float>(f16(from_bits(0x7f800001)))));
  CHECK(std::isnan(static_cast<float>(f16(from_bits(0xffffffff)))));
}

TEST_CASE("dtype: every f16 survives the way through float") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    auto value = std::bit_cast<f16>(static_cast<uint16_t>(bits));
    auto back = f16(static_cast<float>(value));
    auto is_nan = std::isnan(static_cast<float>(value));
    wrong += is_nan ? !std::isnan(static_cast<float>(back)) : back.bits != value.bits;
    wrong += is_nan != ((bits & 0x7fff) > 0x7c00);
  }
  CHECK(wrong == 0);
}

#if defined(__FLT16_MAX__)
TEST_CASE("dtype: f16 converts as the compiler's own half precision") {
#if defined(__ARM_FP16_FORMAT_IEEE)  // where g++ 12 knows _Float16 in C alone
  using Own = __fp16;
#else
  using Own = _Float16;
#endif
  auto same_half = [](float x) {
    auto own = static_cast<Own>(x);
    auto got = f16(x);
    return std::isnan(x) ? std::isnan(static_cast<float>(got)) : got.bits == std::bit_cast<uint16_t>(own);
  };
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    auto got = static_cast<float>(std::bit_cast<f16>(static_cast<uint16_t>(bits)));
    auto own = static_cast<float>(std::bit_cast<Own>(static_cast<uint16_t>(bits)));
    wrong += std::isnan(own) ? !std::isnan(got) : std::bit_cast<uint32_t>(got) != std::bit_cast<uint32_t>(own);
    // What lies just below, on and above it and the middle to the next.
    if ((bits & 0x7fff) >= 0x7c00) continue;
    auto next = static_cast<float>(std::bit_cast<f16>(static_cast<uint16_t>(bits + 1)));
    for (auto number : {got, got + (next - got) / 2}) {
      auto word = std::bit_cast<uint32_t>(number);
      for (auto other : {word - 1, word, word + 1}) wrong += !same_half(from_bits(other));
    }
  }
  CHECK(wrong == 0);
  uint32_t word = 1;
  for (int i = 0; i < 1000000; ++i) {  // of a linear congruential generator (Knuth)
    word = word * 1664525u + 1013904223u;
    wrong += !same_half(from_bits(word));
    wrong += !same_half(from_bits((word >> 5) + 0x32000000u));  // most within the range of f16
  }
  CHECK(wrong == 0);
}
#endif

TEST_CASE("dtype: bf16 is made of other numbers") {
  CHECK(static_cast<float>(bf16(3)) == 3.0f);
  CHECK(static_cast<float>(bf16(0.5)) == 0.5f);
  CHECK(static_cast<float>(bf16(int64_t{-256})) == -256.0f);
  CHECK(bf16(2.0f) < bf16(3.0f));
  CHECK(static_cast<float>(f16(3)) == 3.0f);
  CHECK(f16(2.0f) < f16(3.0f));
}

TEST_CASE("dtype: compute types and lowest values") {
  CHECK(std::is_same_v<Compute<bf16>, float>);
  CHECK(std::is_same_v<Compute<uint8_t>, int32_t>);
  CHECK(std::is_same_v<Compute<bool>, int32_t>);
  CHECK(std::is_same_v<Compute<double>, double>);
  CHECK(lowest_value<float>() == -std::numeric_limits<float>::infinity());
  CHECK(static_cast<float>(lowest_value<bf16>()) == -std::numeric_limits<float>::infinity());
  CHECK(lowest_value<f16>().bits == 0xfc00);
  CHECK(lowest_value<int32_t>() == std::numeric_limits<int32_t>::lowest());
  CHECK(lowest_value<uint8_t>() == 0);
}

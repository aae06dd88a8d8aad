#include "gradus/core/rng.hpp"

#include <algorithm>
#include <thread>
#include <vector>

#include "tests/support/catch.hpp"

using namespace gradus;

TEST_CASE("rng: Philox gives the known answers") {  // of Random123's kat_vectors, philox4x32 with 10 rounds
  using Words = std::array<uint32_t, 4>;
  CHECK(philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("rng: a word depends on seed and position alone") {
  Generator generator(7);
  auto whole = generator.reserve(8);
  generator.set_state(7, 0);
  auto first = generator.reserve(4), second = generator.reserve(4);
  for (int64_t i = 0; i < 4; ++i) {
    CHECK(whole.word(i) == first.word(i));
    CHECK(whole.word(i + 4) == second.word(i));
    CHECK(whole.word(i) != second.word(i));
  }
}

TEST_CASE("rng: reserved stretches never share words") {
  Generator generator(1);
  CHECK(generator.reserve(1).offset == 0);
  CHECK(generator.reserve(4).offset == 1);
  CHECK(generator.reserve(5).offset == 2);
  CHECK(generator.reserve(0).offset == 4);
  CHECK(generator.offset() == 4);
  CHECK(generator.seed() == 1);
  generator.manual_seed(9);
  CHECK(generator.seed() == 9);
  CHECK(generator.offset() == 0);
}

TEST_CASE("rng: uniform numbers fill 0 to 1 evenly") {
  RandomStream stream{42, 0};
  constexpr int64_t n = 100000;
  double sum = 0, squares = 0;
  std::array<int, 10> counts{};
  float lowest = 1, highest = 0;
  for (int64_t i = 0; i < n; ++i) {
    auto x = stream.uniform(i);
    lowest = std::min(lowest, x);
    highest = std::max(highest, x);
    sum += x;
    squares += double{x} * x;
    ++counts[static_cast<size_t>(x * 10)];
  }
  CHECK(lowest >= 0.0f);
  CHECK(highest < 1.0f);
  CHECK(std::abs(sum / n - 0.5) < 0.004);  // 4 standard errors: 0.2887 / sqrt(n) * 4
  CHECK(std::abs(squares / n - 1.0 / 3) < 0.004);
  for (auto count : counts) CHECK(std::abs(count - n / 10) < 400);  // 4.2 standard deviations
}

TEST_CASE("rng: normal numbers have the moments of a normal distribution") {
  RandomStream stream{43, 0};
  constexpr int64_t n = 100000;
  double sum = 0, squares = 0, cubes = 0, fourth = 0;
  for (int64_t i = 0; i < n; ++i) {
    auto x = stream.normal(i);
    sum += x;
    squares += x * x;
    cubes += x * x * x;
    fourth += x * x * x * x;
  }
  CHECK(std::abs(sum / n) < 0.013);          // 4 / sqrt(n)
  CHECK(std::abs(squares / n - 1) < 0.018);  // 4 sqrt(2 / n)
  CHECK(std::abs(cubes / n) < 0.05);         // 4 sqrt(15 / n)
  CHECK(std::abs(fourth / n - 3) < 0.13);    // 4 sqrt(96 / n)
}

TEST_CASE("rng: whole numbers below a bound") {
  RandomStream stream{44, 0};
  std::array<int, 7> counts{};
  for (int64_t i = 0; i < 70000; ++i) ++counts[stream.below(i, 7)];
  for (auto count : counts) CHECK(std::abs(count - 10000) < 400);
  CHECK(stream.below(0, 1) == 0);
  uint64_t highest = 0;
  for (int64_t i = 0; i < 1000; ++i) highest = std::max(highest, stream.below(i, ~uint64_t{0}));
  CHECK(highest > ~uint64_t{0} / 256 * 250);
}

TEST_CASE("rng: every thread has a generator of its own") {
  manual_seed(5);
  auto here = default_generator().reserve(4).word(0);
  uint32_t fresh = 0, seeded = 0;
  std::thread([&] {
    fresh = default_generator().reserve(4).word(0);
    manual_seed(5);
    seeded = default_generator().reserve(4).word(0);
  }).join();
  CHECK(seeded == here);
  CHECK(fresh == RandomStream{0, 0}.word(0));
  CHECK(default_generator().offset() == 1);  // what the other thread drew does not count here
}

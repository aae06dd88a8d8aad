// Everything that the fuzzers were started with and have found, through the readers again, in every build.
#include <algorithm>
#include <filesystem>

#include "tests/fuzz/targets.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

TEST_CASE("fuzz: the corpus of every target runs through its reader") {
  for (const auto& target : test::fuzz_targets()) {
    auto folder = std::filesystem::path("tests/fuzz/corpus") / target.name;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    INFO(folder.string());
    CHECK(files.size() >= 3);
    for (const auto& file : files) {
      INFO(file.string());
      CHECK_NOTHROW(target.run(test::read_bytes(file.string())));
    }
  }
}

TEST_CASE("fuzz: every file of the corpus cut short, and with a byte changed") {
  for (const auto& target : test::fuzz_targets()) {
    auto folder = std::filesystem::path("tests/fuzz/corpus") / target.name;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      INFO(entry.path().string());
      auto bytes = test::read_bytes(entry.path().string());
      auto stride = std::max<size_t>(1, bytes.size() / 20);
      for (size_t at = 0; at < bytes.size(); at += stride) {
        CHECK_NOTHROW(target.run(bytes.substr(0, at)));
        auto changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ (at % 2 == 0 ? 0x01 : 0x80));
        CHECK_NOTHROW(target.run(changed));
      }
    }
  }
}

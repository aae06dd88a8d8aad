#include "gradus/text/token_windows.hpp"

#include <filesystem>
#include <fstream>

#include "gradus/data/loader.hpp"
#include "gradus/text/byte_tokenizer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

/// A file of its own that is gone at the end of the test.
struct TokenPath {
  std::string path =
      (std::filesystem::temp_directory_path() / ("gradus_tokens_" + std::to_string(::getpid()))).string();
  ~TokenPath() { std::filesystem::remove(path); }

  std::string bytes() const {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put(const std::string& content) const { std::ofstream(path, std::ios::binary) << content; }
};

std::vector<int64_t> counted(int64_t n, int64_t step = 1) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(i * step);
  return ids;
}

}  // namespace

TEST_CASE("bytes are tokens and come back") {
  text::ByteTokenizer bytes;
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  auto ids = bytes.encode(all);
  CHECK(ids == counted(256));
  CHECK(bytes.decode(ids) == all);
  CHECK(bytes.vocabulary() == 256);
  test::check_error<IndexError>([&] { return bytes.decode(std::vector<int64_t>{256}); },
                                "ByteTokenizer: 256 is no byte");
}

TEST_CASE("token files hold ids of two bytes and of four") {
  TokenPath file;
  for (int64_t vocabulary : {100, 65536, 65537, 1 << 30}) {
    auto ids = counted(50, (vocabulary - 1) / 50);
    text::write_tokens(file.path, ids, vocabulary);
    CHECK(file.bytes().size() == 32 + 50u * (vocabulary <= 65536 ? 2 : 4));
    text::TokenFile tokens(file.path);
    CHECK(tokens.size() == 50);
    CHECK(tokens.vocabulary() == vocabulary);
    std::vector<int64_t> read(50);
    tokens.read(0, 50, read.data());
    CHECK(read == ids);
  }
  text::write_tokens(file.path, {}, 5);
  CHECK(text::TokenFile(file.path).size() == 0);
}

TEST_CASE("windows predict every token once") {
  TokenPath file;
  text::write_tokens(file.path, counted(23), 30);
  text::TokenFile tokens(file.path);
  text::TokenWindows windows(tokens, {.length = 5});
  REQUIRE(windows.size() == 4);
  auto [inputs, targets] = windows.batch(std::vector<int64_t>{3, 0});
  CHECK(test::mismatch(inputs, tensor<int64_t>({{15, 16, 17, 18, 19}, {0, 1, 2, 3, 4}})) == "");
  CHECK(test::mismatch(targets, tensor<int64_t>({{16, 17, 18, 19, 20}, {1, 2, 3, 4, 5}})) == "");
  CHECK(text::TokenWindows(tokens, {.length = 5, .first = 3}).size() == 3);
  CHECK(text::TokenWindows(tokens, {.length = 5, .last = 21}).size() == 4);
  CHECK(text::TokenWindows(tokens, {.length = 5, .last = 20}).size() == 3);
  CHECK(text::TokenWindows(tokens, {.length = 22, .stride = 1}).size() == 1);
  CHECK(text::TokenWindows(tokens, {.length = 23}).size() == 0);
  CHECK(text::TokenWindows(tokens, {.length = 5, .stride = 1}).size() == 18);
  int64_t seen = 0;
  for (auto& [x, y] : data::Loader(windows, {.batch_size = 3, .shuffle = true})) {
    seen += x.size(0);
    CHECK(test::mismatch(y, x + int64_t{1}) == "");
  }
  CHECK(seen == 4);
}

TEST_CASE("what token files refuse") {
  TokenPath file;
  test::check_error<IndexError>(
      [&] {
        text::write_tokens(file.path, std::vector<int64_t>{1, 7}, 7);
      },
      "write_tokens: id 7 at place 1 is out of range for a vocabulary of 7");
  CHECK_FALSE(std::filesystem::exists(file.path));
  text::write_tokens(file.path, counted(10), 300);
  auto good = file.bytes();
  auto refused = [&](const std::string& content, const std::string& text) {
    file.put(content);
    test::check_error<FormatError>([&] { return text::TokenFile(file.path); }, file.path + text);
  };
  refused("", ": not a token file; write_tokens makes one");
  refused(good.substr(0, 31), ": not a token file; write_tokens makes one");
  refused("x" + good.substr(1), ": not a token file; write_tokens makes one");
  refused(good.substr(0, 50), ": 10 ids of 2 bytes are announced, but 18 bytes follow");
  refused(good + "x", ": 10 ids of 2 bytes are announced, but 21 bytes follow");
  auto changed = [&](size_t at, char c) {
    auto copy = good;
    copy[at] = c;
    return copy;
  };
  refused(changed(8, 3), ": ids of 3 bytes for a vocabulary of 300");
  refused(changed(18, 1), ": ids of 2 bytes for a vocabulary of 65836");
  refused(changed(31, 1), ": 72057594037927946 ids of 2 bytes are announced, but 20 bytes follow");
  file.put(changed(33, 9));
  text::TokenFile broken(file.path);
  int64_t id = 0;
  test::check_error<FormatError>([&] { broken.read(0, 1, &id); },
                                 file.path + ": id 2304 at place 0 is out of range for a vocabulary of 300");
  test::check_error<IndexError>([&] { broken.read(9, 2, &id); }, file.path + ": ids 9 to 10 of 10");
  test::check_error<IndexError>([&] { return text::TokenWindows(broken, {.length = 5}).get(1); },
                                "TokenWindows: window 1 of 1");
}

#include "gradus/data/idx.hpp"

#include <iostream>
#include <numeric>

#include "gradus/data/images.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

/// Header bytes: type, then sizes.
std::string idx_header(int type, const std::vector<uint32_t>& sizes) {
  std::string bytes{0, 0, static_cast<char>(type), static_cast<char>(sizes.size())};
  for (auto size : sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(size >> shift);
  }
  return bytes;
}

template <class T = uint8_t, class E = FormatError>
void check_refused(const std::string& content, const std::string& before, const std::string& after) {
  test::TemporaryFolder folder;
  auto path = folder / "bad.idx";
  test::write_bytes(path, content);
  check_error<E>([&] { data::read_idx<T>(path); }, "read_idx: " + before + path + after);
}

template <class T>
Tensor<T> read(const std::string& content) {
  test::TemporaryFolder folder;
  test::write_bytes(folder / "x.idx", content);
  return data::read_idx<T>(folder / "x.idx");
}

#if defined(GRADUS_HAS_ZLIB)
void write_gz(const std::string& path, const std::string& content) {
  auto file = gzopen(path.c_str(), "wb9");
  gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
  gzclose(file);
}
#endif

}  // namespace

TEST_CASE("idx: every element type is read, big-endian") {
  CHECK(read<uint8_t>(idx_header(0x08, {3}) + "\x01\x80\xff").to_vector() == std::vector<uint8_t>{1, 128, 255});
  CHECK(read<int64_t>(idx_header(0x08, {2}) + "\x01\xff").to_vector() == std::vector<int64_t>{1, 255});
  CHECK(read<int32_t>(idx_header(0x09, {2}) + "\x01\xff").to_vector() == std::vector<int32_t>{1, -1});
  CHECK(read<int32_t>(idx_header(0x0b, {2}) + std::string("\x01\x02\xff\xfe")).to_vector() ==
        std::vector<int32_t>{258, -2});
  CHECK(read<int32_t>(idx_header(0x0c, {1}) + std::string("\x01\x02\x03\x04")).to_vector() ==
        std::vector<int32_t>{0x01020304});
  CHECK(read<float>(idx_header(0x0d, {1, 1}) + std::string("\x3f\xc0\0\0", 4)).to_vector() == std::vector<float>{1.5f});
  CHECK(read<double>(idx_header(0x0d, {1}) + std::string("\x3f\xc0\0\0", 4)).to_vector() == std::vector<double>{1.5});
  CHECK(read<float>(idx_header(0x0e, {1}) + std::string("\xbf\xe0\0\0\0\0\0\0", 8)).to_vector() ==
        std::vector<float>{-0.5f});
  CHECK(read<uint8_t>(idx_header(0x08, {2, 0, 3})).shape() == Shape{2, 0, 3});
  CHECK(read<uint8_t>(idx_header(0x08, {}) + "\x07").item() == 7);
  CHECK(read<uint8_t>(idx_header(0x08, {2, 3}) + "abcdef")(1, 0) == 'd');
}

TEST_CASE("idx: types that would lose values are refused") {
  check_refused<uint8_t, TypeError>(idx_header(0x0c, {1}) + "abcd", "",
                                    " holds elements of int32, which do not convert to uint8");
  check_refused<uint8_t, TypeError>(idx_header(0x09, {1}) + "a", "",
                                    " holds elements of int8, which do not convert to uint8");
  check_refused<float, TypeError>(idx_header(0x08, {1}) + "a", "",
                                  " holds elements of uint8, which do not convert to float");
  check_refused<int64_t, TypeError>(idx_header(0x0e, {1}) + "abcdefgh", "",
                                    " holds elements of double, which do not convert to int64");
}

TEST_CASE("idx: truncated and hostile files are refused before memory is taken") {
  const std::string no_idx = " is not an IDX file: it does not start with two zero bytes, a type and a number of sizes";
  check_refused("", "", no_idx);
  check_refused(std::string("\0\0\x08", 3), "", no_idx);
  check_refused("PNG and more", "", no_idx);
  check_refused(idx_header(0x0a, {1}) + "a", "", ": unknown element type 10; known are 8, 9, 11, 12, 13 and 14");
  check_refused(idx_header(0x08, std::vector<uint32_t>(9, 1)), "", " has 9 sizes, but a tensor has at most 8");
  check_refused(idx_header(0x08, {3}).substr(0, 7), "", " ends within its header");
  check_refused(idx_header(0x08, {30}) + "ab", "",
                " says it holds (30,) elements of uint8, more than its file can hold");
  check_refused(idx_header(0x08, {4294967295u, 4294967295u, 4294967295u}) + "ab", "",
                " says it holds (4294967295, 4294967295, 4294967295) elements of uint8, more than its file can hold");
  check_refused(idx_header(0x08, {3}) + "ab", "", " ends before its (3,) elements do");
  check_refused(idx_header(0x08, {3}) + "abcd", "", " goes on after its (3,) elements");
}

TEST_CASE("idx: files that cannot be read") {
  test::TemporaryFolder folder;
  auto missing = folder / "missing";
  check_error<IoError>([&] { data::read_idx<uint8_t>(missing); },
                       "cannot open " + missing + ": No such file or directory");
  check_error<IoError>([&] { data::read_idx<uint8_t>(folder / ""); },
                       "cannot open " + (folder / "") + ": it is not a regular file");
}

#if defined(GRADUS_HAS_ZLIB)
TEST_CASE("idx: packed files are unpacked, whatever they are called") {
  test::TemporaryFolder folder;
  std::string zeros(1'000'000, '\0');  // packs at nearly the best ratio there is
  for (const auto* name : {"x.gz", "x"}) {
    write_gz(folder / name, idx_header(0x08, {1000, 1000}) + zeros);
    auto read = data::read_idx<uint8_t>(folder / name);
    CHECK(read.shape() == Shape{1000, 1000});
    CHECK(read(999, 999) == 0);
  }
}

TEST_CASE("idx: broken packed files are refused") {
  test::TemporaryFolder folder;
  auto path = folder / "x.gz";
  write_gz(path, idx_header(0x08, {300}) + std::string(300, 'x'));
  auto packed = test::read_bytes(path);
  for (size_t size = 2; size < packed.size(); ++size) {
    test::write_bytes(path, packed.substr(0, size));
    CHECK_THROWS_AS(data::read_idx<uint8_t>(path), FormatError);
  }
  auto wrong_sum = packed;
  wrong_sum[packed.size() - 8] ^= 1;
  test::write_bytes(path, wrong_sum);
  CHECK_THROWS_AS(data::read_idx<uint8_t>(path), FormatError);
  write_gz(path, idx_header(0x08, {4000000000u}) + "ab");
  check_error<FormatError>(
      [&] { data::read_idx<uint8_t>(path); },
      "read_idx: " + path + " says it holds (4000000000,) elements of uint8, more than its file can hold");
}
#else
TEST_CASE("idx: without zlib a packed file says what to do") {
  test::TemporaryFolder folder;
  auto path = folder / "x.gz";
  test::write_bytes(path, "\x1f\x8b and more");
  check_error<IoError>(
      [&] { data::read_idx<uint8_t>(path); },
      "cannot read " + path +
          ": it is packed with gzip, and this program was built without zlib; unpack it with gunzip, or "
          "build with zlib");
}
#endif

TEST_CASE("uci digits: the set kept in the repository") {
  auto train = data::uci_digits("data/uci-digits", data::Split::train);
  auto test_set = data::uci_digits("data/uci-digits", data::Split::test);
  CHECK(train.images.shape() == Shape{1500, 1, 8, 8});
  CHECK(test_set.images.shape() == Shape{297, 1, 8, 8});
  CHECK(train.class_names[9] == "9");
  int64_t sum = 0;
  std::vector<int> counts(10);
  for (const auto& part : {train, test_set}) {
    for (auto pixel : part.images.span()) sum += pixel;
    for (auto label : part.labels.span()) ++counts[static_cast<size_t>(label)];
  }
  CHECK(sum == 561718);
  CHECK(counts == std::vector<int>{178, 182, 177, 183, 181, 182, 181, 179, 174, 180});
  auto scaled = train.scaled();
  CHECK(scaled(0, 0, 0, 2) == 5 / 16.0f);
  CHECK(*std::max_element(scaled.data(), scaled.data() + scaled.numel()) == 1.0f);
}

TEST_CASE("fashion mnist: the known values of its files") {
  auto folder = data::find_fashion_mnist({"data/fashion-mnist"});
  if (!folder) {
    std::cerr << "SKIPPED: fashion mnist is not on this machine, or packed and zlib is not (Debian: apt-get install "
                 "dataset-fashion-mnist)\n";
    return;
  }
  auto sum = [](const Tensor<uint8_t>& x) { return std::accumulate(x.data(), x.data() + x.numel(), int64_t{0}); };
  auto train = data::fashion_mnist(*folder, data::Split::train);
  CHECK(train.images.shape() == Shape{60000, 1, 28, 28});
  CHECK(train.labels.shape() == Shape{60000});
  CHECK(sum(train.images) == 3431114169);
  CHECK(slice(train.labels, 0, 0, 10).to_vector() == std::vector<int64_t>{9, 0, 0, 3, 0, 2, 7, 2, 5, 5});
  CHECK(train.class_names[9] == "Ankle boot");
  auto test_set = data::fashion_mnist(*folder, data::Split::test);
  CHECK(test_set.images.shape() == Shape{10000, 1, 28, 28});
  CHECK(sum(test_set.images) == 573469082);
}

TEST_CASE("labelled images: files that do not belong together") {
  test::TemporaryFolder folder;
  auto path = folder / "";
  auto load = [&] { data::fashion_mnist(path, data::Split::test); };
  check_error<IoError>(load, "fashion_mnist: there is neither " + path +
                                 "/t10k-images-idx3-ubyte nor "
                                 "t10k-images-idx3-ubyte.gz");
  CHECK(!data::find_fashion_mnist({path}).has_value() == !data::find_fashion_mnist().has_value());
  test::write_bytes(folder / "t10k-images-idx3-ubyte", idx_header(0x08, {2, 1, 1}) + "ab");
  test::write_bytes(folder / "t10k-labels-idx1-ubyte", idx_header(0x08, {3}) + std::string("\1\2\3"));
  check_error<FormatError>(load, "fashion_mnist: " + path + "/t10k-images-idx3-ubyte holds (2, 1, 1) and " + path +
                                     "/t10k-labels-idx1-ubyte (3,), but they must be (n, height, width) and (n,)");
  test::write_bytes(folder / "t10k-labels-idx1-ubyte", idx_header(0x08, {2}) + std::string("\1\x0a"));
  check_error<FormatError>(load,
                           "fashion_mnist: " + path + "/t10k-labels-idx1-ubyte has label 10, but there are 10 classes");
}

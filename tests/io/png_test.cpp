#include "gradus/io/png.hpp"

#include <vector>

#include "gradus/io/canvas.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

uint32_t big_endian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// The content of the only chunk of that type; checks length, order and sum of all chunks on the way.
std::string chunk(const std::string& png, const std::string& wanted) {
  REQUIRE(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  std::string found, types;
  for (size_t at = 8; at < png.size();) {
    auto length = big_endian(png, at);
    auto type = png.substr(at + 4, 4);
    REQUIRE(at + 12 + length <= png.size());
    CHECK(big_endian(png, at + 8 + length) == io::detail::crc32_of(png.substr(at + 4, 4 + length)));
    if (type == wanted) found = png.substr(at + 8, length);
    types += type;
    at += 12 + length;
  }
  CHECK(types == "IHDRIDATIEND");
  return found;
}

/// The bytes in a zlib stream of stored blocks.
std::string unstore(const std::string& stream) {
  REQUIRE(big_endian(stream, 0) >> 16 == 0x7801);
  std::string out;
  for (size_t at = 2;;) {
    auto word = [&](size_t i) {
      return static_cast<unsigned char>(stream[i]) | static_cast<unsigned char>(stream[i + 1]) << 8;
    };
    auto length = word(at + 1);
    CHECK(word(at + 3) == (length ^ 0xffff));
    out += stream.substr(at + 5, static_cast<size_t>(length));
    if (stream[at] == 1) {
      CHECK(at + 5 + static_cast<size_t>(length) == stream.size());
      return out;
    }
    at += 5 + static_cast<size_t>(length);
  }
}

std::string unpack(const std::string& stream, [[maybe_unused]] size_t size) {
#if defined(GRADUS_HAS_ZLIB)
  std::string out(size + 1, '\0');
  auto length = static_cast<uLongf>(out.size());
  REQUIRE(uncompress(reinterpret_cast<Bytef*>(out.data()), &length, reinterpret_cast<const Bytef*>(stream.data()),
                     stream.size()) == Z_OK);
  return out.substr(0, length);
#else
  auto out = unstore(stream.substr(0, stream.size() - 4));
  CHECK(big_endian(stream, stream.size() - 4) == io::detail::adler32_of(out));
  return out;
#endif
}

}  // namespace

TEST_CASE("png: checksums of known texts") {
  CHECK(io::detail::crc32_of("123456789") == 0xcbf43926u);
  CHECK(io::detail::crc32_of("") == 0);
  CHECK(io::detail::crc32_of("IEND") == 0xae426082u);
  CHECK(io::detail::adler32_of("Wikipedia") == 0x11e60398u);
  CHECK(io::detail::adler32_of("") == 1);
}

TEST_CASE("png: header and pixels of a grey and of an RGB image") {
  std::vector<uint8_t> pixels{0, 1, 2, 253, 254, 255};
  auto grey = io::encode_png(3, 2, pixels, io::PngColor::grey);
  CHECK(chunk(grey, "IHDR") == std::string("\0\0\0\3\0\0\0\2\x08\0\0\0\0", 13));
  CHECK(unpack(chunk(grey, "IDAT"), 8) == std::string("\0\x00\x01\x02\0\xfd\xfe\xff", 8));
  auto rgb = io::encode_png(1, 2, pixels, io::PngColor::rgb);
  CHECK(chunk(rgb, "IHDR") == std::string("\0\0\0\1\0\0\0\2\x08\2\0\0\0", 13));
  CHECK(unpack(chunk(rgb, "IDAT"), 8) == std::string("\0\x00\x01\x02\0\xfd\xfe\xff", 8));
}

TEST_CASE("png: without zlib, pixels are stored in blocks that any reader unpacks") {
  for (size_t size : {0, 1, 65534, 65535, 65536, 200'000}) {
    std::string bytes;
    for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7 + i / 251);
    auto stored = io::detail::zlib_store(bytes);
    CHECK(unstore(stored) == bytes);
    io::detail::append_big_endian(stored, io::detail::adler32_of(bytes));
#if defined(GRADUS_HAS_ZLIB)
    CHECK(unpack(stored, size) == bytes);
#endif
  }
}

TEST_CASE("png: sizes that do not fit, and folders that cannot be written") {
  std::vector<uint8_t> pixels(6);
  check_error<ValueError>([&] { io::encode_png(2, 2, pixels, io::PngColor::grey); },
                          "write_png: 6 bytes for 2 x 2 pixels of 1, which take 4");
  check_error<ValueError>([&] { io::encode_png(3, 2, pixels, io::PngColor::rgb); },
                          "write_png: 6 bytes for 3 x 2 pixels of 3, which take 18");
  check_error<ValueError>([&] { io::encode_png(0, 2, {}, io::PngColor::grey); },
                          "write_png: an image of 0 x 2 pixels, but sides are 1 to 1048576");
  check_error<IoError>([&] { io::write_png("/no/such/folder/x.png", 3, 2, pixels); },
                       "cannot write /no/such/folder/x.png: No such file or directory");
}

TEST_CASE("canvas: shapes are cut at the border") {
  io::Canvas canvas(6, 4, {10, 20, 30});
  io::Color red{255, 0, 0}, background{10, 20, 30};
  CHECK(canvas.at(5, 3) == background);
  canvas.rectangle(-2, 2, 4, 10, red);
  CHECK(canvas.at(1, 3) == red);
  CHECK(canvas.at(2, 3) == background);
  CHECK(canvas.at(1, 1) == background);
  canvas.fill(background);
  canvas.frame(1, 0, 4, 4, red);
  CHECK(canvas.at(1, 0) == red);
  CHECK(canvas.at(4, 3) == red);
  CHECK(canvas.at(2, 1) == background);
  CHECK(canvas.at(0, 0) == background);
  canvas.set(100, 100, red);
  check_error<IndexError>([&] { canvas.at(6, 0); }, "Canvas: pixel (6, 0) of 6 x 4");
  check_error<ValueError>([] { io::Canvas(0, 3); }, "Canvas: 0 x 3 pixels, but sides are 1 to 32768");
}

TEST_CASE("canvas: tiles are scaled, grey and in colour") {
  io::Canvas canvas(8, 8);
  std::vector<uint8_t> grey{0, 100, 200, 50};
  canvas.tile(1, 2, 2, 2, grey, io::PngColor::grey, 3);
  CHECK(canvas.at(0, 2) == io::Color{255, 255, 255});
  CHECK(canvas.at(1, 2) == io::Color{0, 0, 0});
  CHECK(canvas.at(3, 4) == io::Color{0, 0, 0});
  CHECK(canvas.at(4, 2) == io::Color{100, 100, 100});
  CHECK(canvas.at(1, 5) == io::Color{200, 200, 200});
  CHECK(canvas.at(6, 7) == io::Color{50, 50, 50});
  std::vector<uint8_t> rgb{1, 2, 3};
  canvas.tile(0, 0, 1, 1, rgb, io::PngColor::rgb);
  CHECK(canvas.at(0, 0) == io::Color{1, 2, 3});
  check_error<ValueError>([&] { canvas.tile(0, 0, 2, 2, rgb); }, "Canvas: a tile of 2 x 2 pixels of 1 with 3 bytes");
  check_error<ValueError>([&] { canvas.tile(0, 0, 1, 1, rgb, io::PngColor::rgb, 0); },
                          "Canvas: the scale is 0, but must be at least 1");
}

TEST_CASE("canvas: text") {
  io::Canvas canvas(13, 7);
  canvas.text(0, 0, "L\u00e9", {0, 0, 0});
  std::string drawn;
  for (int64_t y = 0; y < 7; ++y) {
    for (int64_t x = 0; x < 13; ++x) drawn += canvas.at(x, y).red == 0 ? '#' : '.';
    drawn += '\n';
  }
  CHECK(drawn ==
        "#.....#####..\n"
        "#.....#...#..\n"
        "#.....#...#..\n"
        "#.....#...#..\n"
        "#.....#...#..\n"
        "#.....#...#..\n"
        "#####.#####..\n");
  CHECK(io::Canvas::text_width("L\u00e9") == 11);
  CHECK(io::Canvas::text_width("ab", 3) == 33);
  CHECK(io::Canvas::text_width("") == 0);
  CHECK(io::Canvas::text_height(2) == 18);
  test::TemporaryFolder folder;
  canvas.write(folder / "text.png");
  CHECK(test::read_bytes(folder / "text.png") == io::encode_png(13, 7, canvas.pixels(), io::PngColor::rgb));
}

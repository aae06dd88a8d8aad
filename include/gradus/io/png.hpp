// Writes PNG images (ISO/IEC 15948): 8 bits a channel, grey or RGB, nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#if defined(GRADUS_HAS_ZLIB)
#include <zlib.h>
#endif

#include "gradus/io/atomic_file.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

inline void append_big_endian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

/// Cyclic redundancy check of PNG chunks (polynomial 0xedb88320).
inline uint32_t crc32_of(std::string_view bytes) {
  static constexpr auto table = [] {
    std::array<uint32_t, 256> entries{};
    for (uint32_t i = 0; i < 256; ++i) {
      auto word = i;
      for (int bit = 0; bit < 8; ++bit) word = (word & 1u) != 0 ? 0xedb88320u ^ (word >> 1) : word >> 1;
      entries[i] = word;
    }
    return entries;
  }();
  auto crc = 0xffffffffu;
  for (auto byte : bytes) crc = table[(crc ^ static_cast<unsigned char>(byte)) & 0xffu] ^ (crc >> 8);
  return ~crc;
}

inline uint32_t adler32_of(std::string_view bytes) {
  uint32_t a = 1, b = 0;
  for (auto byte : bytes) {
    a = (a + static_cast<unsigned char>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

/// A zlib stream that packs nothing: blocks of up to 65,535 stored bytes.
GRADUS_COLD inline std::string zlib_store(std::string_view bytes) {
  std::string out = "\x78\x01";
  do {
    auto part = bytes.substr(0, 65535);
    bytes.remove_prefix(part.size());
    out += static_cast<char>(bytes.empty() ? 1 : 0);
    auto length = static_cast<uint16_t>(part.size());
    for (auto word : {length, static_cast<uint16_t>(~length)}) {
      out += static_cast<char>(word & 0xffu);
      out += static_cast<char>(word >> 8);
    }
    out += part;
  } while (!bytes.empty());
  return out;
}

GRADUS_COLD inline std::string zlib_pack(std::string_view bytes) {
#if defined(GRADUS_HAS_ZLIB)
  auto size = compressBound(bytes.size());
  std::string out(size, '\0');
  auto status = compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                          bytes.size(), Z_BEST_COMPRESSION);
  require<IoError>(status == Z_OK, "write_png: zlib fails with code ", status);
  out.resize(size);
  return out;
#else
  auto out = zlib_store(bytes);
  append_big_endian(out, adler32_of(bytes));
  return out;
#endif
}

GRADUS_COLD inline void append_chunk(std::string& out, const std::string& type, const std::string& content) {
  append_big_endian(out, static_cast<uint32_t>(content.size()));
  out += type + content;
  append_big_endian(out, crc32_of(type + content));
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

enum class PngColor { grey, rgb };

/// The bytes of a PNG file. `pixels`: rows from top to bottom, one byte (grey) or three (red, green, blue) a pixel.
/// ValueError unless they are as many as the size says. Packed when the program was built with zlib.
GRADUS_COLD inline std::string encode_png(int64_t width, int64_t height, std::span<const uint8_t> pixels,
                                          PngColor color) {
  constexpr int64_t most = 1 << 20;
  require<ValueError>(width >= 1 && height >= 1 && width <= most && height <= most, "write_png: an image of ", width,
                      " x ", height, " pixels, but sides are 1 to ", most);
  auto row = width * (color == PngColor::rgb ? 3 : 1);
  require<ValueError>(static_cast<int64_t>(pixels.size()) == row * height, "write_png: ", pixels.size(), " bytes for ",
                      width, " x ", height, " pixels of ", color == PngColor::rgb ? 3 : 1, ", which take ",
                      row * height);
  std::string lines;
  lines.reserve(static_cast<size_t>((row + 1) * height));
  for (int64_t y = 0; y < height; ++y) {
    lines += '\0';  // filter: none
    lines.append(reinterpret_cast<const char*>(pixels.data()) + y * row, static_cast<size_t>(row));
  }
  std::string header;
  detail::append_big_endian(header, static_cast<uint32_t>(width));
  detail::append_big_endian(header, static_cast<uint32_t>(height));
  header +=
      {8, color == PngColor::rgb ? char{2} : char{0}, 0, 0, 0};  // bits, colour type, deflate, filters, no interlace

  std::string out = "\x89PNG\r\n\x1a\n";
  detail::append_chunk(out, "IHDR", header);
  detail::append_chunk(out, "IDAT", detail::zlib_pack(lines));
  detail::append_chunk(out, "IEND", "");
  return out;
}

/// Writes an image file that is there whole or not at all. IoError when it cannot be written.
inline void write_png(const std::string& path, int64_t width, int64_t height, std::span<const uint8_t> pixels,
                      PngColor color = PngColor::grey) {
  write_file(path, encode_png(width, height, pixels, color));
}

}  // namespace gradus::io::inline GRADUS_BUILD

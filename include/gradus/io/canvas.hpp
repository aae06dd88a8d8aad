// A small RGB picture to draw on: tiles of pixels, rectangles and text. For contact sheets and tables of colours.
#pragma once

#include <algorithm>
#include <vector>

#include "gradus/io/font.hpp"
#include "gradus/io/png.hpp"

namespace gradus::io::inline GRADUS_BUILD {

struct Color {
  uint8_t red = 0, green = 0, blue = 0;
  friend bool operator==(const Color&, const Color&) = default;
};

/// Coordinates are pixels from the top left; what lies outside is not drawn.
class Canvas {
 public:
  Canvas(int64_t width, int64_t height, Color background = {255, 255, 255}) : width_(width), height_(height) {
    constexpr int64_t most = 1 << 15;
    require<ValueError>(width >= 1 && height >= 1 && width <= most && height <= most, "Canvas: ", width, " x ", height,
                        " pixels, but sides are 1 to ", most);
    pixels_.resize(static_cast<size_t>(width * height * 3));
    fill(background);
  }

  int64_t width() const { return width_; }
  int64_t height() const { return height_; }
  /// Rows from top to bottom, three bytes a pixel.
  std::span<const uint8_t> pixels() const { return pixels_; }

  Color at(int64_t x, int64_t y) const {
    require<IndexError>(inside(x, y), "Canvas: pixel (", x, ", ", y, ") of ", width_, " x ", height_);
    const auto* pixel = pixels_.data() + (y * width_ + x) * 3;
    return {pixel[0], pixel[1], pixel[2]};
  }
  void set(int64_t x, int64_t y, Color color) {
    if (!inside(x, y)) return;
    auto* pixel = pixels_.data() + (y * width_ + x) * 3;
    pixel[0] = color.red;
    pixel[1] = color.green;
    pixel[2] = color.blue;
  }

  void fill(Color color) { rectangle(0, 0, width_, height_, color); }
  /// A filled rectangle.
  void rectangle(int64_t left, int64_t top, int64_t width, int64_t height, Color color) {
    for (auto y = std::max<int64_t>(top, 0); y < std::min(top + height, height_); ++y) {
      for (auto x = std::max<int64_t>(left, 0); x < std::min(left + width, width_); ++x) set(x, y, color);
    }
  }
  /// The border of a rectangle, drawn inward.
  void frame(int64_t left, int64_t top, int64_t width, int64_t height, Color color, int64_t thickness = 1) {
    rectangle(left, top, width, thickness, color);
    rectangle(left, top + height - thickness, width, thickness, color);
    rectangle(left, top, thickness, height, color);
    rectangle(left + width - thickness, top, thickness, height, color);
  }

  /// A picture of its own, each pixel `scale` wide and high. `pixels`: rows, one byte (grey) or three a pixel.
  void tile(int64_t left, int64_t top, int64_t width, int64_t height, std::span<const uint8_t> pixels,
            PngColor color = PngColor::grey, int64_t scale = 1) {
    auto channels = color == PngColor::rgb ? 3 : 1;
    require<ValueError>(width >= 0 && height >= 0 && static_cast<int64_t>(pixels.size()) == width * height * channels,
                        "Canvas: a tile of ", width, " x ", height, " pixels of ", channels, " with ", pixels.size(),
                        " bytes");
    check_scale(scale);
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const auto* pixel = pixels.data() + (y * width + x) * channels;
        auto shade = channels == 1 ? Color{pixel[0], pixel[0], pixel[0]} : Color{pixel[0], pixel[1], pixel[2]};
        rectangle(left + x * scale, top + y * scale, scale, scale, shade);
      }
    }
  }

  /// One line of text: printable ASCII, a box for each other character. A character is 5 x 9 pixels times `scale`,
  /// the last two rows below the line.
  void text(int64_t left, int64_t top, std::string_view line, Color color, int64_t scale = 1) {
    check_scale(scale);
    for (auto character : line) {
      auto code = static_cast<unsigned char>(character);
      if ((code & 0xc0u) == 0x80) continue;  // within a character of several bytes
      const auto* glyph = code >= 0x20 && code < 0x7f ? detail::glyphs[code - 0x20] : detail::unknown_glyph;
      for (int64_t y = 0; y < detail::glyph_rows; ++y) {
        for (int64_t x = 0; x < detail::glyph_columns; ++x) {
          auto dark = (glyph[y] >> (detail::glyph_columns - 1 - x) & 1) != 0;
          if (dark) rectangle(left + x * scale, top + y * scale, scale, scale, color);
        }
      }
      left += advance * scale;
    }
  }
  /// How wide text() draws a line.
  static int64_t text_width(std::string_view line, int64_t scale = 1) {
    auto characters = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
    return characters == 0 ? 0 : (characters * advance - 1) * scale;
  }
  static int64_t text_height(int64_t scale = 1) { return detail::glyph_rows * scale; }

  /// IoError when the file cannot be written.
  void write(const std::string& path) const { write_png(path, width_, height_, pixels_, PngColor::rgb); }

 private:
  static constexpr int64_t advance = detail::glyph_columns + 1;

  bool inside(int64_t x, int64_t y) const { return x >= 0 && y >= 0 && x < width_ && y < height_; }
  static void check_scale(int64_t scale) {
    require<ValueError>(scale >= 1, "Canvas: the scale is ", scale, ", but must be at least 1");
  }

  int64_t width_, height_;
  std::vector<uint8_t> pixels_;
};

}  // namespace gradus::io::inline GRADUS_BUILD

// Curves in a picture: lines with axes, ticks and a legend. For learning curves.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gradus/io/axis.hpp"
#include "gradus/io/canvas.hpp"

namespace gradus::io::inline GRADUS_BUILD {

struct PlotOptions {
  std::string title = "", x_label = "", y_label = "";
  int64_t width = 900, height = 560;  ///< of the picture, in pixels
};

/// io::Plot plot({.title = "Loss", .x_label = "epoch"});
/// plot.add("training", epochs, losses).add("validation", epochs, other_losses).write("loss.png");
class Plot {
 public:
  /// ValueError for a picture smaller than 300 x 200 pixels.
  explicit Plot(PlotOptions options = {}) : options_(std::move(options)) {
    require<ValueError>(options_.width >= 300 && options_.height >= 200, "Plot: ", options_.width, " x ",
                        options_.height, " pixels, but at least 300 x 200 are needed");
  }

  /// A line through (x[0], y[0]), (x[1], y[1]), ... that points which are not finite interrupt; a point without
  /// neighbours is a dot. A series without a name is not in the legend. ValueError unless x and y are of one length.
  Plot& add(std::string name, std::vector<double> x, std::vector<double> y) {
    require<ValueError>(x.size() == y.size(), "Plot: series '", name, "' has ", x.size(), " values of x and ", y.size(),
                        " of y, but must have as many");
    series_.push_back({std::move(name), std::move(x), std::move(y)});
    return *this;
  }

  /// ValueError when there is no finite point.
  Canvas draw() const {
    Canvas canvas(options_.width, options_.height);
    canvas.text(gap, gap, options_.title, ink, scale);
    auto top = options_.title.empty() ? gap : gap + line;
    top = draw_legend(canvas, top);
    canvas.text(gap, top, options_.y_label, axis_ink, scale);
    top += (options_.y_label.empty() ? 0 : line) + gap;
    auto bottom = options_.height - line - gap / 2 - (options_.x_label.empty() ? 0 : line);

    Range xs, ys;
    for (const auto& each : series_) {
      for (size_t i = 0; i < each.x.size(); ++i) {
        if (!drawable(each, i)) continue;
        xs.add(each.x[i]);
        ys.add(each.y[i]);
      }
    }
    require<ValueError>(ys.low <= ys.high, "Plot: no finite point to draw");
    auto ticks = [](int64_t pixels, int64_t each) { return std::max(2, static_cast<int>(pixels / each)); };
    auto y_axis = detail::round_axis(ys.low, ys.high, ticks(bottom - top, 50));
    int64_t left = 0;
    for (const auto& tick : y_axis.ticks) left = std::max(left, Canvas::text_width(tick.label, scale));
    left += 2 * gap;
    auto right = options_.width - 2 * gap;
    auto x_axis = detail::tight_axis(xs.low, xs.high, false, ticks(right - left, 90));

    Area area{left, top, right, bottom, x_axis, y_axis};
    draw_axes(canvas, area);
    for (size_t i = 0; i < series_.size(); ++i) draw_line(canvas, area, series_[i], color_of(i));
    return canvas;
  }
  /// Writes a PNG file. IoError when it cannot be written.
  void write(const std::string& path) const { draw().write(path); }

 private:
  struct Series {
    std::string name;
    std::vector<double> x, y;
  };
  struct Range {
    double low = HUGE_VAL, high = -HUGE_VAL;
    void add(double value) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  };
  /// What the axes enclose.
  struct Area {
    int64_t left, top, right, bottom;
    detail::Axis x_axis, y_axis;

    double x(double value) const {
      return static_cast<double>(left) + x_axis.place(value) * static_cast<double>(right - left);
    }
    double y(double value) const {
      return static_cast<double>(bottom) - y_axis.place(value) * static_cast<double>(bottom - top);
    }
  };

  static constexpr int64_t scale = 2, gap = 16, line = 26;  // of text
  static constexpr Color ink{40, 40, 40}, axis_ink{110, 110, 110}, grid{228, 228, 228};

  /// Colours that colour-blind people tell apart (Okabe and Ito, 2008).
  static Color color_of(size_t series) {
    constexpr Color colors[] = {{0, 114, 178},   {213, 94, 0},  {0, 158, 115},
                                {204, 121, 167}, {230, 159, 0}, {86, 180, 233}};
    return colors[series % std::size(colors)];
  }
  static bool drawable(const Series& series, size_t i) {
    constexpr double most = 1e100;  // a plot that goes further would compute with infinities
    return i < series.x.size() && std::abs(series.x[i]) < most && std::abs(series.y[i]) < most;
  }

  /// -> where what is below begins.
  int64_t draw_legend(Canvas& canvas, int64_t top) const {
    constexpr int64_t swatch = 28;
    auto left = gap;
    auto used = false;
    for (size_t i = 0; i < series_.size(); ++i) {
      if (series_[i].name.empty()) continue;
      auto width = swatch + gap / 2 + Canvas::text_width(series_[i].name, scale);
      if (left > gap && left + width > options_.width - gap) {
        left = gap;
        top += line;
      }
      canvas.rectangle(left, top + 5, swatch, 4, color_of(i));
      canvas.text(left + swatch + gap / 2, top, series_[i].name, ink, scale);
      left += width + 2 * gap;
      used = true;
    }
    return used ? top + line : top;
  }

  void draw_axes(Canvas& canvas, const Area& area) const {
    for (const auto& [value, label] : area.y_axis.ticks) {
      auto y = std::llround(area.y(value));
      canvas.rectangle(area.left, y, area.right - area.left, 1, grid);
      canvas.text(area.left - gap / 2 - Canvas::text_width(label, scale), y - 6, label, ink, scale);
    }
    for (const auto& [value, label] : area.x_axis.ticks) {
      auto x = std::llround(area.x(value));
      canvas.rectangle(x, area.top, 1, area.bottom - area.top, grid);
      canvas.rectangle(x, area.bottom, 1, 5, axis_ink);
      canvas.text(x - Canvas::text_width(label, scale) / 2, area.bottom + gap / 2, label, ink, scale);
    }
    canvas.rectangle(area.left, area.top, 1, area.bottom - area.top, axis_ink);
    canvas.rectangle(area.left, area.bottom, area.right - area.left, 1, axis_ink);
    auto label_left = (area.left + area.right - Canvas::text_width(options_.x_label, scale)) / 2;
    canvas.text(label_left, area.bottom + gap / 2 + line, options_.x_label, axis_ink, scale);
  }

  /// How much of each pixel the line covers is collected first, so that joints are as dark as the rest.
  static void draw_line(Canvas& canvas, const Area& area, const Series& series, Color color) {
    std::vector<float> cover(static_cast<size_t>(canvas.width() * canvas.height()));
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!drawable(series, i)) continue;
      auto goes_on = drawable(series, i + 1);
      if (!goes_on && i > 0 && drawable(series, i - 1)) continue;
      auto to = goes_on ? i + 1 : i;
      cover_segment(cover, canvas, area.x(series.x[i]), area.y(series.y[i]), area.x(series.x[to]),
                    area.y(series.y[to]));
    }
    for (int64_t y = 0; y < canvas.height(); ++y) {
      for (int64_t x = 0; x < canvas.width(); ++x) {
        auto share = cover[static_cast<size_t>(y * canvas.width() + x)];
        if (share == 0) continue;
        auto below = canvas.at(x, y);
        auto mix = [share](uint8_t under, uint8_t over) {
          return static_cast<uint8_t>(
              std::lround(static_cast<float>(under) * (1 - share) + static_cast<float>(over) * share));
        };
        canvas.set(x, y, {mix(below.red, color.red), mix(below.green, color.green), mix(below.blue, color.blue)});
      }
    }
  }

  static void cover_segment(std::vector<float>& cover, const Canvas& canvas, double x0, double y0, double x1,
                            double y1) {
    constexpr double radius = 1.6;
    auto dot = x0 == x1 && y0 == y1;
    auto reach = dot ? 2 * radius : radius;
    auto clip = [reach](double a, double b, int64_t size) {
      auto first = static_cast<int64_t>(std::floor(std::min(a, b) - reach)),
           last = static_cast<int64_t>(std::ceil(std::max(a, b) + reach));
      return std::pair(std::max<int64_t>(first, 0), std::min(last + 1, size));
    };
    auto [left, right] = clip(x0, x1, canvas.width());
    auto [top, bottom] = clip(y0, y1, canvas.height());
    auto dx = x1 - x0, dy = y1 - y0, squared = dx * dx + dy * dy;
    for (auto y = top; y < bottom; ++y) {
      for (auto x = left; x < right; ++x) {
        auto px = static_cast<double>(x) - x0, py = static_cast<double>(y) - y0;
        auto along = dot ? 0 : std::clamp((px * dx + py * dy) / squared, 0.0, 1.0);
        auto distance = std::hypot(px - along * dx, py - along * dy);
        auto& pixel = cover[static_cast<size_t>(y * canvas.width() + x)];
        pixel = std::max(pixel, static_cast<float>(std::clamp(reach + 0.5 - distance, 0.0, 1.0)));
      }
    }
  }

  PlotOptions options_;
  std::vector<Series> series_;
};

}  // namespace gradus::io::inline GRADUS_BUILD

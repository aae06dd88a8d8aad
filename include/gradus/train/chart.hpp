// Curves as a picture that scales: SVG, made to stand in an HTML page.
#pragma once

#include <optional>

#include "gradus/io/axis.hpp"
#include "gradus/train/html.hpp"
#include "gradus/train/metrics_record.hpp"

namespace gradus::training::inline GRADUS_BUILD {

/// Points of one curve, by rising x. Where y is not finite there is a gap.
struct Series {
  std::string name;
  std::vector<double> x, y;
};

struct Chart {
  std::string title = "";
  std::string x_label = "", y_label = "";
  std::vector<Series> series = {};
  bool log_y = false;  ///< logarithmic y; values that are not positive are gaps
};

enum class MetricsAxis { step, epoch, seconds };

/// The curve of a metric over steps, epochs or seconds; records without it are passed over. `label` stands in the
/// legend, the metric's name unless given.
inline Series metric_series(const std::vector<MetricsRecord>& records, const std::string& name,
                            MetricsAxis axis = MetricsAxis::step, std::string label = "") {
  Series series{label.empty() ? name : std::move(label), {}, {}};
  for (const auto& record : records) {
    const auto* value = record.find(name);
    if (value == nullptr) continue;
    auto whole = axis == MetricsAxis::step ? record.step : record.epoch;
    series.x.push_back(axis == MetricsAxis::seconds ? record.seconds : static_cast<double>(whole));
    series.y.push_back(*value);
  }
  return series;
}

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

using io::detail::Axis, io::detail::fixed, io::detail::general;
using io::detail::log_axis, io::detail::round_axis, io::detail::tight_axis;

/// Many points as few that look the same: the smallest and the largest of each stretch, in their order.
inline Series thinned(const Series& full, const Axis& y_axis, size_t most = 1000) {
  if (full.x.size() <= most) return full;
  Series thin{full.name, {}, {}};
  auto stretches = most / 2;
  for (size_t s = 0; s < stretches; ++s) {
    auto first = s * full.x.size() / stretches, last = (s + 1) * full.x.size() / stretches;
    auto low = last, high = last;
    for (auto i = first; i < last; ++i) {
      if (!y_axis.shows(full.y[i])) continue;
      if (low == last || full.y[i] < full.y[low]) low = i;
      if (high == last || full.y[i] > full.y[high]) high = i;
    }
    if (low == last) low = high = first;  // a gap
    for (auto i : {std::min(low, high), std::max(low, high)}) {
      thin.x.push_back(full.x[i]);
      thin.y.push_back(full.y[i]);
      if (low == high) break;
    }
  }
  return thin;
}

/// The smallest rectangle around all points that can be shown; absent when there are none.
struct Extent {
  double x_low = HUGE_VAL, x_high = -HUGE_VAL, y_low = HUGE_VAL, y_high = -HUGE_VAL;
  bool whole_x = true;
};
inline std::optional<Extent> extent_of(const Chart& chart) {
  Extent extent;
  for (const auto& series : chart.series) {
    require<ValueError>(series.x.size() == series.y.size(), "chart: series '", series.name, "' has ", series.x.size(),
                        " x and ", series.y.size(), " y, but needs as many of both");
    for (size_t i = 0; i < series.x.size(); ++i) {
      auto x = series.x[i], y = series.y[i];
      if (!std::isfinite(x) || !std::isfinite(y) || (chart.log_y && y <= 0)) continue;
      extent.x_low = std::min(extent.x_low, x);
      extent.x_high = std::max(extent.x_high, x);
      extent.y_low = std::min(extent.y_low, y);
      extent.y_high = std::max(extent.y_high, y);
      extent.whole_x &= x == std::floor(x);
    }
  }
  if (extent.x_low > extent.x_high) return std::nullopt;
  return extent;
}

/// Where a chart's parts stand, in the SVG's own units.
struct Frame {
  double left = 44, right = 586, top = 26, bottom = 252;
  static constexpr int width = 600, height = 296;
  Axis x, y;

  std::string at_x(double value) const { return fixed(left + x.place(value) * (right - left), 1); }
  std::string at_y(double value) const { return fixed(bottom - y.place(value) * (bottom - top), 1); }
};

inline std::string draw_axes(const Frame& frame, const Chart& chart) {
  auto left = fixed(frame.left, 0), right = fixed(frame.right, 0), bottom = fixed(frame.bottom, 0);
  std::string svg;
  for (const auto& tick : frame.y.ticks) {
    auto y = frame.at_y(tick.value);
    svg += "<line class=\"grid\" x1=\"" + left + "\" x2=\"" + right + "\" y1=\"" + y + "\" y2=\"" + y + "\"/>";
    svg += "<text class=\"tick\" text-anchor=\"end\" dy=\".32em\" x=\"" + fixed(frame.left - 8, 0) + "\" y=\"" + y +
           "\">" + tick.label + "</text>\n";
  }
  svg +=
      "<line class=\"axis\" x1=\"" + left + "\" x2=\"" + right + "\" y1=\"" + bottom + "\" y2=\"" + bottom + "\"/>\n";
  for (const auto& tick : frame.x.ticks) {
    auto x = frame.at_x(tick.value);
    svg += "<line class=\"axis\" x1=\"" + x + "\" x2=\"" + x + "\" y1=\"" + bottom + "\" y2=\"" +
           fixed(frame.bottom + 4, 0) + "\"/>";
    svg += "<text class=\"tick\" text-anchor=\"middle\" x=\"" + x + "\" y=\"" + fixed(frame.bottom + 18, 0) + "\">" +
           tick.label + "</text>\n";
  }
  svg += "<text class=\"label\" x=\"0\" y=\"12\">" + escape_html(chart.y_label) + "</text>";
  return svg + "<text class=\"label\" text-anchor=\"end\" x=\"" + right + "\" y=\"" +
         std::to_string(Frame::height - 6) + "\">" + escape_html(chart.x_label) + "</text>\n";
}

/// A line through the points, broken at gaps; marks that tell their values where there are few, or one alone.
inline std::string draw_series(const Frame& frame, const Chart& chart, const Series& full, size_t index) {
  auto series = thinned(full, frame.y);
  auto shown = [&](size_t i) {
    return i < series.x.size() && std::isfinite(series.x[i]) && frame.y.shows(series.y[i]);
  };
  auto color = " s" + std::to_string(index % 8);
  std::string path, marks;
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (!shown(i)) continue;
    auto x = frame.at_x(series.x[i]), y = frame.at_y(series.y[i]);
    auto starts = i == 0 || !shown(i - 1);
    path += (starts ? 'M' : 'L') + x + ' ' + y;
    if (series.x.size() > 40 && !(starts && !shown(i + 1))) continue;
    auto tip = series.name + ", " + chart.x_label + ' ' + general(series.x[i]) + ": " + general(series.y[i]);
    marks += "<circle class=\"mark" + color + "\" cx=\"" + x + "\" cy=\"" + y + "\" r=\"2.6\"><title>" +
             escape_html(tip) + "</title></circle>\n";
  }
  return "<path class=\"curve" + color + (index >= 8 ? " dashed" : "") + (series.x.size() > 200 ? " fine" : "") +
         "\" d=\"" + path + "\"/>\n" + marks;
}

/// A figure with its title, a legend when there is more than one curve, and the drawing.
inline std::string chart_figure(const Chart& chart) {
  auto html = "<figure>\n<figcaption>" + escape_html(chart.title) + "</figcaption>\n";
  if (chart.series.size() > 1) {
    html += "<p class=\"legend\">";
    for (size_t i = 0; i < chart.series.size(); ++i) {
      html += "<span><svg viewBox=\"0 0 18 8\" width=\"18\" height=\"8\"><path class=\"curve s" +
              std::to_string(i % 8) + (i >= 8 ? " dashed" : "") + "\" d=\"M0 4L18 4\"/></svg> " +
              escape_html(chart.series[i].name) + "</span> ";
    }
    html += "</p>\n";
  }
  auto extent = extent_of(chart);
  if (!extent) return html + "<p class=\"note\">No values that can be shown.</p>\n</figure>\n";
  Frame frame;
  frame.x = tight_axis(extent->x_low, extent->x_high, extent->whole_x, 8);
  frame.y = chart.log_y ? log_axis(extent->y_low, extent->y_high, 6) : round_axis(extent->y_low, extent->y_high, 6);
  for (const auto& tick : frame.y.ticks)
    frame.left = std::max(frame.left, 12 + 7.0 * static_cast<double>(tick.label.size()));
  html += join("<svg class=\"chart\" role=\"img\" aria-label=\"", escape_html(chart.title), "\" viewBox=\"0 0 ",
               Frame::width, ' ', Frame::height, "\">\n");
  html += draw_axes(frame, chart);
  for (size_t i = 0; i < chart.series.size(); ++i) html += draw_series(frame, chart, chart.series[i], i);
  return html + "</svg>\n</figure>\n";
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

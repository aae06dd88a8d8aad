// A run as one HTML file that needs nothing else: no network, no scripts.
#pragma once

#include "gradus/core/rng.hpp"
#include "gradus/core/thread_pool.hpp"
#include "gradus/io/atomic_file.hpp"
#include "gradus/metrics/confusion_matrix.hpp"
#include "gradus/train/chart.hpp"
#include "gradus/train/report_style.hpp"

namespace gradus::training::detail::inline GRADUS_BUILD {

#define GRADUS_DETAIL_TEXT2(x) #x
#define GRADUS_DETAIL_TEXT(x) GRADUS_DETAIL_TEXT2(x)
inline constexpr std::string_view instruction_set = GRADUS_DETAIL_TEXT(GRADUS_DETAIL_ISA);
inline constexpr std::string_view build_mode = GRADUS_DETAIL_TEXT(GRADUS_DETAIL_MODE);
#undef GRADUS_DETAIL_TEXT
#undef GRADUS_DETAIL_TEXT2

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// A name and what stands beside it.
struct NamedText {
  std::string name, text;
};

/// A picture, as the bytes of a PNG file.
struct Picture {
  std::string caption, png;
};
/// The picture in a file. IoError when it cannot be read.
inline Picture picture_from_file(std::string caption, const std::string& path) {
  return {std::move(caption), io::detail::read_whole_file(path)};
}

/// What a run's numbers depend on besides its settings: version, compiler, instruction set, threads, and the seed of
/// this thread's generator.
inline std::vector<NamedText> describe_environment() {
#if defined(__clang__)
  auto compiler = std::string("clang ") + __clang_version__;
#else
  auto compiler = std::string("g++ ") + __VERSION__;
#endif
  return {{"Gradus", GRADUS_VERSION},
          {"compiler", compiler},
          {"build", join(detail::build_mode, ", ", detail::instruction_set)},
          {"threads", std::to_string(num_threads())},
          {"seed", std::to_string(default_generator().seed())}};
}

/// What write_report() shows, in this order; parts that are empty are left out.
struct Report {
  std::string title = "", note = "";    ///< heading, and a sentence below it
  std::vector<NamedText> figures = {};  ///< the few numbers that matter: {"test accuracy", "92.2 %"}
  std::vector<Chart> charts = {};
  std::optional<metrics::ConfusionMatrix> confusion = std::nullopt;  ///< with the scores of each class
  std::vector<Picture> pictures = {};
  std::vector<NamedText> settings = {};  ///< {"batch size", "64"}
  std::vector<NamedText> environment = describe_environment();
  std::vector<NamedText> listings = {};  ///< text that keeps its columns: {"Model", summary(model)}
};

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

inline std::string report_pairs(std::string_view title, const std::vector<NamedText>& pairs) {
  if (pairs.empty()) return "";
  auto html = join("<section>\n<h2>", title, "</h2>\n<table class=\"list pairs\">\n");
  for (const auto& [name, text] : pairs)
    html += "<tr><th>" + escape_html(name) + "</th><td>" + escape_html(text) + "</td></tr>\n";
  return html + "</table>\n</section>\n";
}

/// A cell's colour grows with the share of the actual class; for errors with its root, so that few are seen, too.
inline std::string confusion_cell(const metrics::ConfusionMatrix& matrix, int64_t actual, int64_t predicted) {
  auto count = matrix.count(actual, predicted);
  if (count == 0) return "<td class=\"none\">·</td>";
  const auto& names = matrix.class_names();
  auto support = matrix.scores(actual).support;
  auto share = static_cast<double>(count) / static_cast<double>(support);
  auto right = actual == predicted;
  auto strength = 0.85 * (right ? share : std::sqrt(share));
  auto tip = join(names[static_cast<size_t>(actual)],
                  right ? " found: " : " taken for " + names[static_cast<size_t>(predicted)] + ": ", count, " of ",
                  support, " (", fixed(100 * share, 1), " %)");
  return join("<td class=\"", right ? "hit" : "miss", strength > 0.5 ? " strong" : "",
              "\" style=\"--share: ", fixed(strength, 3), "\" title=\"", escape_html(tip), "\">", count, "</td>");
}

inline std::string report_confusion(const metrics::ConfusionMatrix& matrix) {
  constexpr int64_t most = 100;  // a cell takes 150 bytes
  if (matrix.classes() > most)
    return join("<h2>Confusion matrix</h2>\n<p class=\"note\">Left out: ", matrix.classes(), " classes are more than ",
                most, ".</p>\n");
  std::string html =
      "<h2>Confusion matrix</h2>\n<p class=\"note\">Rows: what it is. Columns: what the model takes it for.</p>\n<div "
      "class=\"scroll\">\n<table class=\"matrix\">\n<thead><tr><th></th>";
  for (const auto& name : matrix.class_names()) html += "<th><span>" + escape_html(name) + "</span></th>";
  html += "</tr></thead>\n<tbody>\n";
  for (int64_t actual = 0; actual < matrix.classes(); ++actual) {
    html += "<tr><th>" + escape_html(matrix.class_names()[static_cast<size_t>(actual)]) + "</th>";
    for (int64_t predicted = 0; predicted < matrix.classes(); ++predicted)
      html += confusion_cell(matrix, actual, predicted);
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table>\n</div>\n";
}

inline std::string report_scores(const metrics::ConfusionMatrix& matrix) {
  auto row = [](const std::string& name, const metrics::ClassScores& scores) {
    auto html = "<tr><th>" + escape_html(name) + "</th>";
    for (auto score : {scores.precision, scores.recall, scores.f1}) {
      html += "<td class=\"bar\" style=\"--share: " + fixed(100 * score, 1) + "%\">" + fixed(100 * score, 2) + "</td>";
    }
    return html + "<td>" + std::to_string(scores.support) + "</td></tr>\n";
  };
  std::string html =
      "<h2>Classes</h2>\n<div class=\"scroll\">\n<table class=\"list "
      "scores\">\n<thead><tr><th>class</th><th>precision, %</th><th>recall, %</th><th>F1, "
      "%</th><th>samples</th></tr></thead>\n<tbody>\n";
  for (int64_t i = 0; i < matrix.classes(); ++i)
    html += row(matrix.class_names()[static_cast<size_t>(i)], matrix.scores(i));
  return html + "</tbody>\n<tfoot>" + row("macro mean", matrix.macro()) + "</tfoot>\n</table>\n</div>\n";
}

inline std::string report_pictures(const std::vector<Picture>& pictures) {
  if (pictures.empty()) return "";
  std::string html = "<h2>Pictures</h2>\n";
  for (const auto& [caption, png] : pictures) {
    require<FormatError>(png.starts_with("\x89PNG\r\n\x1a\n"), "write_report: the picture '", caption,
                         "' is not a PNG file");
    auto text = escape_html(caption);
    html += "<figure>\n<figcaption>" + text + "</figcaption>\n<img alt=\"" + text + "\" src=\"data:image/png;base64," +
            to_base64(png) + "\">\n</figure>\n";
  }
  return html;
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// The report as HTML. What comes from outside (names, texts, captions) is text in it, never code.
inline std::string to_html(const Report& report) {
  auto title = detail::escape_html(report.title);
  auto html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src "
      "data:\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
      title + "</title>\n<style>" + detail::report_style + "</style>\n</head>\n<body>\n<main>\n<h1>" + title +
      "</h1>\n";
  if (!report.note.empty()) html += "<p class=\"lead\">" + detail::escape_html(report.note) + "</p>\n";
  if (!report.figures.empty()) {
    html += "<dl class=\"figures\">\n";
    for (const auto& [name, text] : report.figures)
      html += "<div><dt>" + detail::escape_html(name) + "</dt><dd>" + detail::escape_html(text) + "</dd></div>\n";
    html += "</dl>\n";
  }
  if (!report.charts.empty()) {
    html += "<h2>Curves</h2>\n<div class=\"columns\">\n";
    for (const auto& chart : report.charts) html += detail::chart_figure(chart);
    html += "</div>\n";
  }
  if (report.confusion) html += detail::report_confusion(*report.confusion) + detail::report_scores(*report.confusion);
  html += detail::report_pictures(report.pictures);
  html += "<div class=\"columns\">\n" + detail::report_pairs("Settings", report.settings) +
          detail::report_pairs("Environment", report.environment) + "</div>\n";
  for (const auto& [name, text] : report.listings)
    html += "<h2>" + detail::escape_html(name) + "</h2>\n<pre>" + detail::escape_html(text) + "</pre>\n";
  return html + "</main>\n</body>\n</html>\n";
}

/// Writes the report as one HTML file, whole or not at all:
///
///     write_report("runs/x/report.html", {.title = "Run 7", .figures = {{"accuracy", "92.2 %"}}, .charts = {chart}});
///
/// IoError when it cannot be written; FormatError for a picture that is not a PNG; ValueError for a series with more x
/// than y, or fewer.
inline void write_report(const std::string& path, const Report& report) { io::write_file(path, to_html(report)); }

}  // namespace gradus::training::inline GRADUS_BUILD

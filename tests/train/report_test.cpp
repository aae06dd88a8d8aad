#include "gradus/train/report.hpp"

#include "gradus/io/png.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using namespace gradus::test;
using training::Report;

namespace {

bool stands_in(const std::string& part, const std::string& html) { return html.find(part) != html.npos; }

std::string small_png() {
  const uint8_t pixels[] = {0, 128, 255, 64};
  return io::encode_png(2, 2, pixels, io::PngColor::grey);
}

/// 3 of 4 cats and 1 of 2 dogs right.
metrics::ConfusionMatrix pets() {
  metrics::ConfusionMatrix matrix({"cat", "<dog>"});
  matrix.update(tensor<int64_t>({0, 0, 0, 1, 1, 0}), tensor<int64_t>({0, 0, 0, 0, 1, 1}));
  return matrix;
}

}  // namespace

TEST_CASE("write_report: every part, in one file, and nothing from elsewhere") {
  TemporaryFolder folder;
  Report report{.title = "Pets & co", .note = "A <first> try."};
  report.figures = {{"test accuracy", "66.7 %"}};
  report.charts = {{"Loss", "epoch", "nats", {{"train", {1, 2}, {2, 1}}, {"test", {1, 2}, {3, 2}}}, true}};
  report.confusion = pets();
  report.pictures = {{"Some \"pets\"", small_png()}};
  report.settings = {{"lr", "0.1"}};
  report.environment = {{"compiler", "g++ <12>"}};
  report.listings = {{"Model", "a  b\n-- &"}};
  training::write_report(folder / "report.html", report);
  auto html = read_bytes(folder / "report.html");
  CHECK(html == training::to_html(report));
  CHECK(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"));
  CHECK(html.ends_with("</main>\n</body>\n</html>\n"));
  for (const auto* part : {
           "<title>Pets &amp; co</title>",
           "<h1>Pets &amp; co</h1>\n<p class=\"lead\">A &lt;first&gt; try.</p>",
           "<div><dt>test accuracy</dt><dd>66.7 %</dd></div>",
           "<figcaption>Loss</figcaption>\n<p class=\"legend\">",
           "<td class=\"hit strong\" style=\"--share: 0.637\" title=\"cat found: 3 of 4 (75.0 %)\">3</td>",
           "<td class=\"miss\" style=\"--share: 0.425\" title=\"cat taken for &lt;dog&gt;: 1 of 4 (25.0 %)\">1</td>",
           "<tr><th>&lt;dog&gt;</th><td class=\"bar\" style=\"--share: 50.0%\">50.00</td>",
           "<tr><th>macro mean</th>",
           "<img alt=\"Some &quot;pets&quot;\" src=\"data:image/png;base64,iVBORw0KGgo",
           "<h2>Settings</h2>\n<table class=\"list pairs\">\n<tr><th>lr</th><td>0.1</td></tr>",
           "<tr><th>compiler</th><td>g++ &lt;12&gt;</td></tr>",
           "<h2>Model</h2>\n<pre>a  b\n-- &amp;</pre>",
       }) {
    INFO(part);
    CHECK(stands_in(part, html));
  }
  for (const auto* part : {"http:", "https:", "<script", "<link", "url(", "<first>", "<dog>"}) {
    INFO(part);
    CHECK(!stands_in(part, html));
  }
}

TEST_CASE("write_report: parts that are empty are left out") {
  auto html = training::to_html({.title = "x", .environment = {}});
  for (const auto* part : {"<h2", "<table", "<figure", "<dl", "class=\"lead\"", "<pre"}) {
    INFO(part);
    CHECK(!stands_in(part, html));
  }
}

TEST_CASE("write_report: a class without samples, and more classes than a table can show") {
  metrics::ConfusionMatrix two({"a", "b"});
  two.update(tensor<int64_t>({1, 1}), tensor<int64_t>({0, 0}));
  auto html = training::to_html({.confusion = two});
  CHECK(stands_in("<td class=\"none\">", html));
  CHECK(!stands_in("nan", html));
  html = training::to_html({.confusion = metrics::ConfusionMatrix(101)});
  CHECK(stands_in("Left out: 101 classes are more than 100.", html));
  CHECK(!stands_in("class=\"matrix\"", html));
}

TEST_CASE("describe_environment names what the numbers depend on") {
  manual_seed(77);
  auto environment = training::describe_environment();
  auto text_of = [&](std::string_view name) {
    for (const auto& entry : environment) {
      if (entry.name == name) return entry.text;
    }
    return std::string();
  };
  CHECK(text_of("Gradus") == GRADUS_VERSION);
  CHECK(text_of("seed") == "77");
  CHECK(text_of("threads") == std::to_string(num_threads()));
  CHECK(stands_in(__VERSION__, text_of("compiler")) != stands_in("clang ", text_of("compiler")));
#if defined(__AVX2__) && !defined(__AVX512F__)
  CHECK(stands_in(", avx2", text_of("build")));
#endif
}

TEST_CASE("write_report: errors") {
  TemporaryFolder folder;
  check_error<FormatError>(
      [&] {
        training::to_html({.pictures = {{"sheet", "GIF89a"}}});
      },
      "write_report: the picture 'sheet' is not a PNG file");
  check_error<IoError>([&] { training::write_report(folder / "none/report.html", {}); },
                       "cannot write " + (folder / "none/report.html") + ": No such file or directory");
  check_error<IoError>([&] { training::picture_from_file("sheet", folder / "sheet.png"); },
                       "cannot open " + (folder / "sheet.png") + ": No such file or directory");
  write_bytes(folder / "sheet.png", small_png());
  CHECK(training::picture_from_file("sheet", folder / "sheet.png").png == small_png());
}

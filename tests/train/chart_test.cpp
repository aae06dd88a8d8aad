#include "gradus/train/chart.hpp"

#include <limits>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using namespace gradus::training;

namespace {

std::vector<std::string> labels_of(const training::detail::Axis& axis) {
  std::vector<std::string> labels;
  for (const auto& tick : axis.ticks) labels.push_back(tick.label);
  return labels;
}

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

constexpr auto not_a_number = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("chart: ticks are round numbers that people read") {
  using Labels = std::vector<std::string>;
  using training::detail::log_axis;
  using training::detail::round_axis;
  using training::detail::tight_axis;
  CHECK(labels_of(round_axis(0.19, 0.72, 6)) == Labels{"0", "0.2", "0.4", "0.6", "0.8"});
  CHECK(labels_of(round_axis(86.9, 94.4, 6)) == Labels{"86", "88", "90", "92", "94", "96"});
  CHECK(labels_of(round_axis(0, 0.0015, 6)) ==
        Labels{"0", "0.00025", "0.00050", "0.00075", "0.00100", "0.00125", "0.00150"});
  CHECK(labels_of(round_axis(-3, -0.1, 6)) == Labels{"-3.0", "-2.5", "-2.0", "-1.5", "-1.0", "-0.5", "0"});
  CHECK(labels_of(round_axis(0.5, 0.5, 6)) == Labels{"0.44", "0.46", "0.48", "0.50", "0.52", "0.54", "0.56"});
  CHECK(labels_of(round_axis(0, 0, 4)) == Labels{"-1.0", "-0.5", "0", "0.5", "1.0"});
  CHECK(labels_of(round_axis(0, 3e-8, 3)) == Labels{"0", "1e-08", "2e-08", "3e-08"});
  CHECK(round_axis(1e16, 1e16 + 2, 5).ticks.size() < 20);
  CHECK(tight_axis(1e16, 1e16 + 2, false, 5).ticks.size() < 20);
  CHECK(round_axis(-1e100, 1e100, 5).ticks.size() == 5);
  CHECK(tight_axis(2, 6, false, 4).place(3) == Approx(0.25));
  CHECK(labels_of(tight_axis(1, 6, true, 8)) == Labels{"1", "2", "3", "4", "5", "6"});
  CHECK(labels_of(tight_axis(1, 3, true, 8)) == Labels{"1", "2", "3"});
  CHECK(labels_of(tight_axis(7, 7, true, 8)) == Labels{"7"});
  CHECK(labels_of(tight_axis(0, 19000, true, 8)) ==
        Labels{"0", "2.5k", "5.0k", "7.5k", "10.0k", "12.5k", "15.0k", "17.5k"});
  CHECK(labels_of(tight_axis(0, 2e7, true, 4)) == Labels{"0", "5e+06", "1e+07", "1.5e+07", "2e+07"});
  CHECK(labels_of(log_axis(0.003, 2, 6)) == Labels{"0.003", "0.01", "0.03", "0.1", "0.3", "1"});
  CHECK(labels_of(log_axis(0.2, 9, 6)) == Labels{"0.2", "0.5", "1", "2", "5", "10"});
  CHECK(labels_of(log_axis(1e-12, 1, 6)) == Labels{"1e-11", "1e-09", "1e-07", "1e-05", "0.001", "0.1"});
  CHECK(labels_of(log_axis(0.3, 0.33, 6)) == Labels{"0.28", "0.30", "0.32", "0.34", "0.36"});
}

TEST_CASE("chart: places on an axis") {
  auto linear = training::detail::tight_axis(10, 20, true, 8);
  CHECK(linear.place(15) == Approx(0.5));
  CHECK(!linear.shows(not_a_number));
  auto log = training::detail::log_axis(0.01, 100, 6);
  CHECK(log.place(1) == Approx(0.5));
  CHECK(log.place(100) < 1);
  CHECK(!log.shows(0));
  CHECK(!log.shows(std::numeric_limits<double>::infinity()));
}

TEST_CASE("chart: a drawing, letter by letter") {
  Chart chart{"Loss <train>", "epoch", "nats", {{"a & b", {0, 1, 2}, {1, 0, 1}}}};
  CHECK('\n' + training::detail::chart_figure(chart) == R"(
<figure>
<figcaption>Loss &lt;train&gt;</figcaption>
<svg class="chart" role="img" aria-label="Loss &lt;train&gt;" viewBox="0 0 600 296">
<line class="grid" x1="44" x2="586" y1="252.0" y2="252.0"/><text class="tick" text-anchor="end" dy=".32em" x="36" y="252.0">0</text>
<line class="grid" x1="44" x2="586" y1="206.8" y2="206.8"/><text class="tick" text-anchor="end" dy=".32em" x="36" y="206.8">0.2</text>
<line class="grid" x1="44" x2="586" y1="161.6" y2="161.6"/><text class="tick" text-anchor="end" dy=".32em" x="36" y="161.6">0.4</text>
<line class="grid" x1="44" x2="586" y1="116.4" y2="116.4"/><text class="tick" text-anchor="end" dy=".32em" x="36" y="116.4">0.6</text>
<line class="grid" x1="44" x2="586" y1="71.2" y2="71.2"/><text class="tick" text-anchor="end" dy=".32em" x="36" y="71.2">0.8</text>
<line class="grid" x1="44" x2="586" y1="26.0" y2="26.0"/><text class="tick" text-anchor="end" dy=".32em" x="36" y="26.0">1.0</text>
<line class="axis" x1="44" x2="586" y1="252" y2="252"/>
<line class="axis" x1="44.0" x2="44.0" y1="252" y2="256"/><text class="tick" text-anchor="middle" x="44.0" y="270">0</text>
<line class="axis" x1="315.0" x2="315.0" y1="252" y2="256"/><text class="tick" text-anchor="middle" x="315.0" y="270">1</text>
<line class="axis" x1="586.0" x2="586.0" y1="252" y2="256"/><text class="tick" text-anchor="middle" x="586.0" y="270">2</text>
<text class="label" x="0" y="12">nats</text><text class="label" text-anchor="end" x="586" y="290">epoch</text>
<path class="curve s0" d="M44.0 26.0L315.0 252.0L586.0 26.0"/>
<circle class="mark s0" cx="44.0" cy="26.0" r="2.6"><title>a &amp; b, epoch 0: 1</title></circle>
<circle class="mark s0" cx="315.0" cy="252.0" r="2.6"><title>a &amp; b, epoch 1: 0</title></circle>
<circle class="mark s0" cx="586.0" cy="26.0" r="2.6"><title>a &amp; b, epoch 2: 1</title></circle>
</svg>
</figure>
)");
}

TEST_CASE("chart: a line has gaps where there are no values, and lone points are marked") {
  Chart chart{"t", "x", "y", {{"s", {}, {}}, {"empty", {}, {}}}};
  for (int i = 0; i < 50; ++i) {
    chart.series[0].x.push_back(i);
    chart.series[0].y.push_back(i == 10 || i == 12 || i == 30 ? not_a_number : 1.0 + i);
  }
  auto html = training::detail::chart_figure(chart);
  CHECK(occurrences(html, "<circle") == 1);
  CHECK(html.find("<title>s, x 11: 12</title>") != html.npos);
  auto path = html.substr(html.find("class=\"curve s0\" d=\"M", html.find("aria-label")));
  CHECK(occurrences(path.substr(0, path.find("/>")), "M") == 4);
  CHECK(occurrences(html, "<span>") == 2);  // the legend
  CHECK(html.find("nan") == html.npos);

  chart.log_y = true;
  for (auto& y : chart.series[0].y) y -= 3;  // two are not positive now
  html = training::detail::chart_figure(chart);
  CHECK(html.find("inf") == html.npos);
  CHECK(html.find("nan") == html.npos);
  for (auto& y : chart.series[0].y) y = -1;
  CHECK(training::detail::chart_figure(chart).find("No values that can be shown.") != std::string::npos);
}

TEST_CASE("chart: many points are thinned, and no peak is lost") {
  Series full{"s", {}, {}};
  for (int i = 0; i < 100'000; ++i) {
    full.x.push_back(i);
    full.y.push_back(i == 77'777 ? 9 : i > 40'000 && i < 50'000 ? not_a_number : 0.001 * (i % 7));
  }
  training::detail::Axis axis;
  auto thin = training::detail::thinned(full, axis);
  CHECK(thin.x.size() <= 1000);
  CHECK(thin.x.size() > 900);
  CHECK(std::is_sorted(thin.x.begin(), thin.x.end()));
  CHECK(std::find(thin.y.begin(), thin.y.end(), 9) != thin.y.end());
  CHECK(std::count_if(thin.y.begin(), thin.y.end(), [](double y) { return y != y; }) > 0);
  full.x.resize(1000);
  full.y.resize(1000);
  CHECK(training::detail::thinned(full, axis).y == full.y);
}

TEST_CASE("metric_series takes a metric out of records") {
  std::vector<MetricsRecord> records = {
      {10, 1, 0.5, {{"loss", 4}}}, {20, 1, 1.5, {{"lr", 0.1}}}, {30, 2, 2.5, {{"loss", 3}}}};
  auto series = metric_series(records, "loss");
  CHECK(series.name == "loss");
  CHECK(series.x == std::vector<double>{10, 30});
  CHECK(series.y == std::vector<double>{4, 3});
  CHECK(metric_series(records, "loss", MetricsAxis::epoch, "train").x == std::vector<double>{1, 2});
  CHECK(metric_series(records, "loss", MetricsAxis::epoch, "train").name == "train");
  CHECK(metric_series(records, "loss", MetricsAxis::seconds).x == std::vector<double>{0.5, 2.5});
  CHECK(metric_series(records, "other").x.empty());
}

TEST_CASE("chart: errors") {
  test::check_error<ValueError>(
      [] {
        training::detail::chart_figure({"t", "x", "y", {{"loss", {1, 2}, {1}}}});
      },
      "chart: series 'loss' has 2 x and 1 y, but needs as many of both");
}

TEST_CASE("html: what comes from outside is text") {
  using training::detail::escape_html;
  using training::detail::to_base64;
  CHECK(escape_html("<a href=\"x\" onclick='y'>&amp;") == "&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;&amp;amp;");
  CHECK(escape_html("größer \xe2\x82\xac\n\t") == "größer \xe2\x82\xac\n\t");
  CHECK(escape_html(std::string_view("a\0b\xff\x1b\x7f", 6)) ==
        "a\xef\xbf\xbd"
        "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(to_base64("") == "");
  CHECK(to_base64("f") == "Zg==");
  CHECK(to_base64("fo") == "Zm8=");
  CHECK(to_base64("foo") == "Zm9v");
  CHECK(to_base64("foob") == "Zm9vYg==");
  CHECK(to_base64("\xff\xfe\xfd") == "//79");
  CHECK(training::detail::fixed(-0.04, 1) == "0.0");
  CHECK(training::detail::fixed(-1.25, 1) == "-1.2");
}

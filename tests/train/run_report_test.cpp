#include "gradus/train/run_report.hpp"

#include "gradus/io/png.hpp"
#include "gradus/train/metrics_log.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using namespace gradus::test;

namespace {

metrics::ConfusionMatrix two_classes() {
  metrics::ConfusionMatrix matrix({"cat", "dog"});
  matrix.add(0, 0, 3);
  matrix.add(0, 1, 1);
  matrix.add(1, 1, 2);
  return matrix;
}

}  // namespace

TEST_CASE("confusion matrix: as JSON and back") {
  auto json = training::to_json(two_classes());
  CHECK(to_string(json) == R"({"classes":["cat","dog"],"counts":[[3,1],[0,2]]})");
  auto back = training::confusion_from_json(json);
  CHECK(back.class_names() == std::vector<std::string>{"cat", "dog"});
  CHECK(back.count(0, 0) == 3);
  CHECK(back.count(0, 1) == 1);
  CHECK(back.count(1, 0) == 0);
  CHECK(back.total() == 6);
}

TEST_CASE("confusion matrix: JSON that is none says why") {
  auto check = [](const char* json, const std::string& text) {
    check_error<FormatError>([&] { training::confusion_from_json(io::parse_json(json)); }, text);
  };
  check("{}", "json: the object has no member 'classes'");
  check(R"({"classes":[],"counts":[]})", "confusion matrix: 'classes' is empty");
  check(R"({"classes":["a"],"counts":[]})", "confusion matrix: 'counts' has 0 rows for 1 classes");
  check(R"({"classes":["a"],"counts":[[1,2]]})", "confusion matrix: row 0 of 'counts' has 2 numbers for 1 classes");
  check(R"({"classes":["a"],"counts":[[-1]]})", "confusion matrix: a count is -1, but must not be negative");
  check(R"({"classes":["a"],"counts":[[0.5]]})", "json: the value is a number, but must be a whole number");
  metrics::ConfusionMatrix matrix(2);
  check_error<ValueError>([&] { matrix.add(0, 1, -2); }, "ConfusionMatrix: -2 samples, but must not be negative");
  check_error<IndexError>([&] { matrix.add(0, 2, 1); }, "ConfusionMatrix: count(0, 2) of 2 classes");
}

TEST_CASE("report_of_run: what a run left becomes figures, settings, curves, matrix, pictures and listings") {
  TemporaryFolder parent;
  auto folder = parent / "my_run";
  {
    training::MetricsLog log(folder);
    log.write(10, 1, {{"train_loss", 2}, {"test_loss", 3}, {"lr", 0.1}});
    log.write(20, 2, {{"train_loss", 1}, {"test_loss", 2}, {"lr", 0.2}});
  }
  auto summary = io::Json::object({{"test_accuracy", 0.92197},
                                   {"train_seconds", 12.3456},
                                   {"images_per_second", 123456.7},
                                   {"epochs", 6},
                                   {"data", "Fashion <MNIST>"},
                                   {"network", "line\nline"},
                                   {"confusion", training::to_json(two_classes())}});
  io::write_file(folder + "/summary.json", to_string(summary));
  const uint8_t pixels[] = {0, 255};
  io::write_png(folder + "/some_pictures.png", 2, 1, pixels);

  auto report = training::report_of_run(folder + "/");
  CHECK(report.title == "my_run");
  CHECK(training::report_of_run(folder).title == "my_run");
  auto texts = [](const std::vector<training::NamedText>& pairs) {
    std::string text;
    for (const auto& [name, value] : pairs) text += name + '=' + value + ';';
    return text;
  };
  CHECK(texts(report.figures) == "test accuracy=92.20 %;train seconds=12.35;images per second=123457;");
  CHECK(texts(report.settings) == "epochs=6;data=Fashion <MNIST>;");
  CHECK(texts(report.listings) == "network=line\nline;");
  REQUIRE(report.confusion);
  CHECK(report.confusion->count(0, 1) == 1);
  REQUIRE(report.charts.size() == 2);
  CHECK(report.charts[0].title == "loss");
  REQUIRE(report.charts[0].series.size() == 2);
  CHECK(report.charts[0].series[0].name == "train");
  CHECK(report.charts[0].series[1].name == "test");
  CHECK(report.charts[0].series[1].x == std::vector<double>{1, 2});
  CHECK(report.charts[0].series[1].y == std::vector<double>{3, 2});
  CHECK(report.charts[1].title == "lr");
  REQUIRE(report.pictures.size() == 1);
  CHECK(report.pictures[0].caption == "some pictures");
  CHECK(training::to_html(report).find("Fashion &lt;MNIST&gt;") != std::string::npos);
}

TEST_CASE("report_of_run: a folder without a summary, and a broken one, are named") {
  TemporaryFolder folder;
  check_error<IoError>([&] { training::report_of_run(folder / "none"); },
                       "cannot open " + (folder / "none") + "/summary.json: No such file or directory");
  auto path = folder / "summary.json";
  write_bytes(path, "{\"a\": }");
  check_error<FormatError>([&] { training::report_of_run(folder / ""); },
                           (folder / "") + "/summary.json: json: line 1, column 7: expected a value, found '}'");
  write_bytes(path, "[1]");
  check_error<FormatError>([&] { training::report_of_run(folder / ""); },
                           (folder / "") + "/summary.json: json: the value is an array, but must be an object");
  write_bytes(path, "{}");
  auto report = training::report_of_run(folder / "");
  CHECK(report.charts.empty());
  CHECK(report.pictures.empty());
}

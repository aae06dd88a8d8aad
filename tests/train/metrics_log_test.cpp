#include "gradus/train/metrics_log.hpp"

#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using training::MetricsLog;
using namespace gradus::test;

namespace {

/// A clock that goes on by a second each time it is read.
std::function<double()> counting_clock() {
  return [time = 100.0]() mutable { return time++; };
}

void write_three(const std::string& folder) {
  MetricsLog log(folder, {.clock = counting_clock()});
  log.write(10, 1, {{"loss", 0.5}});
  log.write(20, 1, {{"loss", 0.25}});
  log.write(30, 2, {{"loss", 0.125}});
}

constexpr auto three_lines = R"({"step":10,"epoch":1,"seconds":1.0,"loss":0.5}
{"step":20,"epoch":1,"seconds":2.0,"loss":0.25}
{"step":30,"epoch":2,"seconds":3.0,"loss":0.125}
)";

}  // namespace

TEST_CASE("MetricsLog: lines of JSON and a table, at once on disk") {
  TemporaryFolder folder;
  auto run = folder / "runs/first";  // made by the log
  MetricsLog log(run, {.clock = counting_clock()});
  CHECK(read_bytes(run + "/metrics.jsonl").empty());
  CHECK(read_bytes(run + "/metrics.csv") == "step,epoch,seconds\n");
  log.write(10, 1, {{"loss", 0.5}, {"accuracy", 0.75}});
  CHECK(read_bytes(run + "/metrics.jsonl") ==
        "{\"step\":10,\"epoch\":1,\"seconds\":1.0,\"loss\":0.5,\"accuracy\":0.75}\n");
  CHECK(read_bytes(run + "/metrics.csv") == "step,epoch,seconds,loss,accuracy\n10,1,1,0.5,0.75\n");
  log.write(20, 2, {{"accuracy", 1}, {"loss", 0.1f}});  // the order of columns stays
  CHECK(read_bytes(run + "/metrics.csv") ==
        "step,epoch,seconds,loss,accuracy\n10,1,1,0.5,0.75\n20,2,2,0.10000000149011612,1\n");
  auto records = training::read_metrics(log.json_path());
  REQUIRE(records.size() == 2);
  CHECK(records[1].step == 20);
  CHECK(records[1].epoch == 2);
  CHECK(records[1].seconds == 2);
  CHECK(*records[1].find("loss") == 0.1f);
  CHECK(records[1].find("other") == nullptr);
}

TEST_CASE("MetricsLog: a metric that comes later gets the last column") {
  TemporaryFolder folder;
  MetricsLog log(folder / "x", {.clock = counting_clock()});
  log.write(1, 1, {{"loss", 2}});
  log.write(2, 1, {{"test, \"all\"", 3}});
  log.write(3, 1, {{"loss", 4}, {"test, \"all\"", 5}});
  log.write(4, 2, {});
  CHECK(read_bytes(log.csv_path()) ==
        "step,epoch,seconds,loss,\"test, \"\"all\"\"\"\n1,1,1,2,\n2,1,2,,3\n3,1,3,4,5\n4,2,4,,\n");
}

TEST_CASE("MetricsLog: NaN and infinities") {
  TemporaryFolder folder;
  constexpr auto infinity = std::numeric_limits<double>::infinity();
  constexpr auto nan = std::numeric_limits<double>::quiet_NaN();
  MetricsLog log(folder / "x", {.clock = counting_clock()});
  log.write(1, 1, {{"a", nan}, {"b", infinity}, {"c", -infinity}, {"d", -nan}});
  CHECK(
      read_bytes(log.json_path()) ==
      "{\"step\":1,\"epoch\":1,\"seconds\":1.0,\"a\":\"NaN\",\"b\":\"Infinity\",\"c\":\"-Infinity\",\"d\":\"NaN\"}\n");
  CHECK(read_bytes(log.csv_path()) == "step,epoch,seconds,a,b,c,d\n1,1,1,nan,inf,-inf,nan\n");
  auto record = training::read_metrics(log.json_path()).at(0);
  CHECK(std::isnan(*record.find("a")));
  CHECK(*record.find("b") == infinity);
  CHECK(*record.find("c") == -infinity);
}

TEST_CASE("MetricsLog: opened again, it goes on, and half a line is gone") {
  TemporaryFolder folder;
  auto run = folder / "x";
  write_three(run);
  for (const auto& torn : {std::string("{\"step\":40,\"ep"), std::string("\"loss\":1.0}"), std::string(7, '\0')}) {
    write_bytes(run + "/metrics.jsonl", three_lines + torn);
    write_bytes(run + "/metrics.csv", "step,epoch,seconds,loss\n10,1,1,0.5\n20,1");
    CHECK(training::read_metrics(run + "/metrics.jsonl").size() == 3);
    MetricsLog log(run, {.clock = counting_clock()});
    CHECK(read_bytes(log.json_path()) == three_lines);
    CHECK(read_bytes(log.csv_path()) == "step,epoch,seconds,loss\n10,1,1,0.5\n20,1,2,0.25\n30,2,3,0.125\n");
    log.write(40, 2, {{"loss", 0}});
    CHECK(read_bytes(log.json_path()) ==
          three_lines + std::string("{\"step\":40,\"epoch\":2,\"seconds\":4.0,\"loss\":0.0}\n"));
  }
}

TEST_CASE("MetricsLog: a run that resumes has no record twice") {
  TemporaryFolder folder;
  auto run = folder / "x";
  write_three(run);
  {
    MetricsLog log(run, {.resume_step = 20, .clock = counting_clock()});
    log.write(30, 2, {{"loss", 0.0625}, {"lr", 0.1}});
    CHECK(read_bytes(log.csv_path()) == "step,epoch,seconds,loss,lr\n10,1,1,0.5,\n20,1,2,0.25,\n30,2,3,0.0625,0.1\n");
    CHECK(training::read_metrics(log.json_path()).size() == 3);
  }
  MetricsLog(run, {.resume_step = 29});
  CHECK(training::read_metrics(run + "/metrics.jsonl").size() == 2);
  CHECK(read_bytes(run + "/metrics.csv") == "step,epoch,seconds,loss\n10,1,1,0.5\n20,1,2,0.25\n");
  MetricsLog(run, {.resume_step = 0});
  CHECK(read_bytes(run + "/metrics.jsonl").empty());
  CHECK(read_bytes(run + "/metrics.csv") == "step,epoch,seconds\n");
}

TEST_CASE("MetricsLog: a full disk costs the record, not the file") {
  TemporaryFolder folder;
  auto run = folder / "x";
  write_three(run);
  MetricsLog log(run, {.clock = counting_clock()});
  auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  auto full = limit;
  full.rlim_cur = std::string(three_lines).size() + 10;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &full) == 0);
  std::string text;
  try {
    log.write(40, 2, {{"loss", 1}});
  } catch (const IoError& error) {
    text = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  CHECK(text == "cannot write " + run + "/metrics.jsonl: File too large");
  CHECK(read_bytes(log.json_path()) == three_lines);
  log.write(40, 2, {{"loss", 1}});
  CHECK(training::read_metrics(log.json_path()).size() == 4);
}

TEST_CASE("MetricsLog: a table that cannot be written is made anew with the next record") {
  TemporaryFolder folder;
  auto run = folder / "x";
  write_three(run);
  MetricsLog log(run, {.clock = counting_clock()});
  std::filesystem::remove(log.csv_path());
  std::filesystem::create_directory(log.csv_path());
  check_error<IoError>(
      [&] {
        log.write(40, 2, {{"lr", 1}});
      },
      "cannot write " + log.csv_path() + ": it is not a regular file");
  std::filesystem::remove(log.csv_path());
  log.write(50, 2, {{"loss", 2}});
  CHECK(read_bytes(log.csv_path()) ==
        "step,epoch,seconds,loss,lr\n10,1,1,0.5,\n20,1,2,0.25,\n30,2,3,0.125,\n40,2,4,,1\n50,2,5,2,\n");
}

TEST_CASE("MetricsLog: errors") {
  TemporaryFolder folder;
  check_error<IoError>([] { MetricsLog("/dev/null/x"); }, "cannot create /dev/null/x: Not a directory");
  check_error<IoError>([] { training::read_metrics("/nowhere/metrics.jsonl"); },
                       "cannot open /nowhere/metrics.jsonl: No such file or directory");
  check_error<ValueError>([&] { MetricsLog(folder / "x", {.resume_step = -1}); },
                          "MetricsLog: resume_step is -1, but must not be negative");
  MetricsLog log(folder / "x");
  check_error<ValueError>(
      [&] {
        log.write(1, 1, {{"epoch", 1}});
      },
      "MetricsLog: 'epoch' cannot name a metric: it must not be empty, step, epoch or seconds");
  check_error<ValueError>(
      [&] {
        log.write(1, 1, {{"a", 1}, {"a", 2}});
      },
      "MetricsLog: two metrics of one record are named 'a'");
  check_error<ValueError>(
      [&] {
        log.write(1, 1, {{"\xff", 1}});
      },
      "json: a string to be written is not UTF-8 at byte 0");
  CHECK(read_bytes(log.json_path()).empty());

  auto path = log.json_path();
  auto file_of = [&](const std::string& line) {
    auto text = three_lines + line + '\n';
    write_bytes(path, text);
    auto error = error_text<FormatError>([&] { MetricsLog(folder / "x", {.resume_step = 10}); });
    CHECK(read_bytes(path) == text);
    return error;
  };
  CHECK(file_of("{\"step\":1}") == path + ": line 4: json: the object has no member 'epoch'");
  CHECK(file_of("{\"step\":1,\"epoch\":1,\"seconds\":0.5,\"a\":\"nan\"}") ==
        path + ": line 4: 'a' is \"nan\", but must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
  CHECK(file_of("{\"step\":1,\"epoch\":1,\"seconds\":0.5,\"a\":[]}") ==
        path + ": line 4: json: the value is an array, but must be a number");
  CHECK(file_of("loss 0.5") == path + ": line 4: json: line 1, column 1: expected a value, found 'l'");
}

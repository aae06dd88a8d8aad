#include "gradus/train/arguments.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using training::Arguments;
using training::UsageError;

namespace {

/// The arguments of a program called with these words.
Arguments arguments_of(std::vector<const char*> words) {
  words.insert(words.begin(), "program");
  return {static_cast<int>(words.size()), words.data()};
}

}  // namespace

TEST_CASE("arguments: values, switches, numbers, and what is not given keeps its value") {
  auto given =
      arguments_of({"--out", "runs/x", "--epochs=12", "--quick", "--lr", "1e-3", "--seed", "7", "--seed", "9"});
  std::string out = "none", data = "here";
  int epochs = 1;
  uint64_t seed = 1;
  double lr = 0, decay = 0.5;
  given.read("--out", out);
  given.read("--data", data);
  given.read("--epochs", epochs, 1, 100);
  given.read("--seed", seed, 0, 1000);
  given.read("--lr", lr, 0, 1);
  given.read("--decay", decay, 0, 1);
  CHECK(given.flag("--quick"));
  CHECK(!given.flag("--fresh"));
  given.finish();
  CHECK(out == "runs/x");
  CHECK(data == "here");
  CHECK(epochs == 12);
  CHECK(seed == 9);
  CHECK(lr == 1e-3);
  CHECK(decay == 0.5);
}

TEST_CASE("arguments: what is wrong is named") {
  int epochs = 1;
  double lr = 0;
  std::string out;
  test::check_error<UsageError>(
      [&] {
        arguments_of({"--epochs", "many"}).read("--epochs", epochs, 1, 100);
      },
      "--epochs many: must be a whole number from 1 to 100");
  test::check_error<UsageError>([&] { arguments_of({"--epochs=1.5"}).read("--epochs", epochs, 1, 100); },
                                "--epochs 1.5: must be a whole number from 1 to 100");
  test::check_error<UsageError>(
      [&] {
        arguments_of({"--lr", "-1"}).read("--lr", lr, 0, 10);
      },
      "--lr -1: must be a number from 0 to 10");
  test::check_error<UsageError>([&] { arguments_of({"--out"}).read("--out", out); }, "--out needs a value");
  test::check_error<UsageError>([&] { arguments_of({"--colour"}).finish(); },
                                "unknown argument '--colour'; --help lists the options");
  test::check_error<UsageError>([&] { arguments_of({"file"}).finish(); },
                                "unknown argument 'file'; --help lists the options");
}

TEST_CASE("arguments: a program's exit status") {
  auto run = [](std::vector<const char*> words, const std::function<int(Arguments&)>& body) {
    words.insert(words.begin(), "program");
    return training::run_program("program", "", static_cast<int>(words.size()), words.data(), body);
  };
  CHECK(run({}, [](Arguments&) { return 3; }) == 3);
  CHECK(run({"--help"}, [](Arguments&) { return 3; }) == 0);
  CHECK(run({"--what"}, [](Arguments& given) { return given.finish(), 0; }) == 2);
  CHECK(run({}, [](Arguments&) -> int { throw IoError("the disk is full"); }) == 1);
}

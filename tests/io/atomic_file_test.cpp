#include <sys/resource.h>

#include <csignal>

#include "gradus/io/atomic_file.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using gradus::IoError;
using gradus::io::AtomicFile;
using gradus::test::check_error;

TEST_CASE("atomic file: nothing is seen before the commit, and nothing else is left after it") {
  gradus::test::TemporaryFolder folder;
  auto path = folder / "a.txt";
  {
    AtomicFile file(path);
    file.write("new ");
    CHECK(!std::filesystem::exists(path));
    file.write("text");
    file.commit();
  }
  CHECK(gradus::test::read_bytes(path) == "new text");
  gradus::io::write_file(path, "newer");
  CHECK(gradus::test::read_bytes(path) == "newer");
  CHECK(folder.entries() == 1);
}

TEST_CASE("atomic file: without a commit the old file stays") {
  gradus::test::TemporaryFolder folder;
  auto path = folder / "a.txt";
  gradus::io::write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("half of the n");
  }
  CHECK(gradus::test::read_bytes(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("atomic file: errors name the path and the reason") {
  gradus::test::TemporaryFolder folder;
  auto missing = folder / "no/such/a.txt";
  check_error<IoError>([&] { AtomicFile file(missing); }, "cannot write " + missing + ": No such file or directory");
  auto below_file = folder / "plain/a.txt";
  gradus::test::write_bytes(folder / "plain", "x");
  check_error<IoError>([&] { AtomicFile file(below_file); }, "cannot write " + below_file + ": Not a directory");
  check_error<IoError>([&] { AtomicFile file(folder / "."); },
                       "cannot write " + (folder / ".") + ": it is not a regular file");
  check_error<IoError>([] { AtomicFile file("/dev/null"); }, "cannot write /dev/null: it is not a regular file");
  CHECK(folder.entries() == 1);
}

TEST_CASE("atomic file: a full disk leaves the old file and nothing else") {
  gradus::test::TemporaryFolder folder;
  auto path = folder / "a.txt";
  gradus::io::write_file(path, "old");
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  check_error<IoError>([&] { gradus::io::write_file(path, std::string(5000, 'x')); },
                       "cannot write " + path + ": File too large");
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(gradus::test::read_bytes(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("atomic file: temporary names left by a dead process are passed over") {
  gradus::test::TemporaryFolder folder;
  auto path = folder / "a.txt";
  for (int i = 0; i < 64; ++i) {  // the names that this process is about to try
    gradus::test::write_bytes(path + ".tmp-" + std::to_string(getpid()) + '-' + std::to_string(i), "stale");
  }
  gradus::io::write_file(path, "new");
  CHECK(gradus::test::read_bytes(path) == "new");
}

// What the simulated card says of programs that are wrong.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/simulated_card.hpp"

namespace gradus::test {

/// What the simulated card says before it ends the process that f runs in; "" when f comes to its end.
template <class F>
std::string said_by_card(F&& f) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    try {
      f();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s", error.what());
      std::abort();
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char bytes[512];
  for (ssize_t n = 0; (n = ::read(ends[0], bytes, sizeof(bytes))) > 0;) text.append(bytes, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  const bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  CHECK(ended_well == text.empty());
  return text;
}

inline bool has_checks(std::string_view wanted = "") {
  const auto* checks = std::getenv("GRADUS_SIMULATED_CHECKS");
  return test::sees_simulated_card && (checks == nullptr ? "" : checks) == wanted;
}

}  // namespace gradus::test

#define NEEDS_SIMULATED_CARD() \
  if (!gradus::test::has_checks()) SKIP_LOUDLY("only the simulated card checks kernels")

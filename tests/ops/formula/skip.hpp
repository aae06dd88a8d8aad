// SKIP_LOUDLY(reason): ends a test case that cannot run on this machine, and says so in the output.
#pragma once

#include "tests/support/catch.hpp"

#if defined(SKIP)
#define SKIP_LOUDLY(reason) SKIP(reason)
#else
#define SKIP_LOUDLY(reason)      \
  do {                           \
    WARN("SKIPPED: " << reason); \
    return;                      \
  } while (false)
#endif

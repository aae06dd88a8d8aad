// Errors are part of the interface: tests assert their type and their whole text.
#pragma once

#include <string>

#include "gradus/core/error.hpp"
#include "tests/support/catch.hpp"

namespace gradus::test {

/// f() throws exactly an E with this text.
template <class E, class F>
void check_error(F&& f, const std::string& text) {
  try {
    f();
  } catch (const E& error) {
    CHECK(std::string(typeid(error) == typeid(E) ? "" : "a class derived from the one named") == "");
    CHECK(std::string(error.what()) == text);
    return;
  } catch (const std::exception& error) {
    FAIL_CHECK("another exception than expected: " << error.what());
    return;
  }
  FAIL_CHECK("no exception, but expected: " << text);
}

}  // namespace gradus::test

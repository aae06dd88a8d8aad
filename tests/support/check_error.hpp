// Errors are part of the interface: tests assert their type and their whole text.
#pragma once

#include <string>
#include <typeinfo>
#include <utility>

#include "gradus/core/error.hpp"
#include "tests/support/catch.hpp"

namespace gradus::test {

/// The text of the E that f throws; a failed check, and an empty text, when f throws something else or nothing.
template <class E, class F>
std::string error_text(F&& f) {
  try {
    f();
  } catch (const E& error) {
    CHECK(std::string(typeid(error) == typeid(E) ? "" : "a class derived from the one expected") == "");
    return error.what();
  } catch (const std::exception& error) {
    FAIL_CHECK("another exception than expected: " << error.what());
    return "";
  }
  FAIL_CHECK("no exception");
  return "";
}

/// f() throws exactly an E with this text.
template <class E, class F>
void check_error(F&& f, const std::string& text) {
  CHECK(error_text<E>(std::forward<F>(f)) == text);
}

/// f() throws exactly an E whose text contains `part`: for texts with measured numbers or paths in them.
template <class E, class F>
void check_error_contains(F&& f, const std::string& part) {
  auto text = error_text<E>(std::forward<F>(f));
  INFO("the text is: " << text);
  CHECK(text.find(part) != std::string::npos);
}

}  // namespace gradus::test

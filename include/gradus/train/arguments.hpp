// The command line of a program that trains: options with values, switches, help, and what is said when one is wrong.
#pragma once

#include <charconv>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::training::inline GRADUS_STABLE {

/// The command line asks for something that there is not.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace gradus::training::inline GRADUS_STABLE

namespace gradus::training::inline GRADUS_BUILD {

/// The arguments of a program: `--name value` or `--name=value`, and switches, which have no value. A program reads
/// each option that it knows and then calls finish(), which refuses the others. The last of several equal options
/// counts.
class Arguments {
 public:
  Arguments(int argc, const char* const* argv) : words_(argv + (argc > 0 ? 1 : 0), argv + argc) {
    used_.resize(words_.size());
  }

  /// Whether the switch is there.
  GRADUS_COLD bool flag(std::string_view name) {
    bool found = false;
    for (size_t i = 0; i < words_.size(); ++i) {
      if (used_[i] || words_[i] != name) continue;
      used_[i] = found = true;
    }
    return found;
  }

  /// Whether the option is there; leaves `value` as it is when not. UsageError when it has no value.
  GRADUS_COLD bool read(std::string_view name, std::string& value) {
    bool found = false;
    for (size_t i = 0; i < words_.size(); ++i) {
      std::string_view word = words_[i];
      if (used_[i] || !word.starts_with(name)) continue;
      if (word.size() > name.size() && word[name.size()] == '=') {
        value = word.substr(name.size() + 1);
        used_[i] = found = true;
      } else if (word.size() == name.size()) {
        require<UsageError>(i + 1 < words_.size(), name, " needs a value");
        value = words_[i + 1];
        used_[i] = used_[i + 1] = found = true;
      }
    }
    return found;
  }

  /// A number from low to high; UsageError when it is anything else.
  GRADUS_COLD void read(std::string_view name, double& value, double low, double high) {
    parse(name, value, low, high);
  }
  template <class Integer>
  requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>) void read(
      std::string_view name, Integer& value, std::type_identity_t<Integer> low, std::type_identity_t<Integer> high) {
    auto number = static_cast<int64_t>(value);
    parse(name, number, static_cast<int64_t>(low), static_cast<int64_t>(high));
    value = static_cast<Integer>(number);
  }

  /// UsageError that names the first argument that nothing has read.
  GRADUS_COLD void finish() const {
    for (size_t i = 0; i < words_.size(); ++i)
      require<UsageError>(used_[i], "unknown argument '", words_[i], "'; --help lists the options");
  }

 private:
  template <class Number>
  GRADUS_COLD void parse(std::string_view name, Number& value, Number low, Number high) {
    std::string text;
    if (!read(name, text)) return;
    Number number{};
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    require<UsageError>(error == std::errc() && end == text.data() + text.size() && number >= low && number <= high,
                        name, " ", text, ": must be a", std::is_integral_v<Number> ? " whole" : "", " number from ",
                        low, " to ", high);
    value = number;
  }

  std::vector<std::string> words_;
  std::vector<bool> used_;
};

/// The whole of a main function: prints `help` for --help, runs body(arguments) -> exit status, and turns exceptions
/// into a line on standard error and the exit status 1, or 2 with the help when the command line is to blame.
GRADUS_COLD inline int run_program(std::string_view name, std::string_view help, int argc, const char* const* argv,
                                   const std::function<int(Arguments&)>& body) {
  auto print = [](std::FILE* to, std::string_view text) { std::fwrite(text.data(), 1, text.size(), to); };
  try {
    Arguments arguments(argc, argv);
    if (arguments.flag("--help")) {
      print(stdout, help);
      return 0;
    }
    return body(arguments);
  } catch (const UsageError& error) {
    print(stderr, join(name, ": ", error.what(), "\n\n", help));
    return 2;
  } catch (const std::exception& error) {
    print(stderr, join(name, ": ", error.what(), '\n'));
    return 1;
  }
}

}  // namespace gradus::training::inline GRADUS_BUILD

// The exceptions of the library and the one place that throws them.
#pragma once

#include <charconv>
#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "gradus/core/config.hpp"

namespace gradus::inline GRADUS_STABLE {

/// Root of everything the library throws. The text names the operator, the values and the rule.
class GRADUS_SHARED Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text) : std::runtime_error(text), text_(text) {}
  const char* what() const noexcept override { return text_.c_str(); }
  /// Puts "LeNet.output: " in front of the text: the path of the layer in which it happened.
  GRADUS_COLD void add_context(const std::string& where) { text_ = where + ": " + text_; }

 private:
  std::string text_;
};

/// Sizes, ranks or strides that an operator cannot work with.
class GRADUS_SHARED ShapeError : public Error {
 public:
  using Error::Error;
};
/// An element type that an operator or a file does not accept.
class GRADUS_SHARED TypeError : public Error {
 public:
  using Error::Error;
};
/// An index, axis or class number out of range.
class GRADUS_SHARED IndexError : public Error {
 public:
  using Error::Error;
};
/// An option or argument outside its range.
class GRADUS_SHARED ValueError : public Error {
 public:
  using Error::Error;
};
/// A device that is absent, or tensors that live on different ones.
class GRADUS_SHARED DeviceError : public Error {
 public:
  using Error::Error;
};
/// A graph that cannot be walked: freed, changed in place, or never recorded.
class GRADUS_SHARED AutogradError : public Error {
 public:
  using Error::Error;
};
/// A NaN or infinity that an AnomalyGuard watched for.
class GRADUS_SHARED AnomalyError : public Error {
 public:
  using Error::Error;
};
/// A file that can be read but is not what its format demands.
class GRADUS_SHARED FormatError : public Error {
 public:
  using Error::Error;
};
/// A file or folder that cannot be opened, read or written.
class GRADUS_SHARED IoError : public Error {
 public:
  using Error::Error;
};

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::detail::inline GRADUS_STABLE {

inline void append(std::string& text, std::string_view part) { text += part; }
inline void append(std::string& text, const char* part) { text += part; }
inline void append(std::string& text, char part) { text += part; }
inline void append(std::string& text, bool part) { text += part ? "true" : "false"; }

template <class N>
requires std::integral<N> || std::floating_point<N> GRADUS_COLD void append(std::string& text, N number) {
  char buffer[32];
  auto end = std::to_chars(buffer, buffer + sizeof(buffer), number).ptr;
  text.append(buffer, end);
}

template <class T>
requires requires(const T& value) { to_string(value); }
GRADUS_COLD void append(std::string& text, const T& value) { text += to_string(value); }

/// A piece of a text whose type is forgotten, so that one function joins any pieces: thousands of calls cost little
/// to compile. Refers to the value.
class TextPart {
 public:
  TextPart(const char* text)
      : value_(text), append_([](std::string& to, const void* from) { to += static_cast<const char*>(from); }) {}
  template <class T>
  TextPart(const T& value)
      : value_(&value), append_([](std::string& to, const void* from) { append(to, *static_cast<const T*>(from)); }) {}

  void append_to(std::string& text) const { append_(text, value_); }

 private:
  const void* value_;
  void (*append_)(std::string&, const void*);
};

GRADUS_COLD inline std::string join_parts(std::initializer_list<TextPart> parts) {
  std::string text;
  for (const auto& part : parts) part.append_to(text);
  return text;
}

template <class E>
[[noreturn]] GRADUS_COLD void fail(std::initializer_list<TextPart> parts) {
  throw E(join_parts(parts));
}

}  // namespace gradus::detail::inline GRADUS_STABLE

namespace gradus::inline GRADUS_STABLE {

/// Joins text, numbers, shapes and whatever has a `to_string` into one string.
template <class... Parts>
std::string join(const Parts&... parts) {
  return detail::join_parts({parts...});
}

/// Throws E with the joined parts unless `ok`. Formatting costs nothing when the check passes.
template <class E, class... Parts>
GRADUS_INLINE void require(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]] {
    detail::fail<E>({parts...});
  }
}

}  // namespace gradus::inline GRADUS_STABLE

// GRADUS_FIELDS: one line in a struct names all of its data members, and everything that walks a model
// (training, saving, moving, counting, printing) uses that line. A forgotten or reordered member does not compile.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

struct FieldLayout {
  size_t offset, size, alignment;
};

/// Whether the named members, in this order, leave no room for another one between `start` and the end.
template <size_t N>
constexpr bool fields_fill(const FieldLayout (&fields)[N], size_t start, size_t total, size_t alignment) {
  auto up = [](size_t offset, size_t to) { return (offset + to - 1) / to * to; };
  auto end = start;
  for (size_t i = 0; i < N; ++i) {
    if (i == 0 ? fields[i].offset > up(end, fields[i].alignment) : fields[i].offset != up(end, fields[i].alignment))
      return false;
    end = fields[i].offset + fields[i].size;
  }
  return up(end, alignment) == total;
}

template <class T> concept HasFields = requires(T& object) {
  object.visit_fields([](std::string_view, auto&) {});
};

template <class T>
inline constexpr bool is_list = false;
template <class T, class A>
inline constexpr bool is_list<std::vector<T, A>> = true;
template <class T, size_t N>
inline constexpr bool is_list<std::array<T, N>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

inline std::string join_path(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : prefix + '.' + std::string(name);
}

/// Calls visit(path, part) for the object and everything in it, outermost first: fields by name, elements of
/// lists by number, what an optional holds under its own name. visit returns false to stay out of a part.
template <class T, class F>
void walk_fields(const std::string& path, T& object, F&& visit) {
  if (!visit(path, object)) return;
  using Plain = std::remove_const_t<T>;
  if constexpr (HasFields<T>) {
    object.visit_fields([&](std::string_view name, auto& field) { walk_fields(join_path(path, name), field, visit); });
  } else if constexpr (is_list<Plain>) {
    size_t index = 0;
    for (auto& element : object) walk_fields(join_path(path, std::to_string(index++)), element, visit);
  } else if constexpr (is_optional<Plain>) {
    if (object) walk_fields(path, *object, visit);
  } else if constexpr (requires { object.visit_erased(path, visit); }) {  // nn::Sequential
    object.visit_erased(path, visit);
  }
}

/// "LeNet" for app::LeNet: a type's name without its namespaces and template arguments.
template <class T>
std::string type_name() {
  std::string_view text = __PRETTY_FUNCTION__;  // "... [with T = app::LeNet; ...]" or "... [T = app::LeNet]"
  text.remove_prefix(text.find("T = ") + 4);
  text = text.substr(0, text.find_first_of("<;]"));
  return std::string(text.substr(text.rfind(':') + 1));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// Applies `macro` to each of up to 256 arguments.
#define GRADUS_DETAIL_PARENS ()
#define GRADUS_DETAIL_EXPAND(...) \
  GRADUS_DETAIL_EXPAND3(GRADUS_DETAIL_EXPAND3(GRADUS_DETAIL_EXPAND3(GRADUS_DETAIL_EXPAND3(__VA_ARGS__))))
#define GRADUS_DETAIL_EXPAND3(...) \
  GRADUS_DETAIL_EXPAND2(GRADUS_DETAIL_EXPAND2(GRADUS_DETAIL_EXPAND2(GRADUS_DETAIL_EXPAND2(__VA_ARGS__))))
#define GRADUS_DETAIL_EXPAND2(...) \
  GRADUS_DETAIL_EXPAND1(GRADUS_DETAIL_EXPAND1(GRADUS_DETAIL_EXPAND1(GRADUS_DETAIL_EXPAND1(__VA_ARGS__))))
#define GRADUS_DETAIL_EXPAND1(...) __VA_ARGS__
#define GRADUS_DETAIL_FOR_EACH(macro, ...) __VA_OPT__(GRADUS_DETAIL_EXPAND(GRADUS_DETAIL_STEP(macro, __VA_ARGS__)))
#define GRADUS_DETAIL_STEP(macro, first, ...) \
  macro(first) __VA_OPT__(GRADUS_DETAIL_AGAIN GRADUS_DETAIL_PARENS(macro, __VA_ARGS__))
#define GRADUS_DETAIL_AGAIN() GRADUS_DETAIL_STEP

#define GRADUS_DETAIL_LAYOUT(field) \
  {__builtin_offsetof(Self, field), sizeof(Self::field), alignof(decltype(Self::field))},
#define GRADUS_DETAIL_VISIT(field) visitor(std::string_view(#field), this->field);

#define GRADUS_DETAIL_VISITOR(constness, start, visit_base, ...)                                                    \
  template <class Visitor>                                                                                          \
  void visit_fields(Visitor&& visitor) constness {                                                                  \
    using Self = std::remove_cvref_t<decltype(*this)>;                                                              \
    _Pragma("GCC diagnostic push")                                                                                  \
        _Pragma("GCC diagnostic ignored \"-Winvalid-offsetof\"") constexpr gradus::detail::FieldLayout layout[] = { \
            GRADUS_DETAIL_FOR_EACH(GRADUS_DETAIL_LAYOUT, __VA_ARGS__)};                                             \
    _Pragma("GCC diagnostic pop") static_assert(                                                                    \
        gradus::detail::fields_fill(layout, start, sizeof(Self), alignof(Self)),                                    \
        "GRADUS_FIELDS must name every data member once, in the order of declaration "                              \
        "(GRADUS_FIELDS_OF(Base, ...) when there is a base with fields)");                                          \
    visit_base GRADUS_DETAIL_FOR_EACH(GRADUS_DETAIL_VISIT, __VA_ARGS__)                                             \
  }

/// Stands in a struct and names every data member, in order.
#define GRADUS_FIELDS(...)                                                                  \
  GRADUS_DETAIL_VISITOR(, (std::is_polymorphic_v<Self> ? sizeof(void*) : 0), , __VA_ARGS__) \
  GRADUS_DETAIL_VISITOR(const, (std::is_polymorphic_v<Self> ? sizeof(void*) : 0), , __VA_ARGS__)

/// The same in a struct derived from `Base`, whose fields come first.
#define GRADUS_FIELDS_OF(Base, ...)                                                      \
  GRADUS_DETAIL_VISITOR(, sizeof(Base), this->Base::visit_fields(visitor);, __VA_ARGS__) \
  GRADUS_DETAIL_VISITOR(const, sizeof(Base), this->Base::visit_fields(visitor);, __VA_ARGS__)

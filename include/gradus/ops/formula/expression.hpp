// The expression that a formula over Symbols writes down: its operations, tidied, and their text in CUDA C++.
#pragma once

#include <algorithm>
#include <bit>
#include <charconv>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "gradus/core/dtype.hpp"
#include "gradus/core/error.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Written on this thread for as long as the object lives; values are known by their numbers. Equal operations on
/// equal values are one value, and 0 and 1 are left out where that changes no bit: x * 1, x / 1, x - 0 and, of whole
/// numbers, x + 0 and 0 * x. Of other numbers 0 * x stays: it is NaN where x is, and on the CPU too.
class Expression {
 public:
  /// Of a formula that computes in `compute`: f32, f64, i32 or i64.
  explicit Expression(DType compute) : compute_(compute), outer_(std::exchange(active(), this)) {}
  ~Expression() { active() = outer_; }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  static Expression& current() {
    require<ValueError>(active() != nullptr, "formula: a Symbol is used, but no expression is being written");
    return *active();
  }

  // ---- leaves

  static constexpr int seed_number = -1;

  int operand(int number, bool is_bool) { return add({Form::operand, is_bool, "", number}); }
  /// The incoming gradient, dy.
  int seed() { return add({Form::operand, false, "", seed_number}); }
  /// Any C++ number, converted to the compute type as on the CPU; a bool stays one.
  template <class N>
  int literal(N number) {
    if constexpr (std::is_same_v<N, bool>) return add({Form::literal, true, "", -1, -1, -1, number});
    else return add({Form::literal, false, "", -1, -1, -1, bits_of(number)});
  }

  // ---- operations

  /// word is +, -, * or /.
  int arithmetic(const char* word, int a, int b) {
    a = number(a), b = number(b);
    auto op = *word;
    if (is_whole() && op == '*' && (is_literal(a, 0) || is_literal(b, 0))) return literal(0);
    if (is_whole() && op == '+' && is_literal(a, 0)) return b;
    if (is_whole() && op == '+' && is_literal(b, 0)) return a;
    if (op == '-' && is_literal(b, 0)) return a;
    if (op == '*' && is_literal(a, 1)) return b;
    if ((op == '*' || op == '/') && is_literal(b, 1)) return a;
    return add({Form::infix, false, word, a, b});
  }
  int negative(int a) {
    a = number(a);
    if (at(a).form == Form::prefix) return at(a).a;
    return add({Form::prefix, false, "-", a});
  }
  int comparison(const char* word, int a, int b) { return add({Form::infix, true, word, number(a), number(b)}); }
  int call(const char* function, int a) { return add({Form::call, false, function, number(a)}); }
  int call(const char* function, int a, int b) { return add({Form::call, false, function, number(a), number(b)}); }
  int power(int a, int b) {
    if (is_literal(b, 0)) return literal(1);  // NaN to the power 0 too
    if (is_literal(b, 1)) return number(a);
    if (is_literal(b, 2)) return arithmetic("*", a, a);
    return call("pow", a, b);
  }
  int choice(int condition, int a, int b) {
    truth(condition), a = number(a), b = number(b);
    if (at(condition).form == Form::literal) return at(condition).bits != 0 ? a : b;
    if (a == b) return a;
    return add({Form::choice, false, "", condition, a, b});
  }
  /// word is && or ||.
  int logical(const char* word, int a, int b) { return add({Form::infix, true, word, truth(a), truth(b)}); }
  int negation(int a) { return add({Form::prefix, true, "!", truth(a)}); }

  // ---- the text

  DType compute() const { return compute_; }
  bool is_bool(int value) const { return at(value).is_bool; }
  const char* type_of(int value) const { return is_bool(value) ? "bool" : cuda_name(compute_); }

  static std::string operand_name(int number) { return number == seed_number ? "dy" : join('x', number); }

  /// The operands on which a value depends, dy first.
  std::vector<int> operands_of(int result) const {
    std::vector<int> numbers;
    for (auto value : order_of(result)) {
      if (at(value).form == Form::operand) numbers.push_back(at(value).a);
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
  }

  /// One line for each operation on which the value depends, and a return.
  std::string body_of(int result) const {
    std::vector<std::string> names(nodes_.size());
    std::string text;
    int lines = 0;
    for (auto value : order_of(result)) {
      auto& name = names[static_cast<size_t>(value)];
      if (at(value).form == Form::operand) {
        name = operand_name(at(value).a);
      } else if (at(value).form == Form::literal) {
        name = literal_text(at(value));
      } else {
        name = join('v', lines++);
        text += join("  const ", type_of(value), ' ', name, " = ", operation_text(at(value), names), ";\n");
      }
    }
    return text + "  return " + names[static_cast<size_t>(result)] + ";\n";
  }

 private:
  enum class Form : uint8_t { operand, literal, prefix, infix, call, choice };
  struct Node {
    Form form;
    bool is_bool;
    std::string_view word;  ///< operator or function
    int a = -1, b = -1, c = -1;
    uint64_t bits = 0;  ///< of a literal, in the compute type
    friend bool operator==(const Node&, const Node&) = default;
  };

  static Expression*& active() {
    static thread_local Expression* expression = nullptr;
    return expression;
  }

  const Node& at(int value) const { return nodes_[static_cast<size_t>(value)]; }
  bool is_whole() const { return compute_ == DType::i32 || compute_ == DType::i64; }

  int add(const Node& node) {
    auto found = std::find(nodes_.begin(), nodes_.end(), node);
    auto value = static_cast<int>(found - nodes_.begin());
    if (found == nodes_.end()) nodes_.push_back(node);
    return value;
  }

  template <class N>
  uint64_t bits_of(N number) const {
    switch (compute_) {
      case DType::f32:
        return std::bit_cast<uint32_t>(static_cast<float>(number));
      case DType::f64:
        return std::bit_cast<uint64_t>(static_cast<double>(number));
      case DType::i32:
        return static_cast<uint32_t>(static_cast<int32_t>(number));
      default:
        return static_cast<uint64_t>(static_cast<int64_t>(number));
    }
  }
  /// Exactly this whole number; -0 is not 0.
  bool is_literal(int value, int wanted) const {
    return at(value).form == Form::literal && at(value).bits == bits_of(wanted);
  }

  /// A value that takes part in arithmetic; a literal true or false counts as 1 or 0.
  int number(int value) {
    if (at(value).is_bool && at(value).form == Form::literal) return literal(static_cast<int>(at(value).bits));
    require<TypeError>(!at(value).is_bool,
                       "formula: a bool is used as a number; choose one with where(condition, 1.0, 0.0)");
    return value;
  }
  int truth(int value) const {
    require<TypeError>(at(value).is_bool, "formula: a number is used as a condition; compare it, as in x != 0.0");
    return value;
  }

  /// What a value is made of, parts first. It follows from the expression alone: C++ leaves open which side of an
  /// operator runs first, and so which value is written down first.
  std::vector<int> order_of(int result) const {
    std::vector<int> order;
    std::vector<bool> seen(nodes_.size());
    auto visit = [&](auto& self, int value) -> void {
      if (value < 0 || seen[static_cast<size_t>(value)]) return;
      seen[static_cast<size_t>(value)] = true;
      const auto& node = at(value);
      if (node.form != Form::operand) {
        for (auto part : {node.a, node.b, node.c}) self(self, part);
      }
      order.push_back(value);
    };
    visit(visit, result);
    return order;
  }

  std::string operation_text(const Node& node, const std::vector<std::string>& names) const {
    auto name = [&](int value) { return value < 0 ? std::string() : names[static_cast<size_t>(value)]; };
    auto a = name(node.a), b = name(node.b);
    switch (node.form) {
      case Form::prefix:
        return is_whole() && !node.is_bool ? join("negate(", a, ')') : join(node.word, a);
      case Form::choice:
        return join(a, " ? ", b, " : ", name(node.c));
      case Form::call:
        return join(node.word, '(', a, node.b < 0 ? "" : ", ", b, ')');
      default: {
        std::string_view function = is_whole() && !node.is_bool ? whole_function(node.word) : "";
        return function.empty() ? join(a, ' ', node.word, ' ', b) : join(function, '(', a, ", ", b, ')');
      }
    }
  }
  /// Whole numbers wrap, which C++'s own operators do not promise.
  static std::string_view whole_function(std::string_view word) {
    return word == "+" ? "add" : word == "-" ? "subtract" : word == "*" ? "multiply" : "divide";
  }

  std::string literal_text(const Node& node) const {
    if (node.is_bool) return node.bits != 0 ? "true" : "false";
    switch (compute_) {
      case DType::f32:
        return real_text(std::bit_cast<float>(static_cast<uint32_t>(node.bits)), node.bits, "f", "u");
      case DType::f64:
        return real_text(std::bit_cast<double>(node.bits), node.bits, "", "ull");
      case DType::i32:
        return whole_text(static_cast<int32_t>(static_cast<uint32_t>(node.bits)), "");
      default:
        return whole_text(static_cast<int64_t>(node.bits), "ll");
    }
  }
  /// The shortest text that reads back as the same number; infinities and NaN by their bits.
  template <class C>
  static std::string real_text(C number, uint64_t bits, const char* suffix, const char* bits_suffix) {
    char buffer[40];
    if (!(number - number == 0)) {
      auto end = std::to_chars(buffer, buffer + sizeof(buffer), bits, 16).ptr;
      return join("from_bits(0x", std::string_view(buffer, static_cast<size_t>(end - buffer)), bits_suffix, ')');
    }
    std::string text(buffer, std::to_chars(buffer, buffer + sizeof(buffer), number).ptr);
    auto point = text.find_first_of(".e") == std::string::npos ? ".0" : "";
    return std::signbit(number) ? join('(', text, point, suffix, ')') : join(text, point, suffix);
  }
  template <class C>
  static std::string whole_text(C number, const char* suffix) {
    if (number >= 0) return join(number, suffix);
    // C++ has no negative literals, and the lowest number no positive twin.
    return number == std::numeric_limits<C>::min() ? join('(', number + 1, suffix, " - 1)")
                                                   : join('(', number, suffix, ')');
  }

  DType compute_;
  Expression* outer_;
  std::vector<Node> nodes_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD

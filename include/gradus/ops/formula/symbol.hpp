// Symbol: a value type that computes nothing but writes down what the formula does with it. Over Dual<Symbol> the
// same formula writes its gradient. Only programs with GPU support see this header.
#pragma once

#include "gradus/ops/formula/expression.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// A value of the expression that is being written: a number, or whether something holds.
class Symbol {
 public:
  /// A literal.
  template <class N>
  requires std::is_arithmetic_v<N> Symbol(N number) : value_(now().literal(number)) {}

  static Symbol operand(int number, bool is_bool) { return written(now().operand(number, is_bool)); }
  static Symbol seed() { return written(now().seed()); }
  int value() const { return value_; }

  friend Symbol operator+(Symbol a, Symbol b) { return written(now().arithmetic("+", a.value_, b.value_)); }
  friend Symbol operator-(Symbol a, Symbol b) { return written(now().arithmetic("-", a.value_, b.value_)); }
  friend Symbol operator*(Symbol a, Symbol b) { return written(now().arithmetic("*", a.value_, b.value_)); }
  friend Symbol operator/(Symbol a, Symbol b) { return written(now().arithmetic("/", a.value_, b.value_)); }
  friend Symbol operator-(Symbol a) { return written(now().negative(a.value_)); }

  friend Symbol operator<(Symbol a, Symbol b) { return written(now().comparison("<", a.value_, b.value_)); }
  friend Symbol operator<=(Symbol a, Symbol b) { return written(now().comparison("<=", a.value_, b.value_)); }
  friend Symbol operator>(Symbol a, Symbol b) { return written(now().comparison(">", a.value_, b.value_)); }
  friend Symbol operator>=(Symbol a, Symbol b) { return written(now().comparison(">=", a.value_, b.value_)); }
  friend Symbol operator==(Symbol a, Symbol b) { return written(now().comparison("==", a.value_, b.value_)); }
  friend Symbol operator!=(Symbol a, Symbol b) { return written(now().comparison("!=", a.value_, b.value_)); }
  friend Symbol operator&&(Symbol a, Symbol b) { return written(now().logical("&&", a.value_, b.value_)); }
  friend Symbol operator||(Symbol a, Symbol b) { return written(now().logical("||", a.value_, b.value_)); }
  friend Symbol operator!(Symbol a) { return written(now().negation(a.value_)); }
  friend Symbol where(Symbol condition, Symbol a, Symbol b) {
    return written(now().choice(condition.value_, a.value_, b.value_));
  }

  friend Symbol maximum(Symbol a, Symbol b) { return written(now().call("maximum", a.value_, b.value_)); }
  friend Symbol minimum(Symbol a, Symbol b) { return written(now().call("minimum", a.value_, b.value_)); }
  friend Symbol pow(Symbol a, Symbol b) { return written(now().power(a.value_, b.value_)); }
  friend Symbol exp(Symbol a) { return written(now().call("exp", a.value_)); }
  friend Symbol expm1(Symbol a) { return written(now().call("expm1", a.value_)); }
  friend Symbol log(Symbol a) { return written(now().call("log", a.value_)); }
  friend Symbol log1p(Symbol a) { return written(now().call("log1p", a.value_)); }
  friend Symbol tanh(Symbol a) { return written(now().call("tanh", a.value_)); }
  friend Symbol sigmoid(Symbol a) { return written(now().call("sigmoid", a.value_)); }
  friend Symbol normal_cdf(Symbol a) { return written(now().call("normal_cdf", a.value_)); }
  friend Symbol erf(Symbol a) { return written(now().call("erf", a.value_)); }
  friend Symbol sin(Symbol a) { return written(now().call("sin", a.value_)); }
  friend Symbol cos(Symbol a) { return written(now().call("cos", a.value_)); }
  friend Symbol sqrt(Symbol a) { return written(now().call("sqrt", a.value_)); }
  friend Symbol abs(Symbol a) { return written(now().call("abs", a.value_)); }
  friend Symbol floor(Symbol a) { return written(now().call("floor", a.value_)); }

 private:
  Symbol() = default;
  static Symbol written(int value) {
    Symbol symbol;
    symbol.value_ = value;
    return symbol;
  }
  static Expression& now() { return Expression::current(); }

  int value_ = 0;
};

}  // namespace gradus::detail::inline GRADUS_BUILD

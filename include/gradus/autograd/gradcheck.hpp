// Compares gradients with central differences: for operators, a user's own functions, layers and whole models.
// All arithmetic is in double, the only precision in which a difference says anything.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gradus/autograd/autograd.hpp"
#include "gradus/autograd/parameter.hpp"
#include "gradus/core/rng.hpp"

namespace gradus::inline GRADUS_BUILD {

struct GradcheckOptions {
  double step = 6e-6;         ///< of the difference: where rounding and curvature both do little, for inputs around 1
  double tolerance = 1e-6;    ///< allowed error, times max(1, |gradient|)
  int64_t max_elements = 0;   ///< of each input, spread evenly: for models too large to check every one. 0: all
  uint64_t seed = 20250331u;  ///< of the weights that make one number of the output
};

/// What a check found when nothing was wrong.
struct GradcheckReport {
  int64_t elements = 0;      ///< derivatives compared
  double largest_error = 0;  ///< of |gradient - difference| / max(1, |gradient|)
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

using Doubles = std::vector<Tensor<double>>;

/// What is checked: a number computed from the inputs, and its gradients as the library computes them.
struct GradcheckTarget {
  const char* name;
  std::function<double()> value;
  std::function<Doubles()> gradients;  ///< one an input; undefined where the number does not depend on it
};

/// In [0.5, 1.5) with either sign: errors in several elements do not cancel, and none is weighted away.
inline Tensor<double> gradcheck_weights(const Shape& shape, uint64_t seed, uint64_t stream) {
  auto weights = Tensor<double>::empty(shape);
  RandomStream random{seed, stream << 32};
  auto* to = weights.mutable_data();
  for (int64_t i = 0; i < weights.numel(); ++i) {
    auto word = random.word(i);
    to[i] = (0.5 + (word >> 8) * 0x1p-24) * ((word & 1u) != 0 ? 1 : -1);
  }
  return weights;
}

/// sum(a * b), in plain order: autograd knows no operators.
inline double weighted_sum(const Tensor<double>& a, const Tensor<double>& b) {
  auto x = a.to_vector(), y = b.to_vector();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// The position of element i in row-major order: "(2, 0)", or "()" for a scalar.
inline Shape unravel(int64_t i, const Shape& shape) {
  auto index = shape;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[axis] = i % shape[axis];
    i /= shape[axis];
  }
  return index;
}

/// Makes the inputs leaves that require a gradient for as long as a check runs, and restores the elements that it
/// moves, also after an exception.
class GradcheckInputs {
 public:
  GradcheckInputs(const char* name, Doubles inputs) : inputs_(std::move(inputs)) {
    for (const auto& input : inputs_) {
      for (int axis = 0; axis < input.rank(); ++axis) {
        require<ValueError>(input.strides()[axis] != 0 || input.size(axis) <= 1, name, ": an input of shape ",
                            input.shape(), " repeats one element along axis ", axis, "; clone() it first");
      }
    }
    for (auto& input : inputs_) {
      if (input.requires_grad()) continue;
      input.set_requires_grad();
      asked_.push_back(input);
    }
  }
  ~GradcheckInputs() {
    for (auto& input : asked_) input.set_requires_grad(false);
  }
  GradcheckInputs(const GradcheckInputs&) = delete;
  GradcheckInputs& operator=(const GradcheckInputs&) = delete;

  const Doubles& tensors() const { return inputs_; }

  struct Moved {
    double at, value;
  };
  /// f() with element i (in row-major order) of one input moved by `by`.
  Moved moved(size_t input, int64_t i, double by, const std::function<double()>& f) {
    auto& x = inputs_[input];
    auto index = unravel(i, x.shape());
    int64_t offset = 0;
    for (int axis = 0; axis < x.rank(); ++axis) offset += index[axis] * x.strides()[axis];
    NoGradGuard guard;
    struct Restore {
      double* at;
      double before;
      ~Restore() { *at = before; }
    } element{x.mutable_data() + offset, x.data()[offset]};
    *element.at += by;
    return {*element.at, f()};
  }

 private:
  Doubles inputs_, asked_;
};

inline GradcheckReport run_gradcheck(const GradcheckTarget& target, GradcheckInputs& inputs,
                                     const std::vector<std::string>& names, const GradcheckOptions& options) {
  GradcheckReport report;
  auto once = no_grad(target.value), twice = no_grad(target.value);
  require<AutogradError>(
      once == twice || (std::isnan(once) && std::isnan(twice)), target.name, ": the function gives ", once,
      " and then ", twice,
      " for the same inputs; a check needs one that repeats itself (seed its random numbers inside)");
  auto gradients = target.gradients();
  for (size_t k = 0; k < inputs.tensors().size(); ++k) {
    const auto& x = inputs.tensors()[k];
    auto analytic = gradients[k].defined() ? gradients[k].to_vector() : std::vector<double>();
    auto count = options.max_elements > 0 ? std::min(options.max_elements, x.numel()) : x.numel();
    for (int64_t j = 0; j < count; ++j) {
      auto i = j * x.numel() / count;
      auto index = unravel(i, x.shape());
      auto up = inputs.moved(k, i, options.step, target.value), down = inputs.moved(k, i, -options.step, target.value);
      auto slope = (up.value - down.value) / (up.at - down.at);
      auto gradient = analytic.empty() ? 0 : analytic[static_cast<size_t>(i)];
      auto error = std::abs(gradient - slope) / std::max(1.0, std::abs(gradient));
      require<AutogradError>(error <= options.tolerance, target.name, ": ", names[k], ", element ", index,
                             ": the gradient is ", gradient, ", but the central difference is ", slope,
                             "; they may differ by ", options.tolerance * std::max(1.0, std::abs(gradient)));
      report.largest_error = std::max(report.largest_error, error);
      ++report.elements;
    }
  }
  return report;
}

inline GradcheckReport gradcheck(const std::function<Tensor<double>()>& f, const Doubles& given,
                                 const std::vector<std::string>& names, const GradcheckOptions& options) {
  GradcheckInputs inputs("gradcheck", given);
  auto weights = gradcheck_weights(no_grad(f).shape(), options.seed, 0);
  return run_gradcheck({"gradcheck", [&] { return weighted_sum(f(), weights); },
                        [&] {
                          auto y = f();
                          return y.requires_grad() ? grad(y, inputs.tensors(), {.allow_unused = true}, weights)
                                                   : Doubles(given.size());
                        }},
                       inputs, names, options);
}

/// The number that is differentiated is sum over k of (gradient of input k) * (random directions); the incoming
/// gradient counts as one more input.
inline GradcheckReport gradgradcheck(const std::function<Tensor<double>()>& f, const Doubles& given,
                                     std::vector<std::string> names, const GradcheckOptions& options) {
  auto all = given;
  all.push_back(gradcheck_weights(no_grad(f).shape(), options.seed, 0));
  names.emplace_back("the incoming gradient");
  GradcheckInputs inputs("gradgradcheck", all);
  const Doubles wrt(inputs.tensors().begin(), inputs.tensors().end() - 1);
  const auto& dy = inputs.tensors().back();
  Doubles directions;
  for (const auto& x : wrt) directions.push_back(gradcheck_weights(x.shape(), options.seed, directions.size() + 1));
  auto first = [&](bool create_graph) {
    auto before = std::exchange(recording(), true);  // the graph of f is needed even where no second one is
    struct Restore {
      bool flag;
      ~Restore() { recording() = flag; }
    } restore{before};
    auto y = f();
    if (!y.requires_grad()) return Doubles(wrt.size());
    return grad(y, wrt, {.create_graph = create_graph, .allow_unused = true}, dy);
  };
  auto value = [&] {
    double sum = 0;
    auto gradients = first(false);
    for (size_t k = 0; k < gradients.size(); ++k) {
      if (gradients[k].defined()) sum += weighted_sum(gradients[k], directions[k]);
    }
    return sum;
  };
  auto second = [&] {
    Doubles total(all.size());
    auto gradients = first(true);
    for (size_t k = 0; k < gradients.size(); ++k) {
      if (!gradients[k].defined() || !gradients[k].requires_grad()) continue;
      auto part = grad(gradients[k], inputs.tensors(), {.retain_graph = true, .allow_unused = true}, directions[k]);
      for (size_t i = 0; i < total.size(); ++i) {
        if (!part[i].defined()) continue;
        total[i] = Tensor<double>(total[i].defined() ? add_gradients<double>(total[i].clone().impl(), part[i].impl())
                                                     : part[i].impl());
      }
    }
    return total;
  };
  return run_gradcheck({"gradgradcheck", value, second}, inputs, names, options);
}

inline std::vector<std::string> input_names(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back("input " + std::to_string(i));
  return names;
}

template <class Check, class Model, class F>
GradcheckReport check_model(const char* name, Check check, Model& model, F&& f, const GradcheckOptions& options) {
  Doubles tensors;
  std::vector<std::string> names;
  for (auto& named : named_parameters<double>(model)) {
    tensors.push_back(named.tensor);
    names.push_back(named.name);
  }
  require<TypeError>(!tensors.empty(), name, ": ", type_name<Model>(),
                     " has no parameters of type double, the only precision in which differences say anything");
  return check(std::function<Tensor<double>()>(std::forward<F>(f)), tensors, names, options);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Compares the gradients of f with central differences, element by element. f(inputs) takes a
/// `const std::vector<Tensor<double>>&` and returns a Tensor<double> of any shape, of which a fixed random weighting
/// is differentiated. Inputs should keep away from kinks (relu at 0) by more than the step. Nothing is added to any
/// grad(). Throws AutogradError that names input, element and both values.
///
///     gradcheck([](const auto& in) { return matmul(in[0], tanh(in[1])); }, {randn<double>({2, 3}), b});
template <class F>
GradcheckReport gradcheck(F&& f, const std::vector<Tensor<double>>& inputs, GradcheckOptions options = {}) {
  return detail::gradcheck([&] { return f(inputs); }, inputs, detail::input_names(inputs.size()), options);
}

/// The same one order higher: the gradients themselves, as functions of the inputs and of the incoming gradient.
template <class F>
GradcheckReport gradgradcheck(F&& f, const std::vector<Tensor<double>>& inputs, GradcheckOptions options = {}) {
  return detail::gradgradcheck([&] { return f(inputs); }, inputs, detail::input_names(inputs.size()), options);
}

/// Checks the gradients of a model's parameters (of type double), whose names stand in the error:
/// `gradcheck_model(model, [&] { return model(x); })`. f must give the same result each time it is called.
template <class Model, class F>
GradcheckReport gradcheck_model(Model& model, F&& f, GradcheckOptions options = {}) {
  return detail::check_model("gradcheck_model", detail::gradcheck, model, std::forward<F>(f), options);
}
template <class Model, class F>
GradcheckReport gradgradcheck_model(Model& model, F&& f, GradcheckOptions options = {}) {
  return detail::check_model("gradgradcheck_model", detail::gradgradcheck, model, std::forward<F>(f), options);
}

}  // namespace gradus::inline GRADUS_BUILD

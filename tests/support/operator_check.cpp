#include "tests/support/operator_check.hpp"

#include <algorithm>
#include <cstdlib>

#include "gradus/autograd/gradcheck.hpp"
#include "gradus/io/safetensors.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/threads.hpp"

namespace gradus::test {
namespace {

using Tensors = std::vector<AnyTensor>;

/// New memory is filled with NaN while one of these lives.
struct Poison {
  Poison() { set(true); }
  ~Poison() { set(false); }
  static void set(bool on) {
    detail::CachingAllocator::instance().set_poison(on);
#if defined(GRADUS_CUDA)
    if (auto device = Device::best(); !device.is_cpu()) cuda::detail::Context::of(device).set_poison(on);
#endif
  }
};

template <class F>
Tensors map(const Tensors& tensors, F&& f) {
  Tensors result;
  for (const auto& x : tensors) result.push_back(x.defined() ? f(x) : x);
  return result;
}

/// The inputs with the element types that an instantiation takes.
Tensors cast_to(const TypedOperator& op, const Tensors& inputs) {
  require<ValueError>(inputs.size() == op.operands.size(), "check_operator: the case has ", inputs.size(),
                      " inputs, but the operator takes ", op.operands.size());
  Tensors result;
  for (size_t i = 0; i < inputs.size(); ++i) result.push_back(inputs[i].cast(op.operands[i]));
  return result;
}

AnyTensor zeros_like(const AnyTensor& x) {
  return with_type(x.dtype(), [&]<class T>(T) -> AnyTensor {
    auto y = Tensor<T>::empty(x.shape());
    y.fill_(T(0));
    return y;
  });
}

/// The same memory as leaves; floating ones require a gradient: all, or number `only`.
Tensors leaves(const Tensors& inputs, int only = -1) {
  Tensors result;
  for (const auto& x : inputs) {
    result.push_back(with_type(x.dtype(), [&]<class T>(T) -> AnyTensor {
      auto leaf = x.as<T>().detach();
      if constexpr (Floating<T>) leaf.set_requires_grad(only < 0 || only == static_cast<int>(result.size()));
      return leaf;
    }));
  }
  return result;
}

template <class F>
auto with_floating(const AnyTensor& x, F&& f) {
  return with_type(x.dtype(), [&]<class T>(T t) {
    if constexpr (Floating<T>) return f(t);
    else return decltype(f(float{})){};
  });
}

/// What backward() leaves in each floating input's grad(); zeros where nothing arrived.
Tensors gradients_by_backward(const TypedOperator& op, const Tensors& inputs, const AnyTensor& dy) {
  auto x = leaves(inputs);
  auto y = op.call(x);
  with_floating(y, [&]<class T>(T) {
    if (y.as<T>().requires_grad()) y.as<T>().backward(dy.as<T>());
    return 0;
  });
  return map(x, [](const AnyTensor& leaf) {
    return with_floating(leaf, [&]<class T>(T) -> AnyTensor {
      auto gradient = leaf.as<T>().grad();
      return gradient.defined() ? AnyTensor(gradient) : zeros_like(leaf);
    });
  });
}

/// d y / d x weighted by dy, undefined where there is no dependence.
AnyTensor gradient(const AnyTensor& y, const AnyTensor& x, const AnyTensor& dy, bool create_graph) {
  if (!x.is_floating()) return {};
  return with_floating(y, [&]<class T>(T) -> AnyTensor {
    GradOptions options{.create_graph = create_graph, .retain_graph = true, .allow_unused = true};
    if (!y.as<T>().requires_grad()) return {};
    return grad(y.as<T>(), x.as<T>(), options, dy.as<T>());
  });
}

/// The gradient of each floating input when it is the only one that wants one.
Tensors gradients_one_by_one(const TypedOperator& op, const Tensors& inputs, const AnyTensor& dy) {
  Tensors result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_floating()) {
      result.emplace_back();
      continue;
    }
    auto x = leaves(inputs, static_cast<int>(i));
    auto g = gradient(op.call(x), x[i], dy, false);
    result.push_back(g.defined() ? g : zeros_like(inputs[i]));
  }
  return result;
}

struct Recorded {
  Tensors x, gradients;
};
Recorded recorded_gradients(const TypedOperator& op, const Tensors& inputs, const AnyTensor& dy) {
  auto x = leaves(inputs);
  auto y = op.call(x);
  return {x, map(x, [&](const AnyTensor& leaf) { return gradient(y, leaf, dy, true); })};
}

/// Gradients of sum over i of gradient i * direction i, in double.
Tensors second_gradients(const TypedOperator& op, const Tensors& inputs, const AnyTensor& dy,
                         const Tensors& directions) {
  auto [x, first] = recorded_gradients(op, inputs, dy);
  auto total = map(x, [](const AnyTensor& leaf) { return leaf.is_floating() ? zeros_like(leaf) : AnyTensor(); });
  for (size_t i = 0; i < x.size(); ++i) {
    if (!first[i].defined() || !first[i].as<double>().requires_grad()) continue;
    for (size_t j = 0; j < x.size(); ++j) {
      if (!x[j].is_floating()) continue;
      auto part = gradient(first[i], x[j], directions[i], false);
      if (!part.defined()) continue;
      auto values = part.values();
      auto sum = total[j].as<double>();
      auto* to = sum.mutable_data();
      for (size_t k = 0; k < values.size(); ++k) to[k] += values[k];
    }
  }
  return total;
}

/// Runs the checks of one case and collects what they say.
class CaseChecks {
 public:
  CaseChecks(const std::vector<TypedOperator>& types, const OperatorCase& operator_case, const OperatorOptions& options)
      : types_(types), case_(operator_case), options_(options) {}

  std::vector<CheckResult> run() {
    for (const auto& op : types_) {
      type_ = std::string(to_string(op.element));
      guard([&] { run_type(op); });
    }
    if (types_[0].element == DType::f64 && case_.has_gradient() && case_.smooth() && !only_on_card()) {
      type_ = "double";
      guard([&] { finite_differences(types_[0]); });
      guard([&] { second_order(types_[0]); });
    }
    return std::move(results_);
  }

  /// The same bits with any number of threads, forward and backward.
  std::vector<CheckResult> run_threads(const Tensors& inputs) {
    if (only_on_card()) return {};
    for (const auto& op : types_) {
      type_ = std::string(to_string(op.element));
      guard([&] { threads(op, cast_to(op, inputs)); });
    }
    return std::move(results_);
  }

 private:
  template <class F>
  void guard(F&& f) {
    try {
      Poison poison;
      f();
    } catch (const std::exception& error) {
      add("exception", error.what());
    }
  }
  void add(const std::string& check, std::string problem) {
    results_.push_back({type_ + " " + check, std::move(problem)});
  }
  void add_all(const std::string& check, const Tensors& got, const Tensors& want, Tolerance tolerance) {
    for (size_t i = 0; i < want.size(); ++i) {
      if (want[i].defined()) add(join(check, ' ', i), mismatch(got[i], want[i].cast(got[i].dtype()), tolerance));
    }
  }
  Tolerance tolerance(DType type, double factor = 1) const {
    if (type == DType::f64) return {factor * options_.double_tolerance};
    if (type == DType::f32) return {factor * options_.float_tolerance};
    if (type == DType::f16) return {factor * options_.bf16_tolerance / 8};  // three bits more
    return {type == DType::bf16 ? factor * options_.bf16_tolerance : 0};
  }

  void run_type(const TypedOperator& op) {
    auto inputs = cast_to(op, case_.inputs);
    auto before = map(inputs, [](const AnyTensor& x) { return x.clone(); });
    auto y = op.call(inputs);
    auto is_first = &op == &types_[0];
    // Element types other than the first are held against it, at their own rounded inputs.
    auto at_inputs = cast_to(types_[0], inputs);
    auto wanted = is_first ? case_.output : types_[0].call(at_inputs).cast(y.dtype());
    add("value", mismatch(y, wanted, tolerance(y.dtype())));
    if (is_first && !case_.smooth() && options_.signed_zeros) add("sign of zeros", sign_mismatch(y, wanted));
    auto unchanged = [&] {
      for (size_t i = 0; i < inputs.size(); ++i) {
        add(join("input ", i, " stays as it was"), bit_mismatch(inputs[i], before[i]));
      }
    };
    unchanged();
    if (only_on_card()) return on_card(op, inputs, y, Device::cuda());
    layouts(op, inputs, y);
    if (auto device = Device::best(); options_.gpu && !device.is_cpu()) on_card(op, inputs, y, device);
    if (options_.pointwise) positions(op, inputs, y);
    if (case_.has_gradient() && y.is_floating()) {
      auto dy = case_.dy.cast(y.dtype());
      auto first = is_first ? case_.gradients
                            : gradients_by_backward(types_[0], at_inputs, dy.cast(types_[0].call(at_inputs).dtype()));
      gradients(op, inputs, dy, first);
    }
    unchanged();
  }

  void gradients(const TypedOperator& op, const Tensors& inputs, const AnyTensor& dy, const Tensors& wanted) {
    auto allowed = tolerance(op.element, 10);
    auto by_backward = gradients_by_backward(op, inputs, dy);
    add_all("gradient", by_backward, wanted, allowed);
    add_all("gradient wanted alone", gradients_one_by_one(op, inputs, dy), by_backward, allowed);
    auto recorded = map(recorded_gradients(op, inputs, dy).gradients, [](const AnyTensor& g) { return g.clone(); });
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].is_floating() && !recorded[i].defined()) recorded[i] = zeros_like(inputs[i]);
    }
    add_all("recorded gradient", recorded, by_backward, allowed);
    add_all("gradient of scattered inputs", gradients_by_backward(op, map(inputs, scattered), scattered(dy)),
            by_backward, allowed);
    add_all("gradient of gapped inputs", gradients_by_backward(op, map(inputs, gapped), gapped(dy)), by_backward,
            allowed);
  }

  void layouts(const TypedOperator& op, const Tensors& inputs, const AnyTensor& y) {
    auto compare = [&](const std::string& check, const Tensors& changed) {
      auto got = op.call(changed);
      add(check, options_.pointwise ? bit_mismatch(got, y) : mismatch(got, y, tolerance(y.dtype())));
    };
    compare("scattered inputs", map(inputs, scattered));
    compare("gapped inputs", map(inputs, gapped));
    if (inputs.size() < 2) return;
    for (size_t i = 0; i < inputs.size(); ++i) {
      auto mixed = inputs;
      mixed[i] = scattered(inputs[i]);
      compare(join("input ", i, " scattered"), mixed);
    }
  }

  /// For a second run of the tests that is about the GPU alone.
  bool only_on_card() const { return options_.gpu && std::getenv("GRADUS_TEST_ONLY_GPU") != nullptr; }

  /// The same on a GPU: values and gradients, of inputs as they are and scattered over memory.
  void on_card(const TypedOperator& op, const Tensors& inputs, const AnyTensor& y, Device device) {
#if defined(GRADUS_CUDA)
    // Each tensor has memory of its own, so that the simulated card sees one byte too far.
    if (sees_simulated_card) cuda::detail::Context::of(device).memory().set_keep(false);
#endif
    auto near = [](const AnyTensor& x) { return x.clone(); };
    auto dy = case_.has_gradient() && y.is_floating() ? case_.dy.cast(y.dtype()) : AnyTensor();
    auto wanted = dy.defined() ? gradients_by_backward(op, inputs, dy) : Tensors();
    // Sums are in another order, and mathematics is the card's own.
    auto allowed = [&](DType type, double factor) {
      return tolerance(type, size_of(type) == 2 ? factor : 20 * factor);
    };
    auto check = [&](const std::string& name, auto&& far) {
      guard([&] {
        auto there = map(inputs, far);
        add("on a GPU, " + name, mismatch(op.call(there).clone(), y, allowed(y.dtype(), 1)));
        if (!dy.defined()) return;
        add_all("gradient on a GPU, " + name, map(gradients_by_backward(op, there, far(dy)), near), wanted,
                allowed(op.element, 10));
        if (name != "dense") return;
        auto recorded = map(recorded_gradients(op, there, far(dy)).gradients, near);
        for (size_t i = 0; i < inputs.size(); ++i) {
          if (inputs[i].is_floating() && !recorded[i].defined()) recorded[i] = zeros_like(inputs[i]);
        }
        add_all("recorded gradient on a GPU", recorded, wanted, allowed(op.element, 10));
      });
    };
    check("dense", [&](const AnyTensor& x) { return on_device(x.clone(), device); });
    check("scattered", [&](const AnyTensor& x) { return on_device(scattered(x), device); });
    auto is_image = [](const AnyTensor& x) { return x.shape().rank() == 4; };
    if (std::any_of(inputs.begin(), inputs.end(), is_image))
      check("channels last", [&](const AnyTensor& x) { return channels_last(on_device(x.clone(), device)); });
  }

  /// Inputs broadcast by hand and laid out as vectors.
  static Tensors flattened(const Tensors& inputs, const Shape& shape) {
    return map(inputs, [&](const AnyTensor& x) { return repeated(broadcast(x, shape), shape.numel()); });
  }

  void positions(const TypedOperator& op, const Tensors& inputs, const AnyTensor& y) {
    auto n = y.numel();
    if (n == 0) return;
    auto flat = flattened(inputs, y.shape());
    auto whole = op.call(flat);
    add("broadcast by hand", bit_mismatch(whole, repeated(y, n)));
    auto with_gradient = case_.has_gradient() && y.is_floating();
    auto dy = with_gradient ? repeated(case_.dy, n).cast(y.dtype()) : AnyTensor();
    auto whole_gradient = with_gradient ? gradients_by_backward(op, flat, dy) : Tensors();
    for (int64_t first : {0, 1, 2, 5}) {
      for (int64_t count = 1; count <= std::min<int64_t>(n - first, 35); ++count) {
        auto cut = [&](const AnyTensor& x) { return part_of(x, first, count); };
        auto where = join("elements ", first, " to ", first + count - 1, " alone");
        add(where, bit_mismatch(op.call(map(flat, cut)), cut(whole)));
        if (!with_gradient || count % 5 != 1) continue;
        auto part = gradients_by_backward(op, map(flat, cut), cut(dy));
        for (size_t i = 0; i < part.size(); ++i) {
          if (part[i].defined())
            add(join("gradient ", i, " of ", where), bit_mismatch(part[i], cut(whole_gradient[i])));
        }
      }
    }
    constexpr int64_t many = 40000;
    auto large = map(flat, [](const AnyTensor& x) { return repeated(x, many); });
    add("repeated", bit_mismatch(op.call(large), repeated(whole, many)));
    threads(op, large);
    threads(op, map(large, scattered));
  }

  void threads(const TypedOperator& op, const Tensors& inputs) {
    auto run = [&](int count) {
      Threads threads(count);
      auto y = op.call(inputs);
      Tensors all{y};
      if (y.is_floating()) {
        auto weights = AnyTensor(detail::gradcheck_weights(y.shape(), 1, 0)).cast(y.dtype());
        for (auto& gradient : gradients_by_backward(op, inputs, weights)) all.push_back(gradient);
      }
      return all;
    };
    auto alone = run(1);
    for (int count : {2, 3}) {
      auto together = run(count);
      for (size_t i = 0; i < alone.size(); ++i) {
        auto what = i == 0 ? std::string("value") : join("gradient ", i - 1);
        if (alone[i].defined()) add(join(what, " with ", count, " threads"), bit_mismatch(together[i], alone[i]));
      }
    }
  }

  void finite_differences(const TypedOperator& op) {
    std::vector<Tensor<double>> moved;
    for (const auto& x : case_.inputs) {
      if (x.is_floating()) moved.push_back(x.clone().as<double>());
    }
    auto f = [&](const std::vector<Tensor<double>>& in) {
      Tensors all;
      size_t next = 0;
      for (const auto& x : case_.inputs) all.push_back(x.is_floating() ? AnyTensor(in[next++]) : x);
      return op.call(cast_to(op, all)).as<double>();
    };
    auto check = [&](const std::string& name, auto&& run) {
      try {
        run();
        add(name, "");
      } catch (const AutogradError& error) {
        add(name, error.what());
      }
    };
    check("finite differences", [&] { gradcheck(f, moved); });
    check("finite differences of the gradient", [&] { gradgradcheck(f, moved, {.tolerance = 1e-5}); });
  }

  void second_order(const TypedOperator& op) {
    auto second = second_gradients(op, case_.inputs, case_.dy, case_.directions);
    add_all("second gradient", second, case_.seconds, tolerance(DType::f64, 100));
  }

  const std::vector<TypedOperator>& types_;
  const OperatorCase& case_;
  const OperatorOptions& options_;
  std::string type_;
  std::vector<CheckResult> results_;
};

AnyTensor load(const io::SafeTensors& file, const std::string& name) {
  if (!file.contains(name)) return {};
  auto type = file.dtype(name);
  if (type == "F64") return file.get<double>(name);
  if (type == "F32") return file.get<float>(name);
  if (type == "BF16") return file.get<bf16>(name);
  if (type == "F16") return file.get<f16>(name);
  if (type == "I64") return file.get<int64_t>(name);
  if (type == "I32") return file.get<int32_t>(name);
  if (type == "U8") return file.get<uint8_t>(name);
  return file.get<bool>(name);
}

/// "relu" for ".../tests/ops/pointwise/relu_test.cpp".
std::string golden_name(const std::string& test) {
  auto name = test.substr(test.find_last_of('/') + 1);
  return name.substr(0, name.rfind("_test.cpp"));
}

}  // namespace

bool OperatorCase::smooth() const {
  return std::any_of(seconds.begin(), seconds.end(), [](const AnyTensor& second) { return second.defined(); });
}

std::vector<CheckResult> run_checks(const std::vector<TypedOperator>& types, const OperatorCase& operator_case,
                                    const OperatorOptions& options) {
  return CaseChecks(types, operator_case, options).run();
}

std::vector<CheckResult> run_large_checks(const std::vector<TypedOperator>& types, const OperatorOptions& options) {
  return CaseChecks(types, {}, options).run_threads(options.large);
}

std::vector<OperatorCase> golden_cases(const std::string& group, const std::string& test) {
  auto file = io::SafeTensors::read(std::string(GRADUS_TEST_GOLDEN_DIR) + "/" + golden_name(test) + ".safetensors");
  std::vector<OperatorCase> cases;
  for (int number = 0; file.contains(join(group, '/', number, "/output")); ++number) {
    auto prefix = join(group, '/', number, '/');
    OperatorCase one{
        prefix.substr(0, prefix.size() - 1), {}, load(file, prefix + "output"), load(file, prefix + "dy"), {}, {}, {}};
    for (int i = 0; file.contains(join(prefix, "input", i)); ++i) {
      one.inputs.push_back(load(file, join(prefix, "input", i)));
      one.gradients.push_back(load(file, join(prefix, "gradient", i)));
      one.directions.push_back(load(file, join(prefix, "direction", i)));
      one.seconds.push_back(load(file, join(prefix, "second", i)));
    }
    cases.push_back(std::move(one));
  }
  require<IndexError>(!cases.empty(), "golden: ", file.path(), " has no cases called '", group, "'");
  return cases;
}

void check_cases(const std::string& group, const std::vector<TypedOperator>& types, const OperatorOptions& options,
                 const char* test) {
  auto report = [](const std::string& name, const std::vector<CheckResult>& results) {
    for (const auto& result : results) {
      INFO(name << ": " << result.check);
      CHECK(result.problem == "");
    }
  };
  for (const auto& one : golden_cases(group, test)) report(one.name, run_checks(types, one, options));
  if (!options.large.empty()) report(group + " (large)", run_large_checks(types, options));
}

}  // namespace gradus::test

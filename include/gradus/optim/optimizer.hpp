// What all optimizers share: handles of a model's parameters, and one sweep over all of them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "gradus/autograd/parameter.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/tensor/creation.hpp"

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// One parameter with the N running values that its optimizer keeps of each element.
template <Floating T, size_t N>
struct Slot {
  using C = Compute<T>;
  std::string name;
  Tensor<T> parameter;
  std::array<Tensor<C>, N> state;  ///< undefined until the parameter's first step
  Tensor<C> master;                ///< of bf16 parameters: the exact values
  uint32_t version = 0;  ///< of the parameter after the last step; another one means that somebody assigned to it
  int64_t steps = 0;
};

/// Memory of one parameter in a sweep.
template <Floating T, size_t N>
struct SweepPart {
  using C = Compute<T>;
  T* parameter;
  C* master;  ///< null where T computes as itself
  const T* gradient;
  std::array<C*, N> state;
  int64_t first;  ///< number of its first element among those of all parts
  int64_t n;
  int64_t step;  ///< 1 in the parameter's first step
};

/// Base of the optimizers. Update gives, for registers: update(part, p, g, states) -> new p, changing the states.
template <Floating T, size_t N>
class Optimizer {
 public:
  using C = Compute<T>;

  /// Clears the collected gradients, so that the next backward() starts from nothing.
  void zero_grad() {
    for (auto& slot : slots_) slot.parameter.set_grad({});
  }
  double lr() const { return lr_; }
  void set_lr(double lr) { lr_ = lr; }

 protected:
  template <class Model>
  Optimizer(const char* name, Model& model, double lr) : name_(name), lr_(lr) {
    gradus::detail::name_parts(model);
    require<ValueError>(lr >= 0, name, ": the learning rate is ", lr, ", but must not be negative");
    gradus::detail::for_each_model_tensor(model, [&](const std::string& path, auto& part) {
      using Part = std::remove_cvref_t<decltype(part)>;
      if constexpr (Part::trained) {
        require<TypeError>(std::is_same_v<typename Part::value_type, T>, name, ": parameter ", path, " is of ",
                           dtype_of<typename Part::value_type>, ", but this optimizer trains ", dtype_of<T>,
                           "; name the type, as in optim::", name, '<', dtype_of<typename Part::value_type>, '>');
        if constexpr (std::is_same_v<typename Part::value_type, T>) add(path, part.tensor());
      }
    });
    require<ValueError>(!slots_.empty(), name, ": the model has no parameters to train");
  }

  /// Applies `update` to every parameter that has a gradient, in one sweep over all elements.
  template <class Update>
  void sweep(Update&& update) {
    NoGradGuard guard;
    require_living_model();
    parts_.clear();
    kept_.clear();
    int64_t total = 0;
    for (auto& slot : slots_) {
      auto gradient = slot.parameter.grad();
      if (!gradient.defined() || slot.parameter.numel() == 0) continue;
      kept_.push_back(contiguous(gradient));
      parts_.push_back(prepare(slot, kept_.back(), total));
      total += slot.parameter.numel();
    }
    parallel_for(total, 16384, [&](int64_t first, int64_t last) {
      auto part =
          std::upper_bound(parts_.begin(), parts_.end(), first, [](int64_t i, const auto& p) { return i < p.first; }) -
          1;
      for (; first < last; ++part) {
        auto end = std::min(last, part->first + part->n);
        run(*part, first - part->first, end - part->first, update);
        first = end;
      }
    });
    kept_.clear();
  }

  std::vector<Slot<T, N>> slots_;

 private:
  void add(const std::string& path, const Tensor<T>& parameter) {
    require<ValueError>(parameter.is_contiguous(), name_, ": parameter ", path, " is not contiguous");
    slots_.push_back({path, parameter, {}, {}, 0, 0});
  }

  void require_living_model() const {
    for (const auto& slot : slots_) {
      if (!slot.parameter.impl().unique()) return;
    }
    require<ValueError>(false, name_,
                        ": the model whose parameters it trains is gone: make the optimizer after the model, and "
                        "assign to the model instead of replacing it");
  }

  SweepPart<T, N> prepare(Slot<T, N>& slot, const Tensor<T>& gradient, int64_t first) {
    SweepPart<T, N> part{};
    auto known = slot.parameter.impl()->storage->version() == slot.version;
    part.parameter = slot.parameter.mutable_data();
    if constexpr (!std::is_same_v<T, C>) {
      if (!slot.master.defined() || !known) {
        slot.master = Tensor<C>::empty(slot.parameter.shape());
        gradus::detail::cast_elements<C, T>(*slot.master.impl(), *slot.parameter.impl());
      }
      part.master = reinterpret_cast<C*>(slot.master.impl()->data());
    }
    static_cast<void>(known);
    slot.version = slot.parameter.impl()->storage->version();
    for (size_t i = 0; i < N; ++i) {
      if (!slot.state[i].defined()) slot.state[i] = zeros<C>(slot.parameter.shape());
      part.state[i] = reinterpret_cast<C*>(slot.state[i].impl()->data());
    }
    part.gradient = gradient.data();
    part.first = first;
    part.n = slot.parameter.numel();
    part.step = ++slot.steps;
    return part;
  }

  template <class Update>
  static void run(const SweepPart<T, N>& part, int64_t from, int64_t to, Update&& update) {
    using gradus::detail::load_some, gradus::detail::store_some, gradus::detail::simd_lanes, gradus::detail::Simd;
    for (auto i = from; i < to; i += simd_lanes) {
      auto count = std::min<int64_t>(simd_lanes, to - i);
      std::array<Simd<C>, N> state;
      for (size_t k = 0; k < N; ++k) state[k] = load_some<C>(part.state[k] + i, count);
      auto gradient = load_some<C>(part.gradient + i, count);
      if constexpr (std::is_same_v<T, C>) {
        store_some(update(part, load_some<C>(part.parameter + i, count), gradient, state), part.parameter + i, count);
      } else {
        auto value = update(part, load_some<C>(part.master + i, count), gradient, state);
        store_some(value, part.master + i, count);
        store_some(value, part.parameter + i, count);
      }
      for (size_t k = 0; k < N; ++k) store_some(state[k], part.state[k] + i, count);
    }
  }

  const char* name_;
  double lr_;
  std::vector<SweepPart<T, N>> parts_;
  std::vector<Tensor<T>> kept_;  // gradients, for the time of a sweep
};

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

// What all optimizers share: handles of a model's parameters, groups of them with options of their own, and one sweep
// over all.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "gradus/autograd/parameter.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/optim/stochastic_rounding.hpp"
#include "gradus/tensor/creation.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/live_stream.hpp"
#include "gradus/optim/sweep_cuda.hpp"
#endif

namespace gradus::optim::inline GRADUS_BUILD {

/// Options of their own for the parameters that `select` picks by path ("conv1.weight") and shape.
template <class Options>
struct ParameterGroup {
  std::function<bool(const std::string& path, const Shape& shape)> select;
  Options options;
};

/// For ParameterGroup: biases and what scales or shifts a normalisation, which are commonly spared weight decay.
inline bool is_vector(const std::string&, const Shape& shape) { return shape.rank() < 2; }

}  // namespace gradus::optim::inline GRADUS_BUILD

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// One parameter with the N running values that its optimizer keeps of each element.
template <Floating T, size_t N>
struct Slot {
  using C = Compute<T>;
  std::string name;
  Tensor<T> parameter;
  std::array<Tensor<C>, N> state;  ///< undefined until the parameter's first step
  Tensor<C> master;                ///< of bf16 and f16 parameters: the exact values, unless they are rounded at random
  uint32_t version = 0;  ///< of the parameter after the last step; another one means that somebody assigned to it
  int64_t steps = 0;
  size_t group = 0;
};

/// Memory of one parameter in a sweep.
template <Floating T, size_t N>
struct SweepPart {
  using C = Compute<T>;
  T* parameter;
  C* master;  ///< null where T computes as itself, and where results are rounded at random
  const T* gradient;
  std::array<C*, N> state;
  int64_t first;  ///< number of its first element among those of all parts
  int64_t n;
  int64_t step;  ///< 1 in the parameter's first step
  size_t group;
  int64_t words;  ///< number of its first random word among those of the sweep; -1: results are rounded to nearest
};

/// Elements [from, to) of one parameter. Rule(numbers) gives, for registers, update(p, g, states) -> new p, which
/// changes the states.
template <class Rule, Floating T, size_t N>
void sweep_part(const SweepPart<T, N>& part, int64_t from, int64_t to, double gradient_factor,
                const RandomStream& stream, const std::array<double, 8>& numbers) {
  using gradus::detail::load_some, gradus::detail::store_some, gradus::detail::simd_lanes;
  using C = Compute<T>;
  using S = gradus::detail::Simd<C>;
  constexpr bool rounded = !std::is_same_v<T, C>;
  [[maybe_unused]] WordsInOrder words(stream);
  const Rule update(numbers);
  const S factor(gradient_factor);
  // Copies, which what is stored cannot change.
  auto* const parameter = part.parameter;
  auto* const gradients = part.gradient;
  auto* const exact = part.master;
  const auto states = part.state;
  const auto first_word = part.words;
  auto at_random = [&](const S& value, int64_t i, int64_t count) {
    if constexpr (rounded) {
      alignas(64) C lanes[simd_lanes];
      value.store(lanes);
      auto* word = words.at(first_word + i, count);
      for (int64_t k = 0; k < count; ++k) parameter[i + k] = round_at_random(lanes[k], word[k], T());
    }
  };
  // Compiled for whole registers apart from the last one, which is filled in part.
  auto step = [&](int64_t i, int64_t count) GRADUS_INLINE_LAMBDA {
    std::array<S, N> state;
    GRADUS_UNROLL
    for (size_t k = 0; k < N; ++k) state[k] = load_some<C>(states[k] + i, count);
    auto gradient = load_some<C>(gradients + i, count) * factor;
    auto from_exact = rounded && first_word < 0;
    S old;
    if (from_exact) old = load_some<C>(exact + i, count);
    else old = load_some<C>(parameter + i, count);
    auto value = update(old, gradient, state);
    GRADUS_UNROLL
    for (size_t k = 0; k < N; ++k) store_some(state[k], states[k] + i, count);
    if (from_exact) store_some(value, exact + i, count);
    if (!rounded || from_exact) store_some(value, parameter + i, count);
    else at_random(value, i, count);
  };
  auto whole = from + (to - from) / simd_lanes * simd_lanes;
  for (auto i = from; i < whole; i += simd_lanes) step(i, simd_lanes);
  if (whole < to) step(whole, to - whole);
}

/// Base of the optimizers. Group 0 holds the parameters that no other group picks.
template <Floating T, size_t N, class Options>
class Optimizer {
 public:
  using C = Compute<T>;

  /// Clears the collected gradients, so that the next backward() starts from nothing.
  void zero_grad() {
    for (auto& slot : slots_) {
      if (slot.parameter.requires_grad()) slot.parameter.set_grad({});
    }
  }
  /// Learning rate of the parameters that no group picks.
  double lr() const { return lr_; }
  /// The rates of groups change in proportion.
  void set_lr(double lr) { lr_ = lr; }

  /// Internal, for LossScaler: the gradients that there are; those that are not dense become so.
  std::vector<Tensor<T>> dense_gradients() {
    std::vector<Tensor<T>> gradients;
    for (auto& slot : slots_) {
      auto gradient = slot.parameter.grad();
      if (!gradient.defined()) continue;
      if (!gradient.is_contiguous()) slot.parameter.set_grad(gradient = gradient.clone());
      gradients.push_back(gradient);
    }
    return gradients;
  }
  /// Internal: what step() multiplies gradients by.
  void set_gradient_factor(double factor) { gradient_factor_ = factor; }

  /// Internal: what a checkpoint holds. visitor(name, number), visitor.tensor(name, tensor made later, shape).
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    visitor("lr", lr_);
    for (auto& slot : slots_) {
      visitor(join(slot.name, ".steps"), slot.steps);
      for (size_t i = 0; i < N; ++i)
        visitor.tensor(join(slot.name, '.', state_names_[i]), slot.state[i], slot.parameter.shape());
      if constexpr (!std::is_same_v<T, C>) {
        if (!options_[slot.group].stochastic_rounding)
          visitor.tensor(join(slot.name, ".master"), slot.master, slot.parameter.shape());
      }
    }
    visitor.finally([this] {
      for (auto& slot : slots_) slot.version = slot.parameter.impl()->storage->version();
    });
  }

 protected:
  GRADUS_COLD Optimizer(const char* name, std::array<const char*, N> state_names,
                        const std::vector<gradus::detail::NamedImpl>& tensors, const Options& options,
                        const std::vector<ParameterGroup<Options>>& groups)
      : name_(name), state_names_(state_names), lr_(options.lr), options_{options} {
    for (const auto& group : groups) options_.push_back(group.options);
    for (const auto& one : options_) {
      require<ValueError>(one.lr >= 0, name, ": the learning rate is ", one.lr, ", but must not be negative");
      require<ValueError>(HalfWidth<T> || !one.stochastic_rounding, name,
                          ": stochastic_rounding is for bf16 and f16; leave it out for ", dtype_of<T>);
    }
    require<ValueError>(groups.empty() || lr_ > 0, name,
                        ": the learning rate is 0, but with groups must be above: theirs change in proportion");
    for (const auto& [path, impl, trained] : tensors) {
      if (!trained || !impl->node) continue;  // frozen
      require<TypeError>(impl->dtype == dtype_of<T>, name, ": parameter ", path, " is of ", impl->dtype,
                         ", but this optimizer trains ", dtype_of<T>, "; name the type, as in optim::", name, '<',
                         impl->dtype, '>');
      add(path, Tensor<T>(impl), groups);
    }
    require<ValueError>(!slots_.empty(), name, ": the model has no parameters to train");
    for (size_t group = 1; group < options_.size(); ++group) {
      auto in_it = [group](const auto& slot) { return slot.group == group; };
      require<ValueError>(std::any_of(slots_.begin(), slots_.end(), in_it), name, ": group ", group - 1,
                          " picks no parameter, or only what groups before it pick");
    }
  }

  /// The model's tensors, for the constructor; their errors name their places from now on.
  template <class Model>
  static std::vector<gradus::detail::NamedImpl> tensors_of(Model& model) {
    gradus::detail::name_parts(model);
    return gradus::detail::model_tensors(model);
  }

  const std::vector<Options>& group_options() const { return options_; }
  /// Learning rate of a group now.
  double group_lr(size_t group) const { return group == 0 ? lr_ : lr_ * (options_[group].lr / options_[0].lr); }

  /// Updates every parameter that has a gradient, in one sweep over all elements, by Rule<Simd>: as sweep_part has it.
  /// numbers_of(part) gives its numbers, from which a GPU's kernel computes the same. again() is the step itself, for a
  /// captured one.
  template <class Rule, class Numbers, class Again>
  void sweep(Numbers&& numbers_of, Again&& again) {
    NoGradGuard guard;
    require_living_model();
    parts_.clear();
    kept_.clear();
    int64_t total = 0, words = 0;
#if defined(GRADUS_CUDA)
    if (replay_.parts != nullptr) return go_on(numbers_of);
#endif
    std::vector<size_t> moved;  // numbers of slots
    Undo undo{*this, moved};
    for (auto& slot : slots_) {
      auto gradient = slot.parameter.grad();
      if (!gradient.defined() || slot.parameter.numel() == 0) continue;
      require<DeviceError>(gradient.device() == slot.parameter.device(), name_, ": parameter ", slot.name, " is on ",
                           slot.parameter.device(), " but its gradient on ", gradient.device());
      moved.push_back(static_cast<size_t>(&slot - slots_.data()));
      kept_.push_back(contiguous(gradient).impl());
      parts_.push_back(prepare(slot, reinterpret_cast<const T*>(kept_.back()->data()), total));
      total += slot.parameter.numel();
      if (options_[slot.group].stochastic_rounding) {
        parts_.back().words = words;
        words += (slot.parameter.numel() + 3) / 4 * 4;
      }
    }
    auto stream = words > 0 ? default_generator().reserve(words) : RandomStream{};
    static_cast<void>(again);
#if defined(GRADUS_CUDA)
    if (!parts_.empty() && !slots_.front().parameter.device().is_cpu()) {
      std::vector<CardPart> parts;
      for (const auto& part : parts_) {
        CardPart one{part.parameter, part.master, part.gradient, {}, part.n, {}, part.words};
        std::copy(part.state.begin(), part.state.end(), one.states);
        auto numbers = numbers_of(part);
        std::copy(numbers.begin(), numbers.end(), one.numbers);
        parts.push_back(one);
      }
      auto device = slots_.front().parameter.device();
      std::shared_ptr<std::vector<CardPart>> live;
      std::shared_ptr<const RandomStream> live_stream;
      if (words > 0) live_stream = gradus::detail::live_stream(name_, device, stream, words);
      if (auto& context = gradus::cuda::detail::Context::of(device); context.capturing()) {
        live = std::make_shared<std::vector<CardPart>>(parts);
        context.on_replay([this, name = name_, alive = std::weak_ptr(alive_.token), live, moved, again] {
          require<CaptureError>(!alive.expired(), "the ", name, " that a captured step uses is gone or has moved");
          struct End {
            Replay& replay;
            ~End() { replay = {}; }
          } end{replay_};
          replay_ = {live.get(), &moved};
          again();
        });
      }
      sweep_on_card(name_, device, dtype_of<T>, static_cast<CardRule>(Rule::number), parts, live, gradient_factor_,
                    stream, live_stream);
      undo.done = true;
      return;
    }
#endif
    parallel_for(total, 16384, [&](int64_t first, int64_t last) {
      auto part =
          std::upper_bound(parts_.begin(), parts_.end(), first, [](int64_t i, const auto& p) { return i < p.first; }) -
          1;
      for (; first < last; ++part) {
        auto end = std::min(last, part->first + part->n);
        sweep_part<Rule>(*part, first - part->first, end - part->first, gradient_factor_, stream, numbers_of(*part));
        first = end;
      }
    });
    undo.done = true;
  }

  std::vector<Slot<T, N>> slots_;

 private:
  GRADUS_COLD void add(const std::string& path, const Tensor<T>& parameter,
                       const std::vector<ParameterGroup<Options>>& groups) {
    require<ValueError>(parameter.is_contiguous(), name_, ": parameter ", path, " is not contiguous");
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& one) { return one.select(path, parameter.shape()); });
    auto index = group == groups.end() ? 0 : static_cast<size_t>(group - groups.begin()) + 1;
    slots_.push_back({path, parameter, {}, {}, 0, 0, index});
  }

#if defined(GRADUS_CUDA)
  /// Before a captured step is replayed: counts a step and gives its kernels their numbers.
  template <class Numbers>
  void go_on(Numbers&& numbers_of) {
    for (size_t i = 0; i < replay_.moved->size(); ++i) {
      auto numbers = numbers_of(prepare(slots_[(*replay_.moved)[i]], nullptr, 0));
      std::copy(numbers.begin(), numbers.end(), (*replay_.parts)[i].numbers);
    }
  }
  struct Replay {
    std::vector<CardPart>* parts = nullptr;
    const std::vector<size_t>* moved = nullptr;  // numbers of slots
  };
  /// Expires when its owner goes or is moved from.
  struct Alive {
    std::shared_ptr<int> token = std::make_shared<int>();
    Alive() = default;
    Alive(const Alive&) {}
    Alive& operator=(const Alive&) { return *this; }
    Alive(Alive&& other) noexcept { other.token.reset(); }
    Alive& operator=(Alive&& other) noexcept {
      token = std::make_shared<int>();
      other.token.reset();
      return *this;
    }
    ~Alive() = default;
  };
  Replay replay_;
  Alive alive_;
#endif

  /// A step that fails holds no gradients and is not counted.
  struct Undo {
    Optimizer& optimizer;
    const std::vector<size_t>& moved;
    bool done = false;
    ~Undo() {
      optimizer.kept_.clear();
      for (size_t i = 0; !done && i < optimizer.parts_.size(); ++i) --optimizer.slots_[moved[i]].steps;
    }
  };

  void require_living_model() const {
    for (const auto& slot : slots_) {
      if (!slot.parameter.impl().unique()) return;
    }
    require<ValueError>(false, name_,
                        ": the model whose parameters it trains is gone: make the optimizer after the model, and "
                        "assign to the model instead of replacing it");
  }

  SweepPart<T, N> prepare(Slot<T, N>& slot, const T* gradient, int64_t first) {
    SweepPart<T, N> part{};
    auto known = slot.parameter.impl()->storage->version() == slot.version;
    auto device = slot.parameter.device();
    require<DeviceError>(device == slots_.front().parameter.device(), name_, ": parameter ", slot.name, " is on ",
                         device, " and ", slots_.front().name, " on ", slots_.front().parameter.device());
    for (auto& state : slot.state) {  // the model may have moved
      if (state.defined()) state = state.to(device);
    }
    if (slot.master.defined()) slot.master = slot.master.to(device);
    part.parameter = slot.parameter.mutable_data();
    if constexpr (!std::is_same_v<T, C>) {
      if (!options_[slot.group].stochastic_rounding) {
        if (!slot.master.defined() || !known) {
          slot.master = Tensor<C>::empty(slot.parameter.shape(), device);
          gradus::detail::cast_elements<C, T>(*slot.master.impl(), *slot.parameter.impl());
        }
        part.master = reinterpret_cast<C*>(slot.master.impl()->data());
      }
    }
    static_cast<void>(known);
    slot.version = slot.parameter.impl()->storage->version();
    for (size_t i = 0; i < N; ++i) {
      if (!slot.state[i].defined()) slot.state[i] = zeros<C>(slot.parameter.shape(), device);
      part.state[i] = reinterpret_cast<C*>(slot.state[i].impl()->data());
    }
    part.gradient = gradient;
    part.first = first;
    part.n = slot.parameter.numel();
    part.step = ++slot.steps;
    part.group = slot.group;
    part.words = -1;
    return part;
  }

  const char* name_;
  std::array<const char*, N> state_names_;
  double lr_, gradient_factor_ = 1;
  std::vector<Options> options_;  // one a group
  std::vector<SweepPart<T, N>> parts_;
  std::vector<gradus::detail::TensorRef> kept_;  // gradients, for the time of a sweep
};

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

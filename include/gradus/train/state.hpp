// What a checkpoint holds, as named tensors: numbers are tensors of one element, texts and lists of one axis.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gradus/autograd/parameter.hpp"
#include "gradus/core/rng.hpp"
#include "gradus/io/write_safetensors.hpp"

namespace gradus::training::detail::inline GRADUS_BUILD {

using gradus::detail::TensorRef;

/// Goes through state by name, to write it or to read it: objects describe theirs once, in `visit_state(visitor)`.
/// Types are forgotten at once, so that a class of state costs little to compile. Reading changes nothing before
/// apply(), and that cannot fail half way.
class StateVisitor {
 public:
  /// Collects what is to be written.
  explicit StateVisitor(std::vector<io::SafeTensorsEntry>& entries) : entries_(&entries) {}
  /// Reads what a file held, sorted by name.
  StateVisitor(std::string file, const std::vector<io::SafeTensorsEntry>& stored)
      : stored_(&stored), used_(stored.size(), '0'), file_(std::move(file)) {}

  /// The names that follow belong to this part.
  void enter(std::string_view part) { (prefix_ = part) += '/'; }

  /// A number, as int64 or double.
  template <class Number>
  requires std::is_arithmetic_v<Number>
  void operator()(std::string_view name, Number& value) {
    using Stored = std::conditional_t<std::is_integral_v<Number>, int64_t, double>;
    auto stored = static_cast<Stored>(value);
    visit(name, {dtype_of<Stored>, &stored, -1}, &value, [](void* to, const TensorRef& from) {
      *static_cast<Number*>(to) = static_cast<Number>(*reinterpret_cast<const Stored*>(from->data()));
    });
  }
  GRADUS_COLD void operator()(std::string_view name, std::string& value) {
    visit(name, {DType::u8, value.data(), static_cast<int64_t>(value.size())}, &value,
          [](void* to, const TensorRef& from) {
            static_cast<std::string*>(to)->assign(reinterpret_cast<const char*>(from->data()),
                                                  static_cast<size_t>(from->numel));
          });
  }
  GRADUS_COLD void operator()(std::string_view name, std::vector<double>& value) {
    visit(name, {DType::f64, value.data(), static_cast<int64_t>(value.size())}, &value,
          [](void* to, const TensorRef& from) {
            auto* values = reinterpret_cast<const double*>(from->data());
            static_cast<std::vector<double>*>(to)->assign(values, values + from->numel);
          });
  }
  /// A tensor that may not be made yet; then the file need not hold it.
  template <Element T>
  void tensor(std::string_view name, Tensor<T>& tensor, const Shape& shape) {
    lazy(name, tensor.impl(), dtype_of<T>, shape, &tensor,
         [](void* to, const TensorRef& from) { *static_cast<Tensor<T>*>(to) = Tensor<T>(from); });
  }
  /// A tensor that is there from the start and keeps its memory.
  GRADUS_COLD void fixed(std::string_view name, const TensorRef& tensor) {
    if (stored_ == nullptr) return static_cast<void>(entries_->emplace_back(full(name), tensor));
    add_write(take(name, tensor->dtype, &tensor->shape), tensor.get(), [](void* to, const TensorRef& from) {
      auto& target = *static_cast<gradus::detail::TensorImpl*>(to);
      target.storage->bump("resume");
      gradus::detail::copy_elements(target, *from);
    });
  }
  /// To be done when everything has been read.
  void finally(std::function<void()> f) {
    if (stored_ != nullptr) last_.push_back(std::move(f));
  }

  /// FormatError with everything that does not fit.
  GRADUS_COLD void apply() {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (used_[i] == '0') problems_ += "\n  not in the program: " + (*stored_)[i].name;
    }
    require<FormatError>(problems_.empty(), "resume: ", file_, " does not fit this program:", problems_);
    for (auto& write : writes_) write.assign(write.target, write.stored);
    for (auto& f : last_) f();
  }

 private:
  using Assign = void (*)(void* target, const TensorRef& stored);
  struct Write {
    TensorRef stored;
    void* target;
    Assign assign;
  };
  struct Values {
    DType dtype;
    const void* data;
    int64_t count;  // -1: one number, without an axis
  };

  std::string full(std::string_view name) const { return join(prefix_, name); }
  void add_write(TensorRef stored, void* target, Assign assign) {
    if (stored) writes_.push_back({std::move(stored), target, assign});
  }

  GRADUS_COLD void visit(std::string_view name, const Values& values, void* target, Assign assign) {
    auto shape = values.count < 0 ? Shape() : Shape{values.count};
    if (stored_ != nullptr)
      return add_write(take(name, values.dtype, values.count < 0 ? &shape : nullptr), target, assign);
    auto stored = gradus::detail::allocate_impl(values.dtype, shape, Device::cpu());
    auto bytes = static_cast<size_t>(stored->numel * size_of(values.dtype));
    if (bytes > 0) std::memcpy(stored->data(), values.data, bytes);
    entries_->emplace_back(full(name), std::move(stored));
  }
  GRADUS_COLD void lazy(std::string_view name, const TensorRef& now, DType dtype, const Shape& shape, void* target,
                        Assign assign) {
    if (stored_ == nullptr) {
      if (now) entries_->emplace_back(full(name), now);
    } else if (find(full(name)) != nullptr) {
      add_write(take(name, dtype, &shape), target, assign);
    } else {
      writes_.push_back({{}, target, assign});
    }
  }

  /// Null when the file does not hold it.
  const io::SafeTensorsEntry* find(std::string_view full_name) const {
    auto place = std::lower_bound(stored_->begin(), stored_->end(), full_name,
                                  [](const auto& entry, std::string_view name) { return entry.name < name; });
    return place != stored_->end() && place->name == full_name ? &*place : nullptr;
  }
  /// Null, and a line among the problems, when it is not there as wanted. No shape: any of one axis.
  GRADUS_COLD TensorRef take(std::string_view name, DType dtype, const Shape* shape) {
    auto full_name = full(name);
    const auto* entry = find(full_name);
    if (entry == nullptr) {
      problems_ += "\n  missing in the file: " + full_name;
      return {};
    }
    used_[static_cast<size_t>(entry - stored_->data())] = '1';
    const auto& there = *entry->impl;
    if (there.dtype == dtype && (shape != nullptr ? there.shape == *shape : there.shape.rank() == 1))
      return entry->impl;
    auto type_name = [](DType type) { return io::detail::safetensors_type(type).name; };
    problems_ += join("\n  different: ", full_name, " is ", type_name(there.dtype), ' ', there.shape, " in the file, ",
                      type_name(dtype), ' ', shape != nullptr ? to_string(*shape) : "(n,)", " in the program");
    return {};
  }

  std::vector<io::SafeTensorsEntry>* entries_ = nullptr;
  const std::vector<io::SafeTensorsEntry>* stored_ = nullptr;
  std::string used_;  // 1 where what is stored was asked for
  std::string file_, prefix_, problems_;
  std::vector<Write> writes_;
  std::vector<std::function<void()>> last_;
};

template <class T> concept HasState = requires(T& object, StateVisitor& visitor) { object.visit_state(visitor); };

/// Models (their parameters and buffers), objects with visit_state, numbers, texts, lists of doubles.
template <class Part>
void visit_part(Part& part, StateVisitor& visitor) {
  if constexpr (HasState<Part>) {
    part.visit_state(visitor);
  } else if constexpr (requires { visitor("value", part); }) {
    visitor("value", part);
  } else {
    for (const auto& tensor : gradus::detail::model_tensors(part)) visitor.fixed(tensor.name, tensor.impl);
  }
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

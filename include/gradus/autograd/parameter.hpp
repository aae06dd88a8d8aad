// The leaves of a model: Parameter (trained) and Buffer (saved and moved, not trained), and the walks that
// collect them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gradus/autograd/autograd.hpp"
#include "gradus/core/fields.hpp"

namespace gradus::inline GRADUS_BUILD {

/// A tensor that belongs to a model, with a value's semantics: copying copies the numbers, assigning writes them
/// into the existing memory, so that an optimizer stays attached. Moving hands the memory over.
template <Element T, bool Trained>
class ModelTensor {
 public:
  using value_type = T;
  static constexpr bool trained = Trained;

  /// Undefined: a part that this model does without, such as the bias of a layer made with {.bias = false}.
  ModelTensor() = default;
  explicit ModelTensor(Tensor<T> initial) : tensor_(std::move(initial)) { start_training(); }
  ModelTensor(const ModelTensor& other)
      : tensor_(other.defined() ? other.tensor_.clone() : Tensor<T>()), path_(other.path_) {
    if (other.defined() && other.tensor_.requires_grad()) start_training();  // a frozen one stays frozen
  }
  ModelTensor(ModelTensor&& other) noexcept = default;
  ModelTensor& operator=(const ModelTensor& other) {
    if (this == &other) return *this;
    if (!defined() || !other.defined()) return *this = ModelTensor(other);
    require<ShapeError>(tensor_.shape() == other.tensor_.shape(), path_, path_.empty() ? "" : ": ",
                        "assigning a tensor of shape ", other.tensor_.shape(), " to a model's of shape ",
                        tensor_.shape());
    no_grad([&] { tensor_.copy_(other.tensor_); });
    return *this;
  }
  ModelTensor& operator=(ModelTensor&& other) noexcept = default;
  ~ModelTensor() = default;

  bool defined() const { return tensor_.defined(); }
  const Shape& shape() const { return tensor_.shape(); }
  /// The tensor itself: shares memory and gradient.
  const Tensor<T>& tensor() const { return tensor_; }
  operator const Tensor<T>&() const { return tensor_; }
  Tensor<T> grad() const { return tensor_.grad(); }

  /// Where it stands in its model ("LeNet.output.weight"); empty until something has walked the model.
  const std::string& path() const { return path_; }
  void set_path(std::string path) { path_ = std::move(path); }

 private:
  void start_training() {
    if constexpr (Trained) {
      if (defined()) tensor_.set_requires_grad();
    }
  }

  Tensor<T> tensor_;
  std::string path_;
};

/// Trained: collects gradients, and optimizers change it.
template <Floating T>
using Parameter = ModelTensor<T, true>;
/// Saved and moved with the model, but not trained: running statistics, fixed tables.
template <Element T>
using Buffer = ModelTensor<T, false>;

/// Whether a layer is training or being used; a field of the layers that care. train() and eval() set it.
struct Training {
  bool on = true;
  explicit operator bool() const { return on; }
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <class T>
inline constexpr bool is_model_tensor = false;
template <class T, bool Trained>
inline constexpr bool is_model_tensor<ModelTensor<T, Trained>> = true;

/// Calls f(path, tensor) for every defined Parameter and Buffer in the model, in the order of its fields.
template <class Model, class F>
void for_each_model_tensor(Model& model, F&& f) {
  walk_fields("", model, [&](const std::string& path, auto& part) {
    if constexpr (is_model_tensor<std::remove_cvref_t<decltype(part)>>) {
      if (part.defined()) f(path, part);
      return false;
    } else {
      return true;
    }
  });
}

/// A parameter or buffer whose type is forgotten.
struct NamedImpl {
  std::string name;
  TensorRef impl;
  bool trained = false;
};
/// All of a model's, in the order of its fields: the walk is compiled once for all that need no types.
template <class Model>
std::vector<NamedImpl> model_tensors(const Model& model) {
  std::vector<NamedImpl> result;
  for_each_model_tensor(model, [&](const std::string& path, const auto& part) {
    result.push_back({path, part.tensor().impl(), std::remove_cvref_t<decltype(part)>::trained});
  });
  return result;
}

/// Where the training flags of a model's layers are.
template <class Model>
std::vector<bool*> training_flags(Model& model) {
  std::vector<bool*> flags;
  walk_fields("", model, [&](const std::string&, auto& part) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, Training>) flags.push_back(&part.on);
    return true;
  });
  return flags;
}

/// Tells every part its path, for errors: "LeNet.output.weight".
template <class Model>
void name_parts(Model& model) {
  auto root = type_name<Model>();
  for_each_model_tensor(model, [&](const std::string& path, auto& part) { part.set_path(join_path(root, path)); });
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// A parameter and its path within the model: "conv1.weight".
template <Floating T>
struct NamedTensor {
  std::string name;
  Tensor<T> tensor;
};

/// Handles of the trained tensors of element type T, with their names.
template <Floating T = float, class Model>
std::vector<NamedTensor<T>> named_parameters(const Model& model) {
  std::vector<NamedTensor<T>> result;
  for (auto& [path, impl, trained] : detail::model_tensors(model)) {
    if (trained && impl->dtype == dtype_of<T>) result.push_back({std::move(path), Tensor<T>(std::move(impl))});
  }
  return result;
}

template <Floating T = float, class Model>
std::vector<Tensor<T>> parameters(const Model& model) {
  std::vector<Tensor<T>> result;
  for (auto& named : named_parameters<T>(model)) result.push_back(named.tensor);
  return result;
}

/// How many numbers are trained: those of frozen parameters are not.
template <class Model>
int64_t count_parameters(const Model& model) {
  int64_t count = 0;
  for (const auto& tensor : detail::model_tensors(model)) {
    if (tensor.trained && tensor.impl->node) count += tensor.impl->numel;
  }
  return count;
}

/// Where the model's first parameter or buffer is; the CPU for a model without.
template <class Model>
Device device_of(const Model& model) {
  auto tensors = detail::model_tensors(model);
  return tensors.empty() ? Device::cpu() : tensors.front().impl->storage->device();
}

/// Moves every parameter and buffer; they keep their identity, so an optimizer stays attached.
template <class Model>
void to(Model& model, Device device) {
  detail::name_parts(model);
  for (const auto& tensor : detail::model_tensors(model)) {
    auto& impl = *tensor.impl;
    if (impl.storage->device() == device) continue;
    auto moved = detail::allocate_impl(impl.dtype, impl.shape, device);
    detail::copy_elements(*moved, impl);
    impl.storage = moved->storage;
    impl.offset = 0;
    impl.strides = moved->strides;
    if (auto* leaf = impl.node.get(); leaf != nullptr) leaf->move_collected(device);
  }
}

/// Sets every layer's training flag: dropout drops and batch norm uses the batch only while training.
template <class Model>
void train(Model& model, bool on = true) {
  detail::name_parts(model);
  for (auto* flag : detail::training_flags(model)) *flag = on;
}
template <class Model>
void eval(Model& model) {
  train(model, false);
}

/// The model's parameters collect no gradients from now on, and optimizers that are made later leave them as they are.
/// For a part of a model, name the part: freeze(model.encoder).
template <class Model>
void freeze(Model& model, bool on = true) {
  detail::for_each_model_tensor(model, [on](const std::string&, auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (Part::trained) Tensor<typename Part::value_type>(part.tensor()).set_requires_grad(!on);
  });
}
template <class Model>
void unfreeze(Model& model) {
  freeze(model, false);
}

/// Clears the collected gradients.
template <class Model>
void zero_grad(Model& model) {
  detail::for_each_model_tensor(model, [](const std::string&, auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (Part::trained) {
      if (auto tensor = part.tensor(); tensor.requires_grad()) tensor.set_grad({});
    }
  });
}

}  // namespace gradus::inline GRADUS_BUILD

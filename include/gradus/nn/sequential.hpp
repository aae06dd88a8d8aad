// Layers one after the other, chosen at run time.
#pragma once

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "gradus/autograd/parameter.hpp"
#include "gradus/nn/low_rank.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// Stands for a layer whose type is no longer known, where a model is walked: summary() prints it.
struct LayerType {
  std::string name;
};

}  // namespace gradus::nn::inline GRADUS_BUILD

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// Something inside an erased layer that a walk over a model may care for. H: which of the types of two bytes it may be
/// of; a walk over parts of either would take longer to compile in every program.
template <HalfWidth H>
struct ErasedPart {
  std::string path;
  std::variant<LayerType*, Training*, Parameter<float>*, Buffer<float>*, Parameter<double>*, Buffer<double>*,
               Parameter<H>*, Buffer<H>*, Buffer<int64_t>*, LowRank<float>*, LowRank<double>*, LowRank<H>*>
      part;
};
template <Floating T>
using ErasedParts = std::vector<ErasedPart<std::conditional_t<std::is_same_v<T, f16>, f16, bf16>>>;

template <class P, class T> concept Erasable = requires(typename ErasedParts<T>::value_type& erased, P* part) {
  erased.part = part;
};

/// "Linear"; "function" for a lambda, whose name in the compiler's words says nothing.
template <class Layer>
std::string layer_name() {
  auto name = gradus::detail::type_name<Layer>();
  auto in_identifier = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  auto named = std::is_class_v<Layer> && !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
               std::all_of(name.begin(), name.end(), in_identifier);
  return named ? name : "function";
}

template <Floating T>
struct AnyLayer {
  LayerType type;

  explicit AnyLayer(std::string name) : type{std::move(name)} {}
  virtual ~AnyLayer() = default;
  virtual Tensor<T> forward(const Tensor<T>& x) = 0;
  virtual std::unique_ptr<AnyLayer> clone() const = 0;
  /// Writes the other's parameters into this one's; false when it is of another type.
  virtual bool assign(const AnyLayer& other) = 0;
  virtual void collect(const std::string& path, ErasedParts<T>& parts) = 0;
};

template <Floating T, class Layer>
struct HeldLayer final : AnyLayer<T> {
  Layer layer;

  explicit HeldLayer(Layer given) : AnyLayer<T>(layer_name<Layer>()), layer(std::move(given)) {}
  Tensor<T> forward(const Tensor<T>& x) override { return layer(x); }
  std::unique_ptr<AnyLayer<T>> clone() const override { return std::make_unique<HeldLayer>(layer); }
  bool assign(const AnyLayer<T>& other) override {
    auto* same = dynamic_cast<const HeldLayer*>(&other);
    if (same == nullptr) return false;
    if constexpr (std::is_copy_assignable_v<Layer>) layer = same->layer;  // a lambda has nothing to assign
    return true;
  }
  void collect(const std::string& path, ErasedParts<T>& parts) override {
    parts.push_back({path, &this->type});
    gradus::detail::walk_fields(path, layer, [&](const std::string& at, auto& part) {
      if constexpr (Erasable<std::remove_reference_t<decltype(part)>, T>) parts.push_back({at, &part});
      return true;
    });
  }
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

namespace gradus::nn::inline GRADUS_BUILD {

/// Applies its layers in order. A layer is anything that maps Tensor<T> to Tensor<T>: layers, models, lambdas. Their
/// names are their positions: "0.weight", "2.bias". Copying copies the layers; assigning one of the same make writes
/// into the existing parameters, so that an optimizer stays attached.
template <Floating T>
class Sequential {
 public:
  Sequential() = default;
  template <class... Layers>
  requires(sizeof...(Layers) > 0 &&
           (std::is_invocable_r_v<Tensor<T>, Layers&, const Tensor<T>&> && ...)) explicit Sequential(Layers... layers) {
    (append(std::move(layers)), ...);
  }
  Sequential(const Sequential& other) {
    for (const auto& layer : other.layers_) layers_.push_back(layer->clone());
  }
  Sequential(Sequential&&) noexcept = default;
  Sequential& operator=(const Sequential& other) {
    if (this == &other) return *this;
    if (layers_.empty()) return *this = Sequential(other);
    require<ValueError>(layers_.size() == other.layers_.size(), "Sequential: ", other.layers_.size(),
                        " layers are assigned to ", layers_.size(), ", but there must be as many");
    for (size_t i = 0; i < layers_.size(); ++i) {
      require<ValueError>(layers_[i]->assign(*other.layers_[i]), "Sequential: layer ", i, " is a ",
                          layers_[i]->type.name, ", but a ", other.layers_[i]->type.name,
                          " is assigned to it: the types must be the same");
    }
    return *this;
  }
  Sequential& operator=(Sequential&&) noexcept = default;
  ~Sequential() = default;

  template <class Layer>
  Sequential& append(Layer layer) {
    layers_.push_back(std::make_unique<detail::HeldLayer<T, Layer>>(std::move(layer)));
    return *this;
  }
  size_t size() const { return layers_.size(); }

  Tensor<T> operator()(const Tensor<T>& x) {
    auto y = x;
    for (auto& layer : layers_) y = layer->forward(y);
    return y;
  }

  /// Internal: how core/fields.hpp walks parts whose types are erased.
  template <class F>
  void visit_erased(const std::string& path, F&& visit) {
    for (auto& erased : collect(path)) {
      std::visit([&](auto* part) { visit(erased.path, *part); }, erased.part);
    }
  }
  template <class F>
  void visit_erased(const std::string& path, F&& visit) const {
    for (auto& erased : collect(path)) {
      std::visit([&](const auto* part) { visit(erased.path, *part); }, erased.part);
    }
  }

 private:
  detail::ErasedParts<T> collect(const std::string& path) const {
    detail::ErasedParts<T> parts;
    for (size_t i = 0; i < layers_.size(); ++i)
      layers_[i]->collect(gradus::detail::join_path(path, std::to_string(i)), parts);
    return parts;
  }

  std::vector<std::unique_ptr<detail::AnyLayer<T>>> layers_;
};

}  // namespace gradus::nn::inline GRADUS_BUILD

#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "gradus/ops/view/slice.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// Keys and values of the tokens that a layer of a decoder has seen, so that the next token needs only its own. For use
/// without gradients.
template <Floating T>
class KeyValueCache {
 public:
  int64_t length() const { return length_; }
  void clear() { length_ = 0; }

  /// Takes the keys and values of the next tokens, (n, heads, tokens, d) each; returns those of all tokens so far as
  /// views.
  std::pair<Tensor<T>, Tensor<T>> append(const Tensor<T>& key, const Tensor<T>& value) {
    require<AutogradError>(!grad_enabled() || (!key.requires_grad() && !value.requires_grad()),
                           "KeyValueCache: a cache passes no gradients on; call the model under no_grad");
    auto tokens = key.size(2);
    require<ShapeError>(key.rank() == 4 && value.rank() == 4 && value.size(2) == tokens, "KeyValueCache: keys are ",
                        key.shape(), " and values ", value.shape(), ", but both must be (n, heads, tokens, d)");
    extend(keys_, key);
    extend(values_, value);
    length_ += tokens;
    return {seen(keys_), seen(values_)};
  }

  /// Row i of the batch becomes row index[i]: what a beam search keeps.
  void reorder(const std::vector<int64_t>& index) {
    for (auto* held : {&keys_, &values_}) {
      auto before = seen(*held).clone();
      auto shape = held->shape();
      shape[0] = std::ssize(index);
      *held = Tensor<T>::empty(shape, before.device());
      for (int64_t i = 0; i < shape[0]; ++i) {
        auto to = gradus::detail::raw_slice(gradus::detail::raw_slice(*held, 0, i, 1, 1), 2, 0, length_, 1);
        gradus::detail::copy_elements(
            *to.impl(), *gradus::detail::raw_slice(before, 0, index[static_cast<size_t>(i)], 1, 1).impl());
      }
    }
  }

 private:
  Tensor<T> seen(const Tensor<T>& held) const { return gradus::detail::raw_slice(held, 2, 0, length_, 1); }

  void extend(Tensor<T>& held, const Tensor<T>& more) {
    auto needed = length_ + more.size(2);
    auto shape = more.shape();
    if (held.defined() && length_ > 0) {
      shape[2] = held.size(2);
      require<ShapeError>(held.shape() == shape, "KeyValueCache: the cache holds ", seen(held).shape(), " and gets ",
                          more.shape(), ", but only the tokens may differ; clear() it for another batch");
    }
    if (!held.defined() || length_ == 0 || held.size(2) < needed) {
      shape[2] = std::max<int64_t>(64, 2 * needed);
      auto larger = Tensor<T>::empty(shape, more.device());
      if (length_ > 0)
        gradus::detail::copy_elements(*gradus::detail::raw_slice(larger, 2, 0, length_, 1).impl(), *seen(held).impl());
      held = larger;
    }
    gradus::detail::copy_elements(*gradus::detail::raw_slice(held, 2, length_, more.size(2), 1).impl(), *more.impl());
  }

  int64_t length_ = 0;
  Tensor<T> keys_, values_;  ///< (n, heads, capacity, d)
};

/// One cache a layer.
template <Floating T>
struct DecoderCache {
  std::vector<KeyValueCache<T>> layers;

  explicit DecoderCache(int64_t count) : layers(static_cast<size_t>(count)) {}
  int64_t length() const { return layers.empty() ? 0 : layers[0].length(); }
  void clear() {
    for (auto& layer : layers) layer.clear();
  }
  void reorder(const std::vector<int64_t>& index) {
    for (auto& layer : layers) layer.reorder(index);
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

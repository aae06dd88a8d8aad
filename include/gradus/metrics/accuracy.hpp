// The share of right answers.
#pragma once

#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/tensor.hpp"

namespace gradus::metrics::detail::inline GRADUS_BUILD {

/// The class of each row: the largest logit's, or the predictions themselves. -> (n,)
template <Numeric T>
Tensor<int64_t> predicted_classes(std::string_view name, const Tensor<T>& predictions, const Tensor<int64_t>& labels) {
  constexpr auto classes = std::is_same_v<T, int64_t>;
  require<ShapeError>(
      labels.rank() == 1 && predictions.rank() == (classes ? 1 : 2) && predictions.shape()[0] == labels.shape()[0],
      name, ": predictions are ", predictions.shape(), " and labels ", labels.shape(), ", but must be ",
      classes ? "(n,)" : "(n, classes)", " and (n,)");
  if constexpr (classes) return contiguous(predictions);
  else return argmax(predictions.detach(), 1);
}

}  // namespace gradus::metrics::detail::inline GRADUS_BUILD

namespace gradus::metrics::inline GRADUS_BUILD {

/// How many rows have their largest value at their label. predictions: logits (n, classes) of a floating type, or
/// classes (n,) as int64; labels (n,).
template <Numeric T>
int64_t count_correct(const Tensor<T>& predictions, const Tensor<int64_t>& labels) {
  auto predicted = detail::predicted_classes("accuracy", predictions, labels);  // (n,)
  auto got = predicted.to_vector(), wanted = labels.to_vector();
  int64_t correct = 0;
  for (size_t i = 0; i < got.size(); ++i) correct += got[i] == wanted[i];
  return correct;
}
/// The same as a share, from 0 to 1; NaN for no rows.
template <Numeric T>
double accuracy(const Tensor<T>& predictions, const Tensor<int64_t>& labels) {
  return static_cast<double>(count_correct(predictions, labels)) / static_cast<double>(labels.numel());
}

}  // namespace gradus::metrics::inline GRADUS_BUILD

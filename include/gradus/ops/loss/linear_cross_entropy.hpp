#pragma once

#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/product/linear.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/slice.hpp"

namespace gradus::inline GRADUS_BUILD {

struct LinearCrossEntropyOptions {
  double label_smoothing = 0;       ///< as for cross_entropy
  int64_t ignore_index = -100;      ///< rows with this label count for nothing
  Reduce reduction = Reduce::mean;  ///< or sum
  /// Whose logits are there at once. 0: as many as have 2^25 logits, at least 4,096; on a GPU 2^31 and 16,384. The
  /// fewer, the more often the weight's gradient is added up.
  int64_t rows = 0;
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

/// linear_cross_entropy over a batch, some rows after the other. What is not wanted of dx and dw stays undefined.
template <Floating T>
class RowsOfLogits {
 public:
  using C = Compute<T>;

  RowsOfLogits(const Tensor<int64_t>& labels, int64_t classes, const LinearCrossEntropyOptions& options)
      : labels_(labels),
        options_{options.label_smoothing, options.ignore_index, options.reduction},
        losses_(Tensor<C>::empty({labels.numel()}, labels.device(), name)) {
    auto is_mean = options.reduction == Reduce::mean;
    if (labels.device().is_cpu()) {
      auto counted = count_labels(name, labels, classes, options.ignore_index);
      counted_ = full<C>({}, is_mean ? static_cast<C>(counted) : C(1));
    } else if (is_mean) {
      counted_ = sum(cast<C>(labels != options.ignore_index));
    }
  }

  static constexpr const char* name = "linear_cross_entropy";

  /// The losses of the rows from `first` on, of whose logits then the gradients are left in their place.
  void take(Tensor<T>& logits, int64_t first, bool gradients_wanted) {
    auto n = logits.size(0), classes = logits.size(1);
    auto* to = reinterpret_cast<C*>(losses_.impl()->data()) + first;
    const auto* labels = labels_.data() + first;
#if defined(GRADUS_CUDA)
    if (!logits.device().is_cpu()) {
      auto device = logits.device();
      cuda::detail::launch_blocks(name, device, cuda_cross_entropy, {dtype_of<T>}, "block_losses_and_gradients", n, n,
                                  classes, options_.ignore_index, static_cast<C>(options_.label_smoothing),
                                  cuda::detail::Context::of(device).fault(), name, to, logits.impl()->data(),
                                  logits.data(), labels, data_or_null(counted_));
      return;
    }
#endif
    auto* values = reinterpret_cast<T*>(logits.impl()->data());
    auto share = 1 / static_cast<double>(counted_.data()[0]);
    for_rows(n, classes, [&](int64_t row) {  // one after the other: the second look at a row is out of the cache
      RowTotal<C> total;
      const T one(1);
      auto* x = values + row * classes;
      cross_entropy_rows<T>(x, labels + row, 1, classes, options_, &total, to + row);
      if (gradients_wanted)
        cross_entropy_gradient_rows<T>(x, labels + row, 1, classes, options_, &total, &one, false, share, x);
    });
  }

  Tensor<T> loss() const {
    auto total = reduce<SumReducer<C>>(name, losses_, 0, false);
    return cast<T>(counted_.defined() ? total / counted_ : total);
  }

 private:
  Tensor<int64_t> labels_;
  CrossEntropyOptions options_;
  Tensor<C> losses_, counted_;  ///< (n,); scalar, undefined on a GPU where losses are summed
};

/// The loss, and its gradients with respect to x and weight where they are wanted.
template <Floating T>
std::tuple<Tensor<T>, Tensor<T>, Tensor<T>> linear_losses(const Tensor<T>& x, const Tensor<T>& weight,
                                                          const Tensor<int64_t>& labels,
                                                          const LinearCrossEntropyOptions& options, bool dx_wanted,
                                                          bool dw_wanted) {
  using C = Compute<T>;
  NoGradGuard guard;
  auto n = x.size(0), classes = weight.size(0);
  auto on_cpu = x.device().is_cpu();
  auto most = options.rows > 0 ? options.rows
                               : std::max<int64_t>(on_cpu ? 4096 : 16384,
                                                   (int64_t{1} << (on_cpu ? 25 : 31)) / std::max<int64_t>(classes, 1));
  auto parts = std::max<int64_t>((n + most - 1) / most, 1), rows = (n + parts - 1) / parts;  // all of a size
  auto at_once = rows >= n;
  RowsOfLogits<T> losses(labels, classes, options);
  Tensor<T> dx, dw;
  if (dx_wanted && !at_once) dx = Tensor<T>::empty(x.shape(), x.device(), losses.name);
  Tensor<C> dw_sum;  // parts are added up in float: the result is rounded once more than each of them
  for (int64_t first = 0; first < n; first += rows) {
    auto part = at_once ? x : slice(x, 0, first, first + rows);
    auto logits = linear(part, weight);  // (rows, classes), then their gradients
    losses.take(logits, first, dx_wanted || dw_wanted);
    if (dx_wanted && at_once) dx = matmul(logits, weight);
    else if (dx_wanted) slice(dx, 0, first, first + rows).copy_(matmul(logits, weight));
    if (!dw_wanted) continue;
    auto product = matmul(transpose(logits), part);  // (classes, in)
    if (at_once) dw = product;
    else if (!dw_sum.defined()) dw_sum = cast<C>(product);
    else dw_sum = Tensor<C>(add_values<C>(std::move(dw_sum).impl(), cast<C>(product).impl()));
  }
  if (dw_wanted && n == 0) dw = zeros<T>(weight.shape()).to(weight.device());
  if (dx_wanted && n == 0) dx = x.clone();
  if (dw_sum.defined()) dw = cast<T>(dw_sum);
  return {losses.loss(), dx, dw};
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// cross_entropy(linear(x, weight), labels) without the logits of all rows: x (n, in), weight (classes, in), labels
/// (n,) in [0, classes) -> scalar. The logits of some rows become their losses and gradients before the next are made,
/// so that a large vocabulary takes memory for a part of the batch. The gradients are made with the loss, while
/// gradients are recorded and x or weight wants them. f16, whose gradients a LossScaler must reach before they are
/// rounded, and fp8 are left to the two operators.
template <Floating T>
Tensor<T> linear_cross_entropy(const Tensor<T>& x_in, const Tensor<T>& weight_in, const Tensor<int64_t>& labels_in,
                               LinearCrossEntropyOptions options = {}) {
  constexpr const char* name = "linear_cross_entropy";
  require<ShapeError>(x_in.rank() == 2 && weight_in.rank() == 2 && labels_in.rank() == 1 &&
                          x_in.size(1) == weight_in.size(1) && x_in.size(0) == labels_in.size(0),
                      name, ": x is ", x_in.shape(), ", weight ", weight_in.shape(), " and labels ", labels_in.shape(),
                      ", but must be (n, in), (classes, in) and (n,)");
  require<ValueError>(options.reduction != Reduce::none, name,
                      ": gives a mean or a sum; cross_entropy(linear(x, weight), labels) gives the loss of each row");
  require<ValueError>(options.rows >= 0, name, ": rows is ", options.rows, ", but must be at least 1, or 0 to choose");
  detail::check_smoothing(name, options.label_smoothing);
  detail::require_device(name, x_in.device(), weight_in, labels_in);
  const CrossEntropyOptions plain{options.label_smoothing, options.ignore_index, options.reduction};
  auto by_two = dtype_of<T> == DType::f16;
#if defined(GRADUS_CUDA)
  by_two |= dtype_of<T> == DType::bf16 && !x_in.device().is_cpu() && cuda::detail::fp8_used();
#endif
  if (by_two) return cross_entropy(linear(x_in, weight_in), labels_in, plain);
  auto x = contiguous(x_in), weight = contiguous(weight_in);
  auto labels = contiguous(labels_in.detach());
  auto recorded = grad_enabled();
  auto [loss, dx, dw] = detail::linear_losses(x, weight, labels, options, recorded && x.requires_grad(),
                                              recorded && weight.requires_grad());
  return differentiable(name, loss, inputs(x, weight),
                        [x = saved(x), weight = saved(weight), labels = saved(labels), dx, dw, plain](
                            const Tensor<T>& dy, const std::array<bool, 2>& wanted) {
                          std::tuple<Tensor<T>, Tensor<T>> to;
                          if (!grad_enabled()) {
                            if (wanted[0]) std::get<0>(to) = dx * dy;
                            if (wanted[1]) std::get<1>(to) = dw * dy;
                            return to;
                          }
                          auto target = detail::target_rows<T>(labels(), weight().size(0), plain);  // (n, classes)
                          auto counts = sum(target, 1, true);  // 0 for ignored rows
                          auto scale = plain.reduction == Reduce::mean ? dy / sum(counts) : dy;
                          auto slopes = (softmax(linear(x(), weight())) * counts - target) * scale;
                          if (wanted[0]) std::get<0>(to) = matmul(slopes, weight());
                          if (wanted[1]) std::get<1>(to) = matmul(transpose(slopes), x());
                          return to;
                        });
}

}  // namespace gradus::inline GRADUS_BUILD

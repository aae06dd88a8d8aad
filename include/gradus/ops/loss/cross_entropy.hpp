#pragma once

#include "gradus/ops/loss/reduce_losses.hpp"
#include "gradus/ops/loss/softmax.hpp"
#if defined(GRADUS_CUDA)
#include "gradus/ops/loss/cross_entropy_cuda.hpp"
#endif

namespace gradus::inline GRADUS_BUILD {

struct CrossEntropyOptions {
  double label_smoothing = 0;   ///< this share of the target is spread evenly over all classes (Szegedy et al., 2015)
  int64_t ignore_index = -100;  ///< rows with this label count for nothing
  Reduce reduction = Reduce::mean;
};

}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

inline void check_smoothing(const char* op, double smoothing) {
  require<ValueError>(smoothing >= 0 && smoothing <= 1, op, ": label_smoothing is ", smoothing,
                      ", but must be in [0, 1]");
}

/// How many labels, which are on the CPU, count. IndexError for one out of range.
inline int64_t count_labels(const char* op, const Tensor<int64_t>& labels, int64_t classes, int64_t ignored) {
  int64_t counted = 0;
  for (int64_t row = 0; row < labels.numel(); ++row) {
    auto label = labels.data()[row];
    if (label == ignored) continue;
    require<IndexError>(label >= 0 && label < classes, op, ": label ", label, " of row ", row, " is out of range for ",
                        classes, " classes");
    ++counted;
  }
  return counted;
}

/// The loss of each row of logits (n, c), and what its gradient needs.
template <Floating T>
void cross_entropy_rows(const T* logits, const int64_t* labels, int64_t n, int64_t classes,
                        const CrossEntropyOptions& options, RowTotal<Compute<T>>* totals, Compute<T>* losses) {
  using C = Compute<T>;
  for_rows(n, classes, [&](int64_t row) {
    auto* x = logits + row * classes;
    auto label = labels[row];
    totals[row] = row_total(x, classes);
    if (label == options.ignore_index) return static_cast<void>(losses[row] = 0);
    auto value = -totals[row].log_softmax(static_cast<C>(x[label]));
    if (options.label_smoothing > 0) {
      Simd<C> top(totals[row].top);
      auto below = fold_row(
          x, classes, C(0), totals[row].top,
          [&](const Simd<C>& sum, const Simd<C>& v, int64_t) GRADUS_INLINE_LAMBDA { return sum + (v - top); },
          add_lanes);
      auto even = static_cast<C>(classes) * totals[row].log_sum - fold_lanes(below, add_lanes);
      value = static_cast<C>(1 - options.label_smoothing) * value +
              static_cast<C>(options.label_smoothing / static_cast<double>(classes)) * even;
    }
    losses[row] = value;
  });
}

/// dy[row] * factor * (softmax(logits) - target) of each row; `to` may be the logits.
template <Floating T>
void cross_entropy_gradient_rows(const T* logits, const int64_t* labels, int64_t n, int64_t classes,
                                 const CrossEntropyOptions& options, const RowTotal<Compute<T>>* totals, const T* dy,
                                 bool dy_per_row, double factor, T* to) {
  using C = Compute<T>;
  auto spread = static_cast<C>(options.label_smoothing / static_cast<double>(classes));
  auto streamed = to != logits && rows_are_streamed<T>(n, classes);  // in place, the lines are in the cache already
  auto gradient = [&](int64_t row) {
    auto label = labels[row];
    auto* out = to + row * classes;
    if (label == options.ignore_index) return static_cast<void>(std::fill_n(out, classes, T(0)));
    auto scale = static_cast<C>(static_cast<double>(dy[dy_per_row ? row : 0]) * factor);
    auto total = totals[row];
    Simd<C> even(spread), factors(scale);
    auto without_label = [&](const Simd<C>& x)
                             GRADUS_INLINE_LAMBDA { return (exp_of_negative(total.log_softmax(x)) - even) * factors; };
    auto* x = logits + row * classes;
    auto of_label = without_label(Simd<C>(static_cast<C>(x[label]))).lane(0);
    for_each_register(x, classes, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) {
      store_row(without_label(v), out + i, count, streamed);
    });
    out[label] = static_cast<T>(of_label - static_cast<C>(1 - options.label_smoothing) * scale);
  };
  for_rows(n, classes, gradient, streamed);
}

/// The gradient in one pass, where possible into the logits' own memory. logits (n, c) dense.
template <Floating T>
Tensor<T> cross_entropy_gradient(const Saved<T>& saved_logits, const Tensor<int64_t>& labels,
                                 const Tensor<Compute<T>>& totals, const T* dy, bool dy_per_row, double factor,
                                 const CrossEntropyOptions& options) {
  using C = Compute<T>;
  const auto& logits = saved_logits();
  auto n = logits.size(0), classes = logits.size(1);
  auto result = saved_logits.spare();
  if (!result.defined()) result = Tensor<T>::empty(logits.shape(), logits.device(), "cross_entropy");
  auto* to = reinterpret_cast<T*>(result.impl()->data());
  cross_entropy_gradient_rows<T>(logits.data(), labels.data(), n, classes, options,
                                 reinterpret_cast<const RowTotal<C>*>(totals.data()), dy, dy_per_row, factor, to);
  return result;
}

/// The target distribution of each row, zeros where the row is ignored: (n, c).
template <Floating T>
Tensor<T> target_rows(const Tensor<int64_t>& given, int64_t classes, const CrossEntropyOptions& options) {
  auto labels = given.to(Device::cpu());
  auto n = labels.numel();
  auto target = zeros<T>({n, classes});
  auto* to = target.mutable_data();
  for (int64_t row = 0; row < n; ++row) {
    auto label = labels.data()[row];
    if (label == options.ignore_index) continue;
    std::fill_n(to + row * classes, classes, static_cast<T>(options.label_smoothing / static_cast<double>(classes)));
    to[row * classes + label] =
        static_cast<T>(1 - options.label_smoothing + options.label_smoothing / static_cast<double>(classes));
  }
  return target.to(given.device());
}

#if defined(GRADUS_CUDA)
/// The same on a GPU: the host does not wait, so labels out of range are told when it does.
template <Floating T>
Tensor<T> cross_entropy_on_card(const Tensor<T>& logits, const Tensor<int64_t>& labels,
                                const CrossEntropyOptions& options) {
  using C = Compute<T>;
  auto device = logits.device();
  auto n = logits.size(0), classes = logits.size(1);
  constexpr const char* op = "cross_entropy";
  auto totals = Tensor<C>::empty({n, 2}, device, op), losses = Tensor<C>::empty({n}, device, op),
       counts = Tensor<C>::empty({n}, device, op);
  auto smoothing = static_cast<C>(options.label_smoothing);
  static constexpr const char* name = "cross_entropy";
  cuda::detail::launch_blocks(name, device, cuda_cross_entropy, {dtype_of<T>}, "block_cross_entropy", n, n, classes,
                              options.ignore_index, smoothing, cuda::detail::Context::of(device).fault(), name,
                              totals.impl()->data(), losses.impl()->data(), counts.impl()->data(), logits.data(),
                              labels.data());
  Tensor<C> counted;
  if (options.reduction != Reduce::none) losses = reduce<SumReducer<C>>(name, losses, 0, false);
  if (options.reduction == Reduce::mean) {
    counted = reduce<SumReducer<C>>(name, counts, 0, false);
    losses = no_grad([&] { return losses / counted; });
  }
  return differentiable(name, cast<T>(losses),
                        wrt(logits, [logits = saved(logits), labels = saved(labels), totals, counted, options,
                                     smoothing](const Tensor<T>& dy) {
                          auto per_row = options.reduction == Reduce::none;
                          if (!grad_enabled()) {
                            auto dense = contiguous(dy);
                            const auto* from = logits().data();
                            auto shape = logits().shape();
                            auto dx = logits.spare();  // each element is read by the thread that writes it
                            if (!dx.defined()) dx = Tensor<T>::empty(shape, dy.device(), name);
                            const auto* count = data_or_null(counted);
                            cuda::detail::launch_blocks(
                                name, dy.device(), cuda_cross_entropy, {dtype_of<T>}, "cross_entropy_gradient",
                                dx.size(0), dx.size(0), dx.size(1), options.ignore_index, smoothing, per_row ? 1 : 0,
                                dx.impl()->data(), from, labels().data(), totals.data(), dense.data(), count);
                            return dx;
                          }
                          auto target = target_rows<T>(labels(), logits().size(1), options);  // (n, classes)
                          auto weight = sum(target, 1, true);                                 // 0 for ignored rows
                          auto scaled = counted.defined() ? dy / cast<T>(counted) : dy;
                          return (softmax(logits()) * weight - target) * (per_row ? unsqueeze(dy, 1) : scaled);
                        }));
}
#endif

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::inline GRADUS_BUILD {

/// Mean over the batch of -log softmax(logits)[label]. logits (n, classes), labels (n,) in [0, classes) -> scalar,
/// or (n,) with Reduce::none. Throws IndexError for a label out of range. As torch.nn.functional.cross_entropy.
template <Floating T>
Tensor<T> cross_entropy(const Tensor<T>& logits_in, const Tensor<int64_t>& labels_in,
                        CrossEntropyOptions options = {}) {
  using C = Compute<T>;
  require<ShapeError>(logits_in.rank() == 2 && labels_in.rank() == 1 && logits_in.shape()[0] == labels_in.shape()[0],
                      "cross_entropy: logits are ", logits_in.shape(), " and labels ", labels_in.shape(),
                      ", but must be (n, classes) and (n,)");
  detail::check_smoothing("cross_entropy", options.label_smoothing);
  detail::require_device("cross_entropy", logits_in.device(), labels_in);
  auto logits = contiguous(logits_in);           // (n, classes)
  auto labels = contiguous(labels_in.detach());  // (n,)
  auto n = logits.size(0), classes = logits.size(1);
#if defined(GRADUS_CUDA)
  if (!logits.device().is_cpu()) {
    return detail::cross_entropy_on_card(logits, labels, options);
  }
#endif
  auto counted = detail::count_labels("cross_entropy", labels, classes, options.ignore_index);
  auto totals = Tensor<C>::empty({n, 2}), losses = Tensor<C>::empty({n});  // a RowTotal each
  auto* total = reinterpret_cast<detail::RowTotal<C>*>(totals.impl()->data());
  auto* loss = reinterpret_cast<C*>(losses.impl()->data());
  detail::cross_entropy_rows<T>(logits.data(), labels.data(), n, classes, options, total, loss);
  auto factor = options.reduction == Reduce::mean ? 1.0 / static_cast<double>(counted) : 1.0;
  if (options.reduction != Reduce::none)
    losses = detail::reduce<detail::SumReducer<C>>("cross_entropy", losses, 0, false);
  if (options.reduction == Reduce::mean) losses = losses / static_cast<double>(counted);  // of no rows: NaN, as PyTorch
  auto y = cast<T>(losses);
  return differentiable(
      "cross_entropy", y,
      wrt(logits, [logits = saved(logits), labels = saved(labels), totals, factor, options](const Tensor<T>& dy) {
        auto per_row = options.reduction == Reduce::none;
        if (!grad_enabled()) {
          auto dense = contiguous(dy);
          return detail::cross_entropy_gradient(logits, labels(), totals, dense.data(), per_row, factor, options);
        }
        auto target = detail::target_rows<T>(labels(), logits().size(1), options);  // (n, classes)
        auto weight = sum(target, 1, true);                                         // 0 for ignored rows
        return (softmax(logits()) * weight - target) * ((per_row ? unsqueeze(dy, 1) : dy) * factor);
      }));
}

}  // namespace gradus::inline GRADUS_BUILD

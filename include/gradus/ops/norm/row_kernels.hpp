// Kernels of layer norm and rms norm on the CPU, a row each.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/ops/reduction/moments.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

template <class C>
struct RowMoments {
  C mean, inverse;  ///< inverse: 1 / sqrt(variance + eps)
};

/// Elements i, i + 1, ... of a parameter, or `missing` where there is none.
template <class C, class T>
GRADUS_INLINE Simd<C> parameter_lanes(const T* parameter, int64_t i, int64_t count, C missing) {
  return parameter != nullptr ? load_some<C>(parameter + i, count) : Simd<C>(missing);
}

/// A row of x that is to be normalised, after `added` was added to it, where that is not null.
template <class T>
class RowToNormalize {
 public:
  using C = Compute<T>;

  RowToNormalize(const T* x, const T* added, int64_t n, T* sum, bool streamed) : x_(x), added_(added), n_(n), row_(x) {
    if (added == nullptr) return;
    auto past_caches = streamed && n <= most_kept;  // then a copy stays, for the row is read again at once
    for_each_register(x, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
      auto total = v + load_some<C>(added + i, count);
      if (past_caches) total.store(kept_ + i);
      store_row(total, sum + i, count, past_caches);
    });
    row_ = past_caches ? kept_ : sum;
  }
  RowToNormalize(const RowToNormalize&) = delete;
  RowToNormalize& operator=(const RowToNormalize&) = delete;

  const T* data() const { return row_; }
  /// Asks for what the row that follows is made of.
  GRADUS_INLINE void fetch_next(int64_t i) const {
    fetch_beyond(x_ + i, n_);
    if (added_ != nullptr) fetch_beyond(added_ + i, n_);
  }

 private:
  static constexpr int64_t most_kept = 2048;

  const T *x_, *added_;
  int64_t n_;
  const T* row_;
  alignas(64) T kept_[most_kept];
};

/// y = (x - mean) / sqrt(variance + eps) * weight + bias of one row; returns its moments. Where `added` is not null, it
/// is of sum = x + added.
template <class T>
RowMoments<Compute<T>> normalize_row(const T* x, const T* added, const T* weight, const T* bias, int64_t n, double eps,
                                     T* sum, T* y, bool streamed) {
  using C = Compute<T>;
  RowToNormalize<T> row(x, added, n, sum, streamed);
  auto [row_mean, spread, count_of_row] = run_moments(row.data(), n);
  RowMoments<C> moments{row_mean, C(1) / std::sqrt(spread / count_of_row + static_cast<C>(eps))};
  Simd<C> mean(moments.mean), inverse(moments.inverse);
  for_each_register(row.data(), n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = (v - mean) * inverse;
    row.fetch_next(i);
    store_row(fma(normal, parameter_lanes(weight, i, count, C(1)), parameter_lanes(bias, i, count, C(0))), y + i, count,
              streamed);
  });
  return moments;
}

/// value, and what stands at i of a row where there is one: a gradient that came by another way.
template <class C, class T>
GRADUS_INLINE Simd<C> with_past(const Simd<C>& value, const T* past, int64_t i, int64_t count, int64_t n) {
  if (past == nullptr) return value;
  fetch_beyond(past + i, n);
  return value + load_some<C>(past + i, count);
}

/// dx of one row, and `past` to it where that is not null; adds dy normal and dy to the sums for weight and bias,
/// unless these are null. dx may be `past`.
template <class T, class C = Compute<T>>
void layer_norm_row_gradient(const T* dy, const T* x, const T* past, const T* weight, RowMoments<C> moments, int64_t n,
                             T* dx, C* dw, C* db, bool streamed) {
  Simd<C> mean(moments.mean), inverse(moments.inverse), plain(C(0)), scaled(C(0));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = (load_some<C>(x + i, count) - mean) * inverse;
    if (dw != nullptr) {
      fma(v, normal, Simd<C>::load(dw + i)).store(dw + i);
      (v + Simd<C>::load(db + i)).store(db + i);
    }
    auto g = v * parameter_lanes(weight, i, count, C(1));
    plain = plain + g;
    scaled = fma(g, normal, scaled);
  });
  Simd<C> mean_g(fold_lanes(plain, add_lanes) / static_cast<C>(n)),
      slope(fold_lanes(scaled, add_lanes) / static_cast<C>(n));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = (load_some<C>(x + i, count) - mean) * inverse;
    auto g = v * parameter_lanes(weight, i, count, C(1));
    fetch_beyond(dy + i, n);
    fetch_beyond(x + i, n);
    store_row(with_past((g - mean_g - normal * slope) * inverse, past, i, count, n), dx + i, count, streamed);
  });
}

/// 1 / sqrt(mean of squares + eps) of one row.
template <class T>
Compute<T> row_inverse_rms(const T* row, int64_t n, double eps) {
  using C = Compute<T>;
  auto add_square = [](const Simd<C>& sum, const Simd<C>& v, int64_t) GRADUS_INLINE_LAMBDA { return fma(v, v, sum); };
  auto sum = fold_lanes(fold_row(row, n, C(0), C(0), add_square, add_lanes), add_lanes);
  return C(1) / std::sqrt(sum / static_cast<C>(n) + static_cast<C>(eps));
}

/// y = x / rms * weight of one row; returns 1 / rms. Where `added` is not null, it is of sum = x + added.
template <Floating T>
Compute<T> rms_normalize_row(const T* x, const T* added, const T* weight, int64_t n, double eps, T* sum, T* y,
                             bool streamed) {
  using C = Compute<T>;
  RowToNormalize<T> row(x, added, n, sum, streamed);
  auto result = row_inverse_rms(row.data(), n, eps);
  Simd<C> inverse(result);
  for_each_register(row.data(), n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    row.fetch_next(i);
    store_row(v * inverse * parameter_lanes(weight, i, count, C(1)), y + i, count, streamed);
  });
  return result;
}

/// dx of one row, and `past` to it where that is not null; adds dy times the normalised row to the sums for the weight,
/// unless these are null. dx may be `past`.
template <class T, class C = Compute<T>>
void rms_norm_row_gradient(const T* dy, const T* x, const T* past, const T* weight, C inverse_rms, int64_t n, T* dx,
                           C* dw, bool streamed) {
  Simd<C> inverse(inverse_rms), scaled(C(0));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = load_some<C>(x + i, count) * inverse;
    if (dw != nullptr) fma(v, normal, Simd<C>::load(dw + i)).store(dw + i);
    scaled = fma(v * parameter_lanes(weight, i, count, C(1)), normal, scaled);
  });
  Simd<C> slope(fold_lanes(scaled, [](C a, C b) { return a + b; }) / static_cast<C>(n));
  for_each_register(dy, n, C(0), [&](int64_t i, const Simd<C>& v, int64_t count) GRADUS_INLINE_LAMBDA {
    auto normal = load_some<C>(x + i, count) * inverse;
    fetch_beyond(dy + i, n);
    fetch_beyond(x + i, n);
    auto value = (v * parameter_lanes(weight, i, count, C(1)) - normal * slope) * inverse;
    store_row(with_past(value, past, i, count, n), dx + i, count, streamed);
  });
}

/// Sums for the gradients of weight and bias, (parts, 2, width) with the width rounded up to whole registers.
template <class C>
class ParameterSums {
 public:
  ParameterSums(int64_t parts, int64_t width)
      : parts_(parts), stride_((width + simd_lanes - 1) / simd_lanes * simd_lanes), sums_(2 * parts * stride_) {}

  C* weight(int64_t part) const { return sums_.data() + 2 * part * stride_; }
  C* bias(int64_t part) const { return weight(part) + stride_; }
  void clear(int64_t part) const { std::fill_n(weight(part), 2 * stride_, C(0)); }

  /// to[i] = the sum over parts, added in their order, of what stands behind `first`.
  template <class T>
  void add_parts(const C* first, T* to, int64_t width) const {
    for (int64_t i = 0; i < width; i += simd_lanes) {
      auto sum = Simd<C>::load(first + i);
      for (int64_t part = 1; part < parts_; ++part) sum = sum + Simd<C>::load(first + 2 * part * stride_ + i);
      store_some(sum, to + i, std::min<int64_t>(simd_lanes, width - i));
    }
  }

 private:
  int64_t parts_, stride_;
  Scratch<C> sums_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD

// What a data set is, how samples become a batch, and the data set that most programs need: tensors in memory.
#pragma once

#include <cstring>
#include <span>
#include <tuple>

#include "gradus/tensor.hpp"

namespace gradus::data::inline GRADUS_BUILD {

/// Has `size()`, and `get(i)`: sample i as a tuple of tensors (of the same shape in every sample) and numbers.
/// A loader calls get from one background thread at a time, under no_grad.
template <class D> concept Dataset = requires(const D& dataset, int64_t index) {
  { dataset.size() } -> std::convertible_to<int64_t>;
  std::tuple_size<decltype(dataset.get(index))>::value;
};
/// Also makes whole batches, which a loader then prefers: `batch(indices)` -> std::tuple<Tensor<T>...>.
template <class D> concept BatchDataset = Dataset<D> && requires(const D& dataset, std::span<const int64_t> indices) {
  std::tuple_size<decltype(dataset.batch(indices))>::value;
};

/// Tensors with one row a sample: TensorDataset(images, labels). Rows are copied out, so the tensors are not changed.
template <Element... Ts>
class TensorDataset {
 public:
  /// ShapeError unless all have the same first size.
  explicit TensorDataset(const Tensor<Ts>&... tensors) : tensors_(contiguous(tensors.detach())...) {
    static_assert(sizeof...(Ts) > 0, "a data set needs a tensor");
    int position = 0;
    (check(tensors, position++), ...);
  }

  int64_t size() const { return std::get<0>(tensors_).size(0); }
  /// Row i of each tensor, without a copy. IndexError out of range.
  std::tuple<Tensor<Ts>...> get(int64_t index) const {
    check_index(index);
    return std::apply([&](const auto&... tensors) { return std::tuple(select(tensors, 0, index)...); }, tensors_);
  }
  /// Copies of these rows of each tensor: (indices.size(), ...).
  std::tuple<Tensor<Ts>...> batch(std::span<const int64_t> indices) const {
    for (auto index : indices) check_index(index);
    return std::apply([&](const auto&... tensors) { return std::tuple(gather_rows(tensors, indices)...); }, tensors_);
  }

 private:
  template <class T>
  void check(const Tensor<T>& tensor, int position) const {
    require<ShapeError>(tensor.rank() > 0 && tensor.size(0) == size(), "TensorDataset: tensor ", position, " is ",
                        tensor.shape(), ", but must have ", size(), " rows as tensor 0 has");
  }
  void check_index(int64_t index) const {
    require<IndexError>(index >= 0 && index < size(), "TensorDataset: sample ", index, " of ", size());
  }
  template <class T>
  static Tensor<T> gather_rows(const Tensor<T>& tensor, std::span<const int64_t> indices) {
    auto shape = tensor.shape();
    shape[0] = static_cast<int64_t>(indices.size());
    auto result = Tensor<T>::empty(shape);
    auto row = tensor.numel() / std::max<int64_t>(tensor.size(0), 1);
    auto* to = result.mutable_data();
    for (auto index : indices) {
      std::memcpy(to, tensor.data() + index * row, static_cast<size_t>(row) * sizeof(T));
      to += row;
    }
    return result;
  }

  std::tuple<Tensor<Ts>...> tensors_;
};

}  // namespace gradus::data::inline GRADUS_BUILD

namespace gradus::data::detail::inline GRADUS_BUILD {

/// Writes one part of every sample into one tensor of the batch.
template <class Part>
class Collator;

template <Element T>
class Collator<Tensor<T>> {
 public:
  using Batch = Tensor<T>;

  void add(const Tensor<T>& sample, int64_t position, int64_t count) {
    if (position == 0) {
      shape_ = sample.shape();
      auto shape = shape_;
      shape.insert(0, count);
      batch_ = Batch::empty(shape);  // (count, ...)
    }
    require<ShapeError>(sample.shape() == shape_, "its tensor is ", sample.shape(), ", but the first of the batch is ",
                        shape_);
    Tensor<T>(select(batch_, 0, position)).copy_(sample);
  }
  Batch take() { return std::move(batch_); }

 private:
  Shape shape_;
  Batch batch_;
};

/// Whole numbers become int64, as labels are; floating types and bool stay.
template <class N>
requires std::is_arithmetic_v<N>
class Collator<N> {
 public:
  using T = std::conditional_t<std::is_same_v<N, bool> || std::is_floating_point_v<N>, N, int64_t>;
  using Batch = Tensor<T>;

  void add(N sample, int64_t position, int64_t count) {
    if (position == 0) batch_ = Batch::empty({count});
    batch_.set({position}, static_cast<T>(sample));
  }
  Batch take() { return std::move(batch_); }

 private:
  Batch batch_;
};

template <class Sample>
struct BatchOf;
template <class... Parts>
struct BatchOf<std::tuple<Parts...>> {
  using type = std::tuple<typename Collator<std::remove_cvref_t<Parts>>::Batch...>;
  using Collators = std::tuple<Collator<std::remove_cvref_t<Parts>>...>;
};

/// The text that an error of sample `index` gets in front.
inline std::string sample_context(int64_t index) { return join("sample ", index); }

/// Rethrows the exception being handled, with `where` in its text. Foreign exceptions become a nested one of Error.
[[noreturn]] inline void rethrow_with_context(const std::string& where) {
  try {
    throw;
  } catch (Error& error) {
    error.add_context(where);
    throw;
  } catch (const std::exception& error) {
    std::throw_with_nested(Error(where + ": " + error.what()));
  }
}

/// The batch of these samples: get() by get(), put together.
template <class D>
auto collate(const D& dataset, std::span<const int64_t> indices) {
  using Sample = decltype(dataset.get(int64_t{}));
  typename BatchOf<Sample>::Collators collators;
  for (size_t i = 0; i < indices.size(); ++i) {
    try {
      auto sample = dataset.get(indices[i]);
      [&]<size_t... P>(std::index_sequence<P...>) {
        (std::get<P>(collators).add(std::get<P>(sample), static_cast<int64_t>(i), static_cast<int64_t>(indices.size())),
         ...);
      }
      (std::make_index_sequence<std::tuple_size_v<Sample>>());
    } catch (...) {
      rethrow_with_context(sample_context(indices[i]));
    }
  }
  return std::apply([](auto&... each) { return std::tuple(each.take()...); }, collators);
}

/// "samples 3, 1, 4 ..."
inline std::string batch_context(std::span<const int64_t> indices) {
  constexpr size_t shown = 8;
  std::string text = "samples";
  for (size_t i = 0; i < std::min(indices.size(), shown); ++i) text += join(i == 0 ? " " : ", ", indices[i]);
  return indices.size() > shown ? text + " ..." : text;
}

/// A batch in the data set's own way when it has one.
template <class D>
auto make_batch(const D& dataset, std::span<const int64_t> indices) {
  if constexpr (BatchDataset<D>) {
    try {
      return dataset.batch(indices);
    } catch (...) {
      rethrow_with_context(batch_context(indices));
    }
  } else {
    return collate(dataset, indices);
  }
}

template <class D>
using BatchType = decltype(make_batch(std::declval<const D&>(), std::span<const int64_t>()));

/// f's result as a tuple.
template <class R>
auto as_tuple(R&& result) {
  if constexpr (requires { std::tuple_size<std::remove_cvref_t<R>>::value; }) {
    return std::forward<R>(result);
  } else {
    return std::tuple(std::forward<R>(result));
  }
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

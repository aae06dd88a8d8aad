// Data sets made from others, sample by sample or batch by batch, when they are asked for.
#pragma once

#include "gradus/data/dataset.hpp"

namespace gradus::data::inline GRADUS_BUILD {

/// What map() returns. D is a reference when the data set was an lvalue.
template <class D, class F>
class Mapped {
 public:
  Mapped(D&& dataset, F f) : dataset_(std::forward<D>(dataset)), f_(std::move(f)) {}

  int64_t size() const { return dataset_.size(); }
  auto get(int64_t index) const { return detail::as_tuple(std::apply(f_, dataset_.get(index))); }

 private:
  D dataset_;
  F f_;
};

/// What map_batches() returns.
template <class D, class F>
class MappedBatches {
 public:
  MappedBatches(D&& dataset, F f) : dataset_(std::forward<D>(dataset)), f_(std::move(f)) {}

  int64_t size() const { return dataset_.size(); }
  /// Sample `index` as a batch of one, its first axis taken away.
  auto get(int64_t index) const {
    return std::apply([](const auto&... parts) { return std::tuple(select(parts, 0, 0)...); },
                      batch(std::span(&index, 1)));
  }
  auto batch(std::span<const int64_t> indices) const {
    return detail::as_tuple(std::apply(f_, detail::make_batch(std::as_const(dataset_), indices)));
  }

 private:
  D dataset_;
  F f_;
};

/// The data set whose samples are f(parts of a sample...): one tensor or number, or a tuple. Random numbers drawn in f
/// come from default_generator(), which a loader sets for each batch: the same seed gives the same samples. An lvalue
/// data set is referred to, an rvalue is kept.
template <class D, class F>
requires Dataset<std::remove_cvref_t<D>> Mapped<D, F> map(D&& dataset, F f) {
  return {std::forward<D>(dataset), std::move(f)};
}

/// The same with whole batches, in fewer and larger steps: f gets tensors with one row a sample.
/// data::map_batches(set, [](auto images, auto labels) { return std::tuple(cast<float>(images) / 255, labels); })
template <class D, class F>
requires Dataset<std::remove_cvref_t<D>> MappedBatches<D, F> map_batches(D&& dataset, F f) {
  return {std::forward<D>(dataset), std::move(f)};
}

}  // namespace gradus::data::inline GRADUS_BUILD

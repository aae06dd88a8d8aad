// Parts of a data set: views that name its samples by their numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "gradus/core/rng.hpp"
#include "gradus/data/dataset.hpp"

namespace gradus::data::inline GRADUS_BUILD {

/// The samples of a data set whose numbers stand in `indices`, in that order. Nothing is copied.
template <class D>
class Subset {
 public:
  Subset(std::shared_ptr<const D> dataset, std::vector<int64_t> indices)
      : dataset_(std::move(dataset)), indices_(std::move(indices)) {}

  int64_t size() const { return std::ssize(indices_); }
  /// The numbers of its samples in the whole data set.
  const std::vector<int64_t>& indices() const { return indices_; }

  auto get(int64_t index) const { return dataset_->get(whole_index(index)); }
  auto batch(std::span<const int64_t> indices) const requires BatchDataset<D> {
    std::vector<int64_t> wanted;
    wanted.reserve(indices.size());
    for (auto index : indices) wanted.push_back(whole_index(index));
    return dataset_->batch(wanted);
  }

 private:
  int64_t whole_index(int64_t index) const {
    require<IndexError>(index >= 0 && index < size(), "Subset: sample ", index, " of ", size());
    return indices_[static_cast<size_t>(index)];
  }

  std::shared_ptr<const D> dataset_;
  std::vector<int64_t> indices_;
};

/// The two parts of a split.
template <class D>
struct SplitSet {
  Subset<D> train, validation;
};

}  // namespace gradus::data::inline GRADUS_BUILD

namespace gradus::data::detail::inline GRADUS_BUILD {

/// 0 ... count - 1 in an order that the seed alone determines.
inline std::vector<int64_t> shuffled(int64_t count, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  constexpr uint64_t for_splits = 0x73706c6974;  // "split": not the numbers that others draw with this seed
  auto words = philox(seed, for_splits, 0);
  RandomStream{static_cast<uint64_t>(words[0]) << 32 | words[1], 0}.shuffle(order.data(), count);
  return order;
}

/// How many of `count` samples are for validation.
inline int64_t validation_count(const char* name, int64_t count, double share) {
  require<ValueError>(share > 0 && share < 1, name, ": the share is ", share, ", but must be between 0 and 1");
  auto wanted = std::llround(share * static_cast<double>(count));
  require<ValueError>(wanted > 0 && wanted < count, name, ": a share of ", share, " of ", count, " samples is ", wanted,
                      ", but both parts must have samples");
  return wanted;
}

/// How many of each class, given as places in `counts`, are for validation: each within 1 of its share, and `wanted` in
/// all (the largest remainders are rounded up).
inline std::vector<int64_t> validation_quotas(const std::vector<int64_t>& counts, double share, int64_t wanted) {
  std::vector<int64_t> quotas;
  std::vector<double> remainders;
  for (auto count : counts) {
    auto exact = share * static_cast<double>(count);
    quotas.push_back(static_cast<int64_t>(exact));
    remainders.push_back(exact - std::floor(exact));
  }
  std::vector<size_t> by_remainder(counts.size());
  std::iota(by_remainder.begin(), by_remainder.end(), size_t{0});
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  auto left = wanted - std::accumulate(quotas.begin(), quotas.end(), int64_t{0});
  for (size_t i = 0; left > 0; ++i, --left) ++quotas[by_remainder[i % by_remainder.size()]];
  return quotas;
}

/// An lvalue is referred to, an rvalue kept.
template <class D>
std::shared_ptr<const std::remove_cvref_t<D>> refer_or_keep(D&& dataset) {
  using Set = std::remove_cvref_t<D>;
  if constexpr (std::is_lvalue_reference_v<D>) return {std::shared_ptr<void>(), &dataset};
  else return std::make_shared<const Set>(std::forward<D>(dataset));
}

template <class D>
SplitSet<D> split_at(std::shared_ptr<const D> dataset, std::vector<int64_t> train, std::vector<int64_t> validation) {
  std::sort(train.begin(), train.end());
  std::sort(validation.begin(), validation.end());
  return {{dataset, std::move(train)}, {dataset, std::move(validation)}};
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

/// Two views of a data set without a sample in common: round(share * size) samples, drawn at random, are for
/// validation, the others for training. Which they are follows from size, share and seed alone; both keep the set's
/// order. An lvalue data set is referred to, an rvalue kept. ValueError when a part would be empty.
/// auto [train, validation] = data::split(set, 0.2, seed);
template <class D>
requires Dataset<std::remove_cvref_t<D>> SplitSet<std::remove_cvref_t<D>> split(D&& dataset, double share,
                                                                                uint64_t seed) {
  auto count = detail::validation_count("split", static_cast<int64_t>(dataset.size()), share);
  auto order = detail::shuffled(static_cast<int64_t>(dataset.size()), seed);
  return detail::split_at(detail::refer_or_keep(std::forward<D>(dataset)),
                          std::vector<int64_t>(order.begin() + count, order.end()),
                          std::vector<int64_t>(order.begin(), order.begin() + count));
}

/// The same with the same share of every class: labels (n,) are the samples' classes. Each class's number is its exact
/// share rounded up or down.
template <class D>
requires Dataset<std::remove_cvref_t<D>> SplitSet<std::remove_cvref_t<D>> stratified_split(
    D&& dataset, const Tensor<int64_t>& labels, double share, uint64_t seed) {
  auto size = static_cast<int64_t>(dataset.size());
  require<ShapeError>(labels.rank() == 1 && labels.size(0) == size, "stratified_split: labels are ", labels.shape(),
                      ", but there are ", size, " samples");
  auto wanted = detail::validation_count("stratified_split", size, share);
  auto classes = labels.to_vector();
  auto values = classes;
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  std::vector<int64_t> counts(values.size());
  for (auto& label : classes) {
    label = std::lower_bound(values.begin(), values.end(), label) - values.begin();
    ++counts[static_cast<size_t>(label)];
  }
  auto quotas = detail::validation_quotas(counts, share, wanted);
  std::vector<int64_t> train, validation;
  for (auto index : detail::shuffled(size, seed)) {
    auto& quota = quotas[static_cast<size_t>(classes[static_cast<size_t>(index)])];
    (quota > 0 ? validation : train).push_back(index);
    if (quota > 0) --quota;
  }
  return detail::split_at(detail::refer_or_keep(std::forward<D>(dataset)), std::move(train), std::move(validation));
}

/// All samples of a data set as one batch: a tuple of tensors with one row a sample.
template <class D>
requires Dataset<D>
auto whole_batch(const D& dataset) {
  std::vector<int64_t> indices(static_cast<size_t>(dataset.size()));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  return detail::make_batch(dataset, std::span<const int64_t>(indices));
}

}  // namespace gradus::data::inline GRADUS_BUILD

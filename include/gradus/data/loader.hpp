// Batches of a data set, in an order that seed and epoch determine, made ahead of their use.
#pragma once

#include <iterator>
#include <numeric>

#include "gradus/core/rng.hpp"
#include "gradus/data/dataset.hpp"
#include "gradus/data/prefetch.hpp"

namespace gradus::data::inline GRADUS_BUILD {

struct LoaderOptions {
  int64_t batch_size = 1;
  bool shuffle = false;                         ///< a new order each epoch
  bool drop_last = false;                       ///< leave out a last batch that is not full
  std::optional<uint64_t> seed = std::nullopt;  ///< absent: drawn from the thread's default generator
  int prefetch = 2;               ///< batches made ahead by a background thread; 0: made when they are asked for
  Device device = Device::cpu();  ///< where batches come to; with prefetch the copy runs beside the GPU's kernels
};

/// for (auto& [images, labels] : Loader(set, {.batch_size = 128, .shuffle = true})) { ... }
/// Refers to an lvalue data set, keeps an rvalue one. Each batch is memory of its own and may be kept. An error of the
/// data set is rethrown where its batch is asked for, with the sample's index in the text.
template <class D>
class Loader {
 public:
  using Set = std::remove_cvref_t<D>;
  static_assert(Dataset<Set>, "a data set has size() and get(index) -> std::tuple");
  using Batch = detail::BatchType<Set>;
  class Iterator;

  explicit Loader(D&& dataset, LoaderOptions options = {}) : dataset_(std::forward<D>(dataset)), options_(options) {
    require<ValueError>(options_.batch_size >= 1, "Loader: batch_size is ", options_.batch_size,
                        ", but must be at least 1");
    require<ValueError>(options_.prefetch >= 0, "Loader: prefetch is ", options_.prefetch,
                        ", but must not be negative");
    seed_ = choose_seed(options_.seed);
  }

  /// Samples of an epoch.
  int64_t size() const {
    auto all = static_cast<int64_t>(set().size());
    return options_.drop_last ? all / options_.batch_size * options_.batch_size : all;
  }
  /// Batches of an epoch.
  int64_t batches() const { return (size() + options_.batch_size - 1) / options_.batch_size; }
  uint64_t seed() const { return seed_; }
  /// The number of the epoch that begin() starts next, from 0; begin() counts it up.
  int64_t epoch() const { return epoch_; }
  /// To go on where a checkpoint was written: begin() starts that epoch at that batch, the next ones at their first.
  void set_epoch(int64_t epoch, int64_t batch = 0) {
    require<ValueError>(epoch >= 0 && batch >= 0 && batch <= batches(), "Loader: epoch ", epoch, " and batch ", batch,
                        ", but there are epochs from 0 on, of ", batches(), " batches");
    epoch_ = epoch;
    batch_ = batch;
  }
  /// Samples of the epoch that begin() starts next which come before its first batch; 0 but after set_epoch.
  int64_t skipped() const { return std::min(size(), batch_ * options_.batch_size); }

  /// Internal: what a checkpoint holds. While a loop runs, the batch in hand counts as used.
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    auto inside = used_ > 0 && used_ < batches();
    saved_ = {seed_, inside ? epoch_ - 1 : epoch_, inside ? used_ : batch_};
    visitor("seed", saved_.seed);
    visitor("epoch", saved_.epoch);
    visitor("batch", saved_.batch);
    visitor.finally([this] {
      set_epoch(saved_.epoch, saved_.batch);
      seed_ = saved_.seed;
    });
  }

  /// The samples of an epoch in their order.
  std::vector<int64_t> order(int64_t epoch) const {
    std::vector<int64_t> indices(static_cast<size_t>(set().size()));
    std::iota(indices.begin(), indices.end(), int64_t{0});
    if (options_.shuffle) RandomStream{key(epoch, -1), 0}.shuffle(indices.data(), std::ssize(indices));
    indices.resize(static_cast<size_t>(size()));
    return indices;
  }

  /// Starts an epoch.
  Iterator begin() { return Iterator(*this, epoch_++, std::exchange(batch_, 0)); }
  std::default_sentinel_t end() const { return {}; }

 private:
  const Set& set() const { return dataset_; }

  GRADUS_COLD static uint64_t choose_seed(const std::optional<uint64_t>& wanted) {  // inlined, g++ 12 -O1 warns
    if (wanted) return *wanted;
    auto drawn = default_generator().reserve(2);
    return static_cast<uint64_t>(drawn.word(0)) << 32 | drawn.word(1);
  }

  /// Of an epoch's order (batch -1) and of the random numbers that transforms draw for a batch.
  uint64_t key(int64_t epoch, int64_t batch) const {
    auto words = philox(seed_, static_cast<uint64_t>(epoch), static_cast<uint64_t>(batch));
    return static_cast<uint64_t>(words[0]) << 32 | words[1];
  }

  Batch make(const std::vector<int64_t>& order, int64_t epoch, int64_t index) const {
    default_generator().manual_seed(key(epoch, index));
    auto first = static_cast<size_t>(index * options_.batch_size);
    auto count = std::min(order.size() - first, static_cast<size_t>(options_.batch_size));
    auto batch = detail::make_batch(set(), std::span(order).subspan(first, count));
    return std::apply([&](const auto&... parts) { return Batch(parts.to(options_.device)...); }, batch);
  }

  D dataset_;
  LoaderOptions options_;
  uint64_t seed_ = 0;
  int64_t epoch_ = 0, batch_ = 0;  // where begin() starts
  int64_t used_ = 0;               // batches of the running epoch that were handed out; 0 when none runs
  struct {
    uint64_t seed = 0;
    int64_t epoch = 0, batch = 0;
  } saved_;  // on its way to or from a checkpoint

  friend class Iterator;
};

template <class D>
Loader(D&&) -> Loader<D>;
template <class D>
Loader(D&&, LoaderOptions) -> Loader<D>;

/// Where a loop over a loader stands. Ends the background thread when it goes, also by `break` or an exception.
template <class D>
class Loader<D>::Iterator {
 public:
  using value_type = Batch;
  using difference_type = std::ptrdiff_t;

  Iterator(Iterator&&) noexcept = default;
  Iterator& operator=(Iterator&&) noexcept = default;
  ~Iterator() {
    if (prefetch_) prefetch_->give_back(std::move(batch_));
    if (order_) loader_->used_ = 0;  // else it was moved from
  }

  Batch& operator*() const { return *batch_; }
  Batch* operator->() const { return &*batch_; }
  /// Throws what the data set threw.
  Iterator& operator++() {
    auto used = std::exchange(batch_, std::nullopt);
    auto index = next_++;
    if (prefetch_) {
      batch_ = prefetch_->next(std::move(used));
    } else if (index < loader_->batches()) {
      used.reset();
      batch_ = make_here(index);
    }
    loader_->used_ = batch_ ? next_ : 0;
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& a, std::default_sentinel_t) { return !a.batch_; }

 private:
  friend class Loader;

  Iterator(Loader& loader, int64_t epoch, int64_t first)
      : loader_(&loader),
        epoch_(epoch),
        next_(first),
        order_(std::make_shared<std::vector<int64_t>>(loader.order(epoch))) {
    if (loader.options_.prefetch > 0) {
      prefetch_ = std::make_unique<detail::Prefetch<Batch>>(
          [&loader, epoch, first, order = order_](int64_t index) { return loader.make(*order, epoch, first + index); },
          loader.batches() - first, loader.options_.prefetch, loader.options_.device);
    }
    ++*this;
  }

  /// On this thread, whose own random numbers go on afterwards as if nothing had happened.
  Batch make_here(int64_t index) {
    struct Restore {
      Generator before = default_generator();
      ~Restore() { default_generator() = before; }
    } restore;
    NoGradGuard no_grad;
    return loader_->make(*order_, epoch_, index);
  }

  Loader* loader_;
  int64_t epoch_, next_;
  std::shared_ptr<const std::vector<int64_t>> order_;
  std::unique_ptr<detail::Prefetch<Batch>> prefetch_;
  mutable std::optional<Batch> batch_;
};

}  // namespace gradus::data::inline GRADUS_BUILD

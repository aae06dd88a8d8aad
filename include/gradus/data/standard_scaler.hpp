// Brings the columns of a table to mean 0 and standard deviation 1.
#pragma once

#include "gradus/data/normalize.hpp"

namespace gradus::data::inline GRADUS_BUILD {

struct StandardScalerOptions {
  bool missing_as_mean = false;  ///< NaN becomes 0, the mean, instead of staying
};

/// Learns mean and standard deviation of each column from the samples to learn from, and scales those and all others
/// by them: StandardScaler scale(train); model(scale(train)); model(scale(test)). As scikit-learn's: standard
/// deviations are the population's, NaN does not count, and a column that never changes becomes 0.
template <Floating T = float>
class StandardScaler {
 public:
  /// train (n, columns), or (n,) for one column. ValueError for a column without a value.
  explicit StandardScaler(const Tensor<T>& train, StandardScalerOptions options = {}) : options_(options) {
    require<ShapeError>(train.rank() == 1 || train.rank() == 2, "StandardScaler: the samples are ", train.shape(),
                        ", but must be (n, columns) or (n,)");
    auto values = contiguous(train.detach());
    auto columns = columns_of(values);
    for (int64_t i = 0; i < columns; ++i) {
      detail::RunningMoments moments;
      detail::add_moments(moments, values.data() + i, values.size(0), columns);
      require<ValueError>(moments.count > 0, "StandardScaler: column ", i, " of ", train.shape(), " has no value");
      mean_.push_back(moments.mean);
      auto std = moments.std();
      std_.push_back(std > 0 ? std : 1);
    }
  }

  /// (x - mean) / std. x (n, columns) -> (n, columns); (n,) for one column.
  Tensor<T> operator()(const Tensor<T>& x) const {
    return change(x, [this](double value, size_t column) {
      auto scaled = (value - mean_[column]) / std_[column];
      return options_.missing_as_mean && std::isnan(scaled) ? 0 : scaled;
    });
  }
  /// x * std + mean: back from scaled values.
  Tensor<T> inverse(const Tensor<T>& x) const {
    return change(x, [this](double value, size_t column) { return value * std_[column] + mean_[column]; });
  }

  const std::vector<double>& mean() const { return mean_; }
  /// 1 where a column never changes.
  const std::vector<double>& std() const { return std_; }

 private:
  static int64_t columns_of(const Tensor<T>& x) { return x.rank() == 1 ? 1 : x.size(-1); }

  template <class F>
  Tensor<T> change(const Tensor<T>& x, F&& f) const {
    require<ShapeError>((x.rank() == 1 || x.rank() == 2) && columns_of(x) == std::ssize(mean_),
                        "StandardScaler: the samples are ", x.shape(), ", but must have ", mean_.size(),
                        mean_.size() == 1 ? " column" : " columns");
    auto result = x.clone();
    auto* value = result.mutable_data();
    for (int64_t row = 0; row < x.size(0); ++row) {
      for (size_t column = 0; column < mean_.size(); ++column, ++value) {
        *value = static_cast<T>(f(static_cast<double>(*value), column));
      }
    }
    return result;
  }

  StandardScalerOptions options_;
  std::vector<double> mean_, std_;
};

}  // namespace gradus::data::inline GRADUS_BUILD

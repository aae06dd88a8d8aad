// Which classes are taken for which, and the scores that follow from it.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "gradus/metrics/accuracy.hpp"

namespace gradus::metrics::inline GRADUS_BUILD {

/// The scores of one class, or their unweighted (macro) mean. A score with nothing to count is 0, as in scikit-learn.
struct ClassScores {
  double precision = 0;  ///< of the samples predicted to be of this class, the share that is
  double recall = 0;     ///< of the samples of this class, the share that was found
  double f1 = 0;         ///< harmonic mean of both
  int64_t support = 0;   ///< samples of this class
};

class ConfusionMatrix {
 public:
  GRADUS_COLD explicit ConfusionMatrix(int64_t classes) {
    require<ValueError>(classes >= 1, "ConfusionMatrix: ", classes, " classes, but there must be at least 1");
    for (int64_t i = 0; i < classes; ++i) names_.push_back(std::to_string(i));
    counts_.resize(names_.size() * names_.size());
  }
  GRADUS_COLD explicit ConfusionMatrix(std::vector<std::string> class_names)
      : ConfusionMatrix(static_cast<int64_t>(class_names.size())) {
    names_ = std::move(class_names);
  }

  int64_t classes() const { return static_cast<int64_t>(names_.size()); }
  const std::vector<std::string>& class_names() const { return names_; }

  /// Counts a batch. predictions: logits (n, classes) of a floating type, or classes (n,) as int64; labels (n,).
  /// IndexError, and nothing counted, when a class is out of range.
  template <Numeric T>
  void update(const Tensor<T>& predictions, const Tensor<int64_t>& given) {
    auto labels = given.to(Device::cpu());
    auto predicted = detail::predicted_classes("ConfusionMatrix", predictions, given).to(Device::cpu());  // (n,)
    auto check = [&](std::string_view what, int64_t value, int64_t row) {
      require<IndexError>(value >= 0 && value < classes(), "ConfusionMatrix: ", what, ' ', value, " of row ", row,
                          " is out of range for ", classes(), " classes");
    };
    for (int64_t i = 0; i < predicted.numel(); ++i) {
      check("label", labels(i), i);
      check("prediction", predicted.data()[i], i);
    }
    for (int64_t i = 0; i < predicted.numel(); ++i) ++counts_[place(labels(i), predicted.data()[i])];
  }
  /// Counts `count` samples of class `actual` that were predicted to be `predicted`.
  void add(int64_t actual, int64_t predicted, int64_t count) {
    this->count(actual, predicted);  // checks the range
    require<ValueError>(count >= 0, "ConfusionMatrix: ", count, " samples, but must not be negative");
    counts_[place(actual, predicted)] += count;
  }
  void reset() { std::fill(counts_.begin(), counts_.end(), 0); }

  /// How many samples of class `actual` were predicted to be `predicted`.
  int64_t count(int64_t actual, int64_t predicted) const {
    require<IndexError>(std::min(actual, predicted) >= 0 && std::max(actual, predicted) < classes(),
                        "ConfusionMatrix: count(", actual, ", ", predicted, ") of ", classes(), " classes");
    return counts_[place(actual, predicted)];
  }
  int64_t total() const {
    int64_t sum = 0;
    for (auto count : counts_) sum += count;
    return sum;
  }
  /// NaN when nothing was counted.
  double accuracy() const {
    int64_t right = 0;
    for (int64_t i = 0; i < classes(); ++i) right += count(i, i);
    return static_cast<double>(right) / static_cast<double>(total());
  }
  ClassScores scores(int64_t class_index) const {
    int64_t predicted = 0, actual = 0;
    for (int64_t i = 0; i < classes(); ++i) {
      predicted += count(i, class_index);
      actual += count(class_index, i);
    }
    auto right = static_cast<double>(count(class_index, class_index));
    auto share = [right](double of) { return of > 0 ? right / of : 0.0; };
    return {share(static_cast<double>(predicted)), share(static_cast<double>(actual)),
            share(0.5 * static_cast<double>(predicted + actual)), actual};
  }
  /// Mean over the classes that occur, as label or as prediction; support is the number of samples.
  ClassScores macro() const {
    ClassScores mean;
    int64_t occurring = 0;
    for (int64_t i = 0; i < classes(); ++i) {
      auto one = scores(i);
      auto predicted = false;
      for (int64_t k = 0; k < classes(); ++k) predicted |= count(k, i) > 0;
      if (one.support == 0 && !predicted) continue;
      ++occurring;
      mean.precision += one.precision;
      mean.recall += one.recall;
      mean.f1 += one.f1;
      mean.support += one.support;
    }
    auto n = static_cast<double>(std::max<int64_t>(occurring, 1));
    return {mean.precision / n, mean.recall / n, mean.f1 / n, mean.support};
  }

 private:
  size_t place(int64_t actual, int64_t predicted) const { return static_cast<size_t>(actual * classes() + predicted); }

  std::vector<std::string> names_;
  std::vector<int64_t> counts_;  // row: actual class
};

}  // namespace gradus::metrics::inline GRADUS_BUILD

namespace gradus::metrics::detail::inline GRADUS_BUILD {

/// Characters of UTF-8 text, as a terminal counts them.
inline size_t columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}
GRADUS_COLD inline std::string pad_left(std::string_view text, size_t width) {
  return std::string(width - std::min(width, columns(text)), ' ') + std::string(text);
}
GRADUS_COLD inline std::string pad_right(std::string_view text, size_t width) {
  return std::string(text) + std::string(width - std::min(width, columns(text)), ' ');
}
GRADUS_COLD inline std::string percent(double share) {
  char buffer[16];
  std::snprintf(buffer, sizeof(buffer), "%.2f", 100 * share);
  return buffer;
}
GRADUS_COLD inline size_t name_width(const ConfusionMatrix& matrix, std::string_view at_least) {
  auto width = columns(at_least);
  for (const auto& name : matrix.class_names()) width = std::max(width, columns(name));
  return width;
}

}  // namespace gradus::metrics::detail::inline GRADUS_BUILD

namespace gradus::metrics::inline GRADUS_BUILD {

/// A table for people: actual classes down, predicted ones across, counts.
GRADUS_COLD inline std::string to_string(const ConfusionMatrix& matrix) {
  auto names = detail::name_width(matrix, "actual \\ predicted");
  auto widest = std::string_view("0").size();
  for (int64_t i = 0; i < matrix.classes(); ++i) {
    widest = std::max(widest, detail::columns(matrix.class_names()[static_cast<size_t>(i)].substr(0, 8)));
    for (int64_t k = 0; k < matrix.classes(); ++k) widest = std::max(widest, std::to_string(matrix.count(i, k)).size());
  }
  auto text = detail::pad_right("actual \\ predicted", names);
  for (const auto& name : matrix.class_names()) text += "  " + detail::pad_left(name.substr(0, 8), widest);
  for (int64_t i = 0; i < matrix.classes(); ++i) {
    text += '\n' + detail::pad_right(matrix.class_names()[static_cast<size_t>(i)], names);
    for (int64_t k = 0; k < matrix.classes(); ++k) {
      text += "  " + detail::pad_left(matrix.count(i, k) == 0 ? "." : std::to_string(matrix.count(i, k)), widest);
    }
  }
  return text + '\n';
}

/// A table for people: precision, recall and F1 of each class in percent, their means, the accuracy.
GRADUS_COLD inline std::string report(const ConfusionMatrix& matrix) {
  auto names = detail::name_width(matrix, "macro mean");
  auto line = [&](std::string_view name, const ClassScores& scores) {
    return detail::pad_right(name, names) + detail::pad_left(detail::percent(scores.precision), 11) +
           detail::pad_left(detail::percent(scores.recall), 9) + detail::pad_left(detail::percent(scores.f1), 9) +
           detail::pad_left(std::to_string(scores.support), 9) + '\n';
  };
  auto text = std::string(names, ' ') + "  precision   recall       F1  samples\n";
  for (int64_t i = 0; i < matrix.classes(); ++i) {
    text += line(matrix.class_names()[static_cast<size_t>(i)], matrix.scores(i));
  }
  text += line("macro mean", matrix.macro());
  return text + detail::pad_right("accuracy", names) + detail::pad_left(detail::percent(matrix.accuracy()), 11) +
         " %\n";
}

}  // namespace gradus::metrics::inline GRADUS_BUILD

// The plain training loop, one epoch a call. Programs that need another one write it: it is short.
#pragma once

#include <optional>

#include "gradus/autograd/parameter.hpp"
#include "gradus/metrics/accuracy.hpp"
#include "gradus/metrics/mean.hpp"
#include "gradus/nn/mode_guard.hpp"
#include "gradus/optim/loss_scaler.hpp"
#include "gradus/train/progress.hpp"

namespace gradus::training::inline GRADUS_BUILD {

/// What became of the scale of a LossScaler.
struct LossScaling {
  double before = 0, after = 0;  ///< the scale at the epoch's beginning and at its end
  int64_t left_out = 0;          ///< steps, because a gradient was not finite
};

/// What an epoch came to.
struct EpochResult {
  double loss = 0;  ///< mean over the samples, each batch weighted by its size
  std::optional<double>
      accuracy;  ///< from 0 to 1, where the outputs are logits (n, classes) and the targets int64 (n,)
  int64_t samples = 0;
  double seconds = 0;
  std::optional<LossScaling> scaling = std::nullopt;  ///< where there is a LossScaler
};

/// "loss scale 65536 -> 32768, 1 step left out"; "" when nothing of that happened.
GRADUS_COLD inline std::string to_string(const LossScaling& scaling) {
  auto text = join("loss scale ", scaling.before);
  if (scaling.after != scaling.before) text += join(" -> ", scaling.after);
  if (scaling.left_out == 0) return scaling.after == scaling.before ? "" : text;
  return text + join(", ", scaling.left_out, scaling.left_out == 1 ? " step left out" : " steps left out");
}

struct EpochOptions {
  ProgressOptions progress = {};
  bool accuracy = true;                         ///< count right answers where there are classes
  std::function<void()> before_step = nullptr;  ///< called when the gradients are there: to clip them, to look at them
  std::function<void()> after_step = nullptr;   ///< called after each optimizer step: a schedule, a log
  optim::LossScaler* scaler = nullptr;  ///< scales the losses; before_step then sees gradients that hold the scale
};

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

/// Calls the model with all parts of a batch but the last, which is the target.
template <class Model, class Batch>
decltype(auto) forward(Model& model, Batch& batch) {
  constexpr auto inputs = std::tuple_size_v<std::remove_cvref_t<Batch>> - 1;
  static_assert(inputs >= 1, "a batch must hold inputs and, last, a target");
  return [&]<size_t... I>(std::index_sequence<I...>)->decltype(auto) { return model(std::get<I>(batch)...); }
  (std::make_index_sequence<inputs>());
}

/// Adds up losses and right answers. What lives on a device is read only when somebody looks.
class Tally {
 public:
  template <class Output, class Target, Floating L>
  void add(const Output& output, const Target& target, const Tensor<L>& loss, bool count_right) {
    auto rows = target.size(0);
    samples_ += rows;
    auto weight = static_cast<double>(rows);
    if (loss.device().is_cpu()) {
      loss_.add(static_cast<double>(loss.item()), weight);
    } else {
      waiting_.push_back(loss.detach().impl());
      weights_.push_back(weight);
      read_ = [](const gradus::detail::TensorRef& value) {
        return static_cast<double>(Tensor<L>(value).to(Device::cpu()).item());
      };
    }
    if constexpr (requires { metrics::count_correct(output, target); }) {
      if (!count_right || output.rank() != 2 || target.rank() != 1) return;
      classified_ += rows;
      if (output.device().is_cpu()) {
        right_ += metrics::count_correct(output, target);
      } else {
        answers_.emplace_back(metrics::detail::predicted_classes("accuracy", output, target), target);
      }
    }
  }

  int64_t samples() const { return samples_; }
  /// From here on the scale of losses is watched, unless it was already.
  void watch(const optim::LossScaler* scaler) {
    if (scaler != nullptr && !scaling_) scaling_ = {scaler->scale(), scaler->scale(), 0};
  }
  void add_step(double scale, bool done) {
    scaling_->after = scale;
    scaling_->left_out += done ? 0 : 1;
  }
  const std::optional<LossScaling>& scaling() const { return scaling_; }
  double loss() {
    for (size_t i = 0; i < waiting_.size(); ++i) loss_.add(read_(waiting_[i]), weights_[i]);
    waiting_.clear();
    weights_.clear();
    return loss_.value();
  }
  std::optional<double> accuracy() {
    if (classified_ == 0) return std::nullopt;
    for (const auto& [given, wanted] : answers_) right_ += metrics::count_correct(given, wanted);
    answers_.clear();
    return static_cast<double>(right_) / static_cast<double>(classified_);
  }
  /// Internal: what a checkpoint holds.
  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    loss(), accuracy();  // what waits on a device
    loss_.visit_state(visitor);
    visitor("samples", samples_);
    visitor("classified", classified_);
    visitor("right", right_);
  }
  /// Internal: the same of the scale of losses; nothing stored stands for none that is watched.
  template <class Visitor>
  void visit_scaling(Visitor&& visitor) {
    numbers_.clear();
    if (scaling_) numbers_ = {scaling_->before, scaling_->after, static_cast<double>(scaling_->left_out)};
    visitor("scaling", numbers_);
    visitor.finally([this] {
      scaling_.reset();
      if (numbers_.size() == 3) scaling_ = {numbers_[0], numbers_[1], static_cast<int64_t>(numbers_[2])};
    });
  }
  /// "loss 0.3012  accuracy 91.23 %", and what became of the scale of losses
  std::string text() {
    char buffer[64];
    std::snprintf(buffer, sizeof(buffer), "loss %.4f", loss());
    std::string result = buffer;
    if (auto share = accuracy()) {
      std::snprintf(buffer, sizeof(buffer), "  accuracy %.2f %%", 100 * *share);
      result += buffer;
    }
    auto scaled = scaling_ ? to_string(*scaling_) : "";
    return scaled.empty() ? result : result + "  " + scaled;
  }

 private:
  metrics::Mean loss_;
  std::vector<gradus::detail::TensorRef> waiting_;                    // losses on a device
  std::vector<std::pair<Tensor<int64_t>, Tensor<int64_t>>> answers_;  // the same: given and wanted
  std::vector<double> weights_;
  double (*read_)(const gradus::detail::TensorRef&) = nullptr;
  int64_t samples_ = 0, classified_ = 0, right_ = 0;
  std::optional<LossScaling> scaling_;
  std::vector<double> numbers_;  // the same, on their way to or from a file
};

/// Calls step(batch) for every batch, which adds to the tally, under a progress bar; until it returns false.
template <class Loader, class Step>
double run_batches(Loader& loader, const ProgressOptions& options, Tally& tally, Step&& step) {
  int64_t total = -1;
  if constexpr (requires { loader.size(); }) total = static_cast<int64_t>(loader.size());
  Progress progress(total, options);
  progress.start_at(tally.samples());
  for (auto& batch : loader) {
    auto before = tally.samples();
    auto goes_on = step(batch);
    progress.advance(tally.samples() - before, [&] { return tally.text(); });
    if (!goes_on) break;
  }
  auto seconds = progress.seconds();
  progress.finish(tally.text());
  return seconds;
}

inline EpochResult result_of(Tally& tally, double seconds) {
  return {tally.loss(), tally.accuracy(), tally.samples(), seconds, tally.scaling()};
}

/// Calls model and loss function for a batch, and adds to the tally.
template <class Model, class Batch, class LossFunction>
auto compute_loss(Model& model, Batch& batch, LossFunction& loss_function, Tally& tally, bool accuracy) {
  const auto& target = std::get<std::tuple_size_v<Batch> - 1>(batch);
  auto output = forward(model, batch);
  auto loss = loss_function(output, target);
  tally.add(output, target, loss, accuracy);
  return loss;
}

/// Gradients of a loss, whose graph ends here, and the step that they are for.
template <Floating L, class Optimizer>
void learn_from(Tensor<L> loss, Optimizer& optimizer, optim::LossScaler* scaler,
                const std::function<void()>& before_step, Tally& tally) {
  if (scaler != nullptr) scaler->scale(loss).backward();
  else loss.backward();
  loss = {};
  if (before_step) before_step();
  if (scaler == nullptr) {
    optimizer.step();
  } else {
    if constexpr (requires { optimizer.dense_gradients(); }) {
      tally.watch(scaler);
      auto done = scaler->step(optimizer);
      tally.add_step(scaler->scale(), done);
    } else {
      gradus::detail::fail<ValueError>({"a loss scaler needs one of Gradus's optimizers: write the loop for another"});
    }
  }
  optimizer.zero_grad();
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// One pass over the loader's batches: model(inputs...), loss_function(output, target) -> scalar, backward, step. The
/// last part of a batch is the target. The model trains while it runs and is left in the mode it was in.
template <class Model, class Loader, class LossFunction, class Optimizer>
EpochResult train_epoch(Model& model, Loader&& loader, LossFunction&& loss_function, Optimizer& optimizer,
                        const EpochOptions& options = {}) {
  nn::detail::ModeGuard mode(model, true);
  detail::Tally tally;
  auto seconds = detail::run_batches(loader, options.progress, tally, [&](auto& batch) {
    detail::learn_from(detail::compute_loss(model, batch, loss_function, tally, options.accuracy), optimizer,
                       options.scaler, options.before_step, tally);
    if (options.after_step) options.after_step();
    return true;
  });
  return detail::result_of(tally, seconds);
}

/// The same without learning: in eval mode and under no_grad; the model is left in the mode it was in.
template <class Model, class Loader, class LossFunction>
EpochResult evaluate(Model& model, Loader&& loader, LossFunction&& loss_function, const EpochOptions& options = {}) {
  nn::detail::ModeGuard mode(model, false);
  NoGradGuard no_grad;
  detail::Tally tally;
  auto seconds = detail::run_batches(loader, options.progress, tally, [&](auto& batch) {
    detail::compute_loss(model, batch, loss_function, tally, options.accuracy);
    return true;
  });
  return detail::result_of(tally, seconds);
}

}  // namespace gradus::training::inline GRADUS_BUILD

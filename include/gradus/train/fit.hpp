// Whole trainings in one call, for those who want the loop done: epochs, validation, schedule, early stopping,
// resuming.
#pragma once

#include <atomic>

#include "gradus/optim/schedule.hpp"
#include "gradus/train/checkpoint.hpp"
#include "gradus/train/loop.hpp"

namespace gradus::training::inline GRADUS_BUILD {

/// A number that is computed after each epoch.
struct EpochMetric {
  std::string name;
  std::function<double()> compute;
};

/// What an epoch came to.
struct EpochRecord {
  int epoch = 0;  ///< from 1
  EpochResult train;
  std::optional<EpochResult> validation;
  double lr = 0;                ///< of the epoch's last step
  std::vector<double> metrics;  ///< in the order of FitOptions::metrics
};

struct EarlyStopping {
  int patience = 0;              ///< stop after so many epochs without a better value; 0: never
  double min_delta = 0;          ///< how much better counts as better
  const char* monitor = "loss";  ///< "loss" or "accuracy" (validation's where there is one), or a metric's name
  bool higher_is_better = false;
  bool restore_best = true;  ///< at the end the model gets the weights of its best epoch
};

struct FitOptions {
  int epochs = 1;
  ProgressOptions progress = {};
  bool accuracy = true;                                    ///< count right answers where there are classes
  std::function<double(int64_t step)> schedule = nullptr;  ///< factors of the learning rate, such as optim::cosine(...)
  std::vector<EpochMetric> metrics = {};
  EarlyStopping early_stopping = {};
  Checkpoint* checkpoint = nullptr;  ///< resumed before the first step; fit adds model, optimizer, schedule and loader
  double checkpoint_seconds = 30;    ///< at least so many between two saves within an epoch; each epoch's end is saved
  const std::atomic<bool>* cancel =
      nullptr;  ///< set by another thread or a signal handler: ends after the step at work
  std::function<void()> before_step = nullptr;             ///< when the gradients are there
  std::function<void(int64_t step)> after_step = nullptr;  ///< steps are counted from 1 over all epochs
  std::function<void(const EpochRecord&)> after_epoch = nullptr;
  optim::LossScaler* scaler = nullptr;  ///< for f16: scales the losses, before_step sees gradients that hold the scale;
                                        ///< part of the checkpoint; steps left out count for the schedule
};

/// What a training came to.
struct History {
  std::vector<EpochRecord> epochs;
  int best_epoch = 0;          ///< by EarlyStopping::monitor; 0 before the first
  bool stopped_early = false;  ///< patience ran out
  bool cancelled = false;
  Resumed resumed;
};

/// "epoch 2/5  loss 0.3120  accuracy 88.61 %   validation loss 0.2954  accuracy 89.24 %   41.2 s"
GRADUS_COLD inline std::string to_string(const EpochRecord& record) {
  auto text = join("epoch ", record.epoch);
  char buffer[64];
  auto add = [&](const char* title, const EpochResult& result) {
    std::snprintf(buffer, sizeof(buffer), "%sloss %.4f", title, result.loss);
    text += buffer;
    if (!result.accuracy) return;
    std::snprintf(buffer, sizeof(buffer), "  accuracy %.2f %%", 100 * *result.accuracy);
    text += buffer;
  };
  add("  ", record.train);
  if (record.validation) add("   validation ", *record.validation);
  std::snprintf(buffer, sizeof(buffer), "   %.1f s", record.train.seconds);
  text += buffer;
  auto scaled = record.train.scaling ? to_string(*record.train.scaling) : "";
  return scaled.empty() ? text : text + "   " + scaled;
}

}  // namespace gradus::training::inline GRADUS_BUILD

namespace gradus::training::detail::inline GRADUS_BUILD {

/// Where a training stands; all of it is in the checkpoint.
struct FitState {
  std::vector<EpochRecord> epochs;
  Tally tally;         // of the running epoch
  double seconds = 0;  // of the running epoch, before it was resumed
  int64_t steps = 0;
  double lr = 0;  // of the last step
  double best = 0;
  int best_epoch = 0;
  std::vector<double> flat;  // the records, on their way to or from a file
  size_t metrics = 0;
  bool scales = false;  // there is a LossScaler

  GRADUS_COLD void visit_state(StateVisitor& visitor) {
    flat.clear();
    for (const auto& record : epochs) {
      auto add = [&](const EpochResult& result) {
        flat.insert(flat.end(),
                    {result.loss, result.accuracy.value_or(-1), static_cast<double>(result.samples), result.seconds});
      };
      add(record.train);
      add(record.validation.value_or(EpochResult{0, {}, -1, 0, {}}));
      flat.push_back(record.lr);
      flat.insert(flat.end(), record.metrics.begin(), record.metrics.end());
      if (!scales) continue;
      auto [before, after, left_out] = record.train.scaling.value_or(LossScaling());
      flat.insert(flat.end(), {before, after, static_cast<double>(left_out)});
    }
    visitor("epochs", flat);
    visitor("seconds", seconds);
    visitor("steps", steps);
    visitor("lr", lr);
    visitor("best", best);
    visitor("best_epoch", best_epoch);
    tally.visit_state(visitor);
    if (scales) tally.visit_scaling(visitor);
    visitor.finally([this] { unflatten(); });
  }

 private:
  GRADUS_COLD void unflatten() {
    auto width = 9 + metrics + (scales ? 3 : 0);
    epochs.clear();
    for (size_t at = 0; at + width <= flat.size(); at += width) {
      auto take = [&](size_t first) {
        EpochResult result{flat[first], {}, static_cast<int64_t>(flat[first + 2]), flat[first + 3], {}};
        if (flat[first + 1] >= 0) result.accuracy = flat[first + 1];
        return result;
      };
      EpochRecord record{static_cast<int>(epochs.size()) + 1, take(at), {}, flat[at + 8], {}};
      auto validation = take(at + 4);
      if (validation.samples >= 0) record.validation = validation;
      auto from = flat.begin() + static_cast<std::ptrdiff_t>(at) + 9;
      record.metrics.assign(from, from + static_cast<std::ptrdiff_t>(metrics));
      const auto* last = &flat[at + width - 3];
      if (scales) record.train.scaling = {last[0], last[1], static_cast<int64_t>(last[2])};
      epochs.push_back(std::move(record));
    }
  }
};

GRADUS_COLD inline double monitored(const EpochRecord& record, const FitOptions& options) {
  const auto& result = record.validation ? *record.validation : record.train;
  std::string_view name = options.early_stopping.monitor;
  if (name == "loss") return result.loss;
  if (name == "accuracy") {
    require<ValueError>(result.accuracy.has_value(), "fit: 'accuracy' is to be monitored, but this model has none");
    return *result.accuracy;
  }
  for (size_t i = 0; i < options.metrics.size(); ++i) {
    if (options.metrics[i].name == name) return record.metrics[i];
  }
  gradus::detail::fail<ValueError>(
      {"fit: '", name, "' is to be monitored, but is neither loss, accuracy nor a metric"});
}

/// The weights of a model at some moment, to go back to.
class Snapshot {
 public:
  Snapshot() = default;
  GRADUS_COLD explicit Snapshot(std::vector<gradus::detail::NamedImpl> tensors) : tensors_(std::move(tensors)) {
    for (const auto& [name, impl, trained] : tensors_)
      kept_.push_back(gradus::detail::allocate_impl(impl->dtype, impl->shape, impl->storage->device()));
    take();
  }
  void take() {
    for (size_t i = 0; i < kept_.size(); ++i) gradus::detail::copy_elements(*kept_[i], *tensors_[i].impl);
  }
  void put_back() {
    for (size_t i = 0; i < kept_.size(); ++i) {
      tensors_[i].impl->storage->bump("fit");
      gradus::detail::copy_elements(*tensors_[i].impl, *kept_[i]);
    }
  }
  GRADUS_COLD void visit_state(StateVisitor& visitor) {
    for (size_t i = 0; i < kept_.size(); ++i) visitor.fixed(tensors_[i].name, kept_[i]);
  }

 private:
  std::vector<gradus::detail::NamedImpl> tensors_;
  std::vector<gradus::detail::TensorRef> kept_;
};

struct NoValidation {};

template <class Model, class Loader, class Validation, class LossFunction, class Optimizer>
History fit(Model& model, Loader& loader, Validation& validation, LossFunction& loss_function, Optimizer& optimizer,
            const FitOptions& options) {
  constexpr auto validates = !std::is_same_v<Validation, NoValidation>;
  require<ValueError>(options.epochs >= 0, "fit: ", options.epochs, " epochs, but must not be negative");
  FitState state;
  state.metrics = options.metrics.size();
  state.scales = options.scaler != nullptr;
  auto constant = [](int64_t) { return 1.0; };
  optim::Schedule schedule(optimizer, options.schedule ? options.schedule : constant);
  Snapshot best;
  if (options.early_stopping.patience > 0 && options.early_stopping.restore_best)
    best = Snapshot(gradus::detail::model_tensors(model));
  History history;
  auto* checkpoint = options.checkpoint;
  Checkpoint::Scope scope(checkpoint);
  if (checkpoint != nullptr) {
    checkpoint->add("model", model).add("optimizer", optimizer).add("schedule", schedule).add("fit", state);
    if constexpr (HasState<Loader>) checkpoint->add("loader", loader);
    checkpoint->add("best", best);
    if (state.scales) checkpoint->add("scaler", *options.scaler);
    history.resumed = checkpoint->resume();
  }
  auto saved_at = steady_seconds();
  auto save = [&] {
    if (checkpoint != nullptr) checkpoint->save();
    saved_at = steady_seconds();
  };
  auto cancelled = [&] { return options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed); };
  auto done = [&] { return static_cast<int>(state.epochs.size()); };
  auto out_of_patience = [&] {
    return options.early_stopping.patience > 0 && done() - state.best_epoch >= options.early_stopping.patience;
  };
  auto unfinished = [&] { return done() < options.epochs && !out_of_patience(); };

  while (unfinished() && !cancelled()) {
    EpochRecord record;
    record.epoch = done() + 1;
    auto progress = options.progress;
    if (progress.title.empty()) progress.title = join("epoch ", record.epoch, '/', options.epochs);
    auto whole = false;  // saved after its last step
    if constexpr (requires { loader.size(); })
      whole = state.tally.samples() > 0 && state.tally.samples() >= static_cast<int64_t>(loader.size());
    if (!whole) {
      nn::detail::ModeGuard mode(model, true);
      auto began = steady_seconds(), earlier = state.seconds;
      run_batches(loader, progress, state.tally, [&](auto& batch) {
        learn_from(compute_loss(model, batch, loss_function, state.tally, options.accuracy), optimizer, options.scaler,
                   options.before_step, state.tally);
        state.lr = optimizer.lr();
        if (options.schedule) schedule.step();
        ++state.steps;
        if (options.after_step) options.after_step(state.steps);
        state.seconds = earlier + steady_seconds() - began;
        if (cancelled() || steady_seconds() - saved_at >= options.checkpoint_seconds) save();
        return !cancelled();
      });
    }
    if (cancelled()) break;
    record.train = result_of(state.tally, state.seconds);
    record.lr = state.lr;
    if constexpr (validates) {
      EpochOptions quiet{.progress = {.show = Show::never}, .accuracy = options.accuracy};
      record.validation = evaluate(model, validation, loss_function, quiet);
    }
    for (const auto& metric : options.metrics) record.metrics.push_back(metric.compute());
    auto value = monitored(record, options), delta = options.early_stopping.min_delta;
    auto better = std::isnan(state.best)                    ? !std::isnan(value)
                  : options.early_stopping.higher_is_better ? value > state.best + delta
                                                            : value < state.best - delta;
    state.epochs.push_back(record);
    if (state.best_epoch == 0 || better) {
      state.best = value;
      state.best_epoch = record.epoch;
      best.take();
    }
    state.tally = {};
    state.seconds = 0;
    if (options.after_epoch) options.after_epoch(record);
    save();
  }
  history.cancelled = unfinished();  // nothing else leaves the loop before
  history.stopped_early = done() < options.epochs && out_of_patience();
  history.best_epoch = state.best_epoch;
  history.epochs = std::move(state.epochs);
  if (!history.cancelled && state.best_epoch > 0) best.put_back();
  return history;
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// Trains for some epochs and looks at the validation batches after each. Model, loader, loss function and optimizer
/// are what train_epoch takes; all of it can also be written by hand with train_epoch, evaluate and Checkpoint.
template <class Model, class Loader, class Validation, class LossFunction, class Optimizer>
History fit(Model& model, Loader&& loader, Validation&& validation, LossFunction&& loss_function, Optimizer& optimizer,
            const FitOptions& options = {}) requires requires {
  optimizer.zero_grad();
}
{ return detail::fit(model, loader, validation, loss_function, optimizer, options); }
/// Without validation.
template <class Model, class Loader, class LossFunction, class Optimizer>
History fit(Model& model, Loader&& loader, LossFunction&& loss_function, Optimizer& optimizer,
            const FitOptions& options = {}) requires requires {
  optimizer.zero_grad();
}
{
  detail::NoValidation none;
  return detail::fit(model, loader, none, loss_function, optimizer, options);
}

}  // namespace gradus::training::inline GRADUS_BUILD

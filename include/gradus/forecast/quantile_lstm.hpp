#pragma once

#include "gradus/forecast/windows.hpp"
#include "gradus/nn/embedding.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/nn/lstm.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/loss/quantile_loss.hpp"
#include "gradus/ops/pointwise/exp.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/pointwise/softplus.hpp"
#include "gradus/ops/view/expand.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/clip.hpp"

namespace gradus::forecast::inline GRADUS_BUILD {

struct QuantileLstmOptions {
  int64_t hidden = 64, head = 64;
  std::array<int64_t, 3> groups = {1, 1, 1};  ///< how many products, stores, regions
};

/// One network for all series: an LSTM reads the days before the origin; a small network, the same for each day to
/// come, joins its last state, what product, store and region are, and what is known of the day. It says by how much
/// the logarithm differs from that of the median of the same weekdays, and how far the 10 % and 90 % quantiles lie
/// away.
template <Floating T = float>
struct QuantileLstm {
  QuantileLstmOptions options;
  nn::Embedding<T> product, store, region;
  nn::LSTM<T> lstm;
  nn::Linear<T> first, second, output;
  GRADUS_FIELDS(options, product, store, region, lstm, first, second, output)

  QuantileLstm(int64_t past_size, int64_t future_size, const QuantileLstmOptions& o)
      : options(o),
        product(o.groups[0], 8),
        store(o.groups[1], 4),
        region(o.groups[2], 2),
        lstm(past_size, o.hidden, {.batch_first = true}),
        first(o.hidden + 14 + future_size, o.head),
        second(o.head, o.head),
        output(o.head, 3) {}

  /// Quantiles 0.1, 0.5 and 0.9 in units, (n, horizon, 3), never crossing; divided by the scale.
  Tensor<T> relative(const WindowBatch& batch) const {
    auto n = batch.future.size(0), horizon = batch.future.size(1);
    auto state = select(lstm(batch.past).h, 0, 0);  // (n, hidden)
    auto group = [&](const nn::Embedding<T>& table, int64_t which) { return table(select(batch.groups, 1, which)); };
    auto fixed = cat(std::vector<Tensor<T>>{state, group(product, 0), group(store, 1), group(region, 2)}, 1);
    auto every_day = expand(unsqueeze(fixed, 1), {n, horizon, fixed.size(1)});
    auto x = cat(std::vector<Tensor<T>>{every_day, batch.future}, 2);  // (n, horizon, hidden + 14 + future)
    auto y = output(relu(second(relu(first(x)))));                     // (n, horizon, 3)
    auto middle = unsqueeze(batch.base, 2) + slice(y, 2, 1, 2);        // (n, horizon, 1)
    auto low = middle - softplus(slice(y, 2, 0, 1)), high = middle + softplus(slice(y, 2, 2, 3));
    return exp(cat(std::vector<Tensor<T>>{low, middle, high}, 2)) - 1.0;
  }

  /// The same in units, not below 0.
  Tensor<T> operator()(const WindowBatch& batch) const {
    auto y = relative(batch);
    return relu(y * reshape(batch.scale, {batch.scale.size(0), 1, 1}));
  }
};

struct TrainOptions {
  int64_t steps = 600, batch = 256;
  double lr = 3e-3, last_lr = 1e-5;  ///< falls along half a cosine; equal: stays
  uint64_t seed = 1;
  std::function<void(int64_t, double)> after_step = {};  ///< number from 1, mean loss of late
};

/// Steps of an optimizer on windows drawn at random, with origins in [first, last). Returns the mean loss of the end.
template <Floating T, class Optimizer>
double train_quantile_lstm(const QuantileLstm<T>& model, Optimizer& optimizer, const Windows& windows, int64_t first,
                           int64_t last, const TrainOptions& options) {
  require<ValueError>(first < last, "train_quantile_lstm: no origin from ", first, " to ", last);
  auto device = device_of(model);
  auto quantiles = tensor<T>({0.1, 0.5, 0.9}).to(device);
  RandomStream stream{options.seed, 0};
  double late = 0;
  for (int64_t step = 0; step < options.steps; ++step) {
    std::vector<int64_t> series, origins;
    for (int64_t i = 0; i < options.batch; ++i) {
      auto draw = 2 * (step * options.batch + i);
      series.push_back(static_cast<int64_t>(stream.below(draw, static_cast<uint64_t>(windows.panel().size()))));
      origins.push_back(first + static_cast<int64_t>(stream.below(draw + 1, static_cast<uint64_t>(last - first))));
    }
    auto batch = windows.batch(series, origins).to(device);
    auto target = batch.target / unsqueeze(batch.scale, 1);  // (n, horizon)
    auto loss = quantile_loss(model.relative(batch), target, quantiles);
    auto done = static_cast<double>(step) / static_cast<double>(options.steps);
    optimizer.set_lr(options.last_lr + (options.lr - options.last_lr) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
    loss.backward();
    optim::clip_grad_norm(model, 1.0);
    optimizer.step();
    optimizer.zero_grad();
    auto value = static_cast<double>(loss.item());
    require<ValueError>(std::isfinite(value), "train_quantile_lstm: the loss of step ", step + 1, " is not finite");
    late = step == 0 ? value : 0.95 * late + 0.05 * value;
    if (options.after_step) options.after_step(step + 1, late);
  }
  return late;
}

/// Quantiles of every series from `origin` on: (series, horizon, 3), units; on the CPU.
template <Floating T>
Tensor<T> forecast_all(const QuantileLstm<T>& model, const Windows& windows, int64_t origin) {
  NoGradGuard guard;
  std::vector<Tensor<T>> parts;
  auto count = windows.panel().size();
  for (int64_t from = 0; from < count; from += 512) {
    std::vector<int64_t> series, origins;
    for (auto i = from; i < std::min(from + 512, count); ++i) {
      series.push_back(i);
      origins.push_back(origin);
    }
    parts.push_back(model(windows.batch(series, origins).to(device_of(model))).to(Device::cpu()));
  }
  return cat(parts);
}

}  // namespace gradus::forecast::inline GRADUS_BUILD

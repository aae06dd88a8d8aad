#pragma once

#include <optional>
#include <vector>

#include "gradus/nn/conv1d.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/relu.hpp"
#include "gradus/ops/view/permute.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// Two dilated convolutions that look back only, with the input added to their result: x (n, in, steps) -> (n, out,
/// steps).
template <Floating T>
struct TemporalBlock {
  int64_t behind;  ///< steps that a convolution looks back
  double dropped;
  nn::Conv1d<T> conv1, conv2;
  std::optional<nn::Conv1d<T>> downsample;  ///< where the channels change
  Training training;
  GRADUS_FIELDS(behind, dropped, conv1, conv2, downsample, training)

  TemporalBlock(int64_t in, int64_t out, int64_t kernel, int64_t dilation, double dropout_share)
      : behind((kernel - 1) * dilation),
        dropped(dropout_share),
        conv1(in, out, {.kernel = kernel, .padding = behind, .dilation = dilation}),
        conv2(out, out, {.kernel = kernel, .padding = behind, .dilation = dilation}) {
    if (in != out) downsample.emplace(in, out, nn::Conv1dOptions{.kernel = 1});
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    auto look_back = [&](const nn::Conv1d<T>& conv, const Tensor<T>& input) {
      auto y = conv(input);  // padded at both ends: what looks ahead is cut off
      return dropout(relu(slice(y, 2, 0, input.size(2))), dropped, training.on);
    };
    return relu(look_back(conv2, look_back(conv1, x)) + (downsample ? (*downsample)(x) : x));
  }
};

struct TcnOptions {
  std::vector<int64_t> channels = {32, 32, 32, 32};  ///< of each block, whose dilation doubles from 1 on
  int64_t kernel = 3;
  double dropout = 0;
};

/// Temporal convolutional network (Bai et al., 2018, without their weight normalisation): reads a window of a time
/// series and says what comes next, x (n, steps, in) -> (n, horizon). Step t of sequence() depends on steps up to t
/// alone; it looks back 1 + 2 (kernel - 1) (2^blocks - 1) steps.
template <Floating T>
struct Tcn {
  std::vector<TemporalBlock<T>> network;
  nn::Linear<T> output;
  GRADUS_FIELDS(network, output)

  Tcn(int64_t in, int64_t horizon, const TcnOptions& options = {})
      : output(options.channels.empty() ? in : options.channels.back(), horizon) {
    int64_t dilation = 1;
    for (auto channels : options.channels) {
      network.emplace_back(in, channels, options.kernel, dilation, options.dropout);
      in = channels;
      dilation *= 2;
    }
  }

  /// x (n, steps, in) -> (n, steps, channels).
  Tensor<T> sequence(const Tensor<T>& x) const {
    require<ShapeError>(x.rank() == 3, "Tcn: input is ", x.shape(), ", but must be (n, steps, in)");
    auto y = transpose(x, 1, 2);  // (n, in, steps)
    for (const auto& block : network) y = block(y);
    return transpose(y, 1, 2);
  }
  Tensor<T> operator()(const Tensor<T>& x) const { return output(select(sequence(x), 1, -1)); }
};

}  // namespace gradus::models::inline GRADUS_BUILD

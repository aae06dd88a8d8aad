#pragma once

#include "gradus/autograd/recompute.hpp"
#include "gradus/nn/layer_norm.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// What runs through a transformer whose parts read a norm (pre-norm): a sum, to which each part adds. What was added
/// last is summed in the pass of the norm that reads it next (add_layer_norm, add_rms_norm), in the next block too; the
/// results are those of `+` and the norm. All tensors have the shape of the first.
///
///     ResidualStream<float> x(embedding(ids));
///     for (const auto& block : blocks) {
///       x.add(block.attention(x.normal(block.norm1)));
///       x.add(block.mlp(x.normal(block.norm2)));
///     }
///     auto y = x.normal(last_norm);
template <Floating T>
class ResidualStream {
 public:
  explicit ResidualStream(Tensor<T> x) : sum_(std::move(x)) {}

  void add(const Tensor<T>& part) {
    sum();
    pending_ = part;
  }
  /// norm(sum()), of a layer like LayerNorm or RMSNorm.
  template <class Norm>
  Tensor<T> normal(const Norm& norm) {
    if (!pending_.defined()) return norm(sum_);
    auto both = norm.of_sum(sum_, pending_);
    *this = ResidualStream(both.sum);
    return both.normal;
  }
  const Tensor<T>& sum() {
    if (pending_.defined()) *this = ResidualStream(sum_ + pending_);
    return sum_;
  }

  /// run(*this), for a block whose fields are trained. With `recomputed` only the sum is kept, and run() is called
  /// again for the gradient, see recompute().
  template <class Block, class Run>
  void through(const Block& block, bool recomputed, Run run) {
    if (!recomputed) return run(*this);
    *this = ResidualStream(recompute(block, sum(), [run](const Tensor<T>& x) {
      ResidualStream stream(x);
      run(stream);
      return stream.sum();
    }));
  }

 private:
  Tensor<T> sum_, pending_;
};

}  // namespace gradus::nn::inline GRADUS_BUILD

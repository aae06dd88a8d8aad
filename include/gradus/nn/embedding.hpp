#pragma once

#include "gradus/nn/init.hpp"
#include "gradus/nn/layer_path.hpp"
#include "gradus/ops/indexing/embedding.hpp"

namespace gradus::nn::inline GRADUS_BUILD {

/// A table of `count` vectors of `size` numbers: ids (...) -> (..., size), see embedding. Weight (count, size), as
/// torch.nn.Embedding: normal with variance 1, and the row of padding 0.
template <Floating T>
struct Embedding {
  EmbeddingOptions options;
  Parameter<T> weight;
  GRADUS_FIELDS(options, weight)

  Embedding(int64_t count, int64_t size, EmbeddingOptions chosen = {}) : options(chosen) {
    require<ValueError>(count >= 0 && size >= 0, "Embedding: ", count, " vectors of ", size, " numbers");
    auto padding = gradus::detail::padding_row("Embedding", options, count);
    auto table = init::normal<T>({count, size}, 1);
    if (padding >= 0) std::fill_n(table.mutable_data() + padding * size, size, T(0));
    weight = Parameter<T>(std::move(table));
  }

  Tensor<T> operator()(const Tensor<int64_t>& ids) const {
    return detail::in_layer_of(weight, [&] { return embedding(ids, weight.tensor(), options); });
  }
};

}  // namespace gradus::nn::inline GRADUS_BUILD

#pragma once

#include <vector>

#include "gradus/models/transformer_parts.hpp"
#include "gradus/nn/conv2d.hpp"
#include "gradus/nn/residual_stream.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/view/expand.hpp"

namespace gradus::models::inline GRADUS_BUILD {

/// Those of vit-base-patch16-224.
struct VitOptions {
  int64_t image = 224, patch = 16, channels = 3, classes = 1000;
  int64_t layers = 12, heads = 12, width = 768, feed_forward = 3072;
  double dropout = 0;  ///< while training
  double eps = 1e-12;  ///< of the norms
};

template <Floating T>
struct VitPatches {
  nn::Conv2d<T> projection;
  GRADUS_FIELDS(projection)
};

template <Floating T>
struct VitEmbeddings {
  Parameter<T> cls_token, position_embeddings;
  VitPatches<T> patch_embeddings;
  GRADUS_FIELDS(cls_token, position_embeddings, patch_embeddings)
};

template <Floating T>
struct VitAttention {
  detail::SelfAttention<T> attention;
  detail::Dense<T> output;
  GRADUS_FIELDS(attention, output)
};

/// What a token reads is normalised first (pre-norm).
template <Floating T>
struct VitLayer {
  VitAttention<T> attention;
  detail::Dense<T> intermediate, output;
  nn::LayerNorm<T> layernorm_before, layernorm_after;
  GRADUS_FIELDS(attention, intermediate, output, layernorm_before, layernorm_after)

  explicit VitLayer(const VitOptions& o)
      : attention{detail::SelfAttention<T>(o.width), detail::Dense<T>(o.width, o.width)},
        intermediate(o.width, o.feed_forward),
        output(o.feed_forward, o.width),
        layernorm_before(o.width, {.eps = o.eps}),
        layernorm_after(o.width, {.eps = o.eps}) {}

  void operator()(nn::ResidualStream<T>& x, int64_t heads, double dropped) const {
    x.add(dropout(attention.output(attention.attention(x.normal(layernorm_before), heads, {}, dropped)), dropped));
    x.add(dropout(output(gelu(intermediate(x.normal(layernorm_after)))), dropped));
  }
};

template <Floating T>
struct VitEncoder {
  std::vector<VitLayer<T>> layer;
  GRADUS_FIELDS(layer)
};

template <Floating T>
struct VitBody {
  VitEmbeddings<T> embeddings;
  VitEncoder<T> encoder;
  nn::LayerNorm<T> layernorm;
  GRADUS_FIELDS(embeddings, encoder, layernorm)
};

/// Vision transformer (Dosovitskiy et al., 2021): images (n, channels, image, image) -> logits (n, classes). Names as
/// Hugging Face's ViTForImageClassification: vit.embeddings.cls_token, vit.encoder.layer.0.attention.attention.query,
/// ..., classifier.
template <Floating T = float>
struct Vit {
  VitOptions options;
  VitBody<T> vit;
  nn::Linear<T> classifier;
  Training training;
  GRADUS_FIELDS(options, vit, classifier, training)

  explicit Vit(const VitOptions& o = {})
      : options(checked(o)),
        vit{{Parameter<T>(nn::init::normal<T>({1, 1, o.width}, 0.02)),
             Parameter<T>(nn::init::normal<T>({1, patches(o) + 1, o.width}, 0.02)),
             {nn::Conv2d<T>(o.channels, o.width, {.kernel = o.patch, .stride = o.patch})}},
            {},
            nn::LayerNorm<T>(o.width, {.eps = o.eps})},
        classifier(detail::normal_linear<T>(o.width, o.classes, 0.02)) {
    for (int64_t i = 0; i < o.layers; ++i) vit.encoder.layer.emplace_back(o);
  }

  /// The class token and the patches after the last layer: (n, 1 + patches, width).
  Tensor<T> hidden(const Tensor<T>& images) const {
    require<ShapeError>(images.rank() == 4 && images.size(1) == options.channels && images.size(2) == options.image &&
                            images.size(3) == options.image,
                        "Vit: images are ", images.shape(), ", but must be (n, ", options.channels, ", ", options.image,
                        ", ", options.image, ")");
    auto n = images.size(0);
    auto dropped = training.on ? options.dropout : 0;
    auto x = transpose(flatten(vit.embeddings.patch_embeddings.projection(images), 2), 1, 2);  // (n, patches, width)
    auto first = expand(vit.embeddings.cls_token.tensor(), {n, 1, options.width});
    x = cat(std::vector<Tensor<T>>{first, x}, 1) + vit.embeddings.position_embeddings.tensor();
    nn::ResidualStream<T> stream(dropout(x, dropped));
    for (const auto& layer : vit.encoder.layer) layer(stream, options.heads, dropped);
    return stream.normal(vit.layernorm);
  }
  Tensor<T> operator()(const Tensor<T>& images) const { return classifier(select(hidden(images), 1, 0)); }

 private:
  static int64_t patches(const VitOptions& o) { return o.image / o.patch * (o.image / o.patch); }
  static const VitOptions& checked(const VitOptions& o) {
    require<ValueError>(o.patch > 0 && o.image % o.patch == 0, "Vit: images of ", o.image,
                        " do not divide into patches of ", o.patch);
    require<ValueError>(o.heads > 0 && o.width % o.heads == 0, "Vit: ", o.width, " numbers do not spread over ",
                        o.heads, " heads");
    return o;
  }
};

}  // namespace gradus::models::inline GRADUS_BUILD

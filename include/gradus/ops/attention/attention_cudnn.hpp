// Attention on a GPU as one kernel of cuDNN's, where it has a plan.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/device/cuda/cudnn_attention.hpp"
#include "gradus/ops/attention/attention_problem.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Attention in bf16 or f16 without terms of its own, as one kernel of cuDNN's: memory grows with queries + keys.
template <HalfWidth T>
class AttentionByCudnn {
 public:
  using Shape = cuda::detail::AttentionGraphShape;
  using Ids = cuda::detail::AttentionIds;
  static constexpr const char* name = "scaled_dot_product_attention";

  /// Whether it is a case for cuDNN at all; that there is a plan is known when it is asked for.
  static bool takes(const AttentionProblem<T>& p, Device device) {
    auto* plans = cuda::detail::CudnnPlans::of(device);
    if (plans == nullptr || cuda::detail::deterministic_only() || p.mask || p.bias || p.alibi != nullptr ||
        p.window > 0 || p.first_query > 0 || p.dropout > 0)
      return false;
    if (p.n * p.heads * p.queries * p.keys == 0 || p.depth % 8 != 0 || p.width % 8 != 0) return false;
    return plans->version() > 91500 || p.keys % 128 == 0;  // before, gradients were wrong at a ragged end
  }

  AttentionByCudnn(const AttentionProblem<T>& p, const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value)
      : plans_(*cuda::detail::CudnnPlans::of(query.device())),
        p_(p),
        query_(aligned(query)),
        key_(aligned(key)),
        value_(aligned(value)),
        scale_(static_cast<float>(p.scale)),
        lowest_(plans_.version() < 91000 ? std::numeric_limits<float>::lowest()
                                         : -std::numeric_limits<float>::infinity()) {
    shape_.type = cuda::detail::cudnn_type(dtype_of<T>);
    shape_.causal = p.causal ? 1 : 0;
    shape_.n = p.n;
    shape_.heads = p.heads;
    shape_.kv_heads = p.kv_heads;
    shape_.queries = p.queries;
    shape_.keys = p.keys;
    shape_.depth = p.depth;
    shape_.width = p.width;
    shape_.query = strides(query_);
    shape_.key = strides(key_);
    shape_.value = strides(value_);
  }

  /// Result and logarithms of the sums of rows, (n, heads, queries); nothing when cuDNN has no plan.
  std::optional<std::pair<Tensor<T>, Tensor<float>>> forward() {
    auto y = empty_by_rows<T>(p_.n, p_.heads, p_.queries, p_.width, query_.device());
    shape_.y = strides(y);
    const auto* plan = plans_.find(name, "attention", shape_, [&](const auto& api, const auto& target) {
      return cuda::detail::AttentionGraph(api, shape_).forward().plan(target);
    });
    if (plan == nullptr) return std::nullopt;
    auto log_sums = Tensor<float>::empty({p_.n, p_.heads, p_.queries}, query_.device(), "scaled_dot_product_attention");
    run(*plan, {{Ids::y, y.data()}, {Ids::log_sums, log_sums.data()}});
    return std::pair{y, log_sums};
  }

  std::optional<std::tuple<Tensor<T>, Tensor<T>, Tensor<T>>> backward(const Tensor<T>& y, const Tensor<float>& log_sums,
                                                                      const Tensor<T>& dy_in) {
    auto device = query_.device();
    auto dy = aligned(dy_in);
    auto [dq, dk, dv] = empty_gradients(device);
    shape_.y = strides(y);
    shape_.dy = strides(dy);
    shape_.dq = strides(dq);
    shape_.dk = strides(dk);
    shape_.dv = strides(dv);
    const auto* plan = plans_.find(name, "attention_gradient", shape_, [&](const auto& api, const auto& target) {
      return cuda::detail::AttentionGraph(api, shape_).backward().plan(target);
    });
    if (plan == nullptr) return std::nullopt;
    auto means = Tensor<float>::empty({p_.n, p_.heads, p_.queries}, device),
         dq_sums = Tensor<float>::empty({p_.n, p_.heads, p_.queries, p_.depth}, device);
    if (plans_.version() < 90600) dq_sums.zero_();  // later ones do it themselves
    const float one = 1;
    run(*plan, {{Ids::y, y.data()},
                {Ids::log_sums, log_sums.data()},
                {Ids::dy, dy.data()},
                {Ids::dq, dq.data()},
                {Ids::dk, dk.data()},
                {Ids::dv, dv.data()},
                {Ids::means, means.data()},
                {Ids::dq_sums, dq_sums.data()},
                {Ids::one, &one}});
    return std::tuple{dq, dk, dv};
  }

 private:
  /// Beside one another where query, key and value are parts of one tensor, so that their gradients are, too.
  std::array<Tensor<T>, 3> empty_gradients(Device device) const {
    auto together = query_.impl()->storage == key_.impl()->storage &&
                    query_.impl()->storage == value_.impl()->storage && p_.heads == p_.kv_heads &&
                    p_.queries == p_.keys && p_.depth == p_.width;
    if (!together) {
      return {empty_by_rows<T>(p_.n, p_.heads, p_.queries, p_.depth, device),
              empty_by_rows<T>(p_.n, p_.kv_heads, p_.keys, p_.depth, device),
              empty_by_rows<T>(p_.n, p_.kv_heads, p_.keys, p_.width, device)};
    }
    auto row = p_.heads * p_.depth;
    auto memory = Tensor<T>::empty({p_.n, p_.queries, 3, p_.heads, p_.depth}, device);
    auto part = [&](int64_t i) {
      return raw_view(memory, {p_.n, p_.heads, p_.queries, p_.depth}, {p_.queries * 3 * row, p_.depth, 3 * row, 1},
                      i * row);
    };
    return {part(0), part(1), part(2)};
  }
  static cuda::detail::CudnnSizes strides(const Tensor<T>& x) {
    return {x.strides()[0], x.strides()[1], x.strides()[2], x.strides()[3]};
  }
  /// x itself when its numbers lie side by side and rows begin at multiples of 16 bytes, else a dense copy.
  static Tensor<T> aligned(const Tensor<T>& x) {
    auto fits = x.strides()[3] == 1 && reinterpret_cast<uintptr_t>(x.data()) % 16 == 0;
    for (int i = 0; i < 3; ++i) fits = fits && x.strides()[i] > 0 && x.strides()[i] % 8 == 0;
    return fits ? x : x.clone();
  }
  void run(const cuda::detail::CudnnPlan& plan, std::vector<std::pair<int64_t, const void*>> tensors) {
    tensors.insert(
        tensors.end(),
        {{Ids::query, query_.data()}, {Ids::key, key_.data()}, {Ids::value, value_.data()}, {Ids::scale, &scale_}});
    if (p_.causal) tensors.emplace_back(Ids::lowest, &lowest_);
    plans_.run(plan, tensors);
  }

  cuda::detail::CudnnPlans& plans_;
  const AttentionProblem<T>& p_;
  Tensor<T> query_, key_, value_;
  float scale_, lowest_;
  Shape shape_{};
};

}  // namespace gradus::detail::inline GRADUS_BUILD

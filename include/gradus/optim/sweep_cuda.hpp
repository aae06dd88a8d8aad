// An optimizer's step on a GPU: a few launches for all parameters together.
#pragma once

#include "gradus/device/cuda/context.hpp"

namespace gradus::optim::detail::inline GRADUS_BUILD {

/// One parameter in a launch; the same bytes in the text below.
struct CardPart {
  void* parameter;
  void* master;  ///< null where T computes as itself
  const void* gradient;
  void* states[2];
  int64_t n;
  double numbers[8];  ///< what the rule reads
};
inline constexpr int card_parts = 24;  ///< in one launch: they are its arguments, of which 4 KB are allowed
struct CardParts {
  CardPart parts[card_parts];
  int64_t ends[card_parts];  ///< in blocks of card_block elements
  int32_t count, rule;
};
inline constexpr int64_t card_block = 2048;
static_assert(sizeof(CardParts) <= 4000);

enum class CardRule : int32_t { adamw, sgd };

inline constexpr std::string_view cuda_sweep_text = R"cuda(
struct Part {
  T* parameter;
  C* master;
  const T* gradient;
  C* states[2];
  int64 n;
  double numbers[8];
};
struct Parts {
  Part parts[24];
  int64 ends[24];
  int count, rule;
};
// Adam with decoupled weight decay; numbers: beta1, beta2, 1 - beta1, 1 - beta2, eps, rate, root, keep.
GRADUS_DEVICE C adamw(const Part& p, C x, C g, C& first, C& second) {
  first = C(p.numbers[0]) * first + C(p.numbers[2]) * g;
  second = C(p.numbers[1]) * second + C(p.numbers[3]) * (g * g);
  return C(p.numbers[7]) * x - C(p.numbers[5]) * (first / (sqrt(second) * C(p.numbers[6]) + C(p.numbers[4])));
}
// numbers: lr, momentum, decay, 1 - dampening, moves, nesterov, first step.
GRADUS_DEVICE C sgd(const Part& p, C x, C g, C& velocity) {
  g = C(p.numbers[2]) * x + g;
  if (p.numbers[4] != 0) {
    velocity = p.numbers[6] != 0 ? g : C(p.numbers[1]) * velocity + C(p.numbers[3]) * g;
    g = p.numbers[5] != 0 ? C(p.numbers[1]) * velocity + g : velocity;
  }
  return x - C(p.numbers[0]) * g;
}
GRADUS_KERNEL sweep(const __grid_constant__ Parts all) {
  int which = 0;
  while (which + 1 < all.count && static_cast<int64>(blockIdx.x) >= all.ends[which]) ++which;
  const Part& p = all.parts[which];
  const int64 first = (blockIdx.x - (which > 0 ? all.ends[which - 1] : 0)) * 2048;
  for (int64 i = first + threadIdx.x; i < first + 2048 && i < p.n; i += blockDim.x) {
    const C x = p.master != 0 ? p.master[i] : static_cast<C>(widen(p.parameter[i]));
    const C g = widen(p.gradient[i]);
    C a = p.states[0][i], b = p.states[1] != 0 ? p.states[1][i] : C(0);
    const C y = all.rule == 0 ? adamw(p, x, g, a, b) : sgd(p, x, g, a);
    p.states[0][i] = a;
    if (p.states[1] != 0) p.states[1][i] = b;
    if (p.master != 0) p.master[i] = y;
    p.parameter[i] = narrow<T>(y);
  }
}
)cuda";
inline constexpr gradus::cuda::detail::KernelText cuda_sweep{"sweep", cuda_sweep_text};

/// Updates all parts, whose memory is on `device`.
inline void sweep_on_card(const char* op, Device device, DType type, CardRule rule,
                          const std::vector<CardPart>& parts) {
  CardParts launch{};
  launch.rule = static_cast<int32_t>(rule);
  int64_t blocks = 0;
  auto run = [&] {
    if (launch.count > 0) gradus::cuda::detail::launch(op, device, cuda_sweep, {type}, "sweep", {blocks}, launch);
    launch.count = 0;
    blocks = 0;
  };
  for (const auto& part : parts) {
    launch.parts[launch.count] = part;
    blocks += (part.n + card_block - 1) / card_block;
    launch.ends[launch.count] = blocks;
    if (++launch.count == card_parts) run();
  }
  run();
}

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

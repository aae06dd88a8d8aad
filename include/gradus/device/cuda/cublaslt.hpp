// Matrix products on a card by cuBLASLt.
#pragma once

#include "gradus/device/cuda/context.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// A matrix in a card's memory; one of the strides is 1.
struct CardMatrix {
  const void* data;
  int64_t rows, columns, row_stride, column_stride;
  int64_t stack_stride = 0;  ///< to the next matrix of a stack
};

/// What goes with a product: nothing; gelu_tanh of it; the gradient of gelu_tanh, by which it is multiplied; beside it,
/// the sums of a's rows. The values are cuBLASLt's.
enum class CardTail : int { none = 0, gelu = 32, gelu_slope = 64, left_sums = 512 };

/// What a and b hold in place of numbers of the product's type: codes of one byte. The values are cuBLASLt's names.
enum class CardCode : int { none = 0, e4m3 = 28, e5m2 = 29 };

/// d (rows, columns) = a b + bias for each of `count` matrices of a stack; d is row-major.
struct CardProduct {
  DType type = DType::f32;
  CardMatrix a, b;
  void* d = nullptr;
  int64_t d_stack_stride = 0, count = 1;
  const void* bias = nullptr;  ///< one a column of d, or null
  double beta = 0;             ///< 1: adds to d
  CardTail tail = CardTail::none;
  void* before_tail = nullptr;    ///< what gelu is of, as dense as d: written (or null), or read for its gradient
  void* bias_gradient = nullptr;  ///< with gelu_slope: sums of d's columns, or null; with left_sums: those of a's rows
  /// fp8: both or none, and not both e5m2. What is added up must lie side by side (a's rows and b's columns), all sizes
  /// be multiples of 16, the type bf16; a number is its code's times the scale, a float of the card.
  CardCode a_code = CardCode::none, b_code = CardCode::none;
  const void *a_scale = nullptr, *b_scale = nullptr;
  bool fast_sums = false;  ///< of fp8, with fewer bits than float has
};

/// Whether products of float may round their operands to TF32 (10 bits of mantissa) for speed. Off at the start.
GRADUS_SHARED inline std::atomic<bool>& tf32_allowed() {
  static std::atomic<bool> allowed{false};
  return allowed;
}

/// Whether the first product of each kind tries the ways that cuBLASLt proposes, and the fastest is kept. Off at the
/// start.
GRADUS_SHARED inline std::atomic<bool>& autotune_allowed() {
  static std::atomic<bool> allowed{false};
  return allowed;
}

/// Whether dense layers leave gradients of biases, and gelu_tanh between them, to cuBLASLt. Off at the start.
GRADUS_SHARED inline std::atomic<bool>& tails_fused() {
  static std::atomic<bool> fused{false};
  return fused;
}

/// Whether dense layers of bf16 are multiplied in fp8. Off at the start.
GRADUS_SHARED inline std::atomic<bool>& fp8_used() {
  static std::atomic<bool> used{false};
  return used;
}
/// Whether the forward products of fp8 may add up with fewer bits. Off at the start.
GRADUS_SHARED inline std::atomic<bool>& fp8_sums_fast() {
  static std::atomic<bool> fast{false};
  return fast;
}

/// Products of one card, with what cuBLASLt chose for each kind kept.
class GRADUS_SHARED LtProducts {
 public:
  GRADUS_SHARED static LtProducts& of(Device device) {
    return one_of_card<LtProducts>(device, [device] { return new LtProducts(Context::of(device)); });
  }

  /// False when cuBLASLt has no way for a product with such a tail, or of fp8; nothing was done then.
  bool run(const CardProduct& p, const char* op) {
    std::lock_guard lock(mutex_);
    auto done = true;
    context_.call_library(op, [&] {
      auto& plan = plan_for(p, op);
      done = !plan.refused;
      if (!done) return;
      set_pointers(plan, p, op);
      multiply(plan, p, plan.algorithm, op);
    });
    return done;
  }

 private:
  struct Plan {
    Handle product = nullptr, first = nullptr, second = nullptr, result = nullptr;
    uint64_t algorithm[8] = {};
    bool refused = false;
  };
  using Key = std::array<int64_t, 17>;

  static constexpr size_t workspace_bytes = size_t{32} << 20;  // what Hopper's kernels ask for
  static constexpr int transpose_first = 3, transpose_second = 4, epilogue = 7, bias_pointer = 8, batch_count = 5,
                       batch_stride = 6, workspace_limit = 1, alignment_first = 5, aux_pointer = 11, aux_ld = 12,
                       first_scale = 17, second_scale = 18, fast_accumulation = 25;
  static constexpr int epilogue_bias = 4, epilogue_bias_gradient = 16, epilogue_aux = 128, not_supported = 15,
                       candidates = 8;

  /// Of the bias, or of where its gradient goes: cuBLASLt has one name for both.
  static const void* bias_of(const CardProduct& p) {
    return p.tail == CardTail::gelu_slope || p.tail == CardTail::left_sums ? p.bias_gradient : p.bias;
  }
  void set_pointers(const Plan& plan, const CardProduct& p, const char* op) {
    auto set = [&](int attribute, const void* value) {
      if (value == nullptr) return;
      CublasLt::check(lt_.product_set(plan.product, attribute, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute",
                      op);
    };
    set(bias_pointer, bias_of(p));
    set(aux_pointer, p.before_tail);
    set(first_scale, p.b_scale);
    set(second_scale, p.a_scale);
  }

  void multiply(const Plan& plan, const CardProduct& p, const uint64_t* algorithm, const char* op) {
    const float one = 1, beta = static_cast<float>(p.beta);
    const double one64 = 1, beta64 = p.beta;
    auto is_double = p.type == DType::f64;
    // Memory holds rows, cuBLASLt thinks in columns: it computes the transpose, b^T a^T.
    auto launching = context_.count_launch(op);
    CublasLt::check(
        lt_.matmul(handle_, plan.product, is_double ? static_cast<const void*>(&one64) : &one, p.b.data, plan.first,
                   p.a.data, plan.second, is_double ? static_cast<const void*>(&beta64) : &beta, p.d, plan.result, p.d,
                   plan.result, algorithm, workspace_, workspace_bytes, context_.stream()),
        "cublasLtMatmul", op);
  }

  explicit LtProducts(Context& context) : context_(context), lt_(CublasLt::get()) {
    workspace_ = context.allocate(workspace_bytes, "matmul");
    auto made = lt_.create(&handle_);
    if (made != 0) context.release(workspace_);
    CublasLt::check(made, "cublasLtCreate", "matmul");
  }

  /// The matrix as cuBLASLt sees it: its memory's columns, and whether it must be turned.
  struct Seen {
    int64_t rows, columns, ld;
    int transposed;
  };
  /// Of an operand that takes part as its transpose.
  static Seen seen(const CardMatrix& m) {
    if (m.column_stride == 1 || m.columns <= 1) return {m.columns, m.rows, std::max(m.row_stride, m.columns), 0};
    return {m.rows, m.columns, std::max(m.column_stride, m.rows), 1};
  }
  static int64_t alignment(const void* pointer, int64_t stack_bytes) {
    auto bits = reinterpret_cast<uintptr_t>(pointer) | static_cast<uintptr_t>(stack_bytes) | 256u;
    return static_cast<int64_t>(bits & (~bits + 1));
  }

  Plan& plan_for(const CardProduct& p, const char* op) {
    auto a = seen(p.a), b = seen(p.b);
    auto m = p.a.rows, n = p.b.columns, k = p.a.columns, size = int64_t{size_of(p.type)};
    auto a_size = p.a_code == CardCode::none ? size : 1, b_size = p.b_code == CardCode::none ? size : 1;
    int64_t alignments[] = {alignment(p.b.data, p.b.stack_stride * b_size),
                            alignment(p.a.data, p.a.stack_stride * a_size), alignment(p.d, p.d_stack_stride * size),
                            alignment(bias_of(p), 0)};
    auto fast = p.type == DType::f32 && tf32_allowed();
    Key key = {
        static_cast<int64_t>(p.type) * 8 + (bias_of(p) != nullptr ? 4 : 0) + (p.beta != 0 ? 2 : 0) + (fast ? 1 : 0),
        m,
        n,
        k,
        a.ld,
        b.ld,
        a.transposed * 2 + b.transposed,
        p.count,
        p.a.stack_stride,
        p.b.stack_stride,
        p.d_stack_stride,
        alignments[0],
        alignments[1],
        alignments[2],
        alignments[3],
        p.tail == CardTail::none ? 0 : static_cast<int64_t>(p.tail) + 1024 * alignment(p.before_tail, 0),
        static_cast<int64_t>(p.a_code) * 128 + static_cast<int64_t>(p.b_code) * 2 + (p.fast_sums ? 1 : 0)};
    auto [found, fresh] = plans_.try_emplace(key);
    auto& plan = found->second;
    if (!fresh) return plan;
    try {
      make(plan, p, a, b, fast, alignments, op);
    } catch (...) {
      destroy(plan);
      plans_.erase(found);
      throw;
    }
    return plan;
  }

  void make(Plan& plan, const CardProduct& p, const Seen& a, const Seen& b, bool fast, const int64_t* alignments,
            const char* op) {
    auto type = p.type == DType::f64 ? 1 : p.type == DType::f16 ? 2 : p.type == DType::bf16 ? 14 : 0;
    auto compute = p.type == DType::f64 ? 70 : fast ? 77 : 68;
    auto check = [op](int result, const char* call) { CublasLt::check(result, call, op); };
    check(lt_.product_create(&plan.product, compute, p.type == DType::f64 ? 1 : 0), "cublasLtMatmulDescCreate");
    auto set = [&](int attribute, int value) {
      check(lt_.product_set(plan.product, attribute, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
    };
    set(transpose_first, b.transposed);
    set(transpose_second, a.transposed);
    auto tail = static_cast<int>(p.tail) + (p.before_tail != nullptr ? epilogue_aux : 0);
    if (bias_of(p) != nullptr && p.tail != CardTail::left_sums)
      tail += p.tail == CardTail::gelu_slope ? epilogue_bias_gradient : epilogue_bias;
    if (tail != 0) set(epilogue, tail);
    set_pointers(plan, p, op);
    if (p.fast_sums) {
      int8_t on = 1;
      check(lt_.product_set(plan.product, fast_accumulation, &on, sizeof(on)), "cublasLtMatmulDescSetAttribute");
    }
    if (p.before_tail != nullptr) {
      auto columns = p.b.columns;
      check(lt_.product_set(plan.product, aux_ld, &columns, sizeof(columns)), "cublasLtMatmulDescSetAttribute");
    }
    auto layout = [&](Handle& to, CardCode code, int64_t rows, int64_t columns, int64_t ld, int64_t stride) {
      auto element = code == CardCode::none ? type : static_cast<int>(code);
      check(lt_.layout_create(&to, element, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld),
            "cublasLtMatrixLayoutCreate");
      if (p.count == 1) return;
      auto count = static_cast<int32_t>(p.count);
      check(lt_.layout_set(to, batch_count, &count, sizeof(count)), "cublasLtMatrixLayoutSetAttribute");
      check(lt_.layout_set(to, batch_stride, &stride, sizeof(stride)), "cublasLtMatrixLayoutSetAttribute");
    };
    layout(plan.first, p.b_code, b.rows, b.columns, b.ld, p.b.stack_stride);
    layout(plan.second, p.a_code, a.rows, a.columns, a.ld, p.a.stack_stride);
    layout(plan.result, CardCode::none, p.b.columns, p.a.rows, p.b.columns, p.d_stack_stride);
    Handle preference = nullptr;
    check(lt_.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    struct Owner {
      const CublasLt& lt;
      Handle preference;
      ~Owner() { lt.preference_destroy(preference); }
    } owner{lt_, preference};
    auto prefer = [&](int attribute, auto value) {
      check(lt_.preference_set(preference, attribute, &value, sizeof(value)), "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(workspace_limit, workspace_bytes);
    for (int i = 0; i < 3; ++i) prefer(alignment_first + i, static_cast<uint32_t>(alignments[i]));
    prefer(alignment_first + 3, static_cast<uint32_t>(alignments[2]));
    LtHeuristic results[candidates] = {};
    auto tune = autotune_allowed() && p.beta == 0 && !context_.capturing();
    int count = 0;
    auto answer = lt_.heuristic(handle_, plan.product, plan.first, plan.second, plan.result, plan.result, preference,
                                tune ? candidates : 1, results, &count);
    auto none = answer == not_supported || (answer == 0 && count == 0);
    plan.refused = none && (p.tail != CardTail::none || p.a_code != CardCode::none);
    if (plan.refused) return;
    check(none ? not_supported : answer, "cublasLtMatmulAlgoGetHeuristic");
    auto best = count > 1 ? fastest(plan, p, results, count, op) : 0;
    std::copy(std::begin(results[best].algorithm), std::end(results[best].algorithm), std::begin(plan.algorithm));
  }

  /// The number of the algorithm that takes the least time for this very product, timed at the second of two runs.
  int fastest(const Plan& plan, const CardProduct& p, const LtHeuristic* results, int count, const char* op) {
    const auto& driver = context_.driver();
    struct Events {
      const Driver& driver;
      Handle of[2] = {};
      ~Events() {
        for (auto* event : of)
          if (event != nullptr) driver.event_destroy(event);
      }
    } owner{driver};
    auto& events = owner.of;
    for (auto& event : events) context_.check(driver.event_create(&event, 0), "cuEventCreate", op);
    auto best = 0;
    auto shortest = std::numeric_limits<float>::infinity();
    for (int i = 0; i < count; ++i) {
      for (int round = 0; round < 2; ++round) {
        context_.check(driver.event_record(events[0], context_.stream()), "cuEventRecord", op);
        multiply(plan, p, results[i].algorithm, op);
        context_.check(driver.event_record(events[1], context_.stream()), "cuEventRecord", op);
        context_.check(driver.event_synchronize(events[1]), "cuEventSynchronize", op);
        float time = 0;
        context_.check(driver.event_elapsed(&time, events[0], events[1]), "cuEventElapsedTime", op);
        if (round > 0 && time < shortest) {
          shortest = time;
          best = i;
        }
      }
    }
    return best;
  }
  void destroy(Plan& plan) const {
    if (plan.product != nullptr) lt_.product_destroy(plan.product);
    for (auto* layout : {plan.first, plan.second, plan.result}) {
      if (layout != nullptr) lt_.layout_destroy(layout);
    }
  }

  Context& context_;
  const CublasLt& lt_;
  Handle handle_ = nullptr;
  void* workspace_ = nullptr;
  std::mutex mutex_;
  std::map<Key, Plan> plans_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

namespace gradus::cuda::inline GRADUS_STABLE {

/// Lets products of float on GPUs round their operands to TF32: several times as fast, with errors of 1e-3 instead of
/// 1e-6 of the result. Off unless asked for, as in PyTorch.
inline void allow_tf32(bool on = true) { detail::tf32_allowed() = on; }

/// Lets the first product of each kind on a GPU try the ways that cuBLASLt proposes and keep the fastest: the first
/// step takes longer, the others a little less. Results may differ in their last bits from run to run. Off unless asked
/// for.
inline void autotune_products(bool on = true) { detail::autotune_allowed() = on; }

/// Lets dense layers on a GPU leave to cuBLASLt's products what goes with them: the gradient of a bias is summed by the
/// product that gives the weight's, and of two layers with gelu_tanh between them (ops/product/gelu_mlp.hpp, GPT-2)
/// bias, GELU and their gradients are computed as a product is written. That saves passes over memory, and GELU is of
/// sums that were not rounded. Off unless asked for, because it has not been timed on a card yet.
inline void fuse_tails(bool on = true) { detail::tails_fused() = on; }

/// Lets dense layers (ops/product/linear.hpp) of bf16 on a GPU multiply in fp8: inputs and weights as e4m3, gradients
/// as e5m2, each tensor with a scale of its own, found on the card as it is used; sums are in float and results in
/// bf16. Errors of a product are some percent of its size, instead of half a percent. Layers that do not fit stay in
/// bf16: on cards before compute capability 8.9, with sizes (rows, in, out) that are no multiples of 16, and in
/// gradients that are to be differentiated again. With `fast_sums` forward products add up with fewer bits, which is
/// faster on some cards. Off unless asked for; not timed on a card yet.
inline void use_fp8(bool on = true, bool fast_sums = false) {
  detail::fp8_used() = on;
  detail::fp8_sums_fast() = on && fast_sums;
}

}  // namespace gradus::cuda::inline GRADUS_STABLE

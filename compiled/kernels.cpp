// The kernels of gradus::compiled for one element type, GRADUS_KERNEL_TYPE, and one instruction set. CMake compiles this
// unit once for each, names the result by GRADUS_KERNEL_UNIT, and makes every other symbol of it local: nothing of it can stand in for a function of the same
// name that the program has, and be called where the processor lacks the instructions.
#include <string_view>

#include "gradus/device/cpu/conv.hpp"
#include "gradus/ops/attention/rotary.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/norm/batch_norm.hpp"
#include "gradus/ops/norm/layer_norm.hpp"
#include "gradus/ops/norm/rms_norm.hpp"
#include "gradus/ops/recurrent/gru_kernel.hpp"
#include "gradus/ops/recurrent/lstm_kernel.hpp"
#include "gradus/ops/recurrent/rnn_kernel.hpp"
#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/ops/reduction/logsumexp.hpp"
#include "gradus/ops/reduction/var.hpp"
#include "gradus/ops/window/max_windows.hpp"
#include "gradus/ops/window/mean_windows.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#define GRADUS_FORMULA_HEADERS
#include "generated/formula_list.hpp"
#undef GRADUS_FORMULA_HEADERS

namespace gradus::detail::inline GRADUS_BUILD {
namespace {

using Element = GRADUS_KERNEL_TYPE;

template <template <class> class Reducer, class T>
void reduce_by(const TensorImpl& x, const ReduceShape& split, TensorImpl& out) {
  reduce_elements(std::type_identity<Reducer<T>>(), std::type_identity<T>(), x, split, out);
}

template <template <class> class Rule, class T, size_t N>
void sweep_by(const void* part, int64_t from, int64_t to, double factor, const RandomStream& stream,
              const std::array<double, 8>& numbers) {
  const auto& given = *static_cast<const optim::detail::SweepPart<T, N>*>(part);
  optim::detail::sweep_part<Rule<Compute<T>>>(given, from, to, factor, stream, numbers);
}

template <class T>
constexpr KernelTable<T> kernel_table{
    .gemm = gemm<T>,
    .convolve = convolve<T>,
    .convolve_backward_input = convolve_backward_input<T>,
    .convolve_backward_weight = convolve_backward_weight<T>,
    .max_of_windows = max_of_windows<T>,
    .max_of_quads = max_of_quads<T>,
    .put_windows = put_windows<T>,
    .mean_of_windows = mean_of_windows<T>,
    .share_windows = share_windows<T>,
    .lstm_forward = lstm_forward<T>,
    .lstm_backward = lstm_backward<T>,
    .gru_forward = gru_forward<T>,
    .gru_backward = gru_backward<T>,
    .rnn_forward = rnn_forward<T>,
    .rnn_backward = rnn_backward<T>,
    .attention_forward = attention_forward<T>,
    .attention_gradients = attention_gradients<T>,
    .turn_row = turn_row<T>,
    .softmax_rows = softmax_rows<T>,
    .softmax_gradient_rows = softmax_gradient_rows<T>,
    .cross_entropy_rows = cross_entropy_rows<T>,
    .cross_entropy_gradient_rows = cross_entropy_gradient_rows<T>,
    .normalize_row = normalize_row<T>,
    .layer_norm_row_gradient = layer_norm_row_gradient<T>,
    .rms_normalize_row = rms_normalize_row<T>,
    .rms_norm_row_gradient = rms_norm_row_gradient<T>,
    .channel_moments = channel_moments<T>,
    .column_moments = column_moments<T>,
    .normalize_run = normalize_run<T>,
    .add_gradient_sums = add_gradient_sums<T>,
    .gradient_run = gradient_run<T>,
    .sum = reduce_by<SumReducer, T>,
    .max = reduce_by<MaxReducer, T>,
    .min = reduce_by<MinReducer, T>,
    .argmax = argmax_elements<T>,
    .extreme_gradient_rows = extreme_gradient_rows<T>,
    .logsumexp_rows = logsumexp_rows<T>,
    .logsumexp_gradient_rows = logsumexp_gradient_rows<T>,
    .var_rows = var_rows<T>,
    .var_gradient_rows = var_gradient_rows<T>,
    .drop_elements = drop_elements<T>,
    .sweeps = {sweep_by<optim::detail::AdamWRule, T, 2>, sweep_by<optim::detail::SgdRule, T, 1>},
};

template <class F, class T, class... E>
constexpr CompiledFormula compiled_formula(const char* name) {
  using K = Kernels<F, T, E...>;
  CompiledFormula result{name, sizeof...(E), {dtype_of<E>...}, K::forward, {}};
  if constexpr (std::is_same_v<typename K::Out, T>) {
    auto fill = [&]<size_t I>(std::integral_constant<size_t, I>) {
      if constexpr (std::is_same_v<std::tuple_element_t<I, std::tuple<E...>>, T>) {
        if constexpr (!trace_gradient<F, I>(std::index_sequence_for<E...>{}).is_seed)
          result.gradients[I] = &K::template gradient<I>;
      }
    };
    [&]<size_t... I>(std::index_sequence<I...>) { (fill(std::integral_constant<size_t, I>{}), ...); }
    (std::index_sequence_for<E...>{});
  }
  return result;
}

/// Operand I of a combination: bit I says whether it is a tensor of T or a number, which enters in the type that is
/// computed in; the first one of `where` is a condition.
template <class T, int Tensors, size_t I, bool Condition>
using CombinedElement =
    std::conditional_t<Condition && I == 0, bool, std::conditional_t<(Tensors >> I & 1) != 0, T, Compute<T>>>;

/// The first combination is of tensors only, which for float and double is all there is.
template <class F, class T, int Operands, bool Condition>
constexpr auto compiled_combinations(const char* name) {
  constexpr int combinations = std::is_same_v<T, Compute<T>> ? 1 : (1 << (Operands - Condition)) - 1;
  auto combination = [&]<int N>(std::integral_constant<int, N>) {
    constexpr int tensors = ((1 << Operands) - 1) & ~(N << (Condition ? 1 : 0));
    return [&]<size_t... I>(std::index_sequence<I...>) {
      return compiled_formula<F, T, CombinedElement<T, tensors, I, Condition>...>(name);
    }
    (std::make_index_sequence<Operands>{});
  };
  return [&]<int... N>(std::integer_sequence<int, N...>) {
    return std::array<CompiledFormula, combinations>{combination(std::integral_constant<int, N>{})...};
  }
  (std::make_integer_sequence<int, combinations>{});
}

template <class F>
constexpr F function_of(const Pointwise<F>&);

/// All combinations of one formula; none of those that work on truth values only.
template <class F, int Operands, bool Logical, bool Condition>
constexpr auto compiled_formulas_of(const char* name) {
  if constexpr (Logical) {
    static_cast<void>(name);
    return std::array<CompiledFormula, 0>{};
  } else {
    return compiled_combinations<F, Element, Operands, Condition>(name);
  }
}

template <size_t... N>
constexpr auto joined(const std::array<CompiledFormula, N>&... lists) {
  std::array<CompiledFormula, (N + ...)> all{};
  auto at = all.begin();
  ((at = std::copy(lists.begin(), lists.end(), at)), ...);
  return all;
}

constexpr bool is_logical(std::string_view name) { return name.starts_with("logical_"); }

constexpr auto compiled_formulas = joined(
#define GRADUS_FORMULA(name, operands)                                                            \
  compiled_formulas_of<decltype(function_of(name##_formula)), operands, is_logical(#name),        \
                       std::string_view(#name) == "where">(#name),
#include "generated/formula_list.hpp"
#undef GRADUS_FORMULA
    std::array<CompiledFormula, 0>{});

}  // namespace
}  // namespace gradus::detail::inline GRADUS_BUILD

using namespace gradus::detail;
extern "C" const CompiledKernels GRADUS_KERNEL_UNIT;
constinit const CompiledKernels GRADUS_KERNEL_UNIT{
    GRADUS_VERSION,
    sizeof(KernelTable<Element>),
    &kernel_table<Element>,
    compiled_formulas.data(),
    compiled_formulas.size(),
};

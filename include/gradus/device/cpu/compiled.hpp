// Kernels from the library gradus::compiled: the table of its entry points, and overloads through which a unit with
// GRADUS_COMPILED reaches them. The library holds each kernel once an instruction set and takes the best that the
// processor has when the program starts; a unit of the program may be compiled for any, and does not compile them
// itself.
//
// An overload here is the kernel of that name with the same parameters, for the types that the library has. Without the
// library, and for other types, the kernel's own header is what is called.
#pragma once

#include <array>
#include <string_view>
#include <type_traits>

#include "gradus/core/error.hpp"
#include "gradus/core/rng.hpp"
#include "gradus/fwd.hpp"

namespace gradus::detail::inline GRADUS_STABLE {

/// out[i] = formula(in[0][i * steps[0]], ...), as ops/formula/cpu_loop.hpp has it.
using PointwiseKernel = void (*)(char* out, const char* const* in, const int64_t* steps, int64_t n);

/// The kernels of one of the library's formulas, for operands of given types.
struct CompiledFormula {
  const char* name = "";
  int operands = 0;
  std::array<DType, 8> types{};  ///< of each operand
  PointwiseKernel forward = nullptr;
  std::array<PointwiseKernel, 8> gradients{};  ///< null where there is none
};

/// What is compiled for one element type and one instruction set.
struct CompiledKernels {
  const char* version;  ///< of the headers
  size_t table_bytes;
  const void* table;  ///< a KernelTable
  const CompiledFormula* formulas;
  size_t formula_count;
};

enum class Instructions { baseline, avx2, avx512, avx512_bf16 };

/// Those that this program uses: the best that the processor has, or what GRADUS_INSTRUCTIONS in the environment names:
/// baseline, avx2, avx512 or avx512_bf16. One that is not known or not there ends the program with a message.
GRADUS_SHARED Instructions compiled_instructions();

/// The kernels for these instructions. A program links those of the element types that it uses.
GRADUS_SHARED const CompiledKernels& compiled_kernels(std::type_identity<float>);
GRADUS_SHARED const CompiledKernels& compiled_kernels(std::type_identity<double>);
GRADUS_SHARED const CompiledKernels& compiled_kernels(std::type_identity<bf16>);

}  // namespace gradus::detail::inline GRADUS_STABLE

namespace gradus::inline GRADUS_BUILD {
struct CrossEntropyOptions;
enum class Nonlinearity;
enum class Rectifier;
}  // namespace gradus::inline GRADUS_BUILD

namespace gradus::detail::inline GRADUS_BUILD {

template <class T>
struct MatrixView;
template <class T>
struct GemmTail;
struct ConvShape;
struct PoolShape;
struct SequenceShape;
template <class T>
struct LstmWeights;
template <class T>
struct LstmTrace;
template <class T>
struct LstmGradients;
template <class T>
struct GruWeights;
template <class T>
struct GruTrace;
template <class T>
struct GruGradients;
template <class T>
struct RnnWeights;
template <class T>
struct RnnGradients;
template <Floating T>
struct AttentionProblem;
template <class C>
struct RowTotal;
template <class C>
struct RowMoments;
template <class C>
struct Moments;
template <class C>
struct ChannelRun;
template <class T>
struct ArrivedGradient;
struct TensorImpl;
struct ReduceShape;
template <class T>
struct SumReducer;
template <class T>
struct MaxReducer;
template <class T>
struct MinReducer;

/// One pointer a kernel, whose contract stands in the kernel's own header.
template <class T, class C = Compute<T>>
struct KernelTable {
  // device/cpu
  void (*gemm)(const MatrixView<T>&, const MatrixView<T>&, T*, int64_t, const GemmTail<T>&);
  void (*convolve)(const ConvShape&, const T*, const T*, const T*, Rectifier, T*);
  void (*convolve_backward_input)(const ConvShape&, const T*, const T*, T*);
  void (*convolve_backward_weight)(const ConvShape&, const T*, const T*, T*);
  // ops/window
  void (*max_of_windows)(const PoolShape&, int64_t, const T*, T*, int32_t*);
  void (*max_of_quads)(const PoolShape&, int64_t, const T*, T*, int32_t*);
  void (*put_windows)(const PoolShape&, int64_t, const T*, const int32_t*, T*);
  void (*mean_of_windows)(const PoolShape&, int64_t, bool, const T*, T*);
  void (*share_windows)(const PoolShape&, int64_t, bool, const T*, T*);
  // ops/recurrent
  void (*lstm_forward)(const SequenceShape&, const T*, const T*, const T*, const LstmWeights<T>&, const LstmTrace<T>&);
  void (*lstm_backward)(const SequenceShape&, const T*, const T*, const T*, const LstmWeights<T>&,
                        const LstmTrace<const T>&, const T*, const T*, const T*, const LstmGradients<T>&);
  void (*gru_forward)(const SequenceShape&, const T*, const T*, const GruWeights<T>&, const GruTrace<T>&);
  void (*gru_backward)(const SequenceShape&, const T*, const T*, const GruWeights<T>&, const GruTrace<const T>&,
                       const T*, const T*, const GruGradients<T>&);
  void (*rnn_forward)(const SequenceShape&, const T*, const T*, const RnnWeights<T>&, Nonlinearity, T*);
  void (*rnn_backward)(const SequenceShape&, const T*, const T*, const RnnWeights<T>&, Nonlinearity, const T*, const T*,
                       const T*, const RnnGradients<T>&);
  // ops/attention
  void (*attention_forward)(const AttentionProblem<T>&, const Tensor<T>&, const Tensor<T>&, const Tensor<T>&,
                            Tensor<T>&, C*);
  void (*attention_gradients)(const AttentionProblem<T>&, const Tensor<T>&, const Tensor<T>&, const Tensor<T>&,
                              const Tensor<T>&, const C*, const Tensor<T>&, Tensor<T>&, Tensor<T>&, Tensor<T>&);
  void (*turn_row)(const T*, int64_t, const T*, const T*, int64_t, int, T*);
  // ops/loss
  void (*softmax_rows)(const T*, int64_t, int64_t, bool, T*);
  void (*softmax_gradient_rows)(const T*, const T*, int64_t, int64_t, bool, T*);
  void (*cross_entropy_rows)(const T*, const int64_t*, int64_t, int64_t, const CrossEntropyOptions&, RowTotal<C>*, C*);
  void (*cross_entropy_gradient_rows)(const T*, const int64_t*, int64_t, int64_t, const CrossEntropyOptions&,
                                      const RowTotal<C>*, const T*, bool, double, T*);
  // ops/norm
  RowMoments<C> (*normalize_row)(const T*, const T*, const T*, const T*, int64_t, double, T*, T*, bool);
  void (*layer_norm_row_gradient)(const T*, const T*, const T*, const T*, RowMoments<C>, int64_t, T*, C*, C*, bool);
  C (*rms_normalize_row)(const T*, const T*, const T*, int64_t, double, T*, T*, bool);
  void (*rms_norm_row_gradient)(const T*, const T*, const T*, const T*, C, int64_t, T*, C*, bool);
  void (*channel_moments)(const T*, int64_t, int64_t, int64_t, int64_t, Moments<C>*);
  void (*column_moments)(const T*, int64_t, int64_t, int64_t, int64_t, C*);
  void (*normalize_run)(const T*, const T*, int64_t, const ChannelRun<C>&, T*, bool);
  void (*add_gradient_sums)(const ArrivedGradient<T>&, const T*, int64_t, const ChannelRun<C>&, C*);
  void (*gradient_run)(const T*, const T*, int64_t, const ChannelRun<C>&, T*, bool);
  // ops/reduction
  void (*sum)(const TensorImpl&, const ReduceShape&, TensorImpl&);
  void (*max)(const TensorImpl&, const ReduceShape&, TensorImpl&);
  void (*min)(const TensorImpl&, const ReduceShape&, TensorImpl&);
  void (*argmax)(const TensorImpl&, const ReduceShape&, int64_t*);
  void (*extreme_gradient_rows)(const T*, const T*, const T*, int64_t, int64_t, T*);
  void (*logsumexp_rows)(const T*, int64_t, int64_t, RowTotal<C>*, T*);
  void (*logsumexp_gradient_rows)(const T*, const RowTotal<C>*, const T*, int64_t, int64_t, T*);
  void (*var_rows)(const T*, int64_t, int64_t, double, C*, T*);
  void (*var_gradient_rows)(const T*, const C*, const T*, int64_t, int64_t, double, T*);
  // ops/dropout.hpp
  void (*drop_elements)(const T*, int64_t, int64_t, const RandomStream&, uint32_t, double, T*);
  // optim: by the number of its rule; the first parameter is a SweepPart
  std::array<void (*)(const void*, int64_t, int64_t, double, const RandomStream&, const std::array<double, 8>&), 2>
      sweeps;
};

}  // namespace gradus::detail::inline GRADUS_BUILD

#if defined(GRADUS_COMPILED)

namespace gradus::optim::detail::inline GRADUS_BUILD {
template <Floating T, size_t N>
struct SweepPart;
}

namespace gradus::detail::inline GRADUS_BUILD {

/// Element types whose kernels the library has.
template <class T>
concept Compiled = Floating<T> &&(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16>);

template <Compiled T>
const KernelTable<T>& kernels() {
  static const auto& table = [&]() -> const KernelTable<T>& {
    const auto& library = compiled_kernels(std::type_identity<T>());
    require<ValueError>(
        library.table_bytes == sizeof(KernelTable<T>) && std::string_view(library.version) == GRADUS_VERSION,
        "gradus::compiled is of version ", library.version, " and the headers of ", GRADUS_VERSION,
        ": build both from the same sources");
    return *static_cast<const KernelTable<T>*>(library.table);
  }();
  return table;
}

/// The choice is made, and what is wrong with it said, before main.
inline const Instructions compiled_instructions_at_start = compiled_instructions();

template <Compiled T>
void gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, int64_t c_stride, const GemmTail<T>& tail = {}) {
  kernels<T>().gemm(a, b, c, c_stride, tail);
}
template <Compiled T>
void convolve(const ConvShape& s, const T* x, const T* w, const T* bias, Rectifier rectifier, T* y) {
  kernels<T>().convolve(s, x, w, bias, rectifier, y);
}
template <Compiled T>
void convolve_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx) {
  kernels<T>().convolve_backward_input(s, dy, w, dx);
}
template <Compiled T>
void convolve_backward_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  kernels<T>().convolve_backward_weight(s, x, dy, dw);
}

template <Compiled T>
void max_of_windows(const PoolShape& s, int64_t planes, const T* x, T* y, int32_t* from) {
  kernels<T>().max_of_windows(s, planes, x, y, from);
}
template <Compiled T>
void max_of_quads(const PoolShape& s, int64_t planes, const T* x, T* y, int32_t* from) {
  kernels<T>().max_of_quads(s, planes, x, y, from);
}
template <Compiled T>
void put_windows(const PoolShape& s, int64_t planes, const T* y, const int32_t* from, T* x) {
  kernels<T>().put_windows(s, planes, y, from, x);
}
template <Compiled T>
void mean_of_windows(const PoolShape& s, int64_t planes, bool include_padding, const T* x, T* y) {
  kernels<T>().mean_of_windows(s, planes, include_padding, x, y);
}
template <Compiled T>
void share_windows(const PoolShape& s, int64_t planes, bool include_padding, const T* dy, T* dx) {
  kernels<T>().share_windows(s, planes, include_padding, dy, dx);
}

template <Compiled T>
void lstm_forward(const SequenceShape& s, const T* x, const T* h0, const T* c0, const LstmWeights<T>& w,
                  const LstmTrace<T>& trace) {
  kernels<T>().lstm_forward(s, x, h0, c0, w, trace);
}
template <Compiled T>
void lstm_backward(const SequenceShape& s, const T* x, const T* h0, const T* c0, const LstmWeights<T>& w,
                   const LstmTrace<const T>& trace, const T* dy, const T* dh, const T* dc, const LstmGradients<T>& to) {
  kernels<T>().lstm_backward(s, x, h0, c0, w, trace, dy, dh, dc, to);
}
template <Compiled T>
void gru_forward(const SequenceShape& s, const T* x, const T* h0, const GruWeights<T>& w, const GruTrace<T>& trace) {
  kernels<T>().gru_forward(s, x, h0, w, trace);
}
template <Compiled T>
void gru_backward(const SequenceShape& s, const T* x, const T* h0, const GruWeights<T>& w,
                  const GruTrace<const T>& trace, const T* dy, const T* dh, const GruGradients<T>& to) {
  kernels<T>().gru_backward(s, x, h0, w, trace, dy, dh, to);
}
template <Compiled T>
void rnn_forward(const SequenceShape& s, const T* x, const T* h0, const RnnWeights<T>& w, Nonlinearity f, T* states) {
  kernels<T>().rnn_forward(s, x, h0, w, f, states);
}
template <Compiled T>
void rnn_backward(const SequenceShape& s, const T* x, const T* h0, const RnnWeights<T>& w, Nonlinearity f,
                  const T* states, const T* dy, const T* dh, const RnnGradients<T>& to) {
  kernels<T>().rnn_backward(s, x, h0, w, f, states, dy, dh, to);
}

template <Compiled T, class C = Compute<T>>
void attention_forward(const AttentionProblem<T>& problem, const Tensor<T>& query, const Tensor<T>& key,
                       const Tensor<T>& value, Tensor<T>& y, C* log_sums) {
  kernels<T>().attention_forward(problem, query, key, value, y, log_sums);
}
template <Compiled T, class C = Compute<T>>
void attention_gradients(const AttentionProblem<T>& problem, const Tensor<T>& query, const Tensor<T>& key,
                         const Tensor<T>& value, const Tensor<T>& y, const C* log_sums, const Tensor<T>& dy,
                         Tensor<T>& dq, Tensor<T>& dk, Tensor<T>& dv) {
  kernels<T>().attention_gradients(problem, query, key, value, y, log_sums, dy, dq, dk, dv);
}
template <Compiled T>
void turn_row(const T* x, int64_t size, const T* cosines, const T* sines, int64_t half, int sign, T* y) {
  kernels<T>().turn_row(x, size, cosines, sines, half, sign, y);
}

template <Compiled T>
void softmax_rows(const T* x, int64_t rows, int64_t n, bool logarithm, T* y) {
  kernels<T>().softmax_rows(x, rows, n, logarithm, y);
}
template <Compiled T>
void softmax_gradient_rows(const T* y, const T* dy, int64_t rows, int64_t n, bool logarithm, T* dx) {
  kernels<T>().softmax_gradient_rows(y, dy, rows, n, logarithm, dx);
}
template <Compiled T>
void cross_entropy_rows(const T* logits, const int64_t* labels, int64_t n, int64_t classes,
                        const CrossEntropyOptions& options, RowTotal<Compute<T>>* totals, Compute<T>* losses) {
  kernels<T>().cross_entropy_rows(logits, labels, n, classes, options, totals, losses);
}
template <Compiled T>
void cross_entropy_gradient_rows(const T* logits, const int64_t* labels, int64_t n, int64_t classes,
                                 const CrossEntropyOptions& options, const RowTotal<Compute<T>>* totals, const T* dy,
                                 bool dy_per_row, double factor, T* to) {
  kernels<T>().cross_entropy_gradient_rows(logits, labels, n, classes, options, totals, dy, dy_per_row, factor, to);
}

template <Compiled T>
RowMoments<Compute<T>> normalize_row(const T* x, const T* added, const T* weight, const T* bias, int64_t n, double eps,
                                     T* sum, T* y, bool streamed) {
  return kernels<T>().normalize_row(x, added, weight, bias, n, eps, sum, y, streamed);
}
template <Compiled T, class C = Compute<T>>
void layer_norm_row_gradient(const T* dy, const T* x, const T* past, const T* weight, RowMoments<C> moments, int64_t n,
                             T* dx, C* dw, C* db, bool streamed) {
  kernels<T>().layer_norm_row_gradient(dy, x, past, weight, moments, n, dx, dw, db, streamed);
}
template <Compiled T>
Compute<T> rms_normalize_row(const T* x, const T* added, const T* weight, int64_t n, double eps, T* sum, T* y,
                             bool streamed) {
  return kernels<T>().rms_normalize_row(x, added, weight, n, eps, sum, y, streamed);
}
template <Compiled T, class C = Compute<T>>
void rms_norm_row_gradient(const T* dy, const T* x, const T* past, const T* weight, C inverse_rms, int64_t n, T* dx,
                           C* dw, bool streamed) {
  kernels<T>().rms_norm_row_gradient(dy, x, past, weight, inverse_rms, n, dx, dw, streamed);
}
template <Compiled T>
void channel_moments(const T* x, int64_t channels, int64_t count, int64_t size, int64_t stride,
                     Moments<Compute<T>>* moments) {
  kernels<T>().channel_moments(x, channels, count, size, stride, moments);
}
template <Compiled T, class C = Compute<T>>
void column_moments(const T* x, int64_t count, int64_t n, int64_t stride, int64_t row, C* moments) {
  kernels<T>().column_moments(x, count, n, stride, row, moments);
}
template <Compiled T, class C = Compute<T>>
void normalize_run(const T* x, const T* residual, int64_t n, const ChannelRun<C>& run, T* y, bool streamed) {
  kernels<T>().normalize_run(x, residual, n, run, y, streamed);
}
template <Compiled T, class C = Compute<T>>
void add_gradient_sums(const ArrivedGradient<T>& arrived, const T* x, int64_t n, const ChannelRun<C>& run, C* sums) {
  kernels<T>().add_gradient_sums(arrived, x, n, run, sums);
}
template <Compiled T, class C = Compute<T>>
void gradient_run(const T* dy, const T* x, int64_t n, const ChannelRun<C>& run, T* dx, bool streamed) {
  kernels<T>().gradient_run(dy, x, n, run, dx, streamed);
}

template <Compiled T>
void reduce_elements(std::type_identity<SumReducer<T>>, std::type_identity<T>, const TensorImpl& x,
                     const ReduceShape& split, TensorImpl& out) {
  kernels<T>().sum(x, split, out);
}
template <Compiled T>
void reduce_elements(std::type_identity<MaxReducer<T>>, std::type_identity<T>, const TensorImpl& x,
                     const ReduceShape& split, TensorImpl& out) {
  kernels<T>().max(x, split, out);
}
template <Compiled T>
void reduce_elements(std::type_identity<MinReducer<T>>, std::type_identity<T>, const TensorImpl& x,
                     const ReduceShape& split, TensorImpl& out) {
  kernels<T>().min(x, split, out);
}
template <Compiled T>
void argmax_elements(const TensorImpl& x, const ReduceShape& split, int64_t* to) {
  kernels<T>().argmax(x, split, to);
}
template <Compiled T>
void extreme_gradient_rows(const T* x, const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  kernels<T>().extreme_gradient_rows(x, y, dy, rows, n, dx);
}
template <Compiled T>
void logsumexp_rows(const T* x, int64_t rows, int64_t n, RowTotal<Compute<T>>* totals, T* y) {
  kernels<T>().logsumexp_rows(x, rows, n, totals, y);
}
template <Compiled T>
void logsumexp_gradient_rows(const T* x, const RowTotal<Compute<T>>* totals, const T* dy, int64_t rows, int64_t n,
                             T* dx) {
  kernels<T>().logsumexp_gradient_rows(x, totals, dy, rows, n, dx);
}
template <Compiled T>
void var_rows(const T* x, int64_t rows, int64_t n, double divisor, Compute<T>* means, T* y) {
  kernels<T>().var_rows(x, rows, n, divisor, means, y);
}
template <Compiled T>
void var_gradient_rows(const T* x, const Compute<T>* means, const T* dy, int64_t rows, int64_t n, double divisor,
                       T* dx) {
  kernels<T>().var_gradient_rows(x, means, dy, rows, n, divisor, dx);
}

template <Compiled T>
void drop_elements(const T* from, int64_t first, int64_t last, const RandomStream& stream, uint32_t bound, double scale,
                   T* to) {
  kernels<T>().drop_elements(from, first, last, stream, bound, scale, to);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

namespace gradus::optim::detail::inline GRADUS_BUILD {

template <class Rule, gradus::detail::Compiled T, size_t N>
void sweep_part(const SweepPart<T, N>& part, int64_t from, int64_t to, double gradient_factor,
                const RandomStream& stream, const std::array<double, 8>& numbers) {
  gradus::detail::kernels<T>().sweeps[Rule::number](&part, from, to, gradient_factor, stream, numbers);
}

}  // namespace gradus::optim::detail::inline GRADUS_BUILD

#endif

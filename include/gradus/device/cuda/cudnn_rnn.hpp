// Recurrent layers by cuDNN: a table of its functions for them, and one layer over whole sequences of one length.
#pragma once

#include "gradus/device/cuda/cudnn.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

#define GRADUS_CUDNN_RNN(F)                                                                                            \
  F(create, "cudnnCreateRNNDescriptor", Handle* rnn)                                                                   \
  F(destroy, "cudnnDestroyRNNDescriptor", Handle rnn)                                                                  \
  F(set, "cudnnSetRNNDescriptor_v8", Handle rnn, int algorithm, int cell, int biases, int direction, int input,        \
    int type, int compute, int math, int32_t in, int32_t hidden, int32_t projection, int32_t layers, Handle dropout,   \
    uint32_t flags)                                                                                                    \
  F(dropout_create, "cudnnCreateDropoutDescriptor", Handle* dropout)                                                   \
  F(dropout_destroy, "cudnnDestroyDropoutDescriptor", Handle dropout)                                                  \
  F(dropout_set, "cudnnSetDropoutDescriptor", Handle dropout, Handle handle, float share, void* states, size_t bytes,  \
    unsigned long long seed)                                                                                           \
  F(data_create, "cudnnCreateRNNDataDescriptor", Handle* data)                                                         \
  F(data_destroy, "cudnnDestroyRNNDataDescriptor", Handle data)                                                        \
  F(data_set, "cudnnSetRNNDataDescriptor", Handle data, int type, int layout, int steps, int n, int size,              \
    const int* lengths, void* padding)                                                                                 \
  F(tensor_create, "cudnnCreateTensorDescriptor", Handle* tensor)                                                      \
  F(tensor_destroy, "cudnnDestroyTensorDescriptor", Handle tensor)                                                     \
  F(tensor_set, "cudnnSetTensorNdDescriptor", Handle tensor, int type, int rank, const int* sizes, const int* strides) \
  F(weight_bytes, "cudnnGetRNNWeightSpaceSize", Handle handle, Handle rnn, size_t* bytes)                              \
  F(space_bytes, "cudnnGetRNNTempSpaceSizes", Handle handle, Handle rnn, int mode, Handle x, size_t* work,             \
    size_t* reserve)                                                                                                   \
  F(weight_place, "cudnnGetRNNWeightParams", Handle handle, Handle rnn, int32_t layer, size_t bytes,                   \
    const void* weights, int32_t number, Handle matrix, void** matrix_at, Handle bias, void** bias_at)                 \
  F(forward, "cudnnRNNForward", Handle handle, Handle rnn, int mode, const int32_t* lengths, Handle x_data,            \
    const void* x, Handle y_data, void* y, Handle h, const void* hx, void* hy, Handle c, const void* cx, void* cy,     \
    size_t weight_bytes, const void* weights, size_t work_bytes, void* work, size_t reserve_bytes, void* reserve)      \
  F(backward_data, "cudnnRNNBackwardData_v8", Handle handle, Handle rnn, const int32_t* lengths, Handle y_data,        \
    const void* y, const void* dy, Handle x_data, void* dx, Handle h, const void* hx, const void* dhy, void* dhx,      \
    Handle c, const void* cx, const void* dcy, void* dcx, size_t weight_bytes, const void* weights, size_t work_bytes, \
    void* work, size_t reserve_bytes, void* reserve)                                                                   \
  F(backward_weights, "cudnnRNNBackwardWeights_v8", Handle handle, Handle rnn, int add, const int32_t* lengths,        \
    Handle x_data, const void* x, Handle h, const void* hx, Handle y_data, const void* y, size_t weight_bytes,         \
    void* dweights, size_t work_bytes, void* work, size_t reserve_bytes, void* reserve)

struct CudnnRnn {
#define GRADUS_DETAIL_MEMBER(member, symbol, ...) int (*member)(__VA_ARGS__) = nullptr;
  GRADUS_CUDNN_RNN(GRADUS_DETAIL_MEMBER)
#undef GRADUS_DETAIL_MEMBER

  /// This machine's, or null when it has no cuDNN with recurrent layers.
  GRADUS_SHARED static const CudnnRnn* find() {
    static const std::optional<CudnnRnn> api = []() -> std::optional<CudnnRnn> {
      if (Cudnn::find() == nullptr) return std::nullopt;
      auto library = Library::open({"libcudnn.so.9"}, toolkit_folders());
      try {
        CudnnRnn found;
#define GRADUS_DETAIL_FIND(member, symbol, ...) library.find(found.member, symbol);
        GRADUS_CUDNN_RNN(GRADUS_DETAIL_FIND)
#undef GRADUS_DETAIL_FIND
        return found;
      } catch (const CudaError&) {
        return std::nullopt;
      }
    }();
    return api ? &*api : nullptr;
  }
};

/// Whether LSTM and GRU go by cuDNN. Off at the start.
GRADUS_SHARED inline std::atomic<bool>& cudnn_recurrent_allowed() {
  static std::atomic<bool> allowed{false};
  return allowed;
}

enum class RnnCell : int { relu = 0, tanh = 1, lstm = 2, gru = 3 };

/// What one recurrent layer is about. Gates and weights are in PyTorch's order, which is cuDNN's.
struct RnnShape {
  DType type = DType::f32;
  RnnCell cell = RnnCell::lstm;
  int64_t steps, n, in, hidden;
  bool biases, fast;  ///< fast: products may round to TF32

  int gates() const { return cell == RnnCell::lstm ? 4 : cell == RnnCell::gru ? 3 : 1; }
  auto operator<=>(const RnnShape&) const = default;
};

/// What cuDNN is told of a recurrent layer.
class RnnDescriptors {
 public:
  Handle rnn = nullptr, dropout = nullptr, x_data = nullptr, y_data = nullptr, state = nullptr, matrix = nullptr,
         bias = nullptr;

  /// handle: null where there is no card, for tests; then dropout, of which there is none, stays unset.
  RnnDescriptors(const CudnnRnn& api, Handle handle, const RnnShape& s) : RnnDescriptors(api) {
    auto type = static_cast<int>(cudnn_type(s.type)),
         compute = static_cast<int>(s.type == DType::f64 ? CudnnType::f64 : CudnnType::f32);
    constexpr int default_math = 0, tensor_cores = 1, fma_math = 3, double_bias = 2, packed_by_steps = 1;
    auto math = size_of(s.type) == 2 ? tensor_cores : s.type == DType::f32 && !s.fast ? fma_math : default_math;
    check(api.dropout_create(&dropout), "cudnnCreateDropoutDescriptor");
    if (handle != nullptr) check(api.dropout_set(dropout, handle, 0, nullptr, 0, 0), "cudnnSetDropoutDescriptor");
    check(api.create(&rnn), "cudnnCreateRNNDescriptor");
    check(api.set(rnn, 0, static_cast<int>(s.cell), s.biases ? double_bias : 0, 0, 0, type, compute, math,
                  static_cast<int32_t>(s.in), static_cast<int32_t>(s.hidden), static_cast<int32_t>(s.hidden), 1,
                  dropout, 0),
          "cudnnSetRNNDescriptor_v8");
    std::vector<int> lengths(static_cast<size_t>(s.n), static_cast<int>(s.steps));
    auto data = [&](Handle& to, int64_t size) {
      check(api.data_create(&to), "cudnnCreateRNNDataDescriptor");
      check(api.data_set(to, type, packed_by_steps, static_cast<int>(s.steps), static_cast<int>(s.n),
                         static_cast<int>(size), lengths.data(), nullptr),
            "cudnnSetRNNDataDescriptor");
    };
    data(x_data, s.in);
    data(y_data, s.hidden);
    const int sizes[] = {1, static_cast<int>(s.n), static_cast<int>(s.hidden)},
              strides[] = {sizes[1] * sizes[2], sizes[2], 1};
    check(api.tensor_create(&state), "cudnnCreateTensorDescriptor");
    check(api.tensor_set(state, type, 3, sizes, strides), "cudnnSetTensorNdDescriptor");
    check(api.tensor_create(&matrix), "cudnnCreateTensorDescriptor");
    check(api.tensor_create(&bias), "cudnnCreateTensorDescriptor");
  }
  RnnDescriptors(const RnnDescriptors&) = delete;
  ~RnnDescriptors() {
    if (rnn != nullptr) api_.destroy(rnn);
    if (dropout != nullptr) api_.dropout_destroy(dropout);
    for (auto* data : {x_data, y_data})
      if (data != nullptr) api_.data_destroy(data);
    for (auto* tensor : {state, matrix, bias})
      if (tensor != nullptr) api_.tensor_destroy(tensor);
  }

 private:
  /// The other constructor goes on from here, so that what it made is given back when something fails.
  explicit RnnDescriptors(const CudnnRnn& api) : api_(api) {}
  static void check(int status, const char* call) { Cudnn::find()->check(status, call, "recurrent layer"); }

  const CudnnRnn& api_;
};

/// One layer, forward and back, on one card. Made once a shape and kept.
class GRADUS_SHARED RnnPlan {
 public:
  /// Of a shape; null when cuDNN has nothing for it.
  GRADUS_SHARED static RnnPlan* of(Device device, const RnnShape& shape) {
    if (!cudnn_recurrent_allowed()) return nullptr;
    auto* plans = CudnnPlans::of(device);
    if (plans == nullptr || CudnnRnn::find() == nullptr) return nullptr;
    static std::mutex mutex;
    static std::map<std::pair<int, RnnShape>, std::unique_ptr<RnnPlan>> all;
    std::lock_guard lock(mutex);
    auto [found, fresh] = all.try_emplace({device.index(), shape});
    if (fresh) {
      try {
        auto& context = Context::of(device);
        context.call_library("recurrent layer", [&] { found->second.reset(new RnnPlan(*plans, context, shape)); });
      } catch (const CudnnRefusal&) {
        found->second.reset();
      } catch (...) {
        all.erase(found);
        throw;
      }
    }
    return found->second.get();
  }

  size_t weight_bytes() const { return weight_bytes_; }
  size_t reserve_bytes() const { return reserve_bytes_; }

  /// Where a piece of the packed weights lies, and where in PyTorch's tensors: 0 weight_ih, 1 weight_hh, 2 bias_ih,
  /// 3 bias_hh.
  struct Piece {
    size_t packed, plain, bytes;
    int tensor;
  };
  const std::vector<Piece>& pieces() const { return pieces_; }

  struct Forward {
    const void *x, *hx, *cx, *weights;
    void *y, *hy, *cy,
        *reserve;  ///< reserve: null when no gradient will be asked for
  };
  void forward(const Forward& f) {
    const auto& d = descriptors_;
    with_workspace([&](Handle handle, void* work, size_t bytes) {
      check(api_.forward(handle, d.rnn, f.reserve != nullptr ? 1 : 0, nullptr, d.x_data, f.x, d.y_data, f.y, d.state,
                         f.hx, f.hy, d.state, f.cx, f.cy, weight_bytes_, f.weights, bytes, work,
                         f.reserve != nullptr ? reserve_bytes_ : 0, f.reserve),
            "cudnnRNNForward");
    });
  }

  struct Backward {
    const void *x, *hx, *cx, *weights, *y, *dy, *dhy,
        *dcy;  ///< dhy, dcy: null for zeros
    void *dx, *dhx, *dcx, *dweights,
        *reserve;  ///< dweights: zeros before; reserve is changed
  };
  void backward(const Backward& b) {
    const auto& d = descriptors_;
    with_workspace([&](Handle handle, void* work, size_t bytes) {
      check(api_.backward_data(handle, d.rnn, nullptr, d.y_data, b.y, b.dy, d.x_data, b.dx, d.state, b.hx, b.dhy, b.dhx,
                               d.state, b.cx, b.dcy, b.dcx, weight_bytes_, b.weights, bytes, work, reserve_bytes_,
                               b.reserve),
            "cudnnRNNBackwardData_v8");
      check(api_.backward_weights(handle, d.rnn, 0, nullptr, d.x_data, b.x, d.state, b.hx, d.y_data, b.y, weight_bytes_,
                                  b.dweights, bytes, work, reserve_bytes_, b.reserve),
            "cudnnRNNBackwardWeights_v8");
    });
  }

 private:
  RnnPlan(CudnnPlans& plans, Context& context, const RnnShape& s)
      : plans_(plans), context_(context), api_(*CudnnRnn::find()), descriptors_(api_, plans.handle(), s) {
    const auto& d = descriptors_;
    check(api_.weight_bytes(plans.handle(), d.rnn, &weight_bytes_), "cudnnGetRNNWeightSpaceSize");
    size_t work = 0;
    check(api_.space_bytes(plans.handle(), d.rnn, 0, d.x_data, &work, &reserve_bytes_), "cudnnGetRNNTempSpaceSizes");
    check(api_.space_bytes(plans.handle(), d.rnn, 1, d.x_data, &work_bytes_, &reserve_bytes_),
          "cudnnGetRNNTempSpaceSizes");
    work_bytes_ = std::max(work_bytes_, work);
    find_pieces(s);
  }
  ~RnnPlan() = default;
  friend std::default_delete<RnnPlan>;

  /// Asks where cuDNN keeps each gate's matrix and bias. Pieces that lie side by side on both sides become one.
  void find_pieces(const RnnShape& s) {
    const auto& d = descriptors_;
    auto size = static_cast<size_t>(size_of(s.type));
    std::vector<Piece> matrices, biases;
    auto* base = context_.allocate(weight_bytes_, "recurrent layer");  // only its address counts
    for (int number = 0; number < 2 * s.gates(); ++number) {
      void *matrix = nullptr, *bias = nullptr;
      auto status =
          api_.weight_place(plans_.handle(), d.rnn, 0, weight_bytes_, base, number, d.matrix, &matrix, d.bias, &bias);
      if (status != 0) context_.release(base);
      check(status, "cudnnGetRNNWeightParams");
      auto recurrent = number >= s.gates();
      auto gate = static_cast<size_t>(number % s.gates()), hidden = static_cast<size_t>(s.hidden);
      auto matrix_bytes = hidden * static_cast<size_t>(recurrent ? s.hidden : s.in) * size;
      auto place = [base](void* at) { return static_cast<size_t>(static_cast<char*>(at) - static_cast<char*>(base)); };
      matrices.push_back({place(matrix), gate * matrix_bytes, matrix_bytes, recurrent ? 1 : 0});
      if (s.biases) biases.push_back({place(bias), gate * hidden * size, hidden * size, recurrent ? 3 : 2});
    }
    context_.release(base);
    for (const auto* list : {&matrices, &biases}) {
      for (const auto& piece : *list) {
        auto follows = !pieces_.empty() && pieces_.back().tensor == piece.tensor &&
                       pieces_.back().packed + pieces_.back().bytes == piece.packed &&
                       pieces_.back().plain + pieces_.back().bytes == piece.plain;
        if (follows) pieces_.back().bytes += piece.bytes;
        else pieces_.push_back(piece);
      }
    }
  }

  template <class Body>
  void with_workspace(Body&& body) {
    auto* work = work_bytes_ > 0 ? context_.allocate(work_bytes_, "recurrent layer") : nullptr;
    std::unique_ptr<void, std::function<void(void*)>> owner(work, [this](void* at) { context_.release(at); });
    auto lock = plans_.lock();
    auto launching = context_.count_launch("recurrent layer");
    context_.call_library("recurrent layer", [&] { body(plans_.handle(), work, work_bytes_); });
  }
  void check(int status, const char* call) const { Cudnn::find()->check(status, call, "recurrent layer"); }

  CudnnPlans& plans_;
  Context& context_;
  const CudnnRnn& api_;
  RnnDescriptors descriptors_;
  size_t weight_bytes_ = 0, work_bytes_ = 0, reserve_bytes_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

namespace gradus::cuda::inline GRADUS_STABLE {

/// Lets LSTM and GRU, where all sequences run forth over the same number of steps, go by cuDNN in place of a product
/// and a kernel a step. Off unless asked for, because it has not been run on a card yet.
inline void use_cudnn_recurrent(bool on = true) { detail::cudnn_recurrent_allowed() = on; }

}  // namespace gradus::cuda::inline GRADUS_STABLE

// libcudnn of the simulated card: its recurrent layers. Of what the real library can, one layer that runs forth over
// sequences of one length, which is what Gradus asks for; the rest is refused. Computed step by step, in double, from
// what the descriptors say and from where cudnnGetRNNWeightParams says that weights lie.
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "tests/cuda/simulated/cudnn.hpp"

namespace {

using simulated::bad_param, simulated::not_supported, simulated::refuse;
using simulated::count_object, simulated::injected;

enum Cell { relu = 0, tanh_cell = 1, lstm = 2, gru = 3 };

struct Dropout {
  bool set = false;
};
struct Data {
  bool set = false;
  int type = 0, steps = 0, n = 0, size = 0;
  int64_t bytes() const { return int64_t{steps} * n * size * simulated::bytes_of(type); }
};
struct Tensor {
  std::vector<int> sizes, strides;
  int type = 0;
};

/// A recurrent layer, and how it keeps weights and what is needed for gradients.
struct Rnn {
  bool set = false, biases = false;
  int cell = 0, type = 0, math = 0;
  int64_t in = 0, hidden = 0;

  int64_t gates() const { return cell == lstm ? 4 : cell == gru ? 3 : 1; }
  int64_t size() const { return simulated::bytes_of(type); }
  // Weights: recurrent matrices, input matrices, recurrent biases, input biases, with a gap before each group. The real
  // library has another order, so who guesses instead of asking is found.
  static constexpr int64_t gap = 16;
  struct Groups {
    int64_t recurrent, input, recurrent_bias, input_bias, end;
  };
  static int64_t aligned(int64_t bytes) { return (bytes + 15) / 16 * 16; }
  Groups groups() const {
    Groups at{};
    at.recurrent = gap;
    at.input = gap + aligned(at.recurrent + gates() * hidden * hidden * size());
    at.recurrent_bias = gap + aligned(at.input + gates() * hidden * in * size());
    at.input_bias = gap + aligned(at.recurrent_bias + (biases ? gates() * hidden * size() : 0));
    at.end = aligned(at.input_bias + (biases ? gates() * hidden * size() : 0));
    return at;
  }
  // A reserve: what it is about, then in double for each step and sequence the gates, then cells (LSTM) or the
  // recurrent part of the new memory (GRU). Gradients of data leave those of the gates in place of the gates, and of
  // that part.
  struct Head {
    uint64_t mark;
    int64_t stage, cell, type, in, hidden, steps, n;  // stage 1: forward, 2: gradients of data
  };
  static constexpr uint64_t mark = 0x6772616472736e6e;
  Head head(int64_t stage, const Data& x) const { return {mark, stage, cell, type, in, hidden, x.steps, x.n}; }
  int64_t row() const { return (gates() + 1) * hidden; }
  int64_t reserve_bytes(const Data& x) const { return static_cast<int64_t>(sizeof(Head)) + 8 * row() * x.steps * x.n; }
  int64_t work_bytes(const Data& x) const { return 256 + x.n * hidden * 8; }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// One call of forward or backward, with everything that the stream will read later.
struct Call {
  Rnn rnn;
  int64_t steps = 0, n = 0;
  const char *x = nullptr, *hx = nullptr, *cx = nullptr, *weights = nullptr, *y_in = nullptr, *dy = nullptr,
             *dhy = nullptr, *dcy = nullptr;
  char *y = nullptr, *hy = nullptr, *cy = nullptr, *dx = nullptr, *dhx = nullptr, *dcx = nullptr, *dweights = nullptr,
       *reserve = nullptr, *work = nullptr;

  using Row = std::vector<double>;
  double at(const char* from, int64_t i) const { return from == nullptr ? 0 : simulated::load(from, rnn.type, i); }
  void put(char* to, int64_t i, double value) const {
    if (to != nullptr) simulated::store(to, rnn.type, i, simulated::rounded(rnn.type, value));
  }
  double* kept(int64_t t, int64_t b) const {
    return reinterpret_cast<double*>(reserve + sizeof(Rnn::Head)) + (t * n + b) * rnn.row();
  }
  double before(int64_t t, int64_t b, int64_t j) const {  // the state that step t begins with
    const auto* from = y != nullptr ? y : y_in;
    return t == 0 ? at(hx, b * rnn.hidden + j) : at(from, ((t - 1) * n + b) * rnn.hidden + j);
  }
  double input(int64_t t, int64_t b, int64_t i) const { return at(x, (t * n + b) * rnn.in + i); }
  double recurrent_weight(int64_t row, int64_t j) const {
    return at(weights + rnn.groups().recurrent, row * rnn.hidden + j);
  }
  double input_weight(int64_t row, int64_t i) const { return at(weights + rnn.groups().input, row * rnn.in + i); }
  double bias(int64_t group, int64_t row) const { return rnn.biases ? at(weights + group, row) : 0; }

  /// The work space holds what it likes before and after.
  void run(void (Call::*what)() const) const {
    std::memset(work, 0x5a, static_cast<size_t>(rnn.work_bytes(shape())));
    (this->*what)();
    std::memset(work, 0xff, static_cast<size_t>(rnn.work_bytes(shape())));
  }

  void forward() const {
    const auto hidden = rnn.hidden, gates = rnn.gates();
    const auto places = rnn.groups();
    Row cell(static_cast<size_t>(n * hidden));
    for (int64_t i = 0; i < n * hidden; ++i) cell[static_cast<size_t>(i)] = at(cx, i);
    Row from_x(static_cast<size_t>(gates * hidden)), from_h(from_x.size());
    for (int64_t t = 0; t < steps; ++t) {
      for (int64_t b = 0; b < n; ++b) {
        for (int64_t r = 0; r < gates * hidden; ++r) {
          auto sum_x = bias(places.input_bias, r), sum_h = bias(places.recurrent_bias, r);
          for (int64_t i = 0; i < rnn.in; ++i) sum_x += input_weight(r, i) * input(t, b, i);
          for (int64_t j = 0; j < hidden; ++j) sum_h += recurrent_weight(r, j) * before(t, b, j);
          from_x[static_cast<size_t>(r)] = sum_x;
          from_h[static_cast<size_t>(r)] = sum_h;
        }
        for (int64_t j = 0; j < hidden; ++j) {
          auto x_of = [&](int64_t gate) { return from_x[static_cast<size_t>(gate * hidden + j)]; };
          auto h_of = [&](int64_t gate) { return from_h[static_cast<size_t>(gate * hidden + j)]; };
          std::array<double, 4> g{};
          double more = 0, state = 0;
          if (rnn.cell == lstm) {  // input, forget, new, output
            for (int64_t k = 0; k < 4; ++k) {
              auto sum = x_of(k) + h_of(k);
              g[static_cast<size_t>(k)] = k == 2 ? std::tanh(sum) : sigmoid(sum);
            }
            auto& c = cell[static_cast<size_t>(b * hidden + j)];
            c = g[1] * c + g[0] * g[2];
            more = c;
            state = g[3] * std::tanh(c);
          } else if (rnn.cell == gru) {  // reset, update, new
            g[0] = sigmoid(x_of(0) + h_of(0));
            g[1] = sigmoid(x_of(1) + h_of(1));
            more = h_of(2);
            g[2] = std::tanh(x_of(2) + g[0] * more);
            state = (1 - g[1]) * g[2] + g[1] * before(t, b, j);
          } else {
            auto sum = x_of(0) + h_of(0);
            state = g[0] = rnn.cell == relu ? std::max(sum, 0.0) : std::tanh(sum);
          }
          put(y, (t * n + b) * hidden + j, state);
          if (t == steps - 1) put(hy, b * hidden + j, state);
          if (reserve == nullptr) continue;
          for (int64_t k = 0; k < gates; ++k) kept(t, b)[k * hidden + j] = g[static_cast<size_t>(k)];
          kept(t, b)[gates * hidden + j] = more;
        }
      }
    }
    for (int64_t i = 0; i < n * hidden; ++i) put(cy, i, cell[static_cast<size_t>(i)]);
    if (reserve != nullptr) set_stage(1);
  }

  void gradients_of_data() const {
    require_stage(1, "cudnnRNNBackwardData_v8: no reserve of cudnnRNNForward with these descriptors");
    const auto hidden = rnn.hidden, gates = rnn.gates();
    Row dh(static_cast<size_t>(n * hidden)), dc(dh.size());
    for (int64_t i = 0; i < n * hidden; ++i) {
      dh[static_cast<size_t>(i)] = at(dhy, i);
      dc[static_cast<size_t>(i)] = at(dcy, i);
    }
    for (int64_t t = steps - 1; t >= 0; --t) {
      for (int64_t b = 0; b < n; ++b) {
        auto* row = kept(t, b);
        Row direct(static_cast<size_t>(hidden));  // into the state before, but for the product
        for (int64_t j = 0; j < hidden; ++j) {
          auto here = static_cast<size_t>(b * hidden + j);
          auto d = dh[here] + at(dy, (t * n + b) * hidden + j);
          std::array<double, 4> g{}, to{};
          for (int64_t k = 0; k < gates; ++k) g[static_cast<size_t>(k)] = row[k * hidden + j];
          auto& more = row[gates * hidden + j];
          if (rnn.cell == lstm) {
            auto turned = std::tanh(more);
            auto d_cell = dc[here] + d * g[3] * (1 - turned * turned);
            auto cell_before = t == 0 ? at(cx, b * hidden + j) : kept(t - 1, b)[gates * hidden + j];
            to = {d_cell * g[2] * g[0] * (1 - g[0]), d_cell * cell_before * g[1] * (1 - g[1]),
                  d_cell * g[0] * (1 - g[2] * g[2]), d * turned * g[3] * (1 - g[3])};
            dc[here] = d_cell * g[1];
          } else if (rnn.cell == gru) {
            to[2] = d * (1 - g[1]) * (1 - g[2] * g[2]);
            to[1] = d * (before(t, b, j) - g[2]) * g[1] * (1 - g[1]);
            to[0] = to[2] * more * g[0] * (1 - g[0]);
            more = to[2] * g[0];
            direct[static_cast<size_t>(j)] = d * g[1];
          } else {
            to[0] = rnn.cell == relu ? (g[0] > 0 ? d : 0) : d * (1 - g[0] * g[0]);
          }
          for (int64_t k = 0; k < gates; ++k) row[k * hidden + j] = to[static_cast<size_t>(k)];
        }
        for (int64_t j = 0; j < hidden; ++j) {
          auto sum = direct[static_cast<size_t>(j)];
          for (int64_t r = 0; r < gates * hidden; ++r) sum += recurrent_slope(row, r) * recurrent_weight(r, j);
          dh[static_cast<size_t>(b * hidden + j)] = sum;
        }
        for (int64_t i = 0; i < rnn.in; ++i) {
          double sum = 0;
          for (int64_t r = 0; r < gates * hidden; ++r) sum += row[r] * input_weight(r, i);
          put(dx, (t * n + b) * rnn.in + i, sum);
        }
      }
    }
    for (int64_t i = 0; i < n * hidden; ++i) {
      put(dhx, i, dh[static_cast<size_t>(i)]);
      put(dcx, i, dc[static_cast<size_t>(i)]);
    }
    set_stage(2);
  }

  /// Added to what is there.
  void gradients_of_weights() const {
    require_stage(2, "cudnnRNNBackwardWeights_v8: the reserve has not been through cudnnRNNBackwardData_v8");
    const auto hidden = rnn.hidden, rows = rnn.gates() * hidden;
    const auto places = rnn.groups();
    auto add = [&](int64_t group, int64_t i, double value) {
      auto* to = dweights + group;
      put(to, i, at(to, i) + value);
    };
    auto over_all = [&](auto&& term) {
      double sum = 0;
      for (int64_t t = 0; t < steps; ++t)
        for (int64_t b = 0; b < n; ++b) sum += term(t, b);
      return sum;
    };
    for (int64_t r = 0; r < rows; ++r) {
      auto into_x = [&](int64_t t, int64_t b) { return kept(t, b)[r]; };
      auto into_h = [&](int64_t t, int64_t b) { return recurrent_slope(kept(t, b), r); };
      for (int64_t i = 0; i < rnn.in; ++i) {
        add(places.input, r * rnn.in + i,
            over_all([&](int64_t t, int64_t b) { return into_x(t, b) * input(t, b, i); }));
      }
      for (int64_t j = 0; j < hidden; ++j) {
        add(places.recurrent, r * hidden + j,
            over_all([&](int64_t t, int64_t b) { return into_h(t, b) * before(t, b, j); }));
      }
      if (!rnn.biases) continue;
      add(places.input_bias, r, over_all(into_x));
      add(places.recurrent_bias, r, over_all(into_h));
    }
  }

 private:
  /// Gradient of a gate's recurrent sum: that of its input's, but for the new memory of a GRU.
  double recurrent_slope(const double* row, int64_t r) const {
    return rnn.cell == gru && r >= 2 * rnn.hidden ? row[r + rnn.hidden] : row[r];
  }
  Data shape() const { return {true, rnn.type, static_cast<int>(steps), static_cast<int>(n), 0}; }
  void set_stage(int64_t stage) const {
    auto head = rnn.head(stage, shape());
    std::memcpy(reserve, &head, sizeof(head));
  }
  void require_stage(int64_t stage, const char* else_text) const {
    auto head = rnn.head(stage, shape());
    if (std::memcmp(reserve, &head, sizeof(head)) != 0) simulated::mistake(else_text);
  }
};

/// Checks what forward and backward are given, and runs it in the stream's order.
struct Checked {
  const char* call;
  const Rnn& rnn;
  const Data& x;

  [[noreturn]] void fail(const std::string& text) const { simulated::mistake(std::string(call) + ": " + text); }
  /// A pointer into device memory, or null where that is allowed.
  void memory(const void* at, int64_t bytes, const char* what, bool may_be_null = false) const {
    if (at == nullptr && may_be_null) return;
    if (at == nullptr || !simulated::is_device_memory(at, static_cast<size_t>(bytes)))
      fail(std::string(what) + " is not within one block of device memory");
    if (reinterpret_cast<uintptr_t>(at) % static_cast<uintptr_t>(rnn.size()) != 0)
      fail(std::string(what) + " is not aligned to its type");
  }
  void space(const void* at, size_t given, int64_t needed, const char* what) const {
    if (given < static_cast<size_t>(needed)) fail(std::string(what) + " is smaller than was asked for");
    memory(at, needed, what);
    if (reinterpret_cast<uintptr_t>(at) % 16 != 0) fail(std::string(what) + " is not aligned to 16 bytes");
  }
  /// The spaces of a call, but for the reserve, which inference does not have.
  void spaces(const void* weights, size_t weight_bytes, const void* work, size_t work_bytes) const {
    space(weights, weight_bytes, rnn.groups().end, "the weights' space");
    space(work, work_bytes, rnn.work_bytes(x), "the work space");
  }
  void reserved(const void* reserve, size_t bytes) const { space(reserve, bytes, rnn.reserve_bytes(x), "the reserve"); }
  int64_t state_bytes() const { return x.n * rnn.hidden * rnn.size(); }

  /// What is wrong with descriptors; null for nothing.
  const char* wrong(const Data& y, const void* lengths, const Tensor* h, const Tensor* c) const {
    if (!rnn.set || !x.set || !y.set) return "a descriptor that was not set";
    if (lengths != nullptr) return "lengths on the card, which cuDNN 9 does without";
    if (x.type != rnn.type || y.type != rnn.type) return "element types that differ";
    if (x.size != rnn.in || y.size != rnn.hidden) return "vectors of another size than the layer's";
    if (x.steps != y.steps || x.n != y.n) return "x and y of different lengths";
    for (const auto* state : {h, rnn.cell == lstm ? c : h}) {
      if (state == nullptr) return "a state without descriptor";
      const std::vector<int> sizes{1, x.n, static_cast<int>(rnn.hidden)}, strides{sizes[1] * sizes[2], sizes[2], 1};
      if (state->type != rnn.type || state->sizes != sizes || state->strides != strides)
        return "a state that is not (1, n, hidden) without gaps";
    }
    return nullptr;
  }
};

Call call_of(const Rnn& rnn, const Data& x, void* work) {
  Call call;
  call.rnn = rnn;
  call.steps = x.steps;
  call.n = x.n;
  call.work = static_cast<char*>(work);
  return call;
}
int enqueue(void* handle, const Call& call, void (Call::*what)() const) {
  return simulated::enqueue(static_cast<simulated::CudnnHandle*>(handle)->stream, [=] { call.run(what); });
}

template <class T>
int create(const char* call, void** made) {
  if (auto failed = injected(call); failed != 0) return refuse(failed, "injected");
  count_object("descriptor of cuDNN", 1);
  return *made = new T, 0;
}
template <class T>
int destroy(const char* call, void* made) {
  count_object("descriptor of cuDNN", -1);
  return delete static_cast<T*>(made), injected(call);
}

/// What a layer moves and does at least, once over its sequences; `products` as many as the forward has.
void count(const Rnn& rnn, const Data& x, double products) {
  auto rows = static_cast<double>(rnn.gates() * rnn.hidden), in = static_cast<double>(rnn.in + rnn.hidden);
  auto each = static_cast<double>(int64_t{x.steps} * x.n), size = static_cast<double>(rnn.size());
  auto arithmetic = rnn.type == 1                    ? simulated::Arithmetic::f64
                    : rnn.size() == 2                ? simulated::Arithmetic::bf16
                    : rnn.type == 0 && rnn.math == 0 ? simulated::Arithmetic::tf32
                                                     : simulated::Arithmetic::f32;
  simulated::count_work(size * (rows * in + each * (in + rows)), products * 2 * each * rows * in, arithmetic);
}

}  // namespace

extern "C" {

int cudnnCreateRNNDescriptor(void** rnn) { return create<Rnn>("cudnnCreateRNNDescriptor", rnn); }
int cudnnDestroyRNNDescriptor(void* rnn) { return destroy<Rnn>("cudnnDestroyRNNDescriptor", rnn); }
int cudnnCreateDropoutDescriptor(void** dropout) { return create<Dropout>("cudnnCreateDropoutDescriptor", dropout); }
int cudnnDestroyDropoutDescriptor(void* dropout) { return destroy<Dropout>("cudnnDestroyDropoutDescriptor", dropout); }
int cudnnCreateRNNDataDescriptor(void** data) { return create<Data>("cudnnCreateRNNDataDescriptor", data); }
int cudnnDestroyRNNDataDescriptor(void* data) { return destroy<Data>("cudnnDestroyRNNDataDescriptor", data); }
int cudnnCreateTensorDescriptor(void** tensor) { return create<Tensor>("cudnnCreateTensorDescriptor", tensor); }
int cudnnDestroyTensorDescriptor(void* tensor) { return destroy<Tensor>("cudnnDestroyTensorDescriptor", tensor); }

int cudnnSetDropoutDescriptor(void* dropout, void* handle, float share, void* states, size_t bytes,
                              unsigned long long) {
  if (auto failed = injected("cudnnSetDropoutDescriptor"); failed != 0) return refuse(failed, "injected");
  if (handle == nullptr) return refuse(bad_param, "a dropout without handle");
  if (share != 0 || states != nullptr || bytes != 0) return refuse(not_supported, "a dropout that drops");
  return static_cast<Dropout*>(dropout)->set = true, 0;
}

int cudnnSetRNNDescriptor_v8(void* rnn, int algorithm, int cell, int biases, int direction, int input, int type,
                             int compute, int math, int32_t in, int32_t hidden, int32_t projection, int32_t layers,
                             void* dropout, uint32_t flags) {
  if (auto failed = injected("cudnnSetRNNDescriptor_v8"); failed != 0) return refuse(failed, "injected");
  if (algorithm != 0 || direction != 0 || input != 0 || layers != 1 || projection != hidden || flags != 0)
    return refuse(not_supported, "more than one plain layer that runs forth");
  if (cell < 0 || cell > gru) return refuse(bad_param, "a cell that does not exist");
  if (biases != 0 && biases != 2) return refuse(not_supported, "one bias a gate");
  if (type != 0 && type != 1 && type != 2 && type != 9) return refuse(bad_param, "a data type");
  if (compute != (type == 1 ? 1 : 0)) return refuse(bad_param, "a compute type that does not fit");
  auto fits = type == 1 ? math == 0 : simulated::bytes_of(type) == 2 ? math == 0 || math == 1 : math == 0 || math == 3;
  if (!fits) return refuse(bad_param, "a kind of products that does not go with the type");
  if (in < 1 || hidden < 1) return refuse(bad_param, "a size below 1");
  if (!static_cast<Dropout*>(dropout)->set) return refuse(bad_param, "a dropout that was not set");
  *static_cast<Rnn*>(rnn) = {true, biases != 0, cell, type, math, in, hidden};
  return 0;
}

int cudnnSetRNNDataDescriptor(void* data, int type, int layout, int steps, int n, int size, const int* lengths,
                              void* padding) {
  if (auto failed = injected("cudnnSetRNNDataDescriptor"); failed != 0) return refuse(failed, "injected");
  if (layout < 0 || layout > 2 || steps < 1 || n < 1 || size < 1) return refuse(bad_param, "layout or sizes");
  if (layout != 1 || padding != nullptr) return refuse(not_supported, "sequences that are not packed");
  for (int i = 0; i < n; ++i) {
    if (lengths[i] < 1 || lengths[i] > steps) return refuse(bad_param, "a length that is not from 1 to the steps");
    if (lengths[i] != steps) return refuse(not_supported, "sequences of different lengths");
  }
  *static_cast<Data*>(data) = {true, type, steps, n, size};
  return 0;
}

int cudnnSetTensorNdDescriptor(void* tensor, int type, int rank, const int* sizes, const int* strides) {
  if (auto failed = injected("cudnnSetTensorNdDescriptor"); failed != 0) return refuse(failed, "injected");
  if (rank < 3 || rank > 8) return refuse(bad_param, "a rank that is not from 3 to 8");
  for (int i = 0; i < rank; ++i)
    if (sizes[i] < 1 || strides[i] < 1) return refuse(bad_param, "a size or stride below 1");
  *static_cast<Tensor*>(tensor) = {{sizes, sizes + rank}, {strides, strides + rank}, type};
  return 0;
}

int cudnnGetRNNWeightSpaceSize(void*, void* rnn, size_t* bytes) {
  if (auto failed = injected("cudnnGetRNNWeightSpaceSize"); failed != 0) return refuse(failed, "injected");
  const auto& r = *static_cast<Rnn*>(rnn);
  if (!r.set) return refuse(bad_param, "a recurrent layer that was not set");
  return *bytes = static_cast<size_t>(r.groups().end), 0;
}
int cudnnGetRNNTempSpaceSizes(void*, void* rnn, int mode, void* x, size_t* work, size_t* reserve) {
  if (auto failed = injected("cudnnGetRNNTempSpaceSizes"); failed != 0) return refuse(failed, "injected");
  const auto& r = *static_cast<Rnn*>(rnn);
  const auto& data = *static_cast<Data*>(x);
  if (!r.set || !data.set || data.size != r.in || data.type != r.type || mode < 0 || mode > 1)
    return refuse(bad_param, "descriptors that do not fit each other");
  *work = static_cast<size_t>(r.work_bytes(data));
  *reserve = mode == 1 ? static_cast<size_t>(r.reserve_bytes(data)) : 0;
  return 0;
}
int cudnnGetRNNWeightParams(void*, void* rnn, int32_t layer, size_t bytes, const void* weights, int32_t number,
                            void* matrix, void** matrix_at, void* bias, void** bias_at) {
  if (auto failed = injected("cudnnGetRNNWeightParams"); failed != 0) return refuse(failed, "injected");
  const auto& r = *static_cast<Rnn*>(rnn);
  const auto places = r.groups();
  if (!r.set || layer != 0 || number < 0 || number >= 2 * r.gates()) return refuse(bad_param, "no such weights");
  if (bytes != static_cast<size_t>(places.end)) return refuse(bad_param, "weights of another size");
  auto recurrent = number >= r.gates();
  auto gate = number % r.gates(), columns = recurrent ? r.hidden : r.in;
  auto* base = const_cast<char*>(static_cast<const char*>(weights));
  auto rows = static_cast<int>(r.hidden), wide = static_cast<int>(columns);
  *static_cast<Tensor*>(matrix) = {{1, rows, wide}, {rows * wide, wide, 1}, r.type};
  *matrix_at = base + (recurrent ? places.recurrent : places.input) + gate * r.hidden * columns * r.size();
  *static_cast<Tensor*>(bias) = {{1, rows, 1}, {rows, 1, 1}, r.type};
  *bias_at =
      !r.biases ? nullptr : base + (recurrent ? places.recurrent_bias : places.input_bias) + gate * r.hidden * r.size();
  return 0;
}

int cudnnRNNForward(void* handle, void* rnn, int mode, const int32_t* lengths, void* x_data, const void* x,
                    void* y_data, void* y, void* h, const void* hx, void* hy, void* c, const void* cx, void* cy,
                    size_t weight_bytes, const void* weights, size_t work_bytes, void* work, size_t reserve_bytes,
                    void* reserve) {
  if (auto failed = injected("cudnnRNNForward"); failed != 0) return refuse(failed, "injected");
  const auto& r = *static_cast<Rnn*>(rnn);
  const auto& data = *static_cast<Data*>(x_data);
  Checked checked{"cudnnRNNForward", r, data};
  if (const auto* what =
          checked.wrong(*static_cast<Data*>(y_data), lengths, static_cast<Tensor*>(h), static_cast<Tensor*>(c));
      what != nullptr)
    return refuse(bad_param, what);
  if (mode < 0 || mode > 1) return refuse(bad_param, "a mode that does not exist");
  checked.memory(x, data.bytes(), "x");
  checked.memory(y, static_cast<Data*>(y_data)->bytes(), "y");
  for (const auto* state : {hx, static_cast<const void*>(hy)}) checked.memory(state, checked.state_bytes(), "h", true);
  if (r.cell != lstm && (cx != nullptr || cy != nullptr)) checked.fail("cells of a layer that has none");
  for (const auto* state : {cx, static_cast<const void*>(cy)}) checked.memory(state, checked.state_bytes(), "c", true);
  checked.spaces(weights, weight_bytes, work, work_bytes);
  if (mode == 1) checked.reserved(reserve, reserve_bytes);
  if (simulated::computes_nothing()) return count(r, data, 1), 0;
  auto call = call_of(r, data, work);
  call.x = static_cast<const char*>(x);
  call.y = static_cast<char*>(y);
  call.hx = static_cast<const char*>(hx);
  call.hy = static_cast<char*>(hy);
  call.cx = static_cast<const char*>(cx);
  call.cy = static_cast<char*>(cy);
  call.weights = static_cast<const char*>(weights);
  if (mode == 1) call.reserve = static_cast<char*>(reserve);
  return enqueue(handle, call, &Call::forward);
}

int cudnnRNNBackwardData_v8(void* handle, void* rnn, const int32_t* lengths, void* y_data, const void* y,
                            const void* dy, void* x_data, void* dx, void* h, const void* hx, const void* dhy, void* dhx,
                            void* c, const void* cx, const void* dcy, void* dcx, size_t weight_bytes,
                            const void* weights, size_t work_bytes, void* work, size_t reserve_bytes, void* reserve) {
  if (auto failed = injected("cudnnRNNBackwardData_v8"); failed != 0) return refuse(failed, "injected");
  const auto& r = *static_cast<Rnn*>(rnn);
  const auto& data = *static_cast<Data*>(x_data);
  Checked checked{"cudnnRNNBackwardData_v8", r, data};
  if (const auto* what =
          checked.wrong(*static_cast<Data*>(y_data), lengths, static_cast<Tensor*>(h), static_cast<Tensor*>(c));
      what != nullptr)
    return refuse(bad_param, what);
  checked.memory(y, static_cast<Data*>(y_data)->bytes(), "y");
  checked.memory(dy, static_cast<Data*>(y_data)->bytes(), "dy");
  checked.memory(dx, data.bytes(), "dx");
  for (const auto* state : {hx, dhy, static_cast<const void*>(dhx)})
    checked.memory(state, checked.state_bytes(), "a state", true);
  if (r.cell != lstm && (cx != nullptr || dcy != nullptr || dcx != nullptr))
    checked.fail("cells of a layer that has none");
  for (const auto* state : {cx, dcy, static_cast<const void*>(dcx)})
    checked.memory(state, checked.state_bytes(), "a cell", true);
  checked.spaces(weights, weight_bytes, work, work_bytes);
  checked.reserved(reserve, reserve_bytes);
  if (simulated::computes_nothing()) return count(r, data, 1), 0;
  auto call = call_of(r, data, work);
  call.y_in = static_cast<const char*>(y);
  call.dy = static_cast<const char*>(dy);
  call.dx = static_cast<char*>(dx);
  call.hx = static_cast<const char*>(hx);
  call.dhy = static_cast<const char*>(dhy);
  call.dhx = static_cast<char*>(dhx);
  call.cx = static_cast<const char*>(cx);
  call.dcy = static_cast<const char*>(dcy);
  call.dcx = static_cast<char*>(dcx);
  call.weights = static_cast<const char*>(weights);
  call.reserve = static_cast<char*>(reserve);
  return enqueue(handle, call, &Call::gradients_of_data);
}

int cudnnRNNBackwardWeights_v8(void* handle, void* rnn, int add, const int32_t* lengths, void* x_data, const void* x,
                               void* h, const void* hx, void* y_data, const void* y, size_t weight_bytes,
                               void* dweights, size_t work_bytes, void* work, size_t reserve_bytes, void* reserve) {
  if (auto failed = injected("cudnnRNNBackwardWeights_v8"); failed != 0) return refuse(failed, "injected");
  const auto& r = *static_cast<Rnn*>(rnn);
  const auto& data = *static_cast<Data*>(x_data);
  Checked checked{"cudnnRNNBackwardWeights_v8", r, data};
  if (const auto* what =
          checked.wrong(*static_cast<Data*>(y_data), lengths, static_cast<Tensor*>(h), static_cast<Tensor*>(h));
      what != nullptr)
    return refuse(bad_param, what);
  if (add != 0) return refuse(not_supported, "gradients that are set and not added");
  checked.memory(x, data.bytes(), "x");
  checked.memory(y, static_cast<Data*>(y_data)->bytes(), "y");
  checked.memory(hx, checked.state_bytes(), "hx", true);
  checked.spaces(dweights, weight_bytes, work, work_bytes);
  checked.reserved(reserve, reserve_bytes);
  if (simulated::computes_nothing()) return count(r, data, 1), 0;
  auto call = call_of(r, data, work);
  call.x = static_cast<const char*>(x);
  call.y_in = static_cast<const char*>(y);
  call.hx = static_cast<const char*>(hx);
  call.dweights = static_cast<char*>(dweights);
  call.reserve = static_cast<char*>(reserve);
  return enqueue(handle, call, &Call::gradients_of_weights);
}

}  // extern "C"

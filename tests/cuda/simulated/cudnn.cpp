// libcudnn of the simulated card: its graphs. Descriptors are checked, also where the real library says nothing, and a
// graph is computed operation by operation from its descriptors, in double, rounded to each tensor's type.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "tests/cuda/simulated/cudnn.hpp"

namespace {

using simulated::bad_param, simulated::bytes_of, simulated::load, simulated::not_supported, simulated::refuse,
    simulated::rounded, simulated::store;
using Handle = simulated::CudnnHandle;
constexpr int64_t workspace_bytes = 256;

/// The numbers of cuDNN's header.
namespace kind {
constexpr int pointwise = 0, convolution = 1, engine = 2, config = 3, heuristics = 4, plan = 5, convolve = 10,
              convolve_back_filter = 11, convolve_back_data = 12, pointwise_op = 13, graph = 15, pack = 16, tensor = 17,
              matmul = 18, matmul_op = 19, reduction = 21, reduction_op = 22, reshape = 31, properties = 38;
}
namespace type {
constexpr int handle = 0, data = 1, boolean = 2, int64 = 3, f32 = 4, f64 = 5, pointer = 6, keeps_nan = 10,
              descriptor = 15;
}

struct Values {
  int type = 0;
  int64_t count = 0;
  std::vector<char> bytes;
  template <class T>
  T at(int64_t i = 0) const {
    T value;
    std::memcpy(&value, bytes.data() + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }
};
struct Descriptor {
  int kind = 0;
  bool final = false;
  std::map<int, Values> values;
  const Descriptor* graph = nullptr;  ///< of an engine configuration, or a plan's own copy
  std::shared_ptr<void> copies;       ///< of a plan: all that its graph refers to

  bool has(int attribute) const { return values.contains(attribute); }
  template <class T = int64_t>
  T get(int attribute, int64_t i = 0) const {
    return values.at(attribute).at<T>(i);
  }
  const Descriptor& part(int attribute, int64_t i = 0) const { return *get<const Descriptor*>(attribute, i); }
};

size_t size_of_value(int value_type) {
  switch (value_type) {
    case type::boolean:
    case 24:
      return 1;
    case type::handle:
    case type::int64:
    case type::f64:
    case type::pointer:
    case type::descriptor:
      return 8;
    default:
      return 4;
  }
}

/// What each kind must be given: attribute, type of its values, how many (0: one or more).
struct Needed {
  int attribute, type, count;
};
const std::map<int, std::vector<Needed>>& needed() {
  static const std::map<int, std::vector<Needed>> all = {
      {kind::pointwise, {{0, 14, 1}, {1, type::data, 1}}},
      {kind::convolution,
       {{100, type::data, 1},
        {101, 7, 1},
        {102, type::int64, 2},
        {103, type::int64, 2},
        {104, type::int64, 2},
        {105, type::int64, 2},
        {106, type::int64, 1}}},
      {kind::heuristics, {{200, 8, 1}, {201, type::descriptor, 1}}},
      {kind::plan, {{401, type::descriptor, 1}}},
      {kind::convolve,
       {{702, type::descriptor, 1},
        {703, type::descriptor, 1},
        {704, type::descriptor, 1},
        {705, type::descriptor, 1}}},
      {kind::convolve_back_data,
       {{708, type::descriptor, 1},
        {709, type::descriptor, 1},
        {710, type::descriptor, 1},
        {711, type::descriptor, 1}}},
      {kind::convolve_back_filter,
       {{714, type::descriptor, 1},
        {715, type::descriptor, 1},
        {716, type::descriptor, 1},
        {717, type::descriptor, 1}}},
      {kind::pointwise_op, {{750, type::descriptor, 1}, {751, type::descriptor, 1}, {753, type::descriptor, 1}}},
      {kind::graph, {{801, type::descriptor, 0}}},
      {kind::pack, {{1000, type::int64, 0}, {1001, type::pointer, 0}, {1003, type::pointer, 1}}},
      {kind::tensor,
       {{900, type::int64, 1},
        {901, type::data, 1},
        {902, type::int64, 4},
        {903, type::int64, 4},
        {906, type::int64, 1}}},
      {kind::matmul, {{1500, type::data, 1}}},
      {kind::matmul_op,
       {{1520, type::descriptor, 1},
        {1521, type::descriptor, 1},
        {1522, type::descriptor, 1},
        {1523, type::descriptor, 1}}},
      {kind::reduction, {{1600, 18, 1}, {1601, type::data, 1}}},
      {kind::reduction_op, {{1610, type::descriptor, 1}, {1611, type::descriptor, 1}, {1612, type::descriptor, 1}}},
      {kind::reshape, {{2200, type::descriptor, 1}, {2201, type::descriptor, 1}}},
      {kind::properties, {}},
      {kind::engine, {}},
      {kind::config, {}},
  };
  return all;
}
/// Attributes that may be given besides.
const std::map<int, std::vector<Needed>>& allowed() {
  static const std::map<int, std::vector<Needed>> all = {
      {kind::pointwise, {{2, type::keeps_nan, 1}, {9, type::int64, 1}}},
      {kind::heuristics, {{204, type::descriptor, 1}}},
      {kind::plan, {{400, type::handle, 1}, {407, type::descriptor, 1}}},
      {kind::convolve, {{700, 0, 1}, {701, 0, 1}}},
      {kind::convolve_back_data, {{706, 0, 1}, {707, 0, 1}}},
      {kind::convolve_back_filter, {{712, 0, 1}, {713, 0, 1}}},
      {kind::pointwise_op, {{752, type::descriptor, 1}, {758, type::descriptor, 1}}},
      {kind::graph, {{800, type::handle, 1}}},
      {kind::tensor, {{907, type::boolean, 1}, {908, type::boolean, 1}}},
      {kind::properties, {{2702, 24, 0}}},
  };
  return all;
}

using Sizes = std::array<int64_t, 4>;
struct Tensor {
  explicit Tensor(const Descriptor& d) : id(d.get(906)), alignment(d.get(900)), data_type(d.get<int>(901)) {
    for (int i = 0; i < 4; ++i) {
      sizes[static_cast<size_t>(i)] = d.get(902, i);
      strides[static_cast<size_t>(i)] = d.get(903, i);
    }
    is_virtual = d.has(907) && d.get<bool>(907);
    by_value = d.has(908) && d.get<bool>(908);
  }
  int64_t count() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
  int64_t extent() const {
    int64_t last = 0;
    for (size_t i = 0; i < 4; ++i) last += (sizes[i] - 1) * strides[i];
    return last + 1;
  }
  int64_t id, alignment;
  int data_type;
  Sizes sizes{}, strides{};
  bool is_virtual = false, by_value = false;
};

/// body(index, number of the element in row-major order)
template <class Body>
void for_each_element(const Sizes& sizes, Body&& body) {
  int64_t at = 0;
  for (int64_t a = 0; a < sizes[0]; ++a)
    for (int64_t b = 0; b < sizes[1]; ++b)
      for (int64_t c = 0; c < sizes[2]; ++c)
        for (int64_t d = 0; d < sizes[3]; ++d) body(Sizes{a, b, c, d}, at++);
}
int64_t place(const Sizes& sizes, const Sizes& index) {
  return ((index[0] * sizes[1] + index[1]) * sizes[2] + index[2]) * sizes[3] + index[3];
}
/// The index into a tensor that is repeated to larger sizes: along axes of size 1, and by groups of heads.
Sizes repeated(const Sizes& index, const Sizes& large, const Sizes& small) {
  Sizes result{};
  for (size_t i = 0; i < 4; ++i) result[i] = small[i] == 0 ? 0 : index[i] / (large[i] / small[i]);
  return result;
}
bool repeats(const Sizes& large, const Sizes& small, size_t axes = 4) {
  for (size_t i = 0; i < axes; ++i)
    if (small[i] != large[i] && small[i] != 1 && !(i == 1 && small[i] > 0 && large[i] % small[i] == 0)) return false;
  return true;
}

/// The tensors of an operation, what it writes last.
std::vector<const Descriptor*> tensors_of(const Descriptor& op) {
  std::vector<const Descriptor*> all;
  for (const auto& [attribute, values] : op.values) {
    if (values.type != type::descriptor) continue;
    if (op.part(attribute).kind == kind::tensor) all.push_back(&op.part(attribute));
  }
  return all;
}

const char* wrong_tensor(const Tensor& t) {
  for (size_t i = 0; i < 4; ++i) {
    if (t.sizes[i] < 1) return "a size below 1";
    if (t.strides[i] < 1) return "a stride below 1";
  }
  if (t.data_type > 2 && t.data_type != 4 && t.data_type != 9 && t.data_type != 11)
    return "a data type that Gradus does not use";
  if (t.is_virtual && t.by_value) return "both virtual and by value";
  if (t.by_value && t.count() != 1) return "more than one number by value";
  if (!t.by_value && !t.is_virtual && t.alignment < 16) return "an alignment below 16";
  // No two elements in one place: sorted by stride, each step goes beyond what lies inside.
  std::vector<std::pair<int64_t, int64_t>> axes;
  for (size_t i = 0; i < 4; ++i)
    if (t.sizes[i] > 1) axes.emplace_back(t.strides[i], t.sizes[i]);
  std::sort(axes.begin(), axes.end());
  int64_t inside = 1;
  for (const auto& [stride, size] : axes) {
    if (stride < inside) return "elements that overlap";
    inside += (size - 1) * stride;
  }
  return nullptr;
}

const char* wrong_convolution(const Descriptor& op, int first) {
  const auto& c = op.part(first);
  auto w = Tensor(op.part(op.kind == kind::convolve             ? 703
                          : op.kind == kind::convolve_back_data ? 709
                                                                : 715)),
       x = Tensor(op.part(op.kind == kind::convolve             ? 704
                          : op.kind == kind::convolve_back_data ? 710
                                                                : 716)),
       y = Tensor(op.part(op.kind == kind::convolve             ? 705
                          : op.kind == kind::convolve_back_data ? 711
                                                                : 717));
  if (c.get<int>(101) != 1) return "a convolution that is no cross-correlation";
  // Within a graph the result is of the type that is computed in, and an operation that follows rounds it.
  if (y.is_virtual ? op.kind != kind::convolve || y.data_type != c.get<int>(100) : x.data_type != y.data_type)
    return "a type of y that does not fit";
  if (x.data_type != w.data_type) return "element types that differ";
  if ((x.data_type == 1) != (c.get<int>(100) == 1)) return "a compute type that does not fit";
  if (x.sizes[0] != y.sizes[0] || w.sizes[0] != y.sizes[1] || w.sizes[1] == 0 || x.sizes[1] % w.sizes[1] != 0 ||
      w.sizes[0] % (x.sizes[1] / w.sizes[1]) != 0)
    return "channels that do not fit";
  for (int i = 0; i < 2; ++i) {
    auto n = x.sizes[static_cast<size_t>(2 + i)] + c.get(104, i) + c.get(105, i) -
             c.get(102, i) * (w.sizes[static_cast<size_t>(2 + i)] - 1) - 1;
    if (c.get(103, i) < 1 || n < 0 || n / c.get(103, i) + 1 != y.sizes[static_cast<size_t>(2 + i)])
      return "an image of y that does not fit";
  }
  auto last = [](const Tensor& t) { return t.strides[1] == 1 && t.sizes[1] > 1; };
  if (x.sizes[1] > 1 && y.sizes[1] > 1 && x.sizes[3] > 1 && y.sizes[3] > 1 && last(x) != last(y))
    return "x and y, of which one has its channels last";
  for (const auto* t : {&x, &w, &y}) {
    auto dense = [t](std::initializer_list<size_t> order) {  // outermost axis last
      int64_t inside = 1;
      for (auto i : order) {
        if (t->sizes[i] > 1 && t->strides[i] != inside) return false;
        inside *= t->sizes[i];
      }
      return true;
    };
    if (!dense({3, 2, 1, 0}) && !dense({1, 3, 2, 0}))
      return "an image or weight that is neither planar nor channels last";
  }
  return nullptr;
}

const char* wrong(const Descriptor& d) {
  switch (d.kind) {
    case kind::tensor:
      return wrong_tensor(Tensor(d));
    case kind::convolve:
      return wrong_convolution(d, 702);
    case kind::convolve_back_data:
      return wrong_convolution(d, 708);
    case kind::convolve_back_filter:
      return wrong_convolution(d, 714);
    case kind::matmul_op: {
      Tensor a(d.part(1520)), b(d.part(1521)), c(d.part(1522));
      if (a.sizes[3] != b.sizes[2] || c.sizes[2] != a.sizes[2] || c.sizes[3] != b.sizes[3]) return "sizes of a product";
      if (!repeats(c.sizes, a.sizes, 2) || !repeats(c.sizes, b.sizes, 2)) return "stacks of a product";
      return nullptr;
    }
    case kind::pointwise_op: {
      Tensor x(d.part(751)), y(d.part(753));
      auto mode = d.part(750).get<int>(0);
      if (!repeats(y.sizes, x.sizes)) return "sizes of x and y";
      if (d.has(752) && !repeats(y.sizes, Tensor(d.part(752)).sizes)) return "sizes of b and y";
      if ((mode == 601) != d.has(758)) return "a condition, or the lack of one";
      if (mode == 601 && Tensor(d.part(758)).data_type != 11) return "a condition that is not boolean";
      if (mode == 501 && !d.part(750).has(9)) return "an index without its axis";
      if (mode == 100 && d.has(752)) return "a relu of two operands";
      if (mode == 100 && (!d.part(750).has(2) || d.part(750).get<int>(2) != 1)) return "a relu that loses NaN";
      if ((x.data_type == 1) != (d.part(750).get<int>(1) == 1)) return "a compute type that does not fit";
      return nullptr;
    }
    case kind::reduction_op:
      return repeats(Tensor(d.part(1610)).sizes, Tensor(d.part(1611)).sizes) ? nullptr : "sizes of x and y";
    case kind::reshape:
      return Tensor(d.part(2200)).count() == Tensor(d.part(2201)).count() ? nullptr : "counts of x and y";
    default:
      return nullptr;
  }
}

/// Why there is no engine for a graph; empty when there is one.
std::string unsupported(const Descriptor& graph) {
  int products = 0, reductions = 0;
  std::set<const Descriptor*> seen;
  std::map<int64_t, const Descriptor*> ids;
  for (int64_t i = 0; i < graph.values.at(801).count; ++i) {
    const auto& op = graph.part(801, i);
    products += op.kind == kind::matmul_op ? 1 : 0;
    reductions += op.kind == kind::reduction_op ? 1 : 0;
    for (const auto* tensor : tensors_of(op)) {
      auto [known, fresh] = ids.try_emplace(Tensor(*tensor).id, tensor);
      if (!fresh && known->second != tensor) simulated::mistake("cuDNN: two tensors of a graph have one id");
      seen.insert(tensor);
    }
  }
  for (int64_t i = 0; i < graph.values.at(801).count;
       ++i) {  // convolution, then nothing but its bias, and relu of that
    auto count = graph.values.at(801).count;
    if (graph.part(801, i).kind != kind::convolve || count == 1) continue;
    if (i != 0 || count > 3) return "a convolution among other operations";
    const auto &convolution = graph.part(801, 0), &add = graph.part(801, 1), &last = graph.part(801, count - 1);
    auto follows = [](const Descriptor& op, int mode, const Descriptor& from) {
      return op.kind == kind::pointwise_op && op.part(750).get<int>(0) == mode && &op.part(751) == &from;
    };
    if (!follows(add, 0, convolution.part(705))) return "a convolution that no bias is added to";
    if (count == 3 && !follows(last, 100, add.part(753))) return "another activation than relu";
    Tensor product(convolution.part(705)), sum(add.part(753)), y(last.part(753)), bias(add.part(752));
    for (const auto* between : {&product, count == 3 ? &sum : &product})
      if (!between->is_virtual || between->sizes != y.sizes || between->strides != y.strides)
        return "a product that lies otherwise than y";
    if (bias.sizes != Sizes{1, y.sizes[1], 1, 1} || bias.data_type != y.data_type) return "a bias that is none";
  }
  if (products < 2 || reductions == 0) return {};
  for (const auto* d : seen) {  // attention
    Tensor t(*d);
    if (t.is_virtual || t.by_value || t.sizes[2] == 1 || t.sizes[3] == 1 || t.data_type == 0) continue;
    if (bytes_of(t.data_type) != 2) return "attention of another type than bf16 and f16";
  }
  for (int64_t i = 0; i < graph.values.at(801).count; ++i) {
    const auto& op = graph.part(801, i);
    if (op.kind != kind::matmul_op) continue;
    Tensor a(op.part(1520));
    if (a.is_virtual) continue;
    if (bytes_of(a.data_type) != 2) return "attention of another type than bf16 and f16";
    if (a.sizes[3] % 8 != 0 || a.sizes[3] > 256) return "attention with a head size that is no multiple of 8 up to 256";
  }
  return {};
}

/// Computes a graph.
class Run {
 public:
  Run(const Descriptor& graph, const std::map<int64_t, char*>& memory) : graph_(graph), memory_(memory) {}

  void all() {
    for (int64_t i = 0; i < graph_.values.at(801).count; ++i) one(graph_.part(801, i));
  }

 private:
  using Numbers = std::vector<double>;

  const Numbers& read(const Descriptor& d) {
    auto found = held_.find(&d);
    if (found != held_.end()) return found->second;
    Tensor t(d);
    if (t.is_virtual) simulated::mistake("cuDNN: a virtual tensor is read before it is written");
    Numbers numbers(static_cast<size_t>(t.count()));
    const auto* from = memory_.at(t.id);
    for_each_element(t.sizes, [&](const Sizes& index, int64_t at) {
      int64_t offset = 0;
      for (size_t i = 0; i < 4; ++i) offset += index[i] * t.strides[i];
      numbers[static_cast<size_t>(at)] = load(from, t.data_type, offset);
    });
    return held_[&d] = std::move(numbers);
  }
  void write(const Descriptor& d, Numbers numbers) {
    Tensor t(d);
    for (auto& x : numbers) x = rounded(t.data_type, x);
    if (!t.is_virtual) {
      auto* to = memory_.at(t.id);
      for_each_element(t.sizes, [&](const Sizes& index, int64_t at) {
        int64_t offset = 0;
        for (size_t i = 0; i < 4; ++i) offset += index[i] * t.strides[i];
        store(to, t.data_type, offset, numbers[static_cast<size_t>(at)]);
      });
    }
    held_[&d] = std::move(numbers);
  }

  void one(const Descriptor& op) {
    switch (op.kind) {
      case kind::matmul_op:
        return multiply(op.part(1520), op.part(1521), op.part(1522));
      case kind::pointwise_op:
        return pointwise(op);
      case kind::reduction_op:
        return reduce(op.part(1610), op.part(1611), op.part(1612).get<int>(1600));
      case kind::reshape:
        return reshape(op.part(2200), op.part(2201));
      case kind::convolve:
        return convolve(op, 702, 704, 703, 705);
      case kind::convolve_back_data:
        return convolve(op, 708, 710, 709, 711);
      default:
        return convolve(op, 714, 716, 715, 717);
    }
  }

  void multiply(const Descriptor& a_of, const Descriptor& b_of, const Descriptor& c_of) {
    Tensor a(a_of), b(b_of), c(c_of);
    const auto &left = read(a_of), &right = read(b_of);
    Numbers result(static_cast<size_t>(c.count()));
    for_each_element(c.sizes, [&](const Sizes& index, int64_t at) {
      auto stack = [&](const Sizes& of) {
        return Sizes{index[0] / (c.sizes[0] / of[0]), index[1] / (c.sizes[1] / of[1]), 0, 0};
      };
      auto in_a = stack(a.sizes), in_b = stack(b.sizes);
      in_a[2] = index[2];
      in_b[3] = index[3];
      double sum = 0;
      for (int64_t k = 0; k < a.sizes[3]; ++k) {
        in_a[3] = in_b[2] = k;
        sum += left[static_cast<size_t>(place(a.sizes, in_a))] * right[static_cast<size_t>(place(b.sizes, in_b))];
      }
      result[static_cast<size_t>(at)] = sum;
    });
    write(c_of, std::move(result));
  }

  void pointwise(const Descriptor& op) {
    const auto& how = op.part(750);
    auto mode = how.get<int>(0);
    Tensor x(op.part(751)), y(op.part(753));
    const Numbers nothing;
    const auto& first = mode == 501 ? nothing : read(op.part(751));
    const auto& second = op.has(752) ? read(op.part(752)) : nothing;
    const auto& condition = op.has(758) ? read(op.part(758)) : nothing;
    auto axis = how.has(9) ? static_cast<size_t>(how.get(9)) : 0;
    Numbers result(static_cast<size_t>(y.count()));
    for_each_element(y.sizes, [&](const Sizes& index, int64_t at) {
      auto value_of = [&](const Numbers& numbers, int attribute) {
        if (numbers.empty()) return 0.0;
        Tensor t(op.part(attribute));
        return numbers[static_cast<size_t>(place(t.sizes, repeated(index, y.sizes, t.sizes)))];
      };
      auto a = value_of(first, 751), b = value_of(second, 752);
      double z = 0;
      switch (mode) {
        case 0:
          z = a + b;
          break;
        case 1:
          z = a * b;
          break;
        case 3:
          z = std::max(a, b);
          break;
        case 6:
          z = a / b;
          break;
        case 9:
          z = a - b;
          break;
        case 13:
          z = std::exp(a);
          break;
        case 15:
          z = std::log(a);
          break;
        case 21:
          z = a;
          break;
        case 100:
          z = a <= 0 ? 0 : a;
          break;
        case 303:
          z = a >= b ? 1 : 0;
          break;
        case 501:
          z = static_cast<double>(index[axis]);
          break;
        case 601:
          z = value_of(condition, 758) != 0 ? a : b;
          break;
        default:
          simulated::mistake("cuDNN: a pointwise mode that Gradus does not use");
      }
      result[static_cast<size_t>(at)] = z;
    });
    write(op.part(753), std::move(result));
  }

  void reduce(const Descriptor& x_of, const Descriptor& y_of, int how) {
    Tensor x(x_of), y(y_of);
    if (how != 0 && how != 3) simulated::mistake("cuDNN: a reduction that Gradus does not use");
    Numbers result(static_cast<size_t>(y.count()), how == 0 ? 0 : -std::numeric_limits<double>::infinity());
    const auto& numbers = read(x_of);
    for_each_element(x.sizes, [&](const Sizes& index, int64_t at) {
      auto& to = result[static_cast<size_t>(place(y.sizes, repeated(index, x.sizes, y.sizes)))];
      auto value = numbers[static_cast<size_t>(at)];
      to = how == 0 ? to + value : std::max(to, value);
    });
    write(y_of, std::move(result));
  }

  /// The same places of memory under other sizes and strides.
  void reshape(const Descriptor& x_of, const Descriptor& y_of) {
    Tensor x(x_of), y(y_of);
    auto offset_of = [](const Tensor& t, const Sizes& index) {
      int64_t offset = 0;
      for (size_t i = 0; i < 4; ++i) offset += index[i] * t.strides[i];
      return offset;
    };
    std::unordered_map<int64_t, double> memory;
    const auto& numbers = read(x_of);
    for_each_element(x.sizes, [&](const Sizes& index, int64_t at) {
      memory[offset_of(x, index)] = numbers[static_cast<size_t>(at)];
    });
    Numbers result(static_cast<size_t>(y.count()));
    for_each_element(y.sizes, [&](const Sizes& index, int64_t at) {
      auto found = memory.find(offset_of(y, index));
      if (found == memory.end()) simulated::mistake("cuDNN: a reshape to places that its input does not have");
      result[static_cast<size_t>(at)] = found->second;
    });
    write(y_of, std::move(result));
  }

  void convolve(const Descriptor& op, int how, int x_at, int w_at, int y_at) {
    const auto& c = op.part(how);
    Tensor x(op.part(x_at)), w(op.part(w_at)), y(op.part(y_at));
    auto out = op.kind == kind::convolve ? y_at : op.kind == kind::convolve_back_data ? x_at : w_at;
    Numbers to(static_cast<size_t>(Tensor(op.part(out)).count()));
    const Numbers none;
    const auto& in_x = out == x_at ? none : read(op.part(x_at));
    const auto& in_w = out == w_at ? none : read(op.part(w_at));
    const auto& in_y = out == y_at ? none : read(op.part(y_at));
    auto per_group = w.sizes[0] / (x.sizes[1] / w.sizes[1]);
    const int64_t dilation[] = {c.get(102, 0), c.get(102, 1)}, stride[] = {c.get(103, 0), c.get(103, 1)},
                  before[] = {c.get(105, 0), c.get(105, 1)};
    for_each_element(y.sizes, [&](const Sizes& at_y, int64_t number_y) {
      for_each_element({1, w.sizes[1], w.sizes[2], w.sizes[3]}, [&](const Sizes& k, int64_t) {
        auto row = at_y[2] * stride[0] - before[0] + k[2] * dilation[0],
             column = at_y[3] * stride[1] - before[1] + k[3] * dilation[1];
        if (row < 0 || row >= x.sizes[2] || column < 0 || column >= x.sizes[3]) return;
        auto channel = at_y[1] / per_group * w.sizes[1] + k[1];
        auto number_x = static_cast<size_t>(place(x.sizes, {at_y[0], channel, row, column}));
        auto number_w = static_cast<size_t>(place(w.sizes, {at_y[1], k[1], k[2], k[3]}));
        if (out == y_at) to[static_cast<size_t>(number_y)] += in_x[number_x] * in_w[number_w];
        else if (out == x_at) to[number_x] += in_y[static_cast<size_t>(number_y)] * in_w[number_w];
        else to[number_w] += in_y[static_cast<size_t>(number_y)] * in_x[number_x];
      });
    });
    write(op.part(out), std::move(to));
  }

  const Descriptor& graph_;
  const std::map<int64_t, char*>& memory_;
  std::map<const Descriptor*, Numbers> held_;
};

/// What a card must move and do for a graph: its tensors that lie in memory, once, and products and convolutions; of
/// scores below a causal mask half.
void count(const Descriptor& graph) {
  std::map<int64_t, double> moved;
  double operations = 0;
  bool causal = false;
  auto arithmetic = simulated::Arithmetic::f32;
  for (int64_t i = 0; i < graph.values.at(801).count; ++i) {
    const auto& op = graph.part(801, i);
    for (const auto* d : tensors_of(op)) {
      Tensor t(*d);
      if (t.is_virtual || t.by_value) continue;
      moved[t.id] = static_cast<double>(t.count() * bytes_of(t.data_type));
      if (t.data_type == 9) arithmetic = simulated::Arithmetic::bf16;
      if (t.data_type == 1) arithmetic = simulated::Arithmetic::f64;
    }
    causal = causal || (op.kind == kind::pointwise_op && op.part(750).get<int>(0) == 501);
    auto convolution = [&](int w_at, int y_at) {
      Tensor w(op.part(w_at)), y(op.part(y_at));
      operations += 2.0 * static_cast<double>(y.count()) * static_cast<double>(w.sizes[1] * w.sizes[2] * w.sizes[3]);
    };
    if (op.kind == kind::convolve) convolution(703, 705);
    if (op.kind == kind::convolve_back_data) convolution(709, 711);
    if (op.kind == kind::convolve_back_filter) convolution(715, 717);
    if (op.kind == kind::matmul_op) {
      Tensor a(op.part(1520)), c(op.part(1522));
      operations += 2.0 * static_cast<double>(c.count()) * static_cast<double>(a.sizes[3]);
    }
  }
  double bytes = 0;
  for (const auto& [id, one] : moved) bytes += one;
  simulated::count_work(bytes, causal ? operations / 2 : operations, arithmetic);
}

/// A copy of everything that a graph refers to: its descriptors may be destroyed once the plan is made.
struct Frozen {
  std::map<const Descriptor*, std::unique_ptr<Descriptor>> copies;
  const Descriptor* of(const Descriptor* d) {
    auto& copy = copies[d];
    if (copy != nullptr) return copy.get();
    copy = std::make_unique<Descriptor>(*d);
    auto* made = copy.get();
    for (auto& [attribute, values] : made->values) {
      if (values.type != type::descriptor) continue;
      for (int64_t i = 0; i < values.count; ++i) {
        const auto* part = of(values.at<const Descriptor*>(i));
        std::memcpy(values.bytes.data() + i * 8, &part, 8);
      }
    }
    return made;
  }
};

}  // namespace

using simulated::count_object, simulated::injected, simulated::mistake;

extern "C" {

size_t cudnnGetVersion() {
  const auto* text = std::getenv("GRADUS_SIMULATED_CUDNN");
  return text == nullptr ? 91900 : std::strtoull(text, nullptr, 10);
}
void cudnnGetLastErrorString(char* text, size_t bytes) {
  std::snprintf(text, bytes, "%s", simulated::cudnn_error.c_str());
}
int cudnnCreate(void** handle) {
  if (auto failed = injected("cudnnCreate"); failed != 0) return refuse(failed, "injected");
  count_object("handle of cuDNN", 1);
  return *handle = new Handle, 0;
}
int cudnnDestroy(void* handle) {
  count_object("handle of cuDNN", -1);
  return delete static_cast<Handle*>(handle), injected("cudnnDestroy");
}
int cudnnSetStream(void* handle, void* stream) {
  if (auto failed = injected("cudnnSetStream"); failed != 0) return refuse(failed, "injected");
  return static_cast<Handle*>(handle)->stream = stream, 0;
}
int cudnnBackendCreateDescriptor(int which, void** descriptor) {
  if (auto failed = injected("cudnnBackendCreateDescriptor"); failed != 0) return refuse(failed, "injected");
  if (!needed().contains(which)) return refuse(bad_param, "a kind of descriptor that Gradus does not use");
  auto* made = new Descriptor;
  made->kind = which;
  count_object("descriptor of cuDNN", 1);
  return *descriptor = made, 0;
}
int cudnnBackendDestroyDescriptor(void* descriptor) {
  count_object("descriptor of cuDNN", -1);
  return delete static_cast<Descriptor*>(descriptor), injected("cudnnBackendDestroyDescriptor");
}
int cudnnBackendSetAttribute(void* descriptor, int attribute, int value_type, int64_t count, const void* values) {
  if (auto failed = injected("cudnnBackendSetAttribute"); failed != 0) return refuse(failed, "injected");
  auto& d = *static_cast<Descriptor*>(descriptor);
  auto name = "attribute " + std::to_string(attribute);
  if (d.final) return refuse(bad_param, name + " is set after the descriptor was made final");
  const Needed* rule = nullptr;
  for (const auto* table : {&needed(), &allowed()}) {
    auto rules = table->find(d.kind);
    if (rules == table->end()) continue;
    for (const auto& one : rules->second)
      if (one.attribute == attribute) rule = &one;
  }
  if (rule == nullptr) return refuse(bad_param, name + " is none of this descriptor's");
  auto any_number = rule->type == 0 && (value_type == type::f32 || value_type == type::f64);
  if (rule->type != value_type && !any_number) return refuse(bad_param, name + " is of another type");
  if (count < 1 || (rule->count > 0 && count != rule->count)) return refuse(bad_param, name + " has another count");
  if (value_type == type::descriptor) {
    for (int64_t i = 0; i < count; ++i) {
      const auto* part = static_cast<Descriptor* const*>(values)[i];
      if (part == nullptr || !part->final) return refuse(bad_param, name + " is a descriptor that is not final");
    }
  }
  auto& kept = d.values[attribute];
  kept.type = value_type;
  kept.count = count;
  const auto* from = static_cast<const char*>(values);
  kept.bytes.assign(from, from + static_cast<size_t>(count) * size_of_value(value_type));
  return 0;
}
int cudnnBackendFinalize(void* descriptor) {
  if (auto failed = injected("cudnnBackendFinalize"); failed != 0) return refuse(failed, "injected");
  auto& d = *static_cast<Descriptor*>(descriptor);
  for (const auto& one : needed().at(d.kind))
    if (!d.has(one.attribute)) return refuse(bad_param, "attribute " + std::to_string(one.attribute) + " is missing");
  if (const auto* what = wrong(d); what != nullptr) return refuse(bad_param, what);
  if (d.kind == kind::pack && d.values.at(1000).count != d.values.at(1001).count)
    return refuse(bad_param, "as many ids as pointers are needed");
  if (d.kind == kind::plan) {
    auto frozen = std::make_shared<Frozen>();
    if (d.part(401).graph == nullptr) return refuse(bad_param, "an engine configuration that no heuristics gave");
    d.graph = frozen->of(d.part(401).graph);
    d.copies = frozen;
  }
  return d.final = true, 0;
}
int cudnnBackendGetAttribute(void* descriptor, int attribute, int, int64_t wanted, int64_t* count, void* values) {
  if (auto failed = injected("cudnnBackendGetAttribute"); failed != 0) return refuse(failed, "injected");
  auto& d = *static_cast<Descriptor*>(descriptor);
  *count = 0;
  if (d.kind == kind::heuristics && attribute == 202 && wanted > 0) {
    auto why = unsupported(d.part(201));
    if (!why.empty()) return refuse(not_supported, why);
    auto& config = **static_cast<Descriptor**>(values);
    if (config.kind != kind::config) return refuse(bad_param, "results of heuristics go into engine configurations");
    config.graph = &d.part(201);
    config.final = true;
    return *count = 1, 0;
  }
  if (d.kind == kind::config && attribute == 300) return *count = 1, 0;
  if (d.kind == kind::engine) return 0;  // no notes
  if (d.kind == kind::plan && attribute == 402) {
    std::memcpy(values, &workspace_bytes, 8);
    return *count = 1, 0;
  }
  return refuse(bad_param, "an attribute that Gradus does not ask for");
}
int cudnnBackendExecute(void* handle, void* plan, void* pack) {
  if (auto failed = injected("cudnnBackendExecute"); failed != 0) return refuse(failed, "injected");
  auto fail = [](const std::string& text) { mistake("cudnnBackendExecute: " + text); };
  const auto& p = *static_cast<Descriptor*>(pack);
  if (!p.final || !static_cast<Descriptor*>(plan)->final) fail("a descriptor that is not final");
  auto copies = static_cast<Descriptor*>(plan)->copies;
  const auto* graph = static_cast<Descriptor*>(plan)->graph;
  if (!simulated::is_device_memory(p.get<void*>(1003), workspace_bytes)) fail("a workspace that is not device memory");
  std::map<int64_t, char*> given;
  for (int64_t i = 0; i < p.values.at(1000).count; ++i) {
    if (!given.emplace(p.get(1000, i), p.get<char*>(1001, i)).second) fail("an id is given twice");
  }
  // By-value numbers are read now.
  auto numbers = std::make_shared<std::map<int64_t, std::array<char, 8>>>();
  auto memory = std::make_shared<std::map<int64_t, char*>>();
  std::set<int64_t> used;
  for (int64_t i = 0; i < graph->values.at(801).count; ++i) {
    for (const auto* d : tensors_of(graph->part(801, i))) {
      Tensor t(*d);
      if (t.is_virtual || !used.insert(t.id).second) continue;
      auto found = given.find(t.id);
      if (found == given.end()) {
        fail("tensor " + std::to_string(t.id) + " has no memory");
      } else if (t.by_value) {
        auto& number = (*numbers)[t.id];
        std::memcpy(number.data(), found->second, static_cast<size_t>(bytes_of(t.data_type)));
        (*memory)[t.id] = number.data();
      } else {
        auto bytes = static_cast<size_t>(t.extent() * bytes_of(t.data_type));
        if (!simulated::is_device_memory(found->second, bytes))
          fail("tensor " + std::to_string(t.id) + " is not within one block of device memory");
        if (reinterpret_cast<uintptr_t>(found->second) % static_cast<uintptr_t>(t.alignment) != 0)
          fail("tensor " + std::to_string(t.id) + " is less aligned than was promised");
        (*memory)[t.id] = found->second;
      }
    }
  }
  if (simulated::computes_nothing()) return count(*graph), 0;
  for (const auto& [id, at] : given)
    if (!used.contains(id)) fail("tensor " + std::to_string(id) + " is none of the graph's");
  return simulated::enqueue(static_cast<Handle*>(handle)->stream,
                            [copies, graph, memory, numbers] { Run(*graph, *memory).all(); });
}

}  // extern "C"

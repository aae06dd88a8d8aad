// libcublasLt of the simulated card: descriptors are checked, also where the real library does not, and products are
// plain loops over what the descriptors say.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>
#include <numeric>
#include <vector>

#include "tests/cuda/simulated/card.hpp"

namespace {

constexpr int e4m3 = 28, e5m2 = 29;
size_t size_of(int type) { return type == 1 ? 8 : type == 14 || type == 2 ? 2 : type == e4m3 || type == e5m2 ? 1 : 4; }

struct Product {
  int compute = 68, scale = 0, transposes[2] = {0, 0}, epilogue = 1;
  const void *bias = nullptr, *aux = nullptr;
  int64_t aux_ld = 0;
  const void* scales[4] = {};  // of a, b, c, d
  signed char fast_sums = 0;
  bool has_bias() const { return (epilogue & 4) != 0; }
  bool has_bias_gradient() const { return (epilogue & 16) != 0; }
  bool has_gelu() const { return (epilogue & 32) != 0; }
  bool has_gelu_slope() const { return (epilogue & 64) != 0; }
  bool has_aux() const { return (epilogue & 128) != 0; }
  bool has_second_sums() const { return (epilogue & 512) != 0; }  ///< of op(b)'s columns, a bias gradient
  bool has_vector() const { return has_bias() || has_bias_gradient() || has_second_sums(); }
};
struct Layout {
  int type = 0;
  int64_t rows = 0, columns = 0, ld = 0, stride = 0;
  int32_t count = 1;
  int64_t elements() const { return rows == 0 || columns == 0 ? 0 : (count - 1) * stride + (columns - 1) * ld + rows; }
  double matrix_bytes() const {
    return static_cast<double>(rows * columns * (stride == 0 ? 1 : count)) * static_cast<double>(size_of(type));
  }
  bool is_fp8() const { return type == e4m3 || type == e5m2; }
};
struct Preference {
  size_t workspace = 0;
  uint32_t alignments[4] = {256, 256, 256, 256};  // a, b, c, d
};
struct Algorithm {
  uint64_t mark;
  uint32_t alignments[4];
  uint64_t rest[5];
};
static_assert(sizeof(Algorithm) == 64);
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

/// The number that a code of fp8 stands for: a sign, exponent bits, mantissa bits. e4m3 has no infinities.
double from_fp8(unsigned char code, int type) {
  const int mantissa = type == e4m3 ? 3 : 2, bias = type == e4m3 ? 7 : 15;
  const int exponent = (code & 0x7f) >> mantissa, fraction = code & ((1 << mantissa) - 1);
  double size = exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa)
                              : std::ldexp((1 << mantissa) + fraction, exponent - bias - mantissa);
  if (type == e4m3 && (code & 0x7f) == 0x7f) size = std::nan("");
  if (type == e5m2 && exponent == 31) size = fraction == 0 ? HUGE_VAL : std::nan("");
  return (code & 0x80) != 0 ? -size : size;
}

double load(const char* at, int type, int64_t i) {
  if (type == e4m3 || type == e5m2) return from_fp8(reinterpret_cast<const unsigned char*>(at)[i], type);
  if (type == 1) return reinterpret_cast<const double*>(at)[i];
  if (type == 0) return static_cast<double>(reinterpret_cast<const float*>(at)[i]);
  if (type == 2) return static_cast<double>(simulated::from_half(reinterpret_cast<const uint16_t*>(at)[i]));
  auto bits = static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(at)[i]) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return static_cast<double>(value);
}
void store(char* at, int type, int64_t i, double value) {
  if (type == 1) {
    reinterpret_cast<double*>(at)[i] = value;
  } else if (type == 0) {
    reinterpret_cast<float*>(at)[i] = static_cast<float>(value);
  } else if (type == 2) {
    reinterpret_cast<uint16_t*>(at)[i] = simulated::to_half(static_cast<float>(value));
  } else {
    auto single = static_cast<float>(value);
    uint32_t word;
    std::memcpy(&word, &single, 4);
    auto rounded = single != single ? (word >> 16 | 0x40u) : (word + 0x7fffu + (word >> 16 & 1u)) >> 16;
    reinterpret_cast<uint16_t*>(at)[i] = static_cast<uint16_t>(rounded);
  }
}

constexpr uint64_t mark = 0x6772616475736c74;

/// What is wrong with a product in fp8, as the library's manual has it for cards of compute capability 8.9 and 9.0, and
/// with what Gradus wants of it.
const char* wrong_in_fp8(const Product& p, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (!a.is_fp8() || !b.is_fp8()) return "fp8 times another type";
  if (a.type == e5m2 && b.type == e5m2) return "e5m2 times e5m2";
  if (c.type != 14 || d.type != 14) return "a result of fp8 that is not bf16";
  if (p.compute != 68 || p.scale != 0) return "fp8 that is not added up in float";
  if (p.transposes[0] != 1 || p.transposes[1] != 0) return "fp8 whose first matrix is not turned, or whose second is";
  for (const auto* layout : {&a, &b, &c, &d}) {
    if (layout->rows % 16 != 0 || layout->columns % 16 != 0) return "fp8 with sizes that are no multiples of 16";
    if (layout->ld * static_cast<int64_t>(size_of(layout->type)) % 16 != 0)
      return "fp8 with columns that do not begin at multiples of 16 bytes";
    if (layout->count != 1) return "fp8 in a stack";
  }
  if (p.epilogue != 1 && p.epilogue != 4) return "fp8 with another epilogue than a bias";
  if (p.fast_sums != 0 && p.fast_sums != 1) return "a flag of fast sums that is neither 0 nor 1";
  for (int i = 0; i < 2; ++i)
    if (p.scales[i] == nullptr) return "fp8 without a scale";
  if (p.scales[2] != nullptr || p.scales[3] != nullptr) return "a scale of a result that is not fp8";
  return nullptr;
}
/// What is wrong with a product's descriptors; null for nothing.
const char* wrong(const Product& p, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  for (const auto* layout : {&a, &b, &c, &d}) {
    if (layout->type > 2 && layout->type != 14 && !layout->is_fp8()) return "an element type that Gradus does not use";
    if (layout->ld < layout->rows) return "a leading dimension below the rows";
    if (layout->rows <= 0 || layout->columns <= 0) return "an empty matrix";
    if (layout->count != d.count) return "stacks of different sizes";
  }
  const bool fp8 = a.is_fp8() || b.is_fp8();
  if (const auto* what = fp8 ? wrong_in_fp8(p, a, b, c, d) : nullptr; what != nullptr) return what;
  if (!fp8 && (a.type != b.type || c.type != d.type || a.type != d.type)) return "element types that differ";
  if (!fp8 && (p.fast_sums != 0 || p.scales[0] != nullptr || p.scales[1] != nullptr))
    return "scales or fast sums of what is not fp8";
  if ((d.type == 1) != (p.compute == 70) || (d.type == 1) != (p.scale == 1)) return "a compute type that does not fit";
  if (size_of(d.type) == 2 && p.compute != 68) return "a compute type that bf16 and f16 do not go with";
  auto m = p.transposes[0] != 0 ? a.columns : a.rows, k = p.transposes[0] != 0 ? a.rows : a.columns;
  auto k2 = p.transposes[1] != 0 ? b.columns : b.rows, n = p.transposes[1] != 0 ? b.rows : b.columns;
  if (k != k2 || m != d.rows || n != d.columns || c.rows != d.rows || c.columns != d.columns)
    return "sizes that do not fit";
  const int known[] = {1,  4, 32, 32 | 4, 32 | 128, 32 | 128 | 4, 64 | 128, 64 | 128 | 16,
                       512};  // bias, GELU, gradients
  if (std::find(std::begin(known), std::end(known), p.epilogue) == std::end(known))
    return "an epilogue that Gradus does not use";
  if (p.has_vector() && p.bias == nullptr) return "a bias that is not there";
  if (p.epilogue != 1 && d.type == 1) return "an epilogue with double";
  if ((p.has_gelu() || p.has_gelu_slope()) && d.count != 1) return "GELU for a stack";
  if (p.has_second_sums() && d.count != 1) return "a bias gradient of a stack";
  if (p.has_aux() && p.aux == nullptr) return "an auxiliary matrix that is not there";
  if (p.has_aux() && (p.aux_ld < d.rows || p.aux_ld % 8 != 0))
    return "an auxiliary matrix whose leading dimension is below the rows or no multiple of 8";
  return nullptr;
}
constexpr double gelu_factor = 0.7978845608028654;
double gelu(double x) { return 0.5 * x * (1 + std::tanh(gelu_factor * (x + 0.044715 * x * x * x))); }
double gelu_slope(double x) {
  auto t = std::tanh(gelu_factor * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * gelu_factor * (1 + 3 * 0.044715 * x * x);
}
uint32_t alignment(const void* pointer) {
  auto bits = reinterpret_cast<uintptr_t>(pointer) | 256u;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

}  // namespace

using simulated::count_object, simulated::injected, simulated::mistake;

extern "C" {

int cublasLtCreate(void** handle) {
  if (auto failed = injected("cublasLtCreate"); failed != 0) return failed;
  static int one;
  count_object("handle of cuBLASLt", 1);
  return *handle = &one, 0;
}
int cublasLtMatmulDescCreate(void** product, int compute, int scale) {
  if (auto failed = injected("cublasLtMatmulDescCreate"); failed != 0) return failed;
  auto* made = new Product;
  made->compute = compute;
  made->scale = scale;
  count_object("product", 1);
  return *product = made, 0;
}
int cublasLtMatmulDescSetAttribute(void* product, int attribute, const void* value, size_t bytes) {
  if (auto failed = injected("cublasLtMatmulDescSetAttribute"); failed != 0) return failed;
  auto& p = *static_cast<Product*>(product);
  if (attribute == 3 && bytes == 4) return std::memcpy(&p.transposes[0], value, 4), 0;
  if (attribute == 4 && bytes == 4) return std::memcpy(&p.transposes[1], value, 4), 0;
  if (attribute == 7 && bytes == 4) return std::memcpy(&p.epilogue, value, 4), 0;
  if (attribute == 8 && bytes == 8) return std::memcpy(&p.bias, value, 8), 0;
  if (attribute == 11 && bytes == 8) return std::memcpy(&p.aux, value, 8), 0;
  if (attribute == 12 && bytes == 8) return std::memcpy(&p.aux_ld, value, 8), 0;
  if (attribute >= 17 && attribute <= 20 && bytes == 8) return std::memcpy(&p.scales[attribute - 17], value, 8), 0;
  if (attribute == 25 && bytes == 1) return std::memcpy(&p.fast_sums, value, 1), 0;
  return 7;
}
int cublasLtMatmulDescDestroy(void* product) {
  count_object("product", -1);
  return delete static_cast<Product*>(product), injected("cublasLtMatmulDescDestroy");
}
int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  if (auto failed = injected("cublasLtMatrixLayoutCreate"); failed != 0) return failed;
  auto* made = new Layout;
  made->type = type;
  made->rows = static_cast<int64_t>(rows);
  made->columns = static_cast<int64_t>(columns);
  made->ld = ld;
  count_object("layout", 1);
  return *layout = made, 0;
}
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute, const void* value, size_t bytes) {
  if (auto failed = injected("cublasLtMatrixLayoutSetAttribute"); failed != 0) return failed;
  auto& l = *static_cast<Layout*>(layout);
  if (attribute == 5 && bytes == 4) return std::memcpy(&l.count, value, 4), 0;
  if (attribute == 6 && bytes == 8) return std::memcpy(&l.stride, value, 8), 0;
  return 7;
}
int cublasLtMatrixLayoutDestroy(void* layout) {
  count_object("layout", -1);
  return delete static_cast<Layout*>(layout), injected("cublasLtMatrixLayoutDestroy");
}
int cublasLtMatmulPreferenceCreate(void** preference) {
  if (auto failed = injected("cublasLtMatmulPreferenceCreate"); failed != 0) return failed;
  count_object("preference", 1);
  return *preference = new Preference, 0;
}
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  if (auto failed = injected("cublasLtMatmulPreferenceSetAttribute"); failed != 0) return failed;
  auto& p = *static_cast<Preference*>(preference);
  if (attribute == 1 && bytes == 8) return std::memcpy(&p.workspace, value, 8), 0;
  if (attribute >= 5 && attribute <= 8 && bytes == 4) return std::memcpy(&p.alignments[attribute - 5], value, 4), 0;
  return 7;
}
int cublasLtMatmulPreferenceDestroy(void* preference) {
  count_object("preference", -1);
  return delete static_cast<Preference*>(preference), injected("cublasLtMatmulPreferenceDestroy");
}

int cublasLtMatmulAlgoGetHeuristic(void*, void* product, void* a, void* b, void* c, void* d, void* preference,
                                   int wanted, Heuristic* results, int* count) {
  if (auto failed = injected("cublasLtMatmulAlgoGetHeuristic"); failed != 0) return failed;
  const auto* what = wrong(*static_cast<Product*>(product), *static_cast<Layout*>(a), *static_cast<Layout*>(b),
                           *static_cast<Layout*>(c), *static_cast<Layout*>(d));
  if (what != nullptr) mistake(std::string("cublasLtMatmulAlgoGetHeuristic: ") + what);
  if (wanted < 1) return 7;
  if (static_cast<Layout*>(a)->is_fp8() && simulated::capability() < 89) return *count = 0, 15;
  *count = wanted < 2 ? 1 : 2;  // more than one, so that there is something to choose from
  for (int i = 0; i < *count; ++i) {
    results[i] = {};
    results[i].algorithm.mark = mark;
    std::memcpy(results[i].algorithm.alignments, static_cast<Preference*>(preference)->alignments, 16);
  }
  return 0;
}

int cublasLtMatmul(void*, void* product, const void* alpha, const void* a_data, void* a_layout, const void* b_data,
                   void* b_layout, const void* beta, const void* c_data, void* c_layout, void* d_data, void* d_layout,
                   const uint64_t* algorithm, void* workspace, size_t workspace_bytes, void* stream) {
  if (auto failed = injected("cublasLtMatmul"); failed != 0) return failed;
  auto p = *static_cast<Product*>(product);
  auto a = *static_cast<Layout*>(a_layout), b = *static_cast<Layout*>(b_layout), c = *static_cast<Layout*>(c_layout),
       d = *static_cast<Layout*>(d_layout);
  auto fail = [](const char* text) { mistake(std::string("cublasLtMatmul: ") + text); };
  if (const auto* what = wrong(p, a, b, c, d)) fail(what);
  Algorithm chosen;
  std::memcpy(&chosen, algorithm, sizeof(chosen));
  if (chosen.mark != mark) fail("an algorithm that no heuristic gave");
  const void* pointers[] = {a_data, b_data, c_data, d_data};
  const Layout* layouts[] = {&a, &b, &c, &d};
  for (int i = 0; i < 4; ++i) {
    if (alignment(pointers[i]) < chosen.alignments[i]) fail("memory that is less aligned than was promised");
    auto bytes = static_cast<size_t>(layouts[i]->elements()) * size_of(layouts[i]->type);
    if (!simulated::is_device_memory(pointers[i], bytes))
      fail("a matrix that is not within one block of device memory");
  }
  for (int i = 0; i < 2; ++i) {
    if (!layouts[i]->is_fp8()) continue;
    if (!simulated::is_device_memory(p.scales[i], 4) || alignment(p.scales[i]) < 4)
      fail("a scale that is no float of device memory");
    if (alignment(pointers[i]) < 16 || alignment(d_data) < 16) fail("fp8 with memory that is not aligned to 16 bytes");
  }
  auto vector_size = static_cast<size_t>(p.has_second_sums() ? d.columns : d.rows);
  if (p.has_vector() && !simulated::is_device_memory(p.bias, vector_size * size_of(d.type)))
    fail("a bias that is not device memory");
  if (p.has_aux()) {
    auto elements = static_cast<size_t>((d.columns - 1) * p.aux_ld + d.rows);
    if (!simulated::is_device_memory(p.aux, elements * size_of(d.type)))
      fail("an auxiliary matrix that is not within one block of device memory");
    if (alignment(p.aux) < 16) fail("an auxiliary matrix that is not aligned to 16 bytes");
  }
  if (workspace_bytes > 0 && !simulated::is_device_memory(workspace, workspace_bytes))
    fail("a workspace that is not device memory");
  auto scale_of = [&](const void* at) { return load(static_cast<const char*>(at), p.scale, 0); };
  auto one = scale_of(alpha), keep = scale_of(beta);
  if (simulated::computes_nothing()) {
    double bytes = 0;
    for (int i = 0; i < 4; ++i)
      if (i != 2 || keep != 0) bytes += layouts[i]->matrix_bytes();
    if (p.has_aux()) bytes += d.matrix_bytes();
    auto k = p.transposes[0] != 0 ? a.rows : a.columns;
    using simulated::Arithmetic;
    // There are no figures for fp8: it counts as bf16.
    auto arithmetic = d.type == 14      ? Arithmetic::bf16
                      : d.type == 1     ? Arithmetic::f64
                      : p.compute == 77 ? Arithmetic::tf32
                                        : Arithmetic::f32;
    simulated::count_work(bytes, 2.0 * static_cast<double>(d.rows * d.columns * d.count) * static_cast<double>(k),
                          arithmetic);
    return 0;
  }
  return simulated::enqueue(stream, [=] {
    auto m = d.rows, n = d.columns, k = p.transposes[0] != 0 ? a.rows : a.columns;
    auto factor = one;
    for (int i = 0; i < 2; ++i)
      if (p.scales[i] != nullptr) factor *= load(static_cast<const char*>(p.scales[i]), 0, 0);
    std::vector<double> first(static_cast<size_t>(m * k)), second(static_cast<size_t>(k * n)),
        column_sums(static_cast<size_t>(m));
    for (int64_t s = 0; s < d.count; ++s) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t l = 0; l < k; ++l) {
          auto at = s * a.stride + (p.transposes[0] != 0 ? l + i * a.ld : i + l * a.ld);
          first[static_cast<size_t>(i * k + l)] = load(static_cast<const char*>(a_data), a.type, at);
        }
      }
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t l = 0; l < k; ++l) {
          auto at = s * b.stride + (p.transposes[1] != 0 ? j + l * b.ld : l + j * b.ld);
          second[static_cast<size_t>(j * k + l)] = load(static_cast<const char*>(b_data), b.type, at);
        }
      }
      if (p.has_second_sums()) {
        for (int64_t j = 0; j < n; ++j) {
          auto* column = second.data() + j * k;
          store(static_cast<char*>(const_cast<void*>(p.bias)), d.type, j, std::accumulate(column, column + k, 0.0));
        }
      }
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t i = 0; i < m; ++i) {
          double sum = 0;
          for (int64_t l = 0; l < k; ++l)
            sum += first[static_cast<size_t>(i * k + l)] * second[static_cast<size_t>(j * k + l)];
          auto at = s * d.stride + i + j * d.ld;
          sum *= factor;
          if (keep != 0) sum += keep * load(static_cast<const char*>(c_data), c.type, s * c.stride + i + j * c.ld);
          if (p.has_bias()) sum += load(static_cast<const char*>(p.bias), d.type, i);
          auto* aux = static_cast<char*>(const_cast<void*>(p.aux));
          if (p.has_gelu()) {
            if (p.has_aux()) store(aux, d.type, i + j * p.aux_ld, sum);
            sum = gelu(sum);
          }
          if (p.has_gelu_slope()) sum *= gelu_slope(load(aux, d.type, i + j * p.aux_ld));
          column_sums[static_cast<size_t>(i)] += sum;
          store(static_cast<char*>(d_data), d.type, at, sum);
        }
      }
    }
    if (!p.has_bias_gradient()) return;
    for (int64_t i = 0; i < m; ++i)
      store(static_cast<char*>(const_cast<void*>(p.bias)), d.type, i, column_sums[static_cast<size_t>(i)]);
  });
}

}  // extern "C"

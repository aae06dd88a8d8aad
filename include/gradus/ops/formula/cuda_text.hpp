// The CUDA C++ of the kernels that a formula gives: its value, and its gradient with respect to one operand. Run-time
// numbers are arguments of the kernel, so one text serves all of them. Launching it is device/cuda's.
#pragma once

#include <array>
#include <cstdio>

#include "gradus/device/cuda/functions.hpp"
#include "gradus/device/cuda/prelude.hpp"
#include "gradus/ops/formula/dual.hpp"
#include "gradus/ops/formula/symbol.hpp"
#include "gradus/tensor/cuda_loop.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// How an operand enters a kernel: as a tensor of elements, or as a number of the compute type.
struct CudaOperand {
  DType type;
  bool is_number = false;
};

struct CudaKernelText {
  /// Name of the kernel that works in packs (see fits_packs). entry + "_along" does so where all tensors lie as the
  /// output does (see is_one_line), entry + "_strided" takes any layout.
  std::string entry;
  /// The three kernels. It wants cuda_prelude, cuda_functions and cuda_pointwise_loop before it, and may share a
  /// program with others.
  std::string source;
  /// What follows (layout, out) in the kernel's arguments: numbers of operands, Expression::seed_number for dy. What
  /// the formula does not read is left out.
  std::vector<int> inputs;
  DType out = DType::f32;
  int width = 1;      ///< elements in a pack
  uint64_t hash = 0;  ///< of source: equal for equal texts only, whatever the machine or run
};

/// The program that holds these kernels.
inline std::string cuda_pointwise_program(const std::vector<CudaKernelText>& kernels) {
  auto program = join(cuda_prelude, cuda_functions, cuda_pointwise_loop);
  for (const auto& kernel : kernels) program += kernel.source;
  return program;
}

/// The type in which elements of `type` are computed.
inline DType compute_type(DType type) {
  switch (type) {
    case DType::bf16:
    case DType::f16:
      return DType::f32;
    case DType::u8:
    case DType::boolean:
      return DType::i32;
    default:
      return type;
  }
}

/// FNV-1a.
inline uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (auto letter : text) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;
  return hash;
}

/// Writes kernels for values of an expression over operands.
class CudaKernelWriter {
 public:
  /// `title` names the kernel for people; letters other than those of C++ names are replaced.
  CudaKernelWriter(const std::string& title, DType type, const CudaOperand* operands)
      : name_(title.substr(0, 64)), type_(type), operands_(operands) {
    for (auto& letter : name_) {
      auto plain =
          (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
      if (!plain) letter = '_';
    }
  }

  CudaKernelText write(const Expression& expression, int result) const {
    CudaKernelText kernel;
    kernel.inputs = expression.operands_of(result);
    kernel.out = expression.is_bool(result) ? DType::boolean : type_;
    auto largest = size_of(kernel.out);
    for (auto number : kernel.inputs) {
      if (!is_number(number)) largest = std::max(largest, size_of(operand_type(number)));
    }
    kernel.width = std::min(8, 16 / largest);
    auto functions = join("GRADUS_DEVICE ", expression.type_of(result), " formula",
                          value_function(expression, result, kernel.inputs));
    // Tells kernels of one name apart that do different things.
    char digits[17];
    auto hash = hash_text(functions + entry(kernel, "", kernel.width));
    std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(hash));
    kernel.entry = join("pointwise_", name_, '_', digits);
    kernel.source = join("\nnamespace ", cuda_namespace(type_), "::", kernel.entry, " {\n\n", functions,
                         entry(kernel, "_along", kernel.width), entry(kernel, "", kernel.width),
                         entry(kernel, "_strided", 1), "}\n");
    kernel.hash = hash_text(kernel.source);
    return kernel;
  }

 private:
  bool is_number(int number) const { return number != Expression::seed_number && operands_[number].is_number; }
  DType operand_type(int number) const { return number == Expression::seed_number ? type_ : operands_[number].type; }

  std::string value_function(const Expression& expression, int result, const std::vector<int>& inputs) const {
    std::string text = "(";
    for (auto number : inputs) {
      auto type = operand_type(number) == DType::boolean ? DType::boolean : expression.compute();
      text += join(number == inputs.front() ? "" : ", ", cuda_name(type), ' ', Expression::operand_name(number));
    }
    return text + ") {\n" + expression.body_of(result) + "}\n\n";
  }

  std::string entry(const CudaKernelText& kernel, const char* suffix, int width) const {
    // As for other kernels of elements of 8 bytes: see Kernels::family_text.
    const auto* blocks = size_of(type_) == 8 ? ", 1" : "";
    auto text = join("extern \"C\" __global__ void __launch_bounds__(", cuda_pointwise_threads, blocks, ")\n",
                     kernel.entry, suffix, "(const __grid_constant__ Layout layout, ", cuda_name(kernel.out), "* out");
    auto call =
        join("  pointwise", std::string_view(suffix) == "_along" ? suffix : "", '<', width, ", formula>(layout, out");
    int row = 0, read = 0;
    for (auto number : kernel.inputs) {
      if (!is_number(number)) read = std::max(read, width * size_of(operand_type(number)));
      auto name = Expression::operand_name(number);
      auto type = cuda_name(operand_type(number));
      text += is_number(number) ? join(", ", type, ' ', name) : join(", const ", type, "* ", name);
      call += is_number(number) ? join(", number(", name, ')') : join(", input<", row, ">(", name, ')');
      ++row;
    }
    auto wide = width > 1 ? join("GRADUS_WIDE(", read, ", ", width * size_of(kernel.out), ")\n") : "";
    return wide + text + ") {\n" + call + ");\n}\n\n";
  }

  std::string name_;
  DType type_;
  const CudaOperand* operands_;
};

/// Formula F over one Symbol an operand, of which operand `wrt` is a Dual; -1 for none.
template <class F, int wrt, size_t... K>
auto run_over_symbols(const CudaOperand* operands, std::index_sequence<K...>) {
  auto operand = [&]<int k>(std::integral_constant<int, k>) {
    auto value = Symbol::operand(k, operands[k].type == DType::boolean);
    if constexpr (k == wrt) return Dual<Symbol>{value, Symbol::seed()};
    else return value;
  };
  return F{}(operand(std::integral_constant<int, static_cast<int>(K)>{})...);
}

/// Formula F's value over operands, of which the tensors that are not bool have elements of `type`.
template <class F, size_t N>
CudaKernelText cuda_kernel_text(const char* name, DType type, const std::array<CudaOperand, N>& operands) {
  Expression expression(compute_type(type));
  Symbol y = run_over_symbols<F, -1>(operands.data(), std::make_index_sequence<N>{});
  return CudaKernelWriter(name, type, operands.data()).write(expression, y.value());
}

/// The gradient of formula F with respect to operand I: dy times its derivative. Of the operands only I is a Dual.
template <class F, size_t I, size_t N>
CudaKernelText cuda_gradient_text(const char* name, DType type, const std::array<CudaOperand, N>& operands) {
  static_assert(I < N);
  Expression expression(compute_type(type));
  auto y = run_over_symbols<F, static_cast<int>(I)>(operands.data(), std::make_index_sequence<N>{});
  Symbol dx = 0;  // of a formula that only compares the operand
  if constexpr (is_dual<decltype(y)>) dx = y.derivative;
  return CudaKernelWriter(join(name, "_d", I), type, operands.data()).write(expression, dx.value());
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// Launches the kernels that a formula writes. A formula's text is made, compiled and loaded on its first use with
// operands of given types on a card; after that a call looks up one entry.
#pragma once

#include "gradus/device/cuda/context.hpp"
#include "gradus/ops/formula/cpu_loop.hpp"
#include "gradus/ops/formula/cuda_text.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Writes a kernel for operands that only the call knows.
using CudaKernelWriterFunction = CudaKernelText (*)(const char* name, DType type, const CudaOperand* operands);

template <class F, size_t N>
GRADUS_COLD CudaKernelText write_value_kernel(const char* name, DType type, const CudaOperand* operands) {
  std::array<CudaOperand, N> all;
  std::copy_n(operands, N, all.begin());
  return cuda_kernel_text<F>(name, type, all);
}
template <class F, size_t I, size_t N>
GRADUS_COLD CudaKernelText write_gradient_kernel(const char* name, DType type, const CudaOperand* operands) {
  std::array<CudaOperand, N> all;
  std::copy_n(operands, N, all.begin());
  return cuda_gradient_text<F, I>(name, type, all);
}

/// A formula's kernel on one card.
struct LoadedPointwise {
  cuda::detail::Handle along = nullptr, packs = nullptr, strided = nullptr;
  std::vector<int> inputs;
  int width = 1;
};

/// Those of all cards, by what they were written from.
inline const LoadedPointwise& loaded_pointwise(Device device, CudaKernelWriterFunction write, const char* name,
                                               DType type, const CudaOperand* operands, int count) {
  struct Key {
    CudaKernelWriterFunction write;
    uint64_t types;
    int device;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const {
      return reinterpret_cast<size_t>(key.write) * 31 + key.types * 7 + static_cast<size_t>(key.device);
    }
  };
  Key key{write, static_cast<uint64_t>(type), device.index()};
  for (int k = 0; k < count; ++k)
    key.types = key.types << 4 | static_cast<uint64_t>(operands[k].type) << 1 | (operands[k].is_number ? 1 : 0);
  static std::mutex mutex;
  static std::unordered_map<Key, std::unique_ptr<LoadedPointwise>, Hash> kernels;
  std::lock_guard lock(mutex);
  auto& kernel = kernels[key];
  if (kernel == nullptr) [[unlikely]] {
    auto text = write(name, type, operands);
    auto& context = cuda::detail::Context::of(device);
    cuda::detail::KernelSource source{.name = name, .text = cuda_pointwise_program({text})};
    for (auto& letter : source.name) letter = std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '_';
    auto made = std::make_unique<LoadedPointwise>();
    made->along = context.kernels().load(source, text.entry + "_along");
    made->packs = context.kernels().load(source, text.entry);
    made->strided = context.kernels().load(source, text.entry + "_strided");
    made->inputs = text.inputs;
    made->width = text.width;
    kernel = std::move(made);
  }
  return *kernel;
}

/// Fills the dense tensor `out`, in whichever order it lies. operands[k] is operand k of the formula, `dy` what
/// Expression::seed_number names; types[k] how operand k enters the kernel, `type` the elements in which the formula
/// works.
inline void run_pointwise_on_card(const char* name, CudaKernelWriterFunction write, DType type,
                                  const CudaOperand* types, int count, TensorImpl& out,
                                  const PointwiseOperand* operands, const PointwiseOperand* dy) {
  if (out.numel == 0) return;
  auto device = out.storage->device();
  const auto& kernel = loaded_pointwise(device, write, name, type, types, count);
  auto inputs = static_cast<int>(kernel.inputs.size());
  Strides strides[max_operands];
  const char* pointers[max_operands];
  void* arguments[2 + max_operands];
  auto aligned = reinterpret_cast<uintptr_t>(out.data()) % 16 == 0;
  auto last = is_channels_last(out);
  auto dense = last ? contiguous_strides(out.shape) : out.strides;
  for (int k = 0; k < inputs; ++k) {
    auto number = kernel.inputs[static_cast<size_t>(k)];
    const auto& operand = number == Expression::seed_number ? *dy : operands[number];
    auto is_number = number != Expression::seed_number && types[number].is_number;
    strides[k] = is_number        ? out.strides
                 : operand.dense  ? dense
                 : operand.single ? Strides::filled(out.shape.rank(), 0)
                                  : operand.strides;
    pointers[k] = operand.data;
    arguments[2 + k] = is_number ? const_cast<char*>(operand.data) : static_cast<void*>(&pointers[k]);
    if (!is_number && !operand.single) {
      auto pack = static_cast<uintptr_t>(kernel.width * operand.bytes);
      aligned &= reinterpret_cast<uintptr_t>(operand.data) % pack == 0;
    }
  }
  if (inputs == 0) strides[0] = dense;
  if (last) {  // the loop runs along the memory that is written
    for (int k = 0; k < std::max(inputs, 1); ++k) strides[k] = channels_behind(strides[k]);
  }
  auto layout = cuda_layout(plan_loop(last ? channels_behind(out.shape) : out.shape, strides, std::max(inputs, 1)));
  auto* target = out.data();
  arguments[0] = &layout;
  arguments[1] = &target;
  auto packs = aligned && fits_packs(layout, inputs, kernel.width);
  auto& context = cuda::detail::Context::of(device);
  auto threads = packs ? out.numel / kernel.width : out.numel;
  context.launch(!packs                        ? kernel.strided
                 : is_one_line(layout, inputs) ? kernel.along
                                               : kernel.packs,
                 {context.blocks_for(threads, cuda_pointwise_threads), cuda_pointwise_threads}, arguments, name);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

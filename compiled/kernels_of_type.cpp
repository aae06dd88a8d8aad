// Picks the kernels of one element type, GRADUS_KERNEL_TYPE: the only unit that names them, so that a program links the
// types that it uses and no others.
#include "gradus/device/cpu/compiled.hpp"

namespace gradus::detail::inline GRADUS_STABLE {

#define GRADUS_JOIN2(a, b, c) a##_##b##_##c
#define GRADUS_JOIN(a, b, c) GRADUS_JOIN2(a, b, c)
#define GRADUS_KERNELS(instructions) GRADUS_JOIN(gradus_kernels, GRADUS_KERNEL_TYPE, instructions)
extern "C" const CompiledKernels GRADUS_KERNELS(baseline);
#if defined(__x86_64__)
extern "C" const CompiledKernels GRADUS_KERNELS(avx2), GRADUS_KERNELS(avx512);
#if defined(GRADUS_KERNELS_AVX512_BF16)
extern "C" const CompiledKernels GRADUS_KERNELS(avx512_bf16);
#endif
#endif

const CompiledKernels& compiled_kernels(std::type_identity<GRADUS_KERNEL_TYPE>) {
  switch (compiled_instructions()) {
#if defined(__x86_64__)
#if defined(GRADUS_KERNELS_AVX512_BF16)
    case Instructions::avx512_bf16:
      return GRADUS_KERNELS(avx512_bf16);
#else
    case Instructions::avx512_bf16:  // they help this type no further
#endif
    case Instructions::avx512:
      return GRADUS_KERNELS(avx512);
    case Instructions::avx2:
      return GRADUS_KERNELS(avx2);
#endif
    default:
      return GRADUS_KERNELS(baseline);
  }
}

}  // namespace gradus::detail::inline GRADUS_STABLE

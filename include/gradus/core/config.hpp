// Version, inline namespaces and the few macros that the library uses everywhere.
#pragma once

#define GRADUS_VERSION_MAJOR 0
#define GRADUS_VERSION_MINOR 1
#define GRADUS_VERSION_PATCH 0
#define GRADUS_VERSION "0.1.0"

#if defined(__FAST_MATH__) && !defined(GRADUS_ALLOW_FAST_MATH)
#error \
    "Gradus: -ffast-math breaks NaN handling and the promise of equal bits; build without it, \
or define GRADUS_ALLOW_FAST_MATH to accept that."
#endif

// With AVX-512, g++ 12 may store 1, 1, 1, 1 where a program says 1, 1, 0, 0 (seen with 12.2), so that an operator's
// options arrive changed. Gradus's CMake target sets these flags and the macro.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ == 12 && defined(__AVX512VL__) && !defined(GRADUS_SMALL_MOVES)
#warning "Gradus: g++ 12 miscompiles constants for AVX-512; add -mmove-max=128 -mstore-max=128 -DGRADUS_SMALL_MOVES"
#endif

// Two inline namespaces keep units apart that were compiled with different flags, so that the linker
// never mixes their templates: GRADUS_STABLE holds what is one in a process (errors, devices, the
// thread pool, memory, generator state), GRADUS_BUILD everything that instruction set or flags change.
#define GRADUS_STABLE v0

#if defined(__AVX512BF16__)
#define GRADUS_DETAIL_ISA avx512bf16
#elif defined(__AVX512F__)
#define GRADUS_DETAIL_ISA avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define GRADUS_DETAIL_ISA avx2
#elif defined(__AVX__)
#define GRADUS_DETAIL_ISA avx
#elif defined(__ARM_NEON)
#define GRADUS_DETAIL_ISA neon
#else
#define GRADUS_DETAIL_ISA base
#endif
#if defined(NDEBUG) && defined(GRADUS_CUDA)
#define GRADUS_DETAIL_MODE release_cuda
#elif defined(NDEBUG)
#define GRADUS_DETAIL_MODE release
#elif defined(GRADUS_CUDA)
#define GRADUS_DETAIL_MODE debug_cuda
#else
#define GRADUS_DETAIL_MODE debug
#endif
// GRADUS_COMPILED: this unit takes kernels from the library gradus::compiled, whose own units have GRADUS_KERNEL_UNIT.
#if defined(GRADUS_KERNEL_UNIT)
#define GRADUS_DETAIL_KERNELS v0_kernels
#elif defined(GRADUS_COMPILED)
#define GRADUS_DETAIL_KERNELS v0_compiled
#else
#define GRADUS_DETAIL_KERNELS v0
#endif
#define GRADUS_DETAIL_JOIN2(a, b, c) a##_##b##_##c
#define GRADUS_DETAIL_JOIN(a, b, c) GRADUS_DETAIL_JOIN2(a, b, c)
#define GRADUS_BUILD GRADUS_DETAIL_JOIN(GRADUS_DETAIL_KERNELS, GRADUS_DETAIL_ISA, GRADUS_DETAIL_MODE)

// What must be one object in a process, across shared libraries built with hidden visibility.
#define GRADUS_SHARED __attribute__((visibility("default")))
#define GRADUS_INLINE inline __attribute__((always_inline))
#define GRADUS_INLINE_LAMBDA __attribute__((always_inline))
#if defined(__clang__)
#define GRADUS_UNROLL  // clang does by itself
#else
#define GRADUS_UNROLL _Pragma("GCC unroll 16")
#endif
#define GRADUS_COLD __attribute__((cold, noinline))

// A program that was compiled for more than every x86-64 processor has does not start on one that lacks it: a message
// in place of an illegal instruction somewhere later.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "gradus/core/config.hpp"

#if defined(__x86_64__) && !defined(GRADUS_KERNEL_UNIT)
namespace gradus::detail::inline GRADUS_BUILD {

/// Names on stderr what this processor lacks of the instructions that its unit is compiled for, and ends the program.
/// Compiled without any of them, and run before other objects are made. Once for each set of flags in a program.
struct RequireInstructions {
  __attribute__((cold, noinline, target("no-sse3,no-popcnt,no-bmi,no-bmi2,no-avx"))) RequireInstructions() {
    __builtin_cpu_init();
    bool missing = false;
#define GRADUS_DETAIL_REQUIRE(instructions)                                                                \
  if (!__builtin_cpu_supports(instructions)) {                                                             \
    std::fputs(missing ? ", " instructions                                                                 \
                       : "gradus: this processor lacks instructions that the program uses: " instructions, \
               stderr);                                                                                    \
    missing = true;                                                                                        \
  }
#if defined(__SSE3__)
    GRADUS_DETAIL_REQUIRE("sse3")
#endif
#if defined(__SSE4_2__)
    GRADUS_DETAIL_REQUIRE("sse4.2")
#endif
#if defined(__POPCNT__)
    GRADUS_DETAIL_REQUIRE("popcnt")
#endif
#if defined(__BMI2__)
    GRADUS_DETAIL_REQUIRE("bmi2")
#endif
#if defined(__AVX__)
    GRADUS_DETAIL_REQUIRE("avx")
#endif
#if defined(__FMA__)
    GRADUS_DETAIL_REQUIRE("fma")
#endif
#if defined(__AVX2__)
    GRADUS_DETAIL_REQUIRE("avx2")
#endif
#if defined(__AVX512F__)
    GRADUS_DETAIL_REQUIRE("avx512f")
#endif
#if defined(__AVX512VL__)
    GRADUS_DETAIL_REQUIRE("avx512vl")
#endif
#if defined(__AVX512BW__)
    GRADUS_DETAIL_REQUIRE("avx512bw")
#endif
#if defined(__AVX512DQ__)
    GRADUS_DETAIL_REQUIRE("avx512dq")
#endif
#if defined(__AVX512VBMI__)
    GRADUS_DETAIL_REQUIRE("avx512vbmi")
#endif
#if defined(__AVX512VNNI__)
    GRADUS_DETAIL_REQUIRE("avx512vnni")
#endif
#if defined(__AVX512BF16__)
    GRADUS_DETAIL_REQUIRE("avx512bf16")
#endif
#undef GRADUS_DETAIL_REQUIRE
    if (!missing) return;
    std::fputs(
        ".\nCompile it without -march (or -march=native), or link gradus::compiled, which takes what there is.\n",
        stderr);
    std::_Exit(1);
  }
};
__attribute__((init_priority(101))) inline const RequireInstructions instructions_at_start;

}  // namespace gradus::detail::inline GRADUS_BUILD
#endif

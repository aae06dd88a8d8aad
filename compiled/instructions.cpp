// Which kernels a program uses, and what those kernels use of the program.
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/compiled.hpp"

namespace gradus::detail::inline GRADUS_STABLE {

namespace {

constexpr std::string_view names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};

/// What the processor, and the system, lack of an instruction set; null: nothing.
const char* missing([[maybe_unused]] Instructions wanted) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#define GRADUS_REQUIRE(instructions) \
  if (!__builtin_cpu_supports(instructions)) return instructions
  if (wanted >= Instructions::avx2) {  // x86-64-v3
    GRADUS_REQUIRE("avx2");
    GRADUS_REQUIRE("fma");
    GRADUS_REQUIRE("bmi");
    GRADUS_REQUIRE("bmi2");
  }
  if (wanted >= Instructions::avx512) {  // x86-64-v4
    GRADUS_REQUIRE("avx512f");
    GRADUS_REQUIRE("avx512bw");
    GRADUS_REQUIRE("avx512cd");
    GRADUS_REQUIRE("avx512dq");
    GRADUS_REQUIRE("avx512vl");
  }
  if (wanted >= Instructions::avx512_bf16) GRADUS_REQUIRE("avx512bf16");
#undef GRADUS_REQUIRE
  return nullptr;
#else
  return wanted == Instructions::baseline ? nullptr : "x86-64";
#endif
}

Instructions choose() {
  if (const auto* wanted = std::getenv("GRADUS_INSTRUCTIONS"); wanted != nullptr && *wanted != '\0') {
    for (int i = 0; i < 4; ++i) {
      if (names[i] != wanted) continue;
      const auto* lacking = missing(static_cast<Instructions>(i));
      if (lacking == nullptr) return static_cast<Instructions>(i);
      std::fprintf(stderr, "gradus: GRADUS_INSTRUCTIONS is %s, but this processor has no %s\n", wanted, lacking);
      std::_Exit(1);
    }
    std::fprintf(stderr, "gradus: GRADUS_INSTRUCTIONS is %s, but must be baseline, avx2, avx512 or avx512_bf16\n",
                 wanted);
    std::_Exit(1);
  }
  for (auto best : {Instructions::avx512_bf16, Instructions::avx512, Instructions::avx2}) {
    if (missing(best) == nullptr) return best;
  }
  return Instructions::baseline;
}

}  // namespace

Instructions compiled_instructions() {
  static const auto chosen = choose();
  return chosen;
}

void run_in_program(int64_t count, ThreadPool::Chunk chunk, void* context) {
  ThreadPool::instance().run(count, chunk, context);
}
int threads_of_program() { return ThreadPool::instance().threads(); }
void* scratch_of_program(size_t bytes) { return CachingAllocator::instance().allocate_scratch(bytes); }
void scratch_to_program(void* block, size_t bytes) noexcept {
  CachingAllocator::instance().deallocate_scratch(block, bytes);
}

}  // namespace gradus::detail::inline GRADUS_STABLE

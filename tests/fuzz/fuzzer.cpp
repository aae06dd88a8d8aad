// The program of libFuzzer (clang's -fsanitize=fuzzer): GRADUS_FUZZ_TARGET=csv fuzzer tests/fuzz/corpus/csv
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto run = [] {
    const auto* wanted = std::getenv("GRADUS_FUZZ_TARGET");
    for (const auto& target : gradus::test::fuzz_targets()) {
      if (wanted != nullptr && target.name == wanted) return target.run;
    }
    std::fprintf(stderr, "GRADUS_FUZZ_TARGET must name one of the targets in tests/fuzz/targets.hpp\n");
    std::exit(2);
  }();
  run({reinterpret_cast<const char*>(data), size});
  return 0;
}

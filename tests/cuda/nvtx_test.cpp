// Ranges for profilers: a tool of our own listens in a child process, since a program asks for its tool once.
#include <cstdlib>

#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
TEST_CASE("operators and layers are ranges for a profiler") {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  const auto* tool = std::getenv("NVTX_INJECTION64_PATH");
  if (tool == nullptr)
    SKIP_LOUDLY("no profiler: run with NVTX_INJECTION64_PATH=<build>/tests/cuda/simulated/libnvtx_tool.so");
  auto* library = ::dlopen(tool, RTLD_NOW);
  REQUIRE(library != nullptr);
  auto ranges = reinterpret_cast<const char* (*)()>(::dlsym(library, "ranges_so_far"));
  REQUIRE(ranges != nullptr);
  models::Mlp<float> model({4, 3});
  to(model, device);
  optim::AdamW adam(model);
  model(test::hashed<float>(1, {2, 4}, -1, 1).to(device)).to_vector();
  std::string seen = ranges();
  INFO(seen);
  CHECK(seen.find("(Mlp.layers.0") != std::string::npos);  // the layer around its operator
  CHECK(seen.find("(linear)") != std::string::npos);
  CHECK(std::count(seen.begin(), seen.end(), '(') == std::count(seen.begin(), seen.end(), ')'));
}
#endif

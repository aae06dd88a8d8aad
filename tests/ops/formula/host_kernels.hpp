// Kernel texts compiled by the machine's own C++ compiler, so that the CPU can run what a GPU would. The texts are
// unchanged; a few definitions before them stand for what the GPU's compiler brings along.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "gradus/tensor/cuda_loop.hpp"

namespace gradus::test {

class HostKernels {
 public:
  /// The compiler that built the tests if the build names it, else CXX, else c++.
  static std::string compiler() {
#if defined(GRADUS_TEST_COMPILER)
    return GRADUS_TEST_COMPILER;
#else
    auto* chosen = std::getenv("CXX");
    return chosen != nullptr && *chosen != '\0' ? chosen : "c++";
#endif
  }
  static bool has_compiler() { return std::system((compiler() + " --version > /dev/null 2>&1").c_str()) == 0; }

  /// Compiles and loads a program. Throws std::runtime_error with the compiler's words.
  explicit HostKernels(const std::string& program) {
    auto pattern = (std::filesystem::temp_directory_path() / "gradus-kernels-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make the folder " + pattern);
    folder_ = pattern;
    std::ofstream(folder_ / "kernels.cpp") << definitions << program;
    auto path = folder_.string();
    auto command = compiler() + " -std=c++17 -O1 -ffp-contract=off -fno-strict-aliasing -shared -fPIC '" + path +
                   "/kernels.cpp' -o '" + path + "/kernels.so' > '" + path + "/log' 2>&1";
    if (std::system(command.c_str()) != 0) {
      std::ifstream log(folder_ / "log");
      auto text = std::string(std::istreambuf_iterator<char>(log), {});
      std::filesystem::remove_all(folder_);
      throw std::runtime_error(command + "\n" + text.substr(0, 4000));
    }
    library_ = dlopen((path + "/kernels.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    set_thread_ = reinterpret_cast<void (*)(unsigned, unsigned, unsigned, unsigned)>(dlsym(library_, "set_thread"));
  }
  ~HostKernels() {
    if (library_ != nullptr) dlclose(library_);
    std::filesystem::remove_all(folder_);
  }
  HostKernels(const HostKernels&) = delete;
  HostKernels& operator=(const HostKernels&) = delete;

  bool holds(const std::string& entry) const { return dlsym(library_, entry.c_str()) != nullptr; }

  /// Runs a kernel thread by thread; its other arguments are what follows the layout.
  template <class... Arguments>
  void launch(const std::string& entry, unsigned blocks, unsigned threads, const detail::CudaPointwiseLayout& layout,
              Arguments... arguments) const {
    auto kernel = reinterpret_cast<void (*)(detail::CudaPointwiseLayout, Arguments...)>(dlsym(library_, entry.c_str()));
    if (kernel == nullptr) throw std::runtime_error("no kernel " + entry);
    for (unsigned block = 0; block < blocks; ++block) {
      for (unsigned thread = 0; thread < threads; ++thread) {
        set_thread_(blocks, threads, block, thread);
        kernel(layout, arguments...);
      }
    }
  }

 private:
  static constexpr const char* definitions = R"(
#include <math.h>
#include <string.h>
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct { unsigned x; } static gridDim, blockDim, blockIdx, threadIdx;
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
extern "C" void set_thread(unsigned grid, unsigned block, unsigned block_index, unsigned thread_index) {
  gridDim.x = grid, blockDim.x = block, blockIdx.x = block_index, threadIdx.x = thread_index;
}
)";

  std::filesystem::path folder_;
  void* library_ = nullptr;
  void (*set_thread_)(unsigned, unsigned, unsigned, unsigned) = nullptr;
};

}  // namespace gradus::test

// NVIDIA's run-time compiler, if this machine has it: found when the tests run, never linked.
#pragma once

#include <dlfcn.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace gradus::test {

class Nvrtc {
 public:
  struct Result {
    bool ok = false;
    std::string code;  ///< cubin for "sm_80", PTX for "compute_80"
    std::string log;
  };

  /// Looks where the loader looks, then where the toolkit and its Python packages are installed.
  static std::optional<Nvrtc> find() {
    namespace fs = std::filesystem;
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12"}) {
      if (auto* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return Nvrtc(library);
    }
    for (const char* folder : {"/usr/local/cuda/lib64", "/usr/local/cuda-13.0/lib64", "/usr/local/cuda-12.9/lib64",
                               "/opt/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"}) {
      std::error_code none;
      std::vector<std::string> builtins, compilers;
      for (const auto& file : fs::directory_iterator(folder, none)) {
        auto name = file.path().filename().string();
        if (name.find(".alt") != std::string::npos) continue;
        if (name.starts_with("libnvrtc-builtins.so.")) builtins.push_back(file.path());
        if (name == "libnvrtc.so.13" || name == "libnvrtc.so.12") compilers.push_back(file.path());
      }
      // It looks for its builtins on the loader's path only, so they must be there already.
      for (const auto& path : builtins) dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
      for (const auto& path : compilers) {
        if (auto* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return Nvrtc(library);
      }
    }
    return std::nullopt;
  }

  /// Of "sm_90" and so on.
  bool knows(const std::string& architecture) const {
    int count = 0;
    get<int(int*)>("nvrtcGetNumSupportedArchs")(&count);
    std::vector<int> known(static_cast<size_t>(count));
    get<int(int*)>("nvrtcGetSupportedArchs")(known.data());
    for (auto arch : known) {
      if (architecture == "sm_" + std::to_string(arch)) return true;
    }
    return false;
  }

  Result compile(const std::string& source, const std::string& architecture) const {
    Result result;
    void* program = nullptr;
    get<int(void**, const char*, const char*, int, const char* const*, const char* const*)>("nvrtcCreateProgram")(
        &program, source.c_str(), "kernels.cu", 0, nullptr, nullptr);
    auto option = "--gpu-architecture=" + architecture;
    const char* options[] = {option.c_str(), "--std=c++17", "--ptxas-options=-v"};
    result.ok = get<int(void*, int, const char* const*)>("nvrtcCompileProgram")(program, 3, options) == 0;
    result.log = text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog");
    auto is_cubin = architecture.starts_with("sm_");
    if (result.ok && is_cubin) result.code = text(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN");
    if (result.ok && !is_cubin) result.code = text(program, "nvrtcGetPTXSize", "nvrtcGetPTX");
    get<int(void**)>("nvrtcDestroyProgram")(&program);
    return result;
  }

 private:
  explicit Nvrtc(void* library) : library_(library) {}

  template <class Function>
  Function* get(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library_, name));
  }
  std::string text(void* program, const char* size_function, const char* function) const {
    size_t size = 0;
    get<int(void*, size_t*)>(size_function)(program, &size);
    std::string text(size, '\0');
    if (size > 0) get<int(void*, char*)>(function)(program, text.data());
    return text;
  }

  void* library_;  // stays loaded
};

}  // namespace gradus::test

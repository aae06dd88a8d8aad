// NVIDIA's run-time compiler: CUDA C++ text becomes the code of one architecture. It needs no GPU and no driver.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "gradus/device/cuda/library.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// The functions of libnvrtc that are used. Tests fill it with others.
struct Nvrtc {
  using Program = void*;
  int (*version)(int* major, int* minor) = nullptr;
  const char* (*error_text)(int result) = nullptr;
  int (*create)(Program*, const char* source, const char* name, int headers, const char* const*,
                const char* const*) = nullptr;
  int (*destroy)(Program*) = nullptr;
  int (*compile)(Program, int options, const char* const*) = nullptr;
  int (*log_size)(Program, size_t*) = nullptr;
  int (*log)(Program, char*) = nullptr;
  int (*cubin_size)(Program, size_t*) = nullptr;
  int (*cubin)(Program, char*) = nullptr;
  int (*ptx_size)(Program, size_t*) = nullptr;
  int (*ptx)(Program, char*) = nullptr;
  int (*architecture_count)(int*) = nullptr;
  int (*architectures)(int*) = nullptr;

  /// Out of an open library.
  static Nvrtc from(const Library& library) {
    Nvrtc api;
    library.find(api.version, "nvrtcVersion");
    library.find(api.error_text, "nvrtcGetErrorString");
    library.find(api.create, "nvrtcCreateProgram");
    library.find(api.destroy, "nvrtcDestroyProgram");
    library.find(api.compile, "nvrtcCompileProgram");
    library.find(api.log_size, "nvrtcGetProgramLogSize");
    library.find(api.log, "nvrtcGetProgramLog");
    library.find(api.cubin_size, "nvrtcGetCUBINSize");
    library.find(api.cubin, "nvrtcGetCUBIN");
    library.find(api.ptx_size, "nvrtcGetPTXSize");
    library.find(api.ptx, "nvrtcGetPTX");
    library.find(api.architecture_count, "nvrtcGetNumSupportedArchs");
    library.find(api.architectures, "nvrtcGetSupportedArchs");
    return api;
  }

  /// This machine's. CudaError when there is none; then the next call looks again.
  GRADUS_SHARED static const Nvrtc& get() {
    static const Nvrtc api = from(open_library());
    return api;
  }
  /// It looks for its builtins on the loader's path only, so those that lie beside it are opened first.
  static Library open_library() {
    const std::vector<std::string> names = {"libnvrtc.so.13", "libnvrtc.so.12"};
    auto library = Library::open(names, {});
    if (library) return library;
    for (const auto& folder : toolkit_folders()) {
      std::error_code none;
      for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
        auto name = entry.path().filename().string();
        if (name.starts_with("libnvrtc-builtins.so.") && name.find(".alt") == std::string::npos)
          ::dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
      }
    }
    library = Library::open(names, toolkit_folders());
    require<CudaError>(static_cast<bool>(library),
                       "NVIDIA's run-time compiler (libnvrtc) was not found: ", library.reason(),
                       "; install the CUDA toolkit, or set CUDA_PATH to its folder");
    return library;
  }

  /// 1309 for version 13.9.
  int version_number() const {
    int major = 0, minor = 0;
    check(version(&major, &minor), "nvrtcVersion", "");
    return 100 * major + minor;
  }
  void check(int result, const char* call, const std::string& more) const {
    require<CudaError>(result == 0, call, ": ", error_text(result), more);
  }
};

/// A program as text, and how it is compiled.
struct KernelSource {
  std::string name;  ///< in error texts
  std::string text;
  std::vector<std::string> options = {"--std=c++17"};
  bool ptx = false;      ///< PTX, to be read by people or compiled by the driver, also where the architecture is known
  bool ptx_too = false;  ///< PTX beside the cubin
};

/// What the compiler made: a cubin, or PTX for an architecture that it does not know, which the driver compiles.
struct KernelBinary {
  std::string code, log = {};
  std::string ptx = {};  ///< when it was asked for beside the cubin
  bool is_cubin = true;
};

/// architecture: 90 for sm_90. CudaError with the compiler's own lines when the text is wrong.
inline KernelBinary compile(const Nvrtc& nvrtc, const KernelSource& source, int architecture) {
  int count = 0;
  nvrtc.check(nvrtc.architecture_count(&count), "nvrtcGetNumSupportedArchs", "");
  std::vector<int> known(static_cast<size_t>(count));
  nvrtc.check(nvrtc.architectures(known.data()), "nvrtcGetSupportedArchs", "");
  auto newest = 0, best = 0;
  for (auto one : known) {
    newest = std::max(newest, one);
    if (one <= architecture) best = std::max(best, one);
  }
  require<CudaError>(best > 0, "this libnvrtc compiles for sm_", known.empty() ? 0 : known.front(),
                     " and newer, not for sm_", architecture);
  KernelBinary result;
  result.is_cubin = best == architecture && !source.ptx;
  auto options = source.options;  // the last of several architectures holds
  options.insert(options.begin(), join("--gpu-architecture=", result.is_cubin ? "sm_" : "compute_", best));
  std::vector<const char*> arguments;
  for (const auto& option : options) arguments.push_back(option.c_str());

  struct Owner {
    const Nvrtc& nvrtc;
    Nvrtc::Program program = nullptr;
    ~Owner() {
      if (program != nullptr) nvrtc.destroy(&program);
    }
  } owner{nvrtc};
  auto name = source.name + ".cu";
  nvrtc.check(nvrtc.create(&owner.program, source.text.c_str(), name.c_str(), 0, nullptr, nullptr),
              "nvrtcCreateProgram", " (" + source.name + ")");
  auto failed = nvrtc.compile(owner.program, static_cast<int>(arguments.size()), arguments.data());
  auto read = [&](auto size_of, auto take, const char* call) {
    size_t bytes = 0;
    nvrtc.check(size_of(owner.program, &bytes), call, " (" + source.name + ")");
    std::string text(bytes, '\0');
    if (bytes > 0) nvrtc.check(take(owner.program, text.data()), call, " (" + source.name + ")");
    return text;
  };
  result.log = read(nvrtc.log_size, nvrtc.log, "nvrtcGetProgramLog");
  while (result.log.ends_with('\0') || result.log.ends_with('\n')) result.log.pop_back();
  nvrtc.check(failed, "nvrtcCompileProgram",
              " (" + source.name + " for sm_" + std::to_string(architecture) + ")\n" + result.log);
  result.code = result.is_cubin ? read(nvrtc.cubin_size, nvrtc.cubin, "nvrtcGetCUBIN")
                                : read(nvrtc.ptx_size, nvrtc.ptx, "nvrtcGetPTX");
  if (source.ptx_too) result.ptx = read(nvrtc.ptx_size, nvrtc.ptx, "nvrtcGetPTX");
  return result;
}

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

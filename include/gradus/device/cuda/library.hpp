// Shared objects that are opened while a program runs, so that it starts on machines that have none of them.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gradus/core/error.hpp"

namespace gradus::inline GRADUS_STABLE {

/// A call of NVIDIA's driver or libraries failed, or they are not there; the text names the call and what it answered.
class GRADUS_SHARED CudaError : public Error {
 public:
  using Error::Error;
};

/// The GPU is lost to this program: a kernel went astray, or the card failed, and every later call fails too. Tensors
/// on it cannot be read any more.
class GRADUS_SHARED DeviceLostError : public CudaError {
 public:
  using CudaError::CudaError;
};

/// A step cannot be captured, because something within it needs the host.
class GRADUS_SHARED CaptureError : public CudaError {
 public:
  using CudaError::CudaError;
};

}  // namespace gradus::inline GRADUS_STABLE

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// Where toolkits, and the Python packages that carry NVIDIA's libraries, put them.
inline std::vector<std::string> toolkit_folders() {
  std::vector<std::string> folders;
  if (const auto* chosen = std::getenv("CUDA_PATH"); chosen != nullptr && *chosen != '\0') {
    folders.push_back(std::string(chosen) + "/lib64");
    folders.push_back(std::string(chosen) + "/lib");
  }
  for (const char* folder : {"/usr/local/cuda/lib64", "/opt/cuda/lib64", "/usr/lib/x86_64-linux-gnu",
                             "/usr/lib/aarch64-linux-gnu", "/usr/lib/wsl/lib"})
    folders.emplace_back(folder);
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/local", none)) {
    if (entry.path().filename().string().starts_with("cuda-")) folders.push_back(entry.path().string() + "/lib64");
  }
  return folders;
}

/// A shared object that stays open until the program ends.
class Library {
 public:
  Library() = default;

  /// The first of `names` that the loader finds, or that lies in one of the folders. When none can be opened the
  /// library is empty and reason() says why.
  static Library open(std::vector<std::string> names, const std::vector<std::string>& folders) {
    Library library;
    // A folder that the user names comes first: another driver or toolkit than the machine's, or a simulated card.
    if (const auto* chosen = std::getenv("GRADUS_CUDA_LIBRARIES"); chosen != nullptr && *chosen != '\0') {
      for (auto name = names.rbegin(); name != names.rend(); ++name) {
        auto path = std::string(chosen) + "/" + *name;
        if (::access(path.c_str(), F_OK) == 0) {
          names.insert(names.begin(), path);
          break;
        }
      }
    }
    auto take = [&](const std::string& path) {
      library.handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library.handle_ == nullptr) {
        const auto* text = ::dlerror();
        library.reason_ = text != nullptr ? text : path + " cannot be opened";
        return false;
      }
      library.path_ = path;
      library.reason_.clear();
      return true;
    };
    std::string first;
    for (const auto& name : names) {
      if (take(name)) return library;
      if (first.empty()) first = library.reason_;
    }
    for (const auto& folder : folders) {
      for (const auto& name : names) {
        auto path = folder + "/" + name;
        std::error_code none;
        if (!std::filesystem::exists(path, none)) continue;
        if (take(path)) return library;
        first = library.reason_;  // it is there, so this says more
      }
    }
    library.reason_ = first;
    return library;
  }

  explicit operator bool() const { return handle_ != nullptr; }
  /// Why it could not be opened, in the loader's words.
  const std::string& reason() const { return reason_; }
  const std::string& path() const { return path_; }

  /// Sets a function pointer; CudaError when the library has no such symbol, as an old one may not.
  template <class Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(::dlsym(handle_, name));
    require<CudaError>(function != nullptr, path_, " has no ", name, ": is it too old?");
  }

 private:
  void* handle_ = nullptr;
  std::string path_, reason_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

// Named ranges on the timeline of a profiler that speaks NVTX, as Nsight Systems: operators, and the layers that they
// belong to. The tool's library is named by NVTX_INJECTION64_PATH, which `nsys profile` sets for the program; it is
// given a table of functions and fills in its own. Without a tool a range costs a comparison.
#pragma once

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "gradus/core/config.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

class GRADUS_SHARED Nvtx {
 public:
  /// This program's; the tool is asked on first use.
  GRADUS_SHARED static const Nvtx& get() {
    static const Nvtx& one = *new Nvtx;  // a tool may look at its tables to the very end
    return one;
  }

  bool listens() const { return functions_[range_push] != nullptr && functions_[range_pop] != nullptr; }
  void push(const char* name) const { reinterpret_cast<int (*)(const char*)>(functions_[range_push])(name); }
  void pop() const { reinterpret_cast<int (*)()>(functions_[range_pop])(); }

 private:
  using Function = void (*)();
  // Of NVTX 3: nvtxDetail/nvtxTypes.h. Places in the table of the core functions, and numbers of modules and tables.
  static constexpr size_t range_push = 9, range_pop = 11, core_size = 16, core2_size = 16;
  static constexpr int core = 1, core2 = 5;
  static constexpr uint32_t callbacks = 1, version_info = 3, version = 3;
  struct Callbacks {
    size_t bytes;
    int (*table)(int module, Function*** table, unsigned* size);
  };
  struct VersionInfo {
    size_t bytes;
    uint32_t version, reserved;
    void (*set_version)(uint32_t);
  };

  Nvtx() {
    const auto* path = std::getenv("NVTX_INJECTION64_PATH");
    if (path == nullptr || *path == '\0') return;
    auto* library = ::dlopen(path, RTLD_LAZY);
    if (library == nullptr) return;
    auto begin = reinterpret_cast<int (*)(const void* (*)(uint32_t))>(::dlsym(library, "InitializeInjectionNvtx2"));
    making() = this;
    for (size_t i = 0; i < core_size; ++i) places_[i] = &functions_[i];
    for (size_t i = 0; i < core2_size; ++i) places2_[i] = &unused_[i];
    if (begin == nullptr || begin(&export_table) == 0) functions_ = {};
  }

  static Nvtx*& making() {
    static Nvtx* one = nullptr;
    return one;
  }
  /// What a tool asks for by number.
  static const void* export_table(uint32_t which) {
    static const Callbacks table{sizeof(Callbacks), &functions_of};
    static const VersionInfo info{sizeof(VersionInfo), version, 0, [](uint32_t) {}};
    if (which == callbacks) return &table;
    if (which == version_info) return &info;
    return nullptr;
  }
  /// Places of function pointers that the tool may set.
  static int functions_of(int module, Function*** table, unsigned* size) {
    if (module != core && module != core2) return 0;
    auto& one = *making();
    if (table != nullptr) *table = module == core ? one.places_.data() : one.places2_.data();
    if (size != nullptr) *size = static_cast<unsigned>(module == core ? core_size : core2_size);
    return 1;
  }

  std::array<Function, core_size> functions_{};
  std::array<Function, core2_size> unused_{};  // domains, which we do not use
  std::array<Function*, core_size + 1> places_{};
  std::array<Function*, core2_size + 1> places2_{};
};

/// A range while it lives.
class NamedRange {
 public:
  explicit NamedRange(const char* name) : on_(Nvtx::get().listens()) {
    if (on_) [[unlikely]]
      Nvtx::get().push(name);
  }
  /// Of the layer that the tensor at this path belongs to.
  explicit NamedRange(const std::string& path_of_tensor) : on_(Nvtx::get().listens()) {
    if (on_) [[unlikely]]
      Nvtx::get().push(path_of_tensor.substr(0, path_of_tensor.rfind('.')).c_str());
  }
  ~NamedRange() {
    if (on_) [[unlikely]]
      Nvtx::get().pop();
  }
  NamedRange(const NamedRange&) = delete;
  NamedRange& operator=(const NamedRange&) = delete;

 private:
  bool on_;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

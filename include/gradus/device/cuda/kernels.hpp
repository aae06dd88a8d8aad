// The kernels of a card: families of them, compiled for element types at first use, and programs of their own.
#pragma once

#include <initializer_list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "gradus/core/dtype.hpp"
#include "gradus/device/cuda/blocks.hpp"
#include "gradus/device/cuda/driver.hpp"
#include "gradus/device/cuda/functions.hpp"
#include "gradus/device/cuda/kernel_cache.hpp"
#include "gradus/device/cuda/prelude.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// The text of a family of kernels. It is compiled for element types: T, U, V stand for them, C, CU, CV for the types
/// that they are computed in.
struct KernelText {
  const char* name;
  std::string_view text;
  bool crowded = false;  ///< needs so many registers that one block on a multiprocessor will do
  int number = -1;       ///< what the text knows as `number`; negative: nothing
};

class Kernels {
 public:
  Kernels(const Driver& driver, int architecture)
      : driver_(driver), architecture_(architecture), cache_(KernelCache::default_folder()) {}

  /// The kernel `entry` of a family, for element types.
  Handle get(const KernelText& family, std::initializer_list<DType> types, const char* entry) {
    auto packed = static_cast<uint64_t>(family.number + 1);
    for (auto type : types) packed = packed << 8 | (static_cast<uint64_t>(type) + 1);
    std::lock_guard lock(mutex_);
    auto& function = functions_[{family.text.data(), packed, entry}];
    if (function == nullptr) [[unlikely]]
      function = load_locked(KernelSource{.name = family.name, .text = family_text(family, types)}, entry);
    return function;
  }
  /// A kernel out of a program of its own. Programs with equal texts are loaded once.
  Handle load(const KernelSource& source, const std::string& entry) {
    std::lock_guard lock(mutex_);
    return load_locked(source, entry);
  }
  /// The name that the kernel has in its program; `otherwise` of what is none.
  std::string name_of(Handle function, const char* otherwise) {
    std::lock_guard lock(mutex_);
    auto found = names_.find(function);
    return found != names_.end() ? found->second : otherwise;
  }

  /// T, C and so on: the lines in front of a family's text, and the text, in the namespace of the first type.
  static std::string family_text(const KernelText& family, std::initializer_list<DType> types) {
    auto text = join(gradus::detail::cuda_prelude, gradus::detail::cuda_functions, gradus::detail::cuda_blocks,
                     "namespace gradus {\n");
    const char* names[] = {"T", "U", "V"};
    const char* computed[] = {"C", "CU", "CV"};
    int i = 0;
    auto crowded = family.crowded;
    for (auto type : types) {
      crowded |= size_of(type) == 8 || type == DType::f16;
      text += join("typedef ", gradus::detail::cuda_name(type), ' ', names[i], ";\n");
      text += join("typedef decltype(widen(", names[i], "())) ", computed[i], ";\n");
      ++i;
    }
    if (family.number >= 0) text += join("enum { number = ", family.number, " };\n");
    // The compiler aims at some number of blocks on a multiprocessor. With elements of 8 bytes or f16 it would spill
    // registers to get there: then one block will do.
    text +=
        join("#define GRADUS_KERNEL extern \"C\" __global__ void __launch_bounds__(256", crowded ? ", 1" : "", ")\n");
    auto first = types.size() > 0 ? *types.begin() : DType::f32;
    return join(text, "}\nnamespace ", gradus::detail::cuda_namespace(first), " {\n", family.text, "}\n");
  }

 private:
  struct Key {
    const void* text;
    uint64_t types;
    const void* entry;
    auto operator<=>(const Key&) const = default;
  };

  const Nvrtc& nvrtc() const { return Nvrtc::get(); }
  /// The caller holds the mutex.
  Handle load_locked(const KernelSource& source, const std::string& entry) {
    auto key = KernelCache::key_of(nvrtc(), source, architecture_);
    auto& module = modules_[key];
    if (module == nullptr) {
      auto binary = cache_.get(nvrtc(), source, architecture_);
      if (auto result = driver_.module_load(&module, binary.code.data()); result != 0) {
        module = nullptr;
        driver_.check(result, "cuModuleLoadData", (source.name + too_new()).c_str());
      }
    }
    Handle function = nullptr;
    driver_.check(driver_.module_function(&function, module, entry.c_str()), "cuModuleGetFunction", entry.c_str());
    names_[function] = entry;
    return function;
  }
  /// Of a compiler whose code the driver may not know; else "".
  std::string too_new() const {
    int driver = 0, compiler = 10 * nvrtc().version_number();
    if (driver_.driver_version(&driver) != 0 || compiler / 1000 <= driver / 1000) return "";
    return join(" (compiled by CUDA ", Driver::version_text(compiler), ", but the driver is of ",
                Driver::version_text(driver), ": update the driver)");
  }

  const Driver& driver_;
  int architecture_;
  std::mutex mutex_;
  KernelCache cache_;
  std::map<Key, Handle> functions_;
  std::map<std::string, Handle> modules_;
  std::map<Handle, std::string> names_;  // of functions
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

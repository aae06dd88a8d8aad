// Compiled kernels on disk: the first program on a machine compiles, all others read.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>

#include "gradus/device/cuda/nvrtc.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// 128 bits of a text (FNV-1a, twice), as 32 hexadecimal digits.
inline std::string hash_of(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string digits;
  for (uint64_t hash : {uint64_t{14695981039346656037u}, uint64_t{0x9e3779b97f4a7c15u}}) {
    for (auto c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
    for (int shift = 60; shift >= 0; shift -= 4) digits += hex[hash >> shift & 15];
  }
  return digits;
}

/// A file a program, named by the hash of all that decides what it is: text, options, architecture, version of the
/// compiler. It is written under another name first, so that programs that start together do not read half of one, and
/// holds its own length and hash, so that a damaged one is compiled again. Where the folder cannot be written, kernels
/// live in memory alone.
class KernelCache {
 public:
  /// folder "": nothing on disk.
  explicit KernelCache(std::string folder) : folder_(std::move(folder)) {}

  /// GRADUS_KERNEL_CACHE, or else the user's cache folder; "" when neither is known or GRADUS_KERNEL_CACHE is "off".
  static std::string default_folder() {
    auto variable = [](const char* name) {
      const auto* value = std::getenv(name);
      return std::string(value == nullptr ? "" : value);
    };
    if (auto chosen = variable("GRADUS_KERNEL_CACHE"); !chosen.empty()) return chosen == "off" ? "" : chosen;
    if (auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache + "/gradus/kernels";
    auto home = variable("HOME");
    return home.empty() ? "" : home + "/.cache/gradus/kernels";
  }

  /// Whether each program's text is kept beside it, and each graph of cuDNN's, for debuggers and tests.
  static bool keeps_texts() {
    const auto* choice = std::getenv("GRADUS_KERNEL_TEXTS");
    return choice != nullptr && std::string_view(choice) == "on";
  }

  /// From memory, from disk, or compiled now.
  KernelBinary get(const Nvrtc& nvrtc, const KernelSource& source, int architecture) {
    auto key = key_of(nvrtc, source, architecture);
    std::lock_guard lock(mutex_);
    if (auto found = memory_.find(key); found != memory_.end()) return found->second;
    auto path = folder_.empty() ? "" : folder_ + "/" + key;
    KernelBinary binary;
    if (path.empty() || !read(path, binary)) {
      binary = compile(nvrtc, source, architecture);
      ++compiled_;
      if (!path.empty()) write(path, binary);
    }
    if (!path.empty() && keeps_texts()) std::ofstream(path + ".cu") << source.text;
    return memory_.emplace(key, std::move(binary)).first->second;
  }
  /// What else took long to make, as bytes under a name; "" when there is nothing, or it is damaged.
  std::string find(const std::string& name) const {
    KernelBinary kept;
    return !folder_.empty() && read(folder_ + "/" + name, kept) ? kept.code : "";
  }
  void keep(const std::string& name, const std::string& bytes) const {
    if (!folder_.empty()) write(folder_ + "/" + name, {.code = bytes, .is_cubin = false});
  }
  /// How many were compiled, not read.
  int compiled() const { return compiled_; }

  static std::string key_of(const Nvrtc& nvrtc, const KernelSource& source, int architecture) {
    auto all = join("gradus 1 nvrtc ", nvrtc.version_number(), " sm_", architecture, '\n');
    for (const auto& option : source.options) all += option + '\n';
    return join(source.name, ".sm_", architecture, '.', hash_of(all + source.text));
  }

 private:
  static constexpr std::string_view magic = "GRADUSK1";

  /// magic, hash of the rest (32), kind (1), code.
  static bool read(const std::string& path, KernelBinary& binary) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();  // a disk that fails, or a folder, is no exception
    auto bytes = text.str();
    auto head = magic.size() + 32;
    if (bytes.size() <= head || !bytes.starts_with(magic)) return false;
    std::string_view rest = std::string_view(bytes).substr(head);
    if (hash_of(rest) != std::string_view(bytes).substr(magic.size(), 32)) return false;
    binary.is_cubin = rest[0] == 'c';
    binary.code = rest.substr(1);
    return true;
  }
  void write(const std::string& path, const KernelBinary& binary) const {
    std::error_code problem;
    std::filesystem::create_directories(folder_, problem);
    auto bytes = (binary.is_cubin ? 'c' : 'p') + binary.code;
    auto temporary = join(path, '.', ::getpid(), ".tmp");
    {
      std::ofstream file(temporary, std::ios::binary);
      file << magic << hash_of(bytes) << bytes;
      file.close();
      if (!file) {  // a full disk, a folder that cannot be written
        std::filesystem::remove(temporary, problem);
        return;
      }
    }
    std::filesystem::rename(temporary, path, problem);
    if (problem) std::filesystem::remove(temporary, problem);
  }

  std::string folder_;
  std::mutex mutex_;
  std::map<std::string, KernelBinary> memory_;
  int compiled_ = 0;
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

// A file descriptor that closes itself, and reads and writes that either move every byte or throw.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "gradus/core/error.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// Throws IoError: "cannot write model.safetensors: No space left on device".
[[noreturn]] GRADUS_COLD inline void fail_io(std::string_view action, const std::string& path, int error = errno) {
  gradus::detail::fail<IoError>({"cannot ", action, " ", path, ": ", std::strerror(error)});
}

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  /// A regular file, for reading.
  static File open(const std::string& path) {
    auto file = File(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a named pipe must not hang here
    if (file.descriptor_ < 0) fail_io("open", path);
    struct stat status {};
    if (::fstat(file.descriptor_, &status) != 0) fail_io("open", path);
    require<IoError>(S_ISREG(status.st_mode), "cannot open ", path, ": it is not a regular file");
    return file;
  }

  int descriptor() const { return descriptor_; }

  int64_t size(const std::string& path) const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail_io("read", path);
    return status.st_size;
  }

  /// Exactly `bytes` bytes from `offset` on.
  void read(const std::string& path, void* to, int64_t bytes, int64_t offset) const {
    auto* target = static_cast<char*>(to);
    while (bytes > 0) {
      auto count = ::pread(descriptor_, target, static_cast<size_t>(bytes), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_io("read", path);
      require<IoError>(count > 0, "cannot read ", path, ": it became shorter while it was read");
      target += count;
      offset += count;
      bytes -= count;
    }
  }

  /// All `bytes` bytes, where the file stands.
  void write(const std::string& path, const void* data, size_t bytes) const {
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
      auto count = ::write(descriptor_, from, bytes);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_io("write", path);
      from += count;
      bytes -= static_cast<size_t>(count);
    }
  }

 private:
  int descriptor_;
};

/// The content of a regular file.
GRADUS_COLD inline std::string read_whole_file(const std::string& path) {
  auto file = File::open(path);
  std::string text(static_cast<size_t>(file.size(path)), '\0');
  file.read(path, text.data(), static_cast<int64_t>(text.size()), 0);
  return text;
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

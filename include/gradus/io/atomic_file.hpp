// Files that are there whole or not at all, also when the program or the machine stops in between.
#pragma once

#include <dirent.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <span>
#include <string>

#include "gradus/io/file.hpp"

namespace gradus::io::inline GRADUS_BUILD {

/// Collects a file under a temporary name in the same folder; commit() puts it in place in one step. Without a
/// commit (an exception, a full disk) the old file stays as it was and nothing else is left.
class AtomicFile {
 public:
  /// Throws IoError when the folder cannot be written, or `path` names something that is not a regular file.
  explicit AtomicFile(std::string path) : path_(std::move(path)), file_(create()) {}
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(const void* data, size_t bytes) { file_.write(path_, data, bytes); }
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Waits until the data is on the disk, then renames.
  void commit() {
    if (::fsync(file_.descriptor()) != 0) detail::fail_io("write", path_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) detail::fail_io("write", path_);
    committed_ = true;
    // The name is safe on disk once the folder is; where a file system cannot do that, the file is still whole.
    auto slash = path_.rfind('/');
    auto folder = slash == path_.npos ? std::string(".") : path_.substr(0, slash + 1);
    auto directory = detail::File(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.descriptor() >= 0) ::fsync(directory.descriptor());
  }

 private:
  detail::File create() {
    static std::atomic<unsigned> counter{0};
    struct stat status {};
    auto exists = ::stat(path_.c_str(), &status) == 0;
    require<IoError>(!exists || S_ISREG(status.st_mode), "cannot write ", path_, ": it is not a regular file");
    auto process = std::to_string(::getpid());
    do {  // names of a process that died may still be there
      temporary_ = path_ + ".tmp-" + process + '-' + std::to_string(counter.fetch_add(1));
      auto descriptor = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor >= 0) return detail::File(descriptor);
    } while (errno == EEXIST);
    detail::fail_io("write", path_);
  }

  std::string path_, temporary_;
  detail::File file_;
  bool committed_ = false;
};

/// Removes what an AtomicFile for `path` left behind when its process was killed. Files of living processes stay.
inline void remove_leftovers(const std::string& path) {
  auto slash = path.rfind('/');
  auto folder = slash == path.npos ? std::string("./") : path.substr(0, slash + 1);
  auto prefix = path.substr(slash == path.npos ? 0 : slash + 1) + ".tmp-";
  auto* entries = ::opendir(folder.c_str());
  if (entries == nullptr) return;
  while (const auto* entry = ::readdir(entries)) {
    std::string name = entry->d_name;
    if (!name.starts_with(prefix)) continue;
    auto process = std::strtol(name.c_str() + prefix.size(), nullptr, 10);
    if (process > 0 && ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) ::unlink((folder + name).c_str());
  }
  ::closedir(entries);
}

/// The whole content of a small file, written atomically.
inline void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace gradus::io::inline GRADUS_BUILD

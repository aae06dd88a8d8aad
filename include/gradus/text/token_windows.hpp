// Long texts as token ids in a file, and the windows of them that a language model learns from.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "gradus/io/atomic_file.hpp"
#include "gradus/tensor.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// What stands in front of the ids, all of it little-endian.
struct TokenFileHeader {
  char magic[8] = {'G', 'R', 'A', 'T', 'O', 'K', '0', '1'};
  uint64_t width = 0;  ///< bytes of an id: 2 or 4
  uint64_t vocabulary = 0;
  uint64_t count = 0;
};

/// A file as memory: pages are read when they are looked at.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    auto file = io::detail::File::open(path);
    bytes_ = static_cast<size_t>(file.size(path));
    if (bytes_ == 0) return;
    data_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (data_ == MAP_FAILED) io::detail::fail_io("map", path);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (bytes_ > 0) ::munmap(data_, bytes_);
  }
  const char* data() const { return static_cast<const char*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace gradus::text::detail::inline GRADUS_BUILD

namespace gradus::text::inline GRADUS_BUILD {

/// Writes ids below `vocabulary` as a token file, two bytes each where they fit, else four. IndexError for an id that
/// is none; then no file is written.
inline void write_tokens(const std::string& path, std::span<const int64_t> ids, int64_t vocabulary) {
  require<ValueError>(vocabulary > 0 && vocabulary <= int64_t{1} << 31, "write_tokens: a vocabulary of ", vocabulary);
  detail::TokenFileHeader header;
  header.width = vocabulary <= 65536 ? 2 : 4;
  header.vocabulary = static_cast<uint64_t>(vocabulary);
  header.count = ids.size();
  io::AtomicFile file(path);
  file.write(&header, sizeof(header));
  std::vector<char> block;
  for (size_t i = 0; i < ids.size(); ++i) {
    require<IndexError>(ids[i] >= 0 && ids[i] < vocabulary, "write_tokens: id ", ids[i], " at place ", i,
                        " is out of range for a vocabulary of ", vocabulary);
    auto id = static_cast<uint32_t>(ids[i]);
    for (uint64_t byte = 0; byte < header.width; ++byte) block.push_back(static_cast<char>(id >> 8 * byte));
    if (block.size() >= 1 << 20 || i + 1 == ids.size()) {
      file.write(block.data(), block.size());
      block.clear();
    }
  }
  file.commit();
}

/// A token file, mapped into memory: files larger than memory can be read. Copies share the mapping.
class TokenFile {
 public:
  /// IoError when the file cannot be read, FormatError when it is no whole token file.
  explicit TokenFile(const std::string& path) : path_(path), file_(std::make_shared<detail::MappedFile>(path)) {
    detail::TokenFileHeader header, wanted;
    auto whole = file_->bytes() >= sizeof(header);
    if (whole) std::memcpy(&header, file_->data(), sizeof(header));
    require<FormatError>(whole && std::memcmp(header.magic, wanted.magic, sizeof(wanted.magic)) == 0, path,
                         ": not a token file; write_tokens makes one");
    auto room = file_->bytes() - sizeof(header);
    require<FormatError>((header.width == 2 || header.width == 4) && header.vocabulary > 0 &&
                             header.vocabulary <= (header.width == 2 ? uint64_t{1} << 16 : uint64_t{1} << 31),
                         path, ": ids of ", header.width, " bytes for a vocabulary of ", header.vocabulary);
    require<FormatError>(header.count == room / header.width && room % header.width == 0, path, ": ", header.count,
                         " ids of ", header.width, " bytes are announced, but ", room, " bytes follow");
    width_ = static_cast<int64_t>(header.width);
    vocabulary_ = static_cast<int64_t>(header.vocabulary);
    count_ = static_cast<int64_t>(header.count);
  }

  int64_t size() const { return count_; }
  int64_t vocabulary() const { return vocabulary_; }

  /// Copies ids first, first + 1, ... FormatError for one that is not below the vocabulary.
  void read(int64_t first, int64_t count, int64_t* to) const {
    require<IndexError>(first >= 0 && count >= 0 && first <= count_ - count, path_, ": ids ", first, " to ",
                        first + count - 1, " of ", count_);
    auto* from =
        reinterpret_cast<const unsigned char*>(file_->data()) + sizeof(detail::TokenFileHeader) + first * width_;
    for (int64_t i = 0; i < count; ++i, from += width_) {
      uint32_t id = from[0] | static_cast<uint32_t>(from[1]) << 8;
      if (width_ == 4) id |= static_cast<uint32_t>(from[2]) << 16 | static_cast<uint32_t>(from[3]) << 24;
      require<FormatError>(id < static_cast<uint64_t>(vocabulary_), path_, ": id ", id, " at place ", first + i,
                           " is out of range for a vocabulary of ", vocabulary_);
      to[i] = id;
    }
  }

 private:
  std::string path_;
  std::shared_ptr<const detail::MappedFile> file_;
  int64_t width_ = 2, vocabulary_ = 0, count_ = 0;
};

struct TokenWindowsOptions {
  int64_t length = 256;  ///< tokens of a window
  int64_t stride = 0;    ///< from the start of one window to that of the next; 0: length, so that none overlap
  int64_t first = 0, last = std::numeric_limits<int64_t>::max();  ///< the part of the file that they are taken from
};

/// Windows of a token file as a data set: sample i is (ids (length,), those that follow each (length,)). Every token of
/// the part but the first is predicted once; what does not fill a window at the end is left out.
class TokenWindows {
 public:
  TokenWindows(TokenFile file, TokenWindowsOptions options) : file_(std::move(file)), options_(options) {
    if (options_.stride == 0) options_.stride = options_.length;
    options_.last = std::min(options_.last, file_.size());
    require<ValueError>(options_.length >= 1 && options_.stride >= 1 && options_.first >= 0,
                        "TokenWindows: windows of ", options_.length, " tokens, ", options_.stride, " apart, from ",
                        options_.first, " on");
    auto room = options_.last - options_.first - options_.length - 1;  // behind the first window and its target
    count_ = room < 0 ? 0 : room / options_.stride + 1;
  }

  int64_t size() const { return count_; }
  int64_t length() const { return options_.length; }

  std::tuple<Tensor<int64_t>, Tensor<int64_t>> get(int64_t index) const {
    auto [inputs, targets] = batch(std::span(&index, 1));
    return {select(inputs, 0, 0), select(targets, 0, 0)};
  }
  /// (n, length) each.
  std::tuple<Tensor<int64_t>, Tensor<int64_t>> batch(std::span<const int64_t> indices) const {
    Shape shape{std::ssize(indices), options_.length};
    auto inputs = Tensor<int64_t>::empty(shape), targets = Tensor<int64_t>::empty(shape);
    std::vector<int64_t> window(static_cast<size_t>(options_.length) + 1);
    for (size_t i = 0; i < indices.size(); ++i) {
      require<IndexError>(indices[i] >= 0 && indices[i] < count_, "TokenWindows: window ", indices[i], " of ", count_);
      file_.read(options_.first + indices[i] * options_.stride, std::ssize(window), window.data());
      auto at = static_cast<int64_t>(i) * options_.length;
      std::copy_n(window.data(), options_.length, inputs.mutable_data() + at);
      std::copy_n(window.data() + 1, options_.length, targets.mutable_data() + at);
    }
    return {inputs, targets};
  }

 private:
  TokenFile file_;
  TokenWindowsOptions options_;
  int64_t count_ = 0;
};

}  // namespace gradus::text::inline GRADUS_BUILD

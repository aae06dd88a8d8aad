// Reads a file byte by byte, unpacking gzip where the build has zlib.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#if defined(GRADUS_HAS_ZLIB)
#include <zlib.h>
#endif

#include "gradus/core/error.hpp"

namespace gradus::data::detail::inline GRADUS_BUILD {

class ByteSource {
 public:
  explicit ByteSource(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "rb")) {
    require<IoError>(file_ != nullptr, "cannot open ", path, ": ", std::strerror(errno));
    auto seekable = std::fseek(file_.get(), 0, SEEK_END) == 0;
    auto size = std::ftell(file_.get());
    // A folder opens, too, and says that it is as long as can be.
    require<IoError>(seekable && size >= 0 && size < INT64_MAX, "cannot open ", path, ": it is not a regular file");
    most_bytes_ = size;
    std::rewind(file_.get());
    int first = std::fgetc(file_.get()), second = std::fgetc(file_.get());
    std::rewind(file_.get());
    if (first != 0x1f || second != 0x8b) return;
#if defined(GRADUS_HAS_ZLIB)
    constexpr int64_t best_ratio = 1032;  // the most that deflate can save
    most_bytes_ *= best_ratio;
    zipped_.reset(gzopen(path.c_str(), "rb"));
    require<IoError>(zipped_ != nullptr, "cannot open ", path, ": ", std::strerror(errno));
    gzbuffer(zipped_.get(), 1 << 17);
#else
    require<IoError>(false, "cannot read ", path, ": it is packed with gzip, and this program was built without zlib; ",
                     "unpack it with gunzip, or build with zlib");
#endif
  }

  /// No more than this can be in it: what a header asks for is held against it before memory is taken.
  int64_t most_bytes() const { return most_bytes_; }

  /// Up to `bytes` bytes; fewer only at the end.
  int64_t read(void* to, int64_t bytes) {
#if defined(GRADUS_HAS_ZLIB)
    if (zipped_ != nullptr) return read_zipped(static_cast<char*>(to), bytes);
#endif
    auto count = std::fread(to, 1, static_cast<size_t>(bytes), file_.get());
    require<IoError>(std::ferror(file_.get()) == 0, "cannot read ", path_, ": ", std::strerror(errno));
    return static_cast<int64_t>(count);
  }

 private:
#if defined(GRADUS_HAS_ZLIB)
  int64_t read_zipped(char* to, int64_t bytes) {
    int64_t done = 0;
    while (done < bytes) {
      auto wanted = static_cast<unsigned>(std::min<int64_t>(bytes - done, 1 << 30));
      auto count = gzread(zipped_.get(), to + done, wanted);
      int code = 0;
      const auto* text = gzerror(zipped_.get(), &code);
      require<FormatError>(count >= 0 && (code == Z_OK || code == Z_STREAM_END), path_, ": broken gzip data: ", text);
      if (count == 0) break;
      done += count;
    }
    return done;
  }
  struct Close {
    void operator()(gzFile file) const { gzclose(file); }
  };
  std::unique_ptr<gzFile_s, Close> zipped_;
#endif

  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, CloseFile> file_;
  int64_t most_bytes_ = 0;
};

}  // namespace gradus::data::detail::inline GRADUS_BUILD

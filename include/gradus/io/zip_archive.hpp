// Zip archives as weights come in: members are found and read where they lie, and nothing is trusted.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#ifdef GRADUS_HAS_ZLIB
#include <zlib.h>
#endif

#include "gradus/io/file.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// Whole numbers of a format, little-endian.
inline uint64_t little_endian(const char* from, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(from[i])) << 8 * i;
  return value;
}

/// One file of an archive.
struct ZipMember {
  int64_t offset = 0, packed = 0, size = 0;  ///< of the packed bytes in the archive; bytes packed and unpacked
  bool deflated = false;
};

class ZipArchive {
 public:
  /// FormatError when the directory is not what it should be: broken, overlapping, encrypted, of unknown methods.
  GRADUS_COLD explicit ZipArchive(const std::string& path) : path_(path), file_(File::open(path)) {
    auto size = file_.size(path);
    auto tail_size = std::min<int64_t>(size, 65557);  // the end record, and the longest comment
    std::string tail(static_cast<size_t>(tail_size), '\0');
    file_.read(path, tail.data(), tail_size, size - tail_size);
    auto at = tail.rfind("PK\5\6");
    check(at != tail.npos && at + 22 <= tail.size(), "no zip archive: it has no directory");
    auto count = static_cast<int64_t>(little_endian(tail.data() + at + 10, 2));
    auto bytes = static_cast<int64_t>(little_endian(tail.data() + at + 12, 4));
    auto begin = static_cast<int64_t>(little_endian(tail.data() + at + 16, 4));
    auto end = size - tail_size + static_cast<int64_t>(at);
    if (at >= 20 && tail.compare(at - 20, 4, "PK\6\7") == 0) {  // zip64: the numbers stand in a record before
      auto record = static_cast<int64_t>(little_endian(tail.data() + at - 12, 8));
      check(record >= 0 && record <= end - 20 - 56, "the zip64 record lies outside");
      char numbers[56];
      file_.read(path, numbers, 56, record);
      check(std::string_view(numbers, 4) == "PK\6\6", "the zip64 record is none");
      count = static_cast<int64_t>(little_endian(numbers + 32, 8));
      bytes = static_cast<int64_t>(little_endian(numbers + 40, 8));
      begin = static_cast<int64_t>(little_endian(numbers + 48, 8));
      end = record;
    }
    check(begin >= 0 && bytes >= 0 && begin <= end && bytes <= end - begin, "the directory lies outside");
    check(bytes <= int64_t{1} << 28 && count >= 0 && count <= bytes / 46, "the directory says it holds ", count,
          " members in ", bytes, " bytes");
    std::string directory(static_cast<size_t>(bytes), '\0');
    file_.read(path, directory.data(), bytes, begin);
    size_t place = 0;
    for (int64_t i = 0; i < count; ++i) place = read_entry(directory, place, begin);
    check_overlaps();
  }

  const std::string& path() const { return path_; }
  const std::map<std::string, ZipMember>& members() const { return members_; }
  const ZipMember* find(const std::string& name) const {
    auto found = members_.find(name);
    return found == members_.end() ? nullptr : &found->second;
  }

  /// Bytes [first, first + count) of a member that is not packed.
  void read(const ZipMember& member, void* to, int64_t count, int64_t first) const {
    check(!member.deflated && first >= 0 && count >= 0 && first <= member.size - count, "a read outside of a member");
    file_.read(path_, to, count, member.offset + first);
  }

  /// A whole member, unpacked. FormatError when it is larger than `most` or does not unpack to its size.
  GRADUS_COLD std::string read_all(const ZipMember& member, int64_t most) const {
    check(member.size <= most, "a member of ", member.size, " bytes where at most ", most, " are read");
    // Deflate makes at most 1,032 bytes of one.
    check(!member.deflated || member.size / 1100 <= member.packed, "a member that would unpack to ", member.size,
          " bytes from ", member.packed);
    std::string bytes(static_cast<size_t>(member.size), '\0');
    if (!member.deflated) {
      read(member, bytes.data(), member.size, 0);
      return bytes;
    }
#ifdef GRADUS_HAS_ZLIB
    std::string packed(static_cast<size_t>(member.packed), '\0');
    file_.read(path_, packed.data(), member.packed, member.offset);
    z_stream stream{};
    require<IoError>(inflateInit2(&stream, -15) == Z_OK, path_, ": zlib does not start");
    stream.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream.avail_out = static_cast<uInt>(bytes.size());
    auto status = ::inflate(&stream, Z_FINISH);
    auto whole = status == Z_STREAM_END && stream.avail_out == 0;
    ::inflateEnd(&stream);
    check(whole, "a member does not unpack to its ", member.size, " bytes");
    return bytes;
#else
    gradus::detail::fail<IoError>({path_, ": it is packed, and this program was built without zlib"});
#endif
  }

 private:
  template <class... Parts>
  void check(bool holds, const Parts&... parts) const {
    require<FormatError>(holds, path_, ": ", parts...);
  }

  size_t read_entry(const std::string& directory, size_t at, int64_t directory_begin) {
    check(at + 46 <= directory.size() && directory.compare(at, 4, "PK\1\2") == 0, "a broken entry in the directory");
    const auto* entry = directory.data() + at;
    auto flags = little_endian(entry + 8, 2), method = little_endian(entry + 10, 2);
    ZipMember member;
    auto packed = little_endian(entry + 20, 4), size = little_endian(entry + 24, 4),
         offset = little_endian(entry + 42, 4);
    auto name_size = little_endian(entry + 28, 2), extra_size = little_endian(entry + 30, 2),
         comment_size = little_endian(entry + 32, 2);
    auto end = at + 46 + name_size + extra_size + comment_size;
    check(end <= directory.size(), "a broken entry in the directory");
    std::string name(entry + 46, name_size);
    for (size_t k = 0; k + 4 <= extra_size;) {  // zip64 holds those numbers that do not fit
      const auto* field = entry + 46 + name_size + k;
      auto kind = little_endian(field, 2), length = little_endian(field + 2, 2);
      if (k + 4 + length > extra_size) break;
      size_t used = 0;
      auto wide = [&](uint64_t& value) {
        if (value != 0xffffffff || used + 8 > length) return;
        value = little_endian(field + 4 + used, 8);
        used += 8;
      };
      if (kind == 1) wide(size), wide(packed), wide(offset);
      k += 4 + length;
    }
    check((flags & 1) == 0, "member '", name, "' is encrypted");
    check(method == 0 || method == 8, "member '", name, "' is packed by method ", method,
          "; stored and deflated ones are read");
    auto most = static_cast<uint64_t>(directory_begin);
    check(offset <= most && packed <= most && size <= uint64_t{1} << 50, "member '", name, "' lies outside");
    check(method == 8 || packed == size, "member '", name, "' is not packed, but ", packed, " bytes stand for ", size);
    char local[30];
    check(offset + 30 <= most, "member '", name, "' lies outside");
    file_.read(path_, local, 30, static_cast<int64_t>(offset));
    check(std::string_view(local, 4) == "PK\3\4", "member '", name, "' does not begin where the directory says");
    auto data = offset + 30 + little_endian(local + 26, 2) + little_endian(local + 28, 2);
    check(data <= most && packed <= most - data, "member '", name, "' lies outside");
    member.offset = static_cast<int64_t>(data);
    member.packed = static_cast<int64_t>(packed);
    member.size = static_cast<int64_t>(size);
    member.deflated = method == 8;
    check(members_.emplace(name, member).second, "member '", name, "' is there twice");
    return end;
  }

  void check_overlaps() const {
    std::vector<std::pair<int64_t, int64_t>> ranges;
    for (const auto& [name, member] : members_) ranges.emplace_back(member.offset, member.offset + member.packed);
    std::sort(ranges.begin(), ranges.end());
    for (size_t i = 1; i < ranges.size(); ++i) check(ranges[i - 1].second <= ranges[i].first, "members overlap");
  }

  std::string path_;
  File file_;
  std::map<std::string, ZipMember> members_;
};

}  // namespace gradus::io::detail::inline GRADUS_BUILD

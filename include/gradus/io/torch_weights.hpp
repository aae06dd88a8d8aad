// The tensors of PyTorch's .pt, .pth and .bin files, in both of their forms.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "gradus/io/pickle.hpp"
#include "gradus/io/weight_entry.hpp"
#include "gradus/io/zip_archive.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// The numbers that tensors of a PyTorch file are views of.
struct TorchStorage {
  int64_t bytes = 0;
  std::function<void(void*, int64_t, int64_t)> read;  ///< (to, first byte, count)
};

/// The tensors of an object that PyTorch saved, with names joined by dots.
class TorchTensors {
 public:
  /// find(key) gives a storage, one without `read` when there is none.
  GRADUS_COLD TorchTensors(const PickleNode& object, const std::string& path,
                           std::function<TorchStorage(const std::string&)> find, std::map<std::string, WeightEntry>& to)
      : path_(path), find_(std::move(find)), to_(to) {
    add("", object, 0);
  }

 private:
  void add(const std::string& name, const PickleNode& node, int depth) {
    using Kind = PickleNode::Kind;
    require<FormatError>(depth < 32, path_, ": objects within objects, more than 32 deep");
    require<FormatError>(++visited_ < 4'000'000, path_, ": more than 4,000,000 objects");
    auto inner = [&](std::string_view key) { return name.empty() ? std::string(key) : join(name, '.', key); };
    if (node.kind == Kind::dict) {
      for (size_t i = 0; i + 1 < node.items.size(); i += 2) {
        const auto& key = *node.items[i];
        if (key.kind == Kind::string) add(inner(key.text), *node.items[i + 1], depth + 1);
        else if (key.kind == Kind::integer) add(inner(std::to_string(key.integer)), *node.items[i + 1], depth + 1);
      }
    } else if (node.kind == Kind::list || node.kind == Kind::tuple) {
      for (size_t i = 0; i < node.items.size(); ++i) add(inner(std::to_string(i)), *node.items[i], depth + 1);
    } else if (node.kind == Kind::tensor) {
      add_tensor(name, node);
    }
  }

  void add_tensor(const std::string& name, const PickleNode& node) {
    static constexpr std::pair<std::string_view, std::string_view> storages[] = {
        {"torch FloatStorage", "F32"},     {"torch DoubleStorage", "F64"}, {"torch HalfStorage", "F16"},
        {"torch BFloat16Storage", "BF16"}, {"torch LongStorage", "I64"},   {"torch IntStorage", "I32"},
        {"torch ShortStorage", "I16"},     {"torch CharStorage", "I8"},    {"torch ByteStorage", "U8"},
        {"torch BoolStorage", "BOOL"}};
    const auto& key = *node.items[0];
    WeightEntry entry;
    for (const auto& [stored, type] : storages) {
      if (key.items[0]->text == stored) entry.type = type_named(type);
    }
    auto check = [&](bool holds, const auto&... parts) {
      require<FormatError>(holds, path_, ": tensor '", name, "': ", parts...);
    };
    check(entry.type != nullptr, "a storage of ", key.items[0]->text);
    auto storage = find_(key.text);
    check(static_cast<bool>(storage.read), "its storage '", key.text, "' is not in the file");
    check(
        key.integer >= 0 && storage.bytes / entry.type->bytes == key.integer && storage.bytes % entry.type->bytes == 0,
        "its storage '", key.text, "' has ", storage.bytes, " bytes for ", key.integer, " elements of ",
        entry.type->name);
    check(node.sizes.size() <= static_cast<size_t>(Shape::max_rank), "it has ", node.sizes.size(), " axes");
    int64_t count = 1, last = node.integer;
    auto fits = node.integer >= 0;
    for (size_t i = 0; i < node.sizes.size() && fits; ++i) {
      fits = node.sizes[i] >= 0 && node.strides[i] >= 0 && !__builtin_mul_overflow(count, node.sizes[i], &count);
      int64_t reach = 0;
      fits = fits && (node.sizes[i] == 0 || (!__builtin_mul_overflow(node.sizes[i] - 1, node.strides[i], &reach) &&
                                             !__builtin_add_overflow(last, reach, &last)));
      entry.shape.push_back(node.sizes[i]);
    }
    check(fits && (count == 0 || last < key.integer) && count <= key.integer, "its sizes and strides reach beyond the ",
          key.integer, " elements of its storage");
    entry.read = [storage, type = entry.type, shape = entry.shape, strides = node.strides, offset = node.integer](
                     DType dtype) { return read_strided(*type, shape, strides, offset, storage.read, dtype); };
    require<FormatError>(to_.emplace(name, std::move(entry)).second, path_, ": tensor '", name, "' is there twice");
  }

  std::string path_;
  std::function<TorchStorage(const std::string&)> find_;
  std::map<std::string, WeightEntry>& to_;
  int64_t visited_ = 0;
};

/// PyTorch's zip form.
GRADUS_COLD inline void read_torch_zip(const std::shared_ptr<const ZipArchive>& archive,
                                       std::map<std::string, WeightEntry>& to) {
  std::string prefix, pickle;
  for (const auto& [name, member] : archive->members()) {
    if (!name.ends_with("/data.pkl")) continue;
    prefix = name.substr(0, name.size() - 8);
    pickle = archive->read_all(member, int64_t{1} << 28);
    break;
  }
  require<FormatError>(!prefix.empty(), archive->path(), ": a zip archive, but neither of PyTorch nor of NumPy");
  if (const auto* order = archive->find(prefix + "byteorder"))
    require<FormatError>(archive->read_all(*order, 64) == "little", archive->path(),
                         ": written by a big-endian machine");
  Pickle object(pickle, archive->path());
  auto find = [&](const std::string& key) -> TorchStorage {
    const auto* member = archive->find(join(prefix, "data/", key));
    if (member == nullptr || member->deflated) return {};
    return {member->size, [archive, member = *member](void* bytes, int64_t first, int64_t count) {
              archive->read(member, bytes, count, first);
            }};
  };
  TorchTensors(object.value(), archive->path(), find, to);
}

/// PyTorch's form from before version 1.6: pickles of a magic number, a version, the writer's machine, the object and
/// the keys of its storages, then the storages, each behind its number of elements.
inline constexpr std::string_view old_torch_magic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);

GRADUS_COLD inline void read_old_torch(const std::string& path, std::map<std::string, WeightEntry>& to) {
  auto file = std::make_shared<const File>(File::open(path));
  auto size = file->size(path);
  std::string head(static_cast<size_t>(std::min<int64_t>(size, 1 << 26)), '\0');
  file->read(path, head.data(), std::ssize(head), 0);
  auto at = old_torch_magic.size();
  auto next = [&] {
    auto pickle = std::make_unique<Pickle>(std::string_view(head).substr(at), path);
    at += pickle->size();
    return pickle;
  };
  auto version = next(), machine = next(), object = next(), keys = next();
  require<FormatError>(version->value().integer == 1001, path, ": version ", version->value().integer,
                       " of PyTorch's old form; 1001 is read");
  require<FormatError>(keys->value().kind == PickleNode::Kind::list, path, ": the keys of its storages are no list");
  for (size_t i = 0; i + 1 < machine->value().items.size(); i += 2) {
    const auto &key = *machine->value().items[i], &value = *machine->value().items[i + 1];
    require<FormatError>(key.text != "little_endian" || value.integer == 1, path, ": written by a big-endian machine");
  }
  // The sizes of elements stand with the tensors.
  std::map<std::string, int64_t> element_bytes;
  object->each_storage([&](const PickleNode& storage) {
    auto type = storage.items[0]->text;
    auto wide =
        type.find("Double") != type.npos || type.find("Long") != type.npos                                        ? 8
        : type.find("Half") != type.npos || type.find("BFloat16") != type.npos || type.find("Short") != type.npos ? 2
        : type.find("Float") != type.npos || type.find("Int") != type.npos                                        ? 4
                                                                                                                  : 1;
    element_bytes[storage.text] = wide;
  });
  std::map<std::string, TorchStorage> storages;
  auto place = static_cast<int64_t>(at);
  for (const auto* key : keys->value().items) {
    auto known = element_bytes.find(key->text);
    require<FormatError>(known != element_bytes.end() && place <= size - 8, path, ": storage '", key->text,
                         "' is not in the file, or belongs to nothing");
    char number[8];
    file->read(path, number, 8, place);
    auto count = little_endian(number, 8);
    place += 8;
    require<FormatError>(count <= static_cast<uint64_t>((size - place) / known->second), path, ": storage '", key->text,
                         "' of ", count, " elements reaches beyond the file");
    auto bytes = static_cast<int64_t>(count) * known->second;
    storages[key->text] = {bytes, [file, path, place](void* target, int64_t first, int64_t wanted) {
                             file->read(path, target, wanted, place + first);
                           }};
    place += bytes;
  }
  auto find = [&](const std::string& key) {
    auto found = storages.find(key);
    return found == storages.end() ? TorchStorage() : found->second;
  };
  TorchTensors(object->value(), path, find, to);
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

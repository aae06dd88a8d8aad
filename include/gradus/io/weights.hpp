// Weights in the forms that people have them, as one table of named tensors, and what to do when names differ.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "gradus/io/model.hpp"
#include "gradus/io/pickle.hpp"
#include "gradus/io/zip_archive.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// A tensor in a file.
struct WeightEntry {
  const SafeTensorsType* type = nullptr;
  Shape shape;
  std::function<gradus::detail::TensorRef(DType)> read;  ///< converted; dense
};

/// "h.*.attn.bias" against a name; `star` gets what the one star stands for.
inline bool matches(std::string_view pattern, std::string_view name, std::string_view& star) {
  auto at = pattern.find('*');
  if (at == pattern.npos) return pattern == name;
  auto head = pattern.substr(0, at), tail = pattern.substr(at + 1);
  if (name.size() < head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) return false;
  star = name.substr(head.size(), name.size() - head.size() - tail.size());
  return true;
}

/// Elements stored by bytes(to, first byte, count), `strides` apart in elements, as a dense tensor.
GRADUS_COLD inline gradus::detail::TensorRef read_strided(const SafeTensorsType& type, const Shape& shape,
                                                          const std::vector<int64_t>& strides, int64_t offset,
                                                          const std::function<void(void*, int64_t, int64_t)>& bytes,
                                                          DType dtype) {
  auto result = gradus::detail::allocate_impl(dtype, shape, Device::cpu());
  auto count = shape.numel();
  if (count == 0) return result;
  int64_t span = 1;
  for (int i = 0; i < shape.rank(); ++i) span += (shape[i] - 1) * strides[static_cast<size_t>(i)];
  std::string raw(static_cast<size_t>(span * type.bytes), '\0');
  bytes(raw.data(), offset * type.bytes, span * type.bytes);
  std::string dense;
  auto contiguous = contiguous_strides(shape);
  if (!std::equal(strides.begin(), strides.end(), contiguous.begin()) || span != count) {
    dense.resize(static_cast<size_t>(count * type.bytes));
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i, from = 0;
      for (int axis = shape.rank(); axis-- > 0; rest /= shape[axis])
        from += rest % shape[axis] * strides[static_cast<size_t>(axis)];
      std::memcpy(dense.data() + i * type.bytes, raw.data() + from * type.bytes, static_cast<size_t>(type.bytes));
    }
    raw = std::move(dense);
  }
  if (&type == &safetensors_type(dtype)) std::memcpy(result->data(), raw.data(), raw.size());
  else convert_elements(type, raw.data(), dtype, result->data(), count);
  return result;
}

inline const SafeTensorsType* type_named(std::string_view name) {
  for (const auto& type : safetensors_types) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

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

/// The header of a .npy file: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
struct NpyHeader {
  const SafeTensorsType* type = nullptr;
  Shape shape;
  bool fortran = false;
  int64_t data = 0;  ///< where the elements begin
};

GRADUS_COLD inline NpyHeader parse_npy_header(std::string_view bytes, const std::string& source) {
  auto check = [&](bool holds, std::string_view text) { require<FormatError>(holds, source, ": ", text); };
  check(bytes.size() >= 12 && bytes.substr(0, 6) == "\x93NUMPY", "not NumPy's format");
  auto wide = bytes[6] >= 2;
  auto length = little_endian(bytes.data() + 8, wide ? 4 : 2), begin = uint64_t{wide ? 12u : 10u};
  check(length <= bytes.size() - begin, "the header of an array does not end");
  auto text = bytes.substr(begin, length);
  auto value_of = [&](std::string_view key) {
    auto at = text.find(join('\'', key, "':"));
    check(at != text.npos, join("the header of an array has no ", key));
    auto rest = text.substr(at + key.size() + 3);
    return rest.substr(std::min(rest.size(), rest.find_first_not_of(' ')));
  };
  NpyHeader header;
  header.data = static_cast<int64_t>(begin + length);
  auto descr = value_of("descr");
  static constexpr std::pair<std::string_view, std::string_view> types[] = {
      {"'<f4'", "F32"}, {"'<f8'", "F64"}, {"'<f2'", "F16"}, {"'<i8'", "I64"}, {"'<i4'", "I32"}, {"'<i2'", "I16"},
      {"'|i1'", "I8"},  {"'|u1'", "U8"},  {"'<u2'", "U16"}, {"'<u4'", "U32"}, {"'<u8'", "U64"}, {"'|b1'", "BOOL"}};
  for (const auto& [name, type] : types) {
    if (descr.starts_with(name)) header.type = type_named(type);
  }
  if (header.type == nullptr)
    check(false, join("an array of ", descr.substr(0, std::min<size_t>(descr.find(','), 20)),
                      "; numbers in little-endian order are read"));
  header.fortran = value_of("fortran_order").starts_with("True");
  auto shape = value_of("shape");
  check(shape.starts_with("("), "the shape of an array is no tuple");
  int64_t count = 1;
  for (size_t at = 1; at < shape.size() && shape[at] != ')';) {
    if (shape[at] == ' ' || shape[at] == ',') {
      ++at;
      continue;
    }
    int64_t size = 0;
    auto [next, problem] = std::from_chars(shape.data() + at, shape.data() + shape.size(), size);
    check(problem == std::errc() && size >= 0 && header.shape.rank() < Shape::max_rank &&
              !__builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count),
          "the shape of an array is broken");
    header.shape.push_back(size);
    at = static_cast<size_t>(next - shape.data());
  }
  return header;
}

/// An array whose bytes are `whole`, or come from bytes(to, first, count).
GRADUS_COLD inline WeightEntry npy_entry(const NpyHeader& header, int64_t size, const std::string& source,
                                         std::function<void(void*, int64_t, int64_t)> bytes) {
  int64_t needed = 0;
  require<FormatError>(
      !__builtin_mul_overflow(header.shape.numel(), static_cast<int64_t>(header.type->bytes), &needed) &&
          needed == size - header.data,
      source, ": an array of shape ", header.shape, " and type ", header.type->name, " has ", size - header.data,
      " bytes");
  std::vector<int64_t> strides;
  auto rows = contiguous_strides(header.shape);
  int64_t step = 1;
  for (int i = 0; i < header.shape.rank(); ++i) {
    strides.push_back(header.fortran ? step : rows[i]);
    step *= header.shape[i];
  }
  return {header.type, header.shape, [header, strides, bytes = std::move(bytes)](DType dtype) {
            return read_strided(
                *header.type, header.shape, strides, 0,
                [&](void* to, int64_t first, int64_t count) { bytes(to, header.data + first, count); }, dtype);
          }};
}

}  // namespace gradus::io::detail::inline GRADUS_BUILD

namespace gradus::io::inline GRADUS_BUILD {

/// Named tensors of one or more files, read when they are asked for:
///
///     io::Weights weights("gpt2");                     // a folder of Hugging Face, or a file
///     weights.drop("h.*.attn.bias").transpose("h.*.mlp.c_fc.weight");
///     io::load(weights, model);
///
/// Files: safetensors; `.index.json` with its shards; PyTorch's .pt, .pth and .bin (the zip form, since 1.6), whose
/// nested dicts give names joined by dots; NumPy's .npy and .npz. Nothing of them is executed. Patterns hold at most
/// one star, which stands for any text.
class Weights {
 public:
  Weights() = default;
  /// A file, or a folder with model.safetensors, pytorch_model.bin or the index of one. IoError when it cannot be read,
  /// FormatError when it is none of the above or broken.
  GRADUS_COLD explicit Weights(const std::string& path) : path_(path) { open(path); }

  const std::string& path() const { return path_; }
  /// Sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) result.push_back(name);
    return result;
  }
  bool contains(const std::string& name) const { return entries_.contains(name); }
  const Shape& shape(const std::string& name) const { return entry(name).shape; }
  /// "F32", "BF16", "I64" ...
  std::string_view dtype(const std::string& name) const { return entry(name).type->name; }
  /// The tensor converted to T, as SafeTensors::get_as.
  template <Element T>
  Tensor<T> get_as(const std::string& name) const {
    return Tensor<T>(read_as(name, dtype_of<T>));
  }
  /// Internal.
  GRADUS_COLD gradus::detail::TensorRef read_as(const std::string& name, DType dtype) const {
    require<TypeError>(detail::converts(*entry(name).type, detail::safetensors_type(dtype)), path_, ": tensor '", name,
                       "' has elements of type ", entry(name).type->name, ", which do not convert to ", dtype);
    return entry(name).read(dtype);
  }
  /// Internal: whether read_as() would.
  bool converts(const std::string& name, DType dtype) const {
    return detail::converts(*entry(name).type, detail::safetensors_type(dtype));
  }

  /// Names that match `from` become `to`, where a star stands for the same text: rename("transformer.*", "*").
  GRADUS_COLD Weights& rename(const std::string& from, const std::string& to) {
    std::map<std::string, detail::WeightEntry> renamed;
    for (auto& [name, entry] : entries_) {
      std::string_view star;
      auto next = name;
      if (detail::matches(from, name, star)) {
        next = to;
        if (auto at = to.find('*'); at != to.npos) next.replace(at, 1, star);
      }
      require<ValueError>(renamed.emplace(next, std::move(entry)).second, path_, ": two tensors would be called '",
                          next, "'");
    }
    entries_ = std::move(renamed);
    return *this;
  }
  /// Forgets names that match.
  GRADUS_COLD Weights& drop(const std::string& pattern) {
    std::string_view star;
    std::erase_if(entries_, [&](const auto& one) { return detail::matches(pattern, one.first, star); });
    return *this;
  }
  /// Matrices whose names match are read transposed, as GPT-2's (in, out) for layers of (out, in).
  GRADUS_COLD Weights& transpose(const std::string& pattern) {
    std::string_view star;
    for (auto& [name, entry] : entries_) {
      if (!detail::matches(pattern, name, star)) continue;
      require<ShapeError>(entry.shape.rank() == 2, path_, ": tensor '", name, "' is ", entry.shape,
                          ", but only matrices are transposed");
      std::swap(entry.shape[0], entry.shape[1]);
      entry.read = [read = std::move(entry.read), shape = entry.shape](DType dtype) {
        auto stored = read(dtype);
        auto turned = gradus::detail::make_impl(dtype, stored->storage, 0, shape, Strides{1, shape[0]});
        auto dense = gradus::detail::allocate_impl(dtype, shape, Device::cpu());
        gradus::detail::copy_elements(*dense, *turned);
        return dense;
      };
    }
    return *this;
  }
  /// A tensor becomes equal parts along its first axis: split("*.qkv.weight", {"*.q.weight", "*.k.weight",
  /// "*.v.weight"}).
  GRADUS_COLD Weights& split(const std::string& pattern, const std::vector<std::string>& parts) {
    std::map<std::string, detail::WeightEntry> all;
    for (auto& [name, entry] : entries_) {
      std::string_view star;
      if (!detail::matches(pattern, name, star)) {
        all.emplace(name, std::move(entry));
        continue;
      }
      auto count = std::ssize(parts);
      require<ShapeError>(count > 0 && entry.shape.rank() >= 1 && entry.shape[0] % count == 0, path_, ": tensor '",
                          name, "' is ", entry.shape, ", which has no ", count, " equal parts");
      auto shape = entry.shape;
      shape[0] /= count;
      for (int64_t i = 0; i < count; ++i) {
        auto part = parts[static_cast<size_t>(i)];
        if (auto at = part.find('*'); at != part.npos) part.replace(at, 1, star);
        auto read = [whole = entry.read, shape, i](DType dtype) {
          auto stored = whole(dtype);
          return gradus::detail::make_impl(dtype, stored->storage, i * shape.numel(), shape, contiguous_strides(shape));
        };
        require<ValueError>(all.emplace(part, detail::WeightEntry{entry.type, shape, read}).second, path_,
                            ": two tensors would be called '", part, "'");
      }
    }
    entries_ = std::move(all);
    return *this;
  }

 private:
  const detail::WeightEntry& entry(const std::string& name) const {
    auto found = entries_.find(name);
    require<IndexError>(found != entries_.end(), path_, " has no tensor '", name, "'");
    return found->second;
  }

  void open(const std::string& path) {
    std::error_code problem;
    if (std::filesystem::is_directory(path, problem)) {
      for (const char* name :
           {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
        auto file = path + '/' + name;
        if (std::filesystem::exists(file, problem)) return open(file);
      }
      gradus::detail::fail<IoError>({path, ": holds no model.safetensors, pytorch_model.bin or index of one"});
    }
    if (path.ends_with(".index.json")) return open_index(path);
    auto file = detail::File::open(path);
    char magic[16] = {};
    auto size = file.size(path);
    file.read(path, magic, std::min<int64_t>(size, 16), 0);
    std::string_view begins(magic, 16);
    if (begins.starts_with("PK")) return open_zip(path);
    if (begins.starts_with("\x93NUMPY")) return open_npy(path, size);
    if (begins.starts_with(detail::old_torch_magic)) return detail::read_old_torch(path, entries_);
    require<FormatError>(!(begins[0] == '\x80' && static_cast<unsigned char>(begins[1]) <= 5), path,
                         ": a pickle, but not one that PyTorch's save() writes");
    open_safetensors(path);
  }

  void add(const std::string& name, detail::WeightEntry entry) {
    require<FormatError>(entries_.emplace(name, std::move(entry)).second, path_, ": tensor '", name,
                         "' is there twice");
  }

  void open_safetensors(const std::string& path) {
    auto file = std::make_shared<SafeTensors>(SafeTensors::read(path));
    for (const auto& name : file->names()) {
      const auto& info = file->info(name);
      add(name, {info.dtype, info.shape, [file, name](DType dtype) { return file->read_as(name, dtype); }});
    }
  }

  void open_index(const std::string& path) {
    std::vector<std::string> shards;
    try {
      auto index = parse_json(detail::read_whole_file(path));
      for (const auto& value : index.at("weight_map").values()) shards.push_back(value.as_string());
    } catch (FormatError& error) {
      error.add_context(path);
      throw;
    }
    std::sort(shards.begin(), shards.end());
    shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
    auto folder = path.substr(0, path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1);
    for (const auto& shard : shards) {
      require<FormatError>(!shard.empty() && shard.find('/') == shard.npos && !shard.ends_with(".index.json"), path,
                           ": shard '", shard, "' does not lie beside the index");
      open(folder + shard);
    }
  }

  void open_zip(const std::string& path) {
    auto archive = std::make_shared<const detail::ZipArchive>(path);
    auto arrays = true;  // an archive of nothing, too
    for (const auto& [name, member] : archive->members()) arrays = arrays && name.ends_with(".npy");
    if (!arrays) return detail::read_torch_zip(archive, entries_);
    for (const auto& [name, member] : archive->members()) {
      auto source = join(path, ", ", name);
      auto whole =
          std::make_shared<const std::string>(member.deflated ? archive->read_all(member, int64_t{1} << 34) : "");
      auto bytes = [archive, stored = member, whole](void* to, int64_t first, int64_t count) {
        if (!stored.deflated) return archive->read(stored, to, count, first);
        std::memcpy(to, whole->data() + first, static_cast<size_t>(count));
      };
      std::string head(static_cast<size_t>(std::min<int64_t>(member.size, 65550)), '\0');
      bytes(head.data(), 0, std::ssize(head));
      add(name.substr(0, name.size() - 4),
          detail::npy_entry(detail::parse_npy_header(head, source), member.size, source, bytes));
    }
  }

  void open_npy(const std::string& path, int64_t size) {
    auto file = std::make_shared<detail::File>(detail::File::open(path));
    std::string head(static_cast<size_t>(std::min<int64_t>(size, 65550)), '\0');
    file->read(path, head.data(), std::ssize(head), 0);
    add("array", detail::npy_entry(
                     detail::parse_npy_header(head, path), size, path,
                     [file, path](void* to, int64_t first, int64_t count) { file->read(path, to, count, first); }));
  }

  std::string path_;
  std::map<std::string, detail::WeightEntry> entries_;
};

/// Fills the model's parameters and buffers, by name, as load() of a safetensors file.
template <class Model>
LoadReport load(const Weights& weights, Model& model, LoadOptions options = {}) {
  return detail::load_tensors(weights, gradus::detail::type_name<Model>(), gradus::detail::model_tensors(model),
                              options);
}

}  // namespace gradus::io::inline GRADUS_BUILD

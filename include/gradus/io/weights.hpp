// Weights in the forms that people have them, as one table of named tensors, and what to do when names differ.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "gradus/io/model.hpp"
#include "gradus/io/npy.hpp"
#include "gradus/io/torch_weights.hpp"

namespace gradus::io::detail::inline GRADUS_BUILD {

/// "h.*.attn.bias" against a name; `star` gets what the one star stands for.
inline bool matches(std::string_view pattern, std::string_view name, std::string_view& star) {
  auto at = pattern.find('*');
  if (at == pattern.npos) return pattern == name;
  auto head = pattern.substr(0, at), tail = pattern.substr(at + 1);
  if (name.size() < head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) return false;
  star = name.substr(head.size(), name.size() - head.size() - tail.size());
  return true;
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

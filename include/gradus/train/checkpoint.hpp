// A whole training run in one file, from which it goes on with the same bits as if it had never stopped.
#pragma once

#include <bit>
#include <cstring>

#include "gradus/io/safetensors.hpp"
#include "gradus/train/state.hpp"

namespace gradus::training::detail::inline GRADUS_BUILD {

/// Mixes 64 bits at a time; notices damage, not malice.
inline uint64_t hash_bytes(uint64_t hash, const void* data, size_t bytes) {
  const auto* from = static_cast<const unsigned char*>(data);
  auto mix = [&](uint64_t word) { hash = std::rotl((hash ^ word) * 0x9E3779B97F4A7C15u, 29); };
  for (; bytes >= 8; from += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, from, 8);
    mix(word);
  }
  uint64_t rest = bytes;
  for (size_t i = 0; i < bytes; ++i) rest = rest << 8 | from[i];
  mix(rest);
  return hash;
}

/// Of names and contents, in any order.
GRADUS_COLD inline std::string hash_of(const std::vector<io::SafeTensorsEntry>& entries) {
  uint64_t sum = 0;
  for (const auto& [name, tensor] : entries) {
    auto bytes = static_cast<size_t>(tensor->numel * size_of(tensor->dtype));
    sum += hash_bytes(hash_bytes(0, name.data(), name.size()), tensor->data(), bytes);
  }
  return std::to_string(sum);
}

}  // namespace gradus::training::detail::inline GRADUS_BUILD

namespace gradus::training::inline GRADUS_BUILD {

/// What resume() found.
struct Resumed {
  std::string file;     ///< that the run goes on from; empty: there was none, start from the beginning
  std::string skipped;  ///< why a newer file was not used: it was damaged
  explicit operator bool() const { return !file.empty(); }
};

/// Checkpoint checkpoint("runs/x/run");
/// checkpoint.add("model", model).add("optimizer", adam).add("schedule", schedule).add("loader", loader);
/// checkpoint.resume();                  // goes on, or does nothing when there is no file yet
/// for (...) { ...; checkpoint.save(); }
///
/// Two files take turns, path.0.safetensors and path.1.safetensors, each written under another name, flushed and
/// renamed: whenever the program or the machine stops, a whole one is there. What is added is referred to and must
/// live as long as the checkpoint. The generator of the thread that calls save and resume is part of it.
class Checkpoint {
 public:
  /// `settings`: what the run depends on but which is not state, such as the options of the program. A file that was
  /// written with other ones is refused.
  explicit Checkpoint(std::string path, std::string settings = "")
      : path_(std::move(path)), settings_(std::move(settings)) {}
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// A model, an optimizer, a schedule, a loader, a number, a text, a list of numbers, or any object with a
  /// `template <class V> void visit_state(V&& visitor)` that calls visitor("name", member) for its members.
  template <class Object>
  Checkpoint& add(const std::string& name, Object& object) {
    static_assert(!std::is_const_v<Object>, "a checkpoint writes to its parts when it resumes");
    add_part({name, &object,
              [](void* to, detail::StateVisitor& visitor) { detail::visit_part(*static_cast<Object*>(to), visitor); }});
    return *this;
  }

  const std::string& path() const { return path_; }

  /// Forgets at its end what was added while it lives: parts that die before the checkpoint. Null: does nothing.
  class Scope {
   public:
    explicit Scope(Checkpoint* checkpoint)
        : checkpoint_(checkpoint), size_(checkpoint ? checkpoint->parts_.size() : 0) {}
    ~Scope() {
      if (checkpoint_ != nullptr) checkpoint_->parts_.resize(size_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Checkpoint* checkpoint_;
    size_t size_;
  };

  /// Writes the older of the two files. IoError when it cannot; the other one stays good.
  GRADUS_COLD void save() {
    std::vector<io::SafeTensorsEntry> entries;
    detail::StateVisitor writer(entries);
    visit_parts(writer);
    if (!counted_) newest(nullptr);
    ++saves_;
    for (auto& entry : entries) entry.impl = entry.on_host();
    io::write_safetensors(file_name(saves_ % 2), entries,
                          {{"gradus.run", "1"},
                           {"gradus.saves", std::to_string(saves_)},
                           {"gradus.settings", settings_},
                           {"gradus.hash", detail::hash_of(entries)}});
  }

  /// Puts everything back as it was at the last save. FormatError when the files are damaged or do not fit what was
  /// added, or when they were written with other settings; then nothing has changed.
  GRADUS_COLD Resumed resume() {
    Resumed result;
    auto stored = newest(&result.skipped);
    if (!stored) return result;
    require<FormatError>(stored->settings == settings_, "resume: ", stored->file,
                         " belongs to a run with other settings:\n  there: ", stored->settings,
                         "\n  here:  ", settings_, "\nuse the same ones, or remove the file to start anew");
    detail::StateVisitor reader(stored->file, stored->tensors);
    visit_parts(reader);
    reader.apply();
    result.file = stored->file;
    return result;
  }

  /// Removes both files: the run is over.
  GRADUS_COLD void remove() {
    for (int which = 0; which < 2; ++which) {
      auto file = file_name(which);
      if (::unlink(file.c_str()) != 0 && errno != ENOENT) io::detail::fail_io("remove", file);
    }
  }

 private:
  /// A whole file: what it holds has the checksum that it should have.
  struct Stored {
    std::string file, settings;
    int64_t saves = 0;
    std::vector<io::SafeTensorsEntry> tensors;  // sorted by name
  };
  struct Part {
    std::string name;
    void* object;
    void (*visit)(void* object, detail::StateVisitor& visitor);
  };

  GRADUS_COLD void add_part(Part part) {
    const auto& name = part.name;
    require<ValueError>(!name.empty() && name != "generator" && name.find('/') == name.npos,
                        "Checkpoint: a part is called '", name,
                        "', but names are not empty, not 'generator' and without '/'");
    for (const auto& other : parts_)
      require<ValueError>(other.name != name, "Checkpoint: two parts are called '", name, "'");
    parts_.push_back(std::move(part));
  }

  GRADUS_COLD void visit_parts(detail::StateVisitor& visitor) {
    for (const auto& part : parts_) {
      visitor.enter(part.name);
      part.visit(part.object, visitor);
    }
    visitor.enter("generator");
    detail::visit_part(default_generator(), visitor);
  }

  GRADUS_COLD std::string file_name(int64_t which) const {
    return path_ + '.' + std::to_string(which) + ".safetensors";
  }

  /// The newer of the files that are whole; none when there is no file. FormatError when there are only damaged ones.
  GRADUS_COLD std::optional<Stored> newest(std::string* skipped) {
    std::optional<Stored> best;
    std::string problems;
    auto there = 0;
    for (int which = 0; which < 2; ++which) {
      auto name = file_name(which);
      io::remove_leftovers(name);
      if (::access(name.c_str(), F_OK) != 0 && errno == ENOENT) continue;
      ++there;
      try {
        auto stored = read(name);
        if (!best || stored.saves >= best->saves) best = std::move(stored);
      } catch (const Error& error) {  // damaged, or the disk does not deliver it
        problems = problems.empty() ? error.what() : problems + "; " + error.what();
      }
    }
    saves_ = best ? best->saves : 0;
    counted_ = true;
    if (skipped != nullptr) {
      require<FormatError>(there == 0 || best, "resume: no whole file is left: ", problems,
                           "; remove them to start anew");
      *skipped = problems;
    }
    return best;
  }

  GRADUS_COLD static Stored read(const std::string& name) {
    auto file = io::SafeTensors::read(name);
    const auto& metadata = file.metadata();
    for (const auto* key : {"gradus.run", "gradus.saves", "gradus.settings", "gradus.hash"})
      require<FormatError>(metadata.contains(key), name, " is not a checkpoint: '", key, "' is missing");
    require<FormatError>(metadata.at("gradus.run") == "1", name, " was written by another version of Gradus");
    Stored stored{name, metadata.at("gradus.settings"), 0, {}};
    for (const auto& tensor : file.names()) stored.tensors.emplace_back(tensor, file.read_raw(tensor));
    require<FormatError>(detail::hash_of(stored.tensors) == metadata.at("gradus.hash"), name,
                         " is damaged: its content does not match its checksum");
    const auto& text = metadata.at("gradus.saves");
    auto end = std::from_chars(text.data(), text.data() + text.size(), stored.saves).ptr;
    require<FormatError>(end == text.data() + text.size() && stored.saves > 0, name,
                         " is not a checkpoint: 'gradus.saves' is '", text, "'");
    return stored;
  }

  std::string path_, settings_;
  std::vector<Part> parts_;
  int64_t saves_ = 0;
  bool counted_ = false;
};

}  // namespace gradus::training::inline GRADUS_BUILD

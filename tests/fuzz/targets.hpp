// What the readers of files from outside must hold for any bytes at all.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "gradus/data/csv.hpp"
#include "gradus/data/idx.hpp"
#include "gradus/io/npz.hpp"
#include "gradus/io/safetensors.hpp"
#include "gradus/io/weights.hpp"
#include "gradus/io/write_safetensors.hpp"
#include "gradus/text/token_windows.hpp"
#include "gradus/text/tokenizer.hpp"
#include "gradus/train/checkpoint.hpp"
#include "gradus/train/metrics_log.hpp"
#include "tests/io/temporary_folder.hpp"

namespace gradus::test {

namespace fuzz {

/// What must be true for any bytes; not an exception, which the readers might swallow.
inline void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

/// Whether f() returned; false when it threw one of Gradus's errors, which has a text.
template <class F>
bool succeeds(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& error) {
    must(error.what()[0] != '\0', "an error says something");
    return false;
  }
}

inline const TemporaryFolder& folder() {
  static const TemporaryFolder made;
  return made;
}
inline std::string written(const char* name, std::string_view bytes) {
  auto path = folder() / name;
  write_bytes(path, std::string(bytes));
  return path;
}

template <class T>
void read_idx_as(const std::string& path, std::string_view bytes) {
  Tensor<T> tensor;
  if (!succeeds([&] { tensor = data::read_idx<T>(path); })) return;
  auto packed = bytes.starts_with("\x1f\x8b");
  must(packed || tensor.numel() <= static_cast<int64_t>(bytes.size()), "read_idx makes no more elements than bytes");
}
inline void idx(std::string_view bytes) {
  auto path = written("x.idx", bytes);
  read_idx_as<uint8_t>(path, bytes);
  read_idx_as<int64_t>(path, bytes);
  read_idx_as<float>(path, bytes);
}

/// The first byte chooses the options.
inline void csv(std::string_view bytes) {
  if (bytes.empty()) return;
  auto choice = static_cast<unsigned char>(bytes[0]);
  auto text = bytes.substr(1);
  data::CsvOptions options;
  options.separator = ",;\t|"[choice & 3];
  options.quote = (choice & 4) != 0 ? '\0' : '"';
  options.header = (choice & 8) == 0;
  options.trim = (choice & 16) != 0;
  options.max_columns = 1000;
  std::optional<data::Table> strict, lenient;
  auto strictly = succeeds([&] { strict = data::parse_csv(text, options); });
  options.strict = false;
  auto leniently = succeeds([&] { lenient = data::parse_csv(text, options); });
  must(!strictly || leniently, "what is read strictly is read leniently");
  if (!leniently) return;
  must(strictly == (lenient->issue_count() == 0), "strict reading throws exactly where lenient reading has an issue");
  if (strictly) must(strict->rows() == lenient->rows(), "both have the same rows");
  for (const auto& column : lenient->columns()) {
    succeeds([&] {
      if (column.type == data::ColumnType::text) {
        must(std::ssize(lenient->text(column.name)) == lenient->rows(), "a column has a text a row");
      } else {
        must(lenient->numbers<double>(column.name).numel() == lenient->rows(), "a column has a number a row");
      }
    });
    succeeds([&] { lenient->categories(column.name); });
  }
  must(!lenient->report().empty(), "a table has a report");
}

inline void json(std::string_view bytes) {
  io::Json value;
  if (!succeeds([&] { value = io::parse_json(bytes); })) return;
  must(io::parse_json(io::to_string(value)) == value, "JSON that was read and written reads as the same");
  must(io::parse_json(io::to_pretty_string(value)) == value, "and indented, too");
}

/// All tensors that Gradus has a type for.
inline std::vector<io::SafeTensorsEntry> entries_of(const io::SafeTensors& file) {
  std::vector<io::SafeTensorsEntry> entries;
  for (const auto& name : file.names()) {
    succeeds([&] { entries.emplace_back(name, file.read_raw(name)); });
    succeeds([&] { file.get_as<float>(name); });
    succeeds([&] { file.get_as<int64_t>(name); });
  }
  return entries;
}
inline void safetensors(std::string_view bytes) {
  auto path = written("x.safetensors", bytes), again = folder() / "again.safetensors";
  std::vector<io::SafeTensorsEntry> entries;
  if (!succeeds([&] { entries = entries_of(io::SafeTensors::read(path)); })) return;
  io::write_safetensors(again, entries);
  auto file = io::SafeTensors::read(again);
  must(file.names().size() == entries.size(), "every tensor that was read can be written");
  for (const auto& entry : entries) {
    auto back = file.read_raw(entry.name);
    auto size = static_cast<size_t>(back->numel * size_of(back->dtype));
    must(back->dtype == entry.impl->dtype && back->shape == entry.impl->shape, "a tensor keeps its type and shape");
    must(size == 0 || std::memcmp(back->data(), entry.impl->data(), size) == 0, "a tensor keeps its bytes");
  }
}

/// PyTorch's and NumPy's files.
inline void weights(std::string_view bytes) {
  auto path = written("x.pt", bytes), again = folder() / "again.npz";
  io::Weights file;
  if (!succeeds([&] { file = io::Weights(path); })) return;
  std::vector<io::SafeTensorsEntry> entries;
  for (const auto& name : file.names()) {
    must(file.shape(name).numel() <= 1 << 20, "no tensor has more elements than such small files hold");
    succeeds([&] { entries.emplace_back(name, file.get_as<float>(name)); });
    succeeds([&] { file.get_as<int64_t>(name); });
  }
  if (!succeeds([&] { io::save_npz(again, entries); })) return;
  io::Weights back(again);
  for (const auto& entry : entries)
    must(back.shape(entry.name) == entry.impl->shape, "a tensor that was read and written keeps its shape");
}

inline void tokens(std::string_view bytes) {
  auto path = written("x.tokens", bytes);
  succeeds([&] {
    text::TokenFile file(path);
    must(file.size() * 2 <= static_cast<int64_t>(bytes.size()), "no more tokens than bytes");
    std::vector<int64_t> ids(static_cast<size_t>(file.size()));
    file.read(0, file.size(), ids.data());
    for (auto id : ids) must(id >= 0 && id < file.vocabulary(), "every token is in the vocabulary");
  });
}

/// A tokenizer.json, and texts read by it.
inline void tokenizers(std::string_view bytes) {
  auto path = written("tokenizer.json", bytes), again = folder() / "again.json";
  std::optional<text::Tokenizer> tokenizer, back;
  if (!succeeds([&] { tokenizer = text::Tokenizer::from_file(path); })) return;
  tokenizer->save(again);
  back = text::Tokenizer::from_file(again);
  for (std::string_view text : {"", " a model's  12 LINES\n\n",
                                "Stra\xc3\x9f"
                                "e e\xcc\x81 \xe4\xb8\x96\xf0\x9f\x98\x80 [X]</s>\xff\x80"}) {
    succeeds([&] {
      auto ids = tokenizer->encode(text, text).ids;
      for (auto id : ids) must(id < tokenizer->vocabulary(), "every id is in the vocabulary");
      must(back->encode(text, text).ids == ids, "a tokenizer that was written gives the same ids");
      succeeds([&] { must(tokenizer->decode(ids) == back->decode(ids), "and the same text"); });
    });
  }
}

/// A run as small as can be.
struct Run {
  struct Model {
    Parameter<float> weight{full<float>({2, 3}, 0.5f)};
    Buffer<float> mean{full<float>({3}, 0.25f)};
    GRADUS_FIELDS(weight, mean)
  };
  Model model;
  int64_t step = 7;
  double best = 0.5;
  std::string note = "start";
  std::vector<double> losses{3, 2, 1};
  training::Checkpoint checkpoint;

  explicit Run(const std::string& path) : checkpoint(path, "settings") {
    checkpoint.add("model", model).add("step", step).add("best", best).add("note", note).add("losses", losses);
  }
  bool untouched() const {
    return model.weight.tensor().to_vector() == std::vector<float>(6, 0.5f) &&
           model.mean.tensor().to_vector() == std::vector<float>(3, 0.25f) && step == 7 && best == 0.5 &&
           note == "start" && losses == std::vector<double>{3, 2, 1};
  }
};
inline void resume(const std::string& path) {
  Run run(path);
  if (!succeeds([&] { run.checkpoint.resume(); }))
    must(run.untouched(), "a checkpoint that is refused changes nothing");
}
inline void run_files(std::string_view bytes) {
  auto path = folder() / "run", file = path + ".0.safetensors";
  write_bytes(file, std::string(bytes));
  resume(path);
  // The checksum keeps out nearly everything: the same tensors with a right one get further.
  succeeds([&] {
    auto entries = entries_of(io::SafeTensors::read(file));
    io::write_safetensors(file, entries,
                          {{"gradus.run", "1"},
                           {"gradus.saves", "1"},
                           {"gradus.settings", "settings"},
                           {"gradus.hash", training::detail::hash_of(entries)}});
  });
  resume(path);
}

inline void metrics(std::string_view bytes) {
  auto log = written("metrics.jsonl", bytes);
  std::vector<training::MetricsRecord> records;
  auto readable = succeeds([&] { records = training::read_metrics(log); });
  auto opened = succeeds([&] {
    training::MetricsLog again(folder() / ".", {.resume_step = int64_t{1} << 40});
    again.write(5, 1, {{"loss", 0.5}});
  });
  must(readable == opened, "a log goes on exactly when it can be read");
  if (opened) must(training::read_metrics(log).back().step == 5, "the record that was added is the last");
}

}  // namespace fuzz

/// Reads the bytes as a file of one format: it throws one of Gradus's errors, or what it read holds the target's
/// property. Aborts when that is broken; a crash, a sanitizer's finding or another exception speaks for itself.
struct FuzzTarget {
  std::string_view name;
  void (*run)(std::string_view bytes);
};

inline const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> targets = {{"idx", fuzz::idx},
                                                  {"csv", fuzz::csv},
                                                  {"json", fuzz::json},
                                                  {"safetensors", fuzz::safetensors},
                                                  {"weights", fuzz::weights},
                                                  {"tokens", fuzz::tokens},
                                                  {"tokenizers", fuzz::tokenizers},
                                                  {"run_files", fuzz::run_files},
                                                  {"metrics", fuzz::metrics}};
  return targets;
}

}  // namespace gradus::test

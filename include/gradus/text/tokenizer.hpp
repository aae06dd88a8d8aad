// Texts as ids and back, with the vocabularies that people have.
#pragma once

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gradus/io/atomic_file.hpp"
#include "gradus/io/file.hpp"
#include "gradus/tensor.hpp"
#include "gradus/text/added_tokens.hpp"
#include "gradus/text/post_processor.hpp"
#include "gradus/text/read_model.hpp"
#include "gradus/text/token_decoder.hpp"

namespace gradus::text::inline GRADUS_BUILD {

/// Texts of different lengths in one tensor: (n, longest) each; where mask is false there is padding.
struct TokenBatch {
  Tensor<int64_t> ids, type_ids;
  Tensor<bool> mask;

  TokenBatch to(Device device) const { return {ids.to(device), type_ids.to(device), mask.to(device)}; }
};

/// Texts as one tensor as long as the longest of them, filled up with `pad_id`.
inline TokenBatch pad_batch(std::span<const Encoding> texts, int64_t pad_id) {
  int64_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, std::ssize(text.ids));
  Shape shape{std::ssize(texts), longest};
  TokenBatch batch{full<int64_t>(shape, pad_id), zeros<int64_t>(shape), full<bool>(shape, false)};
  for (size_t i = 0; i < texts.size(); ++i) {
    auto at = static_cast<int64_t>(i) * longest;
    std::copy(texts[i].ids.begin(), texts[i].ids.end(), batch.ids.mutable_data() + at);
    std::copy(texts[i].type_ids.begin(), texts[i].type_ids.end(), batch.type_ids.mutable_data() + at);
    std::fill_n(batch.mask.mutable_data() + at, texts[i].ids.size(), true);
  }
  return batch;
}

/// Byte-level BPE, BPE with byte fallback, WordPiece, unigram or whole words, as a file says: normalise, cut into
/// pieces, cut pieces into tokens, put special tokens around. Gives the ids that the Python package `tokenizers` gives.
/// UTF-8 that is broken is read as U+FFFD. Encoding and decoding are safe from several threads at once.
class Tokenizer {
 public:
  /// A tokenizer.json, or a folder with one, or with vocab.json and merges.txt (read as GPT-2's), or with vocab.txt
  /// (read as BERT's, with lower case unless tokenizer_config.json says otherwise). What the file says of truncation
  /// holds; padding is encode_batch's alone. IoError, or FormatError that names what is wrong, or what is not known.
  static Tokenizer from_file(const std::string& path);

  /// settings: a tokenizer.json without its member "model".
  Tokenizer(std::shared_ptr<const detail::SubwordModel> model, io::Json settings)
      : model_(std::move(model)), settings_(std::move(settings)) {
    auto member = [&](std::string_view key) {
      const auto* value = settings_.find(key);
      return value == nullptr ? io::Json() : *value;
    };
    normalize_ = detail::read_normalizer(member("normalizer"));
    pre_tokenize_ = detail::read_pre_tokenizer(member("pre_tokenizer"));
    template_ = detail::read_post_processor(member("post_processor"));
    decode_ = detail::read_token_decoder(member("decoder"));
    if (auto tokens = member("added_tokens"); !tokens.is_null()) {
      for (const auto& token : tokens.as_array()) {
        added_.add({token.at("content").as_string(), detail::flag(token, "special", false),
                    detail::flag(token, "single_word", false), detail::flag(token, "lstrip", false),
                    detail::flag(token, "rstrip", false), detail::flag(token, "normalized", false)},
                   token.at("id").as_int(), normalize_);
      }
    }
    for (auto id : template_.ids()) require<FormatError>(has(id), "post-processor: no token has the id ", id);
    read_truncation(member("truncation"));
    auto padding = member("padding");
    pad_ = padding.is_null() ? std::max<int64_t>(0, std::max(id("[PAD]"), id("<pad>")))
                             : detail::count(padding, "pad_id", 0);
  }

  /// Ids are below this: the size of an embedding that takes them.
  int64_t vocabulary() const {
    auto end = model_->vocabulary().end();
    return added_.all().empty() ? end : std::max(end, added_.all().rbegin()->first + 1);
  }
  /// -1 when there is no such token.
  int64_t id(std::string_view token) const {
    auto found = added_.find(token);
    return found >= 0 ? found : model_->vocabulary().find(token);
  }
  /// As the file has it, so a space may be U+0120. IndexError for an id that no token has.
  std::string_view token(int64_t id) const {
    const auto* added = added_.token(id);
    auto text = added != nullptr ? std::string_view(added->content) : model_->vocabulary().token(id);
    require<IndexError>(has(id), "Tokenizer: no token has the id ", id, " (ids are below ", vocabulary(), ")");
    return text;
  }
  /// Whether a token has the id.
  bool has(int64_t id) const { return added_.token(id) != nullptr || !model_->vocabulary().token(id).empty(); }
  int64_t pad_id() const { return pad_; }
  void set_pad_id(int64_t id) { pad_ = id; }

  /// From now on encode gives at most so many ids, special tokens among them; 0: any number. ValueError when not even
  /// the special tokens fit.
  void truncate_to(int64_t length) {
    require<ValueError>(length == 0 || length > template_.added(true), "Tokenizer: texts of ", length, " tokens, but ",
                        template_.added(true), " of them are special");
    longest_ = length;
  }
  int64_t truncation() const { return longest_; }

  /// special: with the special tokens around, such as [CLS] and [SEP].
  Encoding encode(std::string_view text, bool special = true) const {
    return finish(encode_text(text), nullptr, special);
  }
  /// Two texts that are read together.
  Encoding encode(std::string_view first, std::string_view second, bool special = true) const {
    auto behind = encode_text(second);
    return finish(encode_text(first), &behind, special);
  }
  /// Padded to the longest of them with pad_id().
  TokenBatch encode_batch(std::span<const std::string> texts, bool special = true) const {
    std::vector<Encoding> all;
    for (const auto& text : texts) all.push_back(encode(text, special));
    return pad_batch(all, pad_);
  }

  /// IndexError for an id that no token has.
  std::string decode(std::span<const int64_t> ids, bool skip_special = true) const {
    std::vector<std::string> tokens;
    for (auto id : ids) {
      const auto* added = added_.token(id);
      if (added != nullptr && added->special && skip_special) continue;
      tokens.emplace_back(token(id));
    }
    if (tokens.empty()) return "";
    decode_(tokens);
    return detail::joined(tokens);
  }

  /// Writes a tokenizer.json, which the Python packages tokenizers and transformers read.
  void save(const std::string& path) const {
    auto json = io::Json::object({{"version", "1.0"}});
    json.append("truncation", write_truncation());
    for (auto key : {"padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
      const auto* value = settings_.find(key);
      json.append(key, value != nullptr                          ? *value
                       : std::string_view(key) == "added_tokens" ? io::Json::array()
                                                                 : io::Json());
    }
    json.append("model", model_->to_json());
    io::write_file(path, io::to_string(json));
  }

 private:
  /// Which of two texts is cut.
  enum class Cut { longest, first, second };

  void read_truncation(const io::Json& settings) {
    if (settings.is_null()) return;
    longest_ = detail::count(settings, "max_length", 512);
    require<FormatError>(longest_ > template_.added(true), "truncation to ", longest_, " tokens, but ",
                         template_.added(true), " are special");
    left_ = detail::string(settings, "direction", "Right") == "Left";
    auto strategy = detail::string(settings, "strategy", "LongestFirst");
    if (strategy != "LongestFirst" && strategy != "OnlyFirst" && strategy != "OnlySecond")
      detail::fail_unknown("strategy of truncation", strategy, "LongestFirst, OnlyFirst, OnlySecond");
    cut_ = strategy == "OnlyFirst" ? Cut::first : strategy == "OnlySecond" ? Cut::second : Cut::longest;
  }

  io::Json write_truncation() const {
    if (longest_ == 0) return {};
    auto strategy = cut_ == Cut::longest ? "LongestFirst" : cut_ == Cut::first ? "OnlyFirst" : "OnlySecond";
    return io::Json::object(
        {{"direction", left_ ? "Left" : "Right"}, {"max_length", longest_}, {"strategy", strategy}, {"stride", 0}});
  }

  std::vector<int64_t> encode_text(std::string_view text) const {
    std::vector<int64_t> ids;
    // words that were seen before, as a place in ids
    std::unordered_map<std::u32string, std::pair<size_t, size_t>, detail::TextHash, std::equal_to<>> seen;
    auto encode_piece = [&](std::u32string_view piece) {
      constexpr size_t longest = 32, most = 100'000;
      auto start = ids.size();
      if (piece.size() <= longest) {
        if (auto found = seen.find(piece); found != seen.end()) {
          auto [first, count] = found->second;
          for (size_t i = 0; i < count; ++i) ids.push_back(ids[first + i]);
          return;
        }
      }
      model_->encode(piece, ids);
      if (piece.size() <= longest && seen.size() < most)
        seen.emplace(std::u32string(piece), std::pair(start, ids.size() - start));
    };
    auto sections = added_.split(detail::to_characters(text), normalize_);
    for (size_t i = 0; i < sections.size(); ++i) {
      if (sections[i].id >= 0) {
        ids.push_back(sections[i].id);
        continue;
      }
      detail::Pieces pieces;
      pieces.at_start = i == 0;
      pieces.push_back(sections[i].text);
      pre_tokenize_(pieces);
      for (size_t k = 0; k < pieces.size(); ++k) encode_piece(pieces[k]);
    }
    return ids;
  }

  Encoding finish(std::vector<int64_t> first, std::vector<int64_t>* second, bool special) const {
    static const detail::Template plain;
    const auto& around = special ? template_ : plain;
    if (longest_ > 0) truncate(first, second, longest_ - around.added(second != nullptr));
    return around.apply(first, second);
  }

  void truncate(std::vector<int64_t>& first, std::vector<int64_t>* second, int64_t room) const {
    auto a = std::ssize(first), b = second != nullptr ? std::ssize(*second) : 0;
    if (a + b <= room) return;
    if (second == nullptr) return shorten(first, room);
    if (cut_ == Cut::longest) {  // the longer one until both are as long, then both
      auto half = room / 2;
      auto small = std::min(a, b), large = std::max(small, room - std::min(small, room));
      if (small + large > room || small > room) {
        small = half;
        large = half + room % 2;
      }
      shorten(first, a <= b ? small : large);
      return shorten(*second, a <= b ? large : small);
    }
    auto& cut = cut_ == Cut::first ? first : *second;
    auto kept = room - (cut_ == Cut::first ? b : a);
    require<ValueError>(kept > 0, "Tokenizer: a text of ", cut_ == Cut::first ? b : a,
                        " tokens that must not be cut does not fit ", room);
    shorten(cut, kept);
  }
  void shorten(std::vector<int64_t>& ids, int64_t length) const {
    if (length >= std::ssize(ids)) return;
    if (left_) {
      ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(length));
    } else {
      ids.resize(static_cast<size_t>(length));
    }
  }

  std::shared_ptr<const detail::SubwordModel> model_;
  io::Json settings_;
  detail::Normalizer normalize_;
  detail::PreTokenizer pre_tokenize_;
  detail::Template template_;
  detail::TokenDecoder decode_;
  detail::AddedTokens added_;
  int64_t longest_ = 0, pad_ = 0;
  bool left_ = false;
  Cut cut_ = Cut::longest;
};

}  // namespace gradus::text::inline GRADUS_BUILD

namespace gradus::text::detail::inline GRADUS_BUILD {

inline Tokenizer tokenizer_from_json(const io::Json& json) {
  auto settings = io::Json::object();
  for (size_t i = 0; i < json.keys().size(); ++i) {
    if (json.keys()[i] != "model") settings.append(json.keys()[i], json.values()[i]);
  }
  return {read_model(json.at("model")), std::move(settings)};
}

/// A special token that the vocabulary has, as tokenizer.json lists it.
inline io::Json special_token(const Vocabulary& vocabulary, std::string_view token) {
  return io::Json::object({{"id", vocabulary.at(token)},
                           {"content", token},
                           {"single_word", false},
                           {"lstrip", false},
                           {"rstrip", false},
                           {"normalized", false},
                           {"special", true}});
}

/// What is put around a text: tokens of the vocabulary, "A" and "B" for the texts.
inline io::Json template_parts(std::initializer_list<std::pair<std::string_view, int>> parts) {
  auto list = io::Json::array();
  for (auto [name, type] : parts) {
    auto text = name == "A" || name == "B";
    list.push_back(
        io::Json::object({{text ? "Sequence" : "SpecialToken", io::Json::object({{"id", name}, {"type_id", type}})}}));
  }
  return list;
}

inline io::Json byte_level_settings() {
  auto step = [] {
    return io::Json::object(
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}});
  };
  return io::Json::object({{"pre_tokenizer", step()}, {"decoder", step()}});
}

inline Tokenizer tokenizer_from_vocab_txt(const std::string& folder) {
  auto text = io::detail::read_whole_file(folder + "/vocab.txt");
  auto lines = lines_of(text);
  Vocabulary vocabulary(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) vocabulary.add(std::string(lines[i]), static_cast<int64_t>(i));
  io::Json config = io::Json::object();
  if (auto path = folder + "/tokenizer_config.json"; std::filesystem::exists(path))
    config = io::parse_json(io::detail::read_whole_file(path));
  const auto* strip = config.find("strip_accents");
  auto added = io::Json::array(), special = io::Json::object();
  for (auto token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    if (vocabulary.find(token) >= 0) added.push_back(special_token(vocabulary, token));
  for (std::string_view token : {"[CLS]", "[SEP]"}) {
    auto ids = io::Json::array({vocabulary.at(token)});
    special.append(token, io::Json::object({{"id", token}, {"ids", ids}, {"tokens", io::Json::array({token})}}));
  }
  auto settings = io::Json::object(
      {{"added_tokens", added},
       {"normalizer", io::Json::object({{"type", "BertNormalizer"},
                                        {"clean_text", true},
                                        {"handle_chinese_chars", flag(config, "tokenize_chinese_chars", true)},
                                        {"strip_accents", strip == nullptr ? io::Json() : *strip},
                                        {"lowercase", flag(config, "do_lower_case", true)}})},
       {"pre_tokenizer", io::Json::object({{"type", "BertPreTokenizer"}})},
       {"post_processor",
        io::Json::object({{"type", "TemplateProcessing"},
                          {"single", template_parts({{"[CLS]", 0}, {"A", 0}, {"[SEP]", 0}})},
                          {"pair", template_parts({{"[CLS]", 0}, {"A", 0}, {"[SEP]", 0}, {"B", 1}, {"[SEP]", 1}})},
                          {"special_tokens", special}})},
       {"decoder", io::Json::object({{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}})}});
  return {std::make_shared<WordPiece>(std::move(vocabulary), WordPieceOptions{}), std::move(settings)};
}

inline Tokenizer tokenizer_from_merges(const std::string& folder) {
  auto vocabulary = Vocabulary::read(io::parse_json(io::detail::read_whole_file(folder + "/vocab.json")));
  auto merges = read_merges_text(io::detail::read_whole_file(folder + "/merges.txt"));
  auto settings = byte_level_settings();
  if (vocabulary.find("<|endoftext|>") >= 0)
    settings.set("added_tokens", io::Json::array({special_token(vocabulary, "<|endoftext|>")}));
  auto found = Bpe::find_merges(vocabulary, merges, "");
  return {std::make_shared<Bpe>(std::move(vocabulary), std::move(found), BpeOptions{}), std::move(settings)};
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD

namespace gradus::text::inline GRADUS_BUILD {

/// Every byte is a token, as text::ByteTokenizer has it: to be saved beside a model that was trained so.
inline Tokenizer tokenizer_of_bytes() {
  detail::Vocabulary vocabulary;
  for (int64_t byte = 0; byte < 256; ++byte) {
    auto c = detail::ByteLevel::get().character(static_cast<unsigned char>(byte));
    vocabulary.add(detail::to_utf8({&c, 1}), byte);
  }
  auto settings = detail::byte_level_settings();
  return {std::make_shared<detail::Bpe>(std::move(vocabulary), std::vector<detail::Merge>(), detail::BpeOptions()),
          std::move(settings)};
}

inline Tokenizer Tokenizer::from_file(const std::string& path) {
  auto file = path;
  try {
    if (std::filesystem::is_directory(path)) {
      auto has = [&](const char* name) { return std::filesystem::exists(file = path + "/" + name); };
      if (!has("tokenizer.json")) {
        if (has("merges.txt") && has("vocab.json")) return detail::tokenizer_from_merges(path);
        if (has("vocab.txt")) return detail::tokenizer_from_vocab_txt(path);
        gradus::detail::fail<IoError>(
            {path, ": has neither tokenizer.json nor vocab.json with merges.txt nor vocab.txt"});
      }
    }
    return detail::tokenizer_from_json(io::parse_json(io::detail::read_whole_file(file)));
  } catch (FormatError& error) {
    error.add_context(file);
    throw;
  }
}

}  // namespace gradus::text::inline GRADUS_BUILD

// Tokens and their ids, and what every kind of vocabulary can do with a piece of text.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "gradus/io/json.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Lets a map of strings be searched with a string_view.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  size_t operator()(std::u32string_view text) const { return std::hash<std::u32string_view>()(text); }
};
template <class Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

/// The ids need not be without gaps.
class Vocabulary {
 public:
  static constexpr int64_t largest = 1 << 24;

  /// For `count` tokens, whose ids may have some gaps: bounds the memory that a file can ask for.
  explicit Vocabulary(size_t count = 0) : bound_(std::min(largest, 2 * static_cast<int64_t>(count) + 65536)) {
    ids_.reserve(count);
  }

  /// FormatError for an id out of range or given twice.
  void add(std::string token, int64_t id) {
    require<FormatError>(id >= 0 && (id < bound_ || id == end()), "token '", token, "' has the id ", id);
    auto place = static_cast<size_t>(id);
    if (place >= tokens_.size()) tokens_.resize(place + 1);
    require<FormatError>(tokens_[place].empty() && !token.empty(), "id ", id, " is given to '", tokens_[place],
                         "' and to '", token, "'");
    tokens_[place] = token;
    longest_ = std::max(longest_, token.size());
    ids_.insert_or_assign(std::move(token), id);
  }
  /// -1 when there is none.
  int64_t find(std::string_view token) const {
    auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  /// Of the kind "'[UNK]', which is no token of the vocabulary" otherwise.
  int64_t at(std::string_view token) const {
    auto id = find(token);
    require<FormatError>(id >= 0, "'", token, "' is no token of the vocabulary");
    return id;
  }
  /// Empty for an id that no token has.
  std::string_view token(int64_t id) const {
    return id >= 0 && id < end() ? std::string_view(tokens_[static_cast<size_t>(id)]) : std::string_view();
  }
  int64_t end() const { return std::ssize(tokens_); }  ///< behind the largest id
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  size_t longest() const { return longest_; }  ///< bytes of the longest token

  static Vocabulary read(const io::Json& object) {
    Vocabulary result(object.keys().size());
    for (size_t i = 0; i < object.keys().size(); ++i) result.add(object.keys()[i], object.values()[i].as_int());
    return result;
  }
  io::Json to_json() const {
    auto object = io::Json::object();
    for (int64_t id = 0; id < end(); ++id) {
      if (auto text = token(id); !text.empty()) object.append(text, id);
    }
    return object;
  }

 private:
  std::vector<std::string> tokens_;
  TextMap<int64_t> ids_;
  size_t longest_ = 0;
  int64_t bound_;
};

/// Cuts a piece of text into tokens of a vocabulary.
class SubwordModel {
 public:
  explicit SubwordModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~SubwordModel() = default;

  /// Appends the ids of the piece's tokens.
  virtual void encode(std::u32string_view piece, std::vector<int64_t>& ids) const = 0;
  /// The member "model" of a tokenizer.json.
  virtual io::Json to_json() const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

/// "<0x0A>": the token of a byte for characters that no token has.
inline std::string byte_token(unsigned char byte) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  return join("<0x", hex[byte >> 4], hex[byte & 15], ">");
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD

// What is put around the ids of one text or of two: the post-processors of tokenizer.json.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gradus/text/pre_tokenizer.hpp"

namespace gradus::text::inline GRADUS_BUILD {

/// A text as a network reads it.
struct Encoding {
  std::vector<int64_t> ids;
  std::vector<int64_t> type_ids;  ///< 0 for the first text and 1 for the second, as BERT has them
  size_t size() const { return ids.size(); }
};

}  // namespace gradus::text::inline GRADUS_BUILD

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Special tokens and the places of the texts between them.
class Template {
 public:
  struct Part {
    int text = -1;             ///< 0: the first text, 1: the second, -1: special tokens
    std::vector<int64_t> ids;  ///< of special tokens
    int64_t type_id = 0;
  };

  /// A text alone, two of them one after the other.
  Template() : single_{{0, {}, 0}}, pair_{{0, {}, 0}, {1, {}, 1}} {}
  Template(std::vector<Part> single, std::vector<Part> pair) : single_(std::move(single)), pair_(std::move(pair)) {}

  /// How many special tokens are added.
  int64_t added(bool pair) const {
    int64_t count = 0;
    for (const auto& part : pair ? pair_ : single_) count += std::ssize(part.ids);
    return count;
  }
  /// The special tokens among the parts.
  std::vector<int64_t> ids() const {
    std::vector<int64_t> all;
    for (const auto* parts : {&single_, &pair_}) {
      for (const auto& part : *parts) all.insert(all.end(), part.ids.begin(), part.ids.end());
    }
    return all;
  }
  Encoding apply(const std::vector<int64_t>& first, const std::vector<int64_t>* second) const {
    Encoding result;
    for (const auto& part : second != nullptr ? pair_ : single_) {
      const auto& ids = part.text < 0 ? part.ids : part.text == 0 || second == nullptr ? first : *second;
      result.ids.insert(result.ids.end(), ids.begin(), ids.end());
      result.type_ids.resize(result.ids.size(), part.type_id);
    }
    return result;
  }

 private:
  std::vector<Part> single_, pair_;
};

inline std::vector<Template::Part> read_template(const io::Json& parts, const io::Json& special, bool pair) {
  std::vector<Template::Part> result;
  for (const auto& part : parts.as_array()) {
    if (const auto* text = part.find("Sequence")) {
      auto second = text->at("id").as_string() == "B";
      require<FormatError>(!second || pair, "TemplateProcessing: the template of one text names a second");
      result.push_back({second, {}, count(*text, "type_id", 0)});
      continue;
    }
    const auto& token = part.at("SpecialToken");
    Template::Part ids{-1, {}, count(token, "type_id", 0)};
    for (const auto& id : special.at(token.at("id").as_string()).at("ids").as_array()) ids.ids.push_back(id.as_int());
    result.push_back(std::move(ids));
  }
  return result;
}

/// ["[SEP]", 102]
inline int64_t read_pair_id(const io::Json& pair) {
  require<FormatError>(pair.as_array().size() == 2, "a pair of token and id has ", pair.as_array().size(), " elements");
  return pair.as_array()[1].as_int();
}

/// From the member "post_processor" of a tokenizer.json. FormatError names one that is not known.
inline Template read_post_processor(const io::Json& settings, int depth = 0) {
  require<FormatError>(depth < 20, "post-processors more than 20 deep");
  if (settings.is_null()) return {};
  const auto& type = settings.at("type").as_string();
  if (type == "ByteLevel") return {};  // says something of offsets only
  if (type == "TemplateProcessing") {
    const auto& special = settings.at("special_tokens");
    return {read_template(settings.at("single"), special, false), read_template(settings.at("pair"), special, true)};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    auto cls = read_pair_id(settings.at("cls")), sep = read_pair_id(settings.at("sep"));
    if (type == "BertProcessing") {
      return {{{-1, {cls}, 0}, {0, {}, 0}, {-1, {sep}, 0}},
              {{-1, {cls}, 0}, {0, {}, 0}, {-1, {sep}, 0}, {1, {}, 1}, {-1, {sep}, 1}}};
    }
    return {{{-1, {cls}, 0}, {0, {}, 0}, {-1, {sep}, 0}},
            {{-1, {cls}, 0}, {0, {}, 0}, {-1, {sep, sep}, 0}, {1, {}, 0}, {-1, {sep}, 0}}};
  }
  if (type == "Sequence") {
    Template result;
    for (const auto& step : settings.at("processors").as_array()) {
      auto read = read_post_processor(step, depth + 1);
      if (step.at("type").as_string() == "ByteLevel") continue;
      require<FormatError>(result.added(true) == 0, "post-processors: more than one of a sequence adds tokens");
      result = std::move(read);
    }
    return result;
  }
  fail_unknown("post-processor", type, "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing");
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD

// Makes text of tokens: the decoders of tokenizer.json.
#pragma once

#include <string>
#include <vector>

#include "gradus/text/byte_level.hpp"
#include "gradus/text/pieces.hpp"
#include "gradus/text/pre_tokenizer.hpp"

namespace gradus::text::detail::inline GRADUS_BUILD {

/// Changes the tokens; what is left in the end is put together.
using TokenDecoder = std::function<void(std::vector<std::string>&)>;

inline void replace_in(std::string& text, std::string_view what, std::string_view by) {
  if (what.empty()) return;
  std::string out;
  size_t at = 0;
  for (auto found = text.find(what); found != text.npos; found = text.find(what, at)) {
    out.append(text, at, found - at);
    out += by;
    at = found + what.size();
  }
  text = out.append(text, at);
}

/// Spaces that English does not write, before full stops and within "don't".
inline void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> changes[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (auto [what, by] : changes) replace_in(text, what, by);
}

inline std::string joined(const std::vector<std::string>& tokens, std::string_view between = "") {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += between;
    text += tokens[i];
  }
  return text;
}

/// UTF-8 with U+FFFD for what is broken.
inline std::string repaired(std::string_view bytes) { return to_utf8(to_characters(bytes)); }

template <class Change>
TokenDecoder each_token(Change change) {
  return [=](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) change(tokens[i], i, tokens.size());
  };
}

/// Neighbours of the kind <0x0A> become the text of their bytes, U+FFFD for each when that is no UTF-8.
inline void decode_bytes(std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  auto flush = [&] {
    if (bytes.empty()) return;
    auto text = repaired(bytes);
    if (text != bytes) {
      text.clear();
      for (size_t i = 0; i < bytes.size(); ++i) text += "\uFFFD";
    }
    out.push_back(std::move(text));
    bytes.clear();
  };
  for (auto& token : tokens) {
    unsigned byte = 256;
    if (token.size() == 6 && token.starts_with("<0x") && token.ends_with('>'))
      std::from_chars(token.data() + 3, token.data() + 5, byte, 16).ptr == token.data() + 5 ? byte : byte = 256;
    if (byte < 256) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

inline TokenDecoder word_piece_decoder(const io::Json& settings) {
  return each_token([prefix = string(settings, "prefix", "##"), cleanup = flag(settings, "cleanup", true)](
                        std::string& token, size_t i, size_t) {
    if (i > 0) token = token.starts_with(prefix) ? token.substr(prefix.size()) : ' ' + token;
    if (cleanup) clean_up(token);
  });
}

/// The letters of a network that was trained to read speech: one after the other the same is one letter.
inline TokenDecoder ctc_decoder(const io::Json& settings) {
  return [pad = string(settings, "pad_token", "<pad>"), word = string(settings, "word_delimiter_token", "|"),
          cleanup = flag(settings, "cleanup", true)](std::vector<std::string>& tokens) {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (auto& token : tokens) {
      replace_in(token, pad, "");
      if (!cleanup) continue;
      clean_up(token);
      replace_in(token, word, " ");
    }
    std::erase_if(tokens, [](const std::string& token) { return token.empty(); });
  };
}

/// From the member "decoder" of a tokenizer.json. FormatError names one that is not known.
inline TokenDecoder read_token_decoder(const io::Json& settings, int depth = 0) {
  require<FormatError>(depth < 20, "decoders more than 20 deep");
  if (settings.is_null()) return [](std::vector<std::string>& tokens) { tokens = {joined(tokens, " ")}; };
  const auto& type = settings.at("type").as_string();
  if (type == "Sequence") {
    std::vector<TokenDecoder> steps;
    for (const auto& step : settings.at("decoders").as_array()) steps.push_back(read_token_decoder(step, depth + 1));
    return [=](std::vector<std::string>& tokens) {
      auto bytes = [&] {
        size_t sum = 0;
        for (const auto& token : tokens) sum += token.size();
        return sum;
      };
      auto before = bytes();
      for (const auto& step : steps) {
        step(tokens);
        check_growth(before, bytes());
      }
    };
  }
  if (type == "ByteLevel") {
    return [](std::vector<std::string>& tokens) {
      std::string bytes;
      for (const auto& token : tokens) ByteLevel::get().append_bytes(token, bytes);
      tokens = {repaired(bytes)};
    };
  }
  if (type == "ByteFallback") return decode_bytes;
  if (type == "Fuse") return [](std::vector<std::string>& tokens) { tokens = {joined(tokens)}; };
  if (type == "WordPiece") return word_piece_decoder(settings);
  if (type == "CTC") return ctc_decoder(settings);
  if (type == "Replace") {
    return each_token(
        [find = read_pattern(settings.at("pattern")), by = to_characters(settings.at("content").as_string())](
            std::string& token, size_t, size_t) { token = to_utf8(replace_all(to_characters(token), find, by)); });
  }
  if (type == "Strip") {
    return each_token([c = settings.at("content").as_string(), start = count(settings, "start", 0),
                       stop = count(settings, "stop", 0)](std::string& token, size_t, size_t) {
      for (int64_t i = 0; i < start && !c.empty() && token.starts_with(c); ++i) token.erase(0, c.size());
      for (int64_t i = 0; i < stop && !c.empty() && token.ends_with(c); ++i) token.resize(token.size() - c.size());
    });
  }
  if (type == "Metaspace") {
    auto scheme = string(settings, "prepend_scheme", flag(settings, "add_prefix_space", true) ? "always" : "never");
    return each_token([mark = string(settings, "replacement", "\u2581"), scheme](std::string& token, size_t i, size_t) {
      replace_in(token, mark, i == 0 && scheme != "never" ? "" : " ");
    });
  }
  if (type == "BPEDecoder") {
    return each_token([suffix = string(settings, "suffix", "</w>")](std::string& token, size_t i, size_t size) {
      replace_in(token, suffix, i + 1 == size ? "" : " ");
    });
  }
  fail_unknown("decoder", type,
               "BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, Metaspace, Replace, Sequence, Strip, WordPiece");
}

}  // namespace gradus::text::detail::inline GRADUS_BUILD

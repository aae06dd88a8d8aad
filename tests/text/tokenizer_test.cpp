// Tokenizers against the ids and texts of the Python packages tokenizers and tiktoken (tests/data_files/tokenizers).
#include "gradus/text/tokenizer.hpp"

#include "gradus/text/character_tokenizer.hpp"
#include "gradus/text/tf_idf.hpp"
#include "gradus/text/tiktoken.hpp"
#include "gradus/text/train_bpe.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

const std::string tokenizer_files = std::string(GRADUS_TEST_DATA_DIR) + "/tokenizers/";

const io::Json& expected_tokens() {
  static const auto json = io::parse_json(io::detail::read_whole_file(tokenizer_files + "expected.json"));
  return json;
}

const std::vector<std::string>& tokenizer_texts() {
  static const auto texts = [] {
    std::vector<std::string> result;
    for (const auto& text : expected_tokens().at("texts").as_array())
      result.push_back(text::detail::decode_base64(text.as_string()));
    return result;
  }();
  return texts;
}

std::vector<int64_t> ints(const io::Json& list) {
  std::vector<int64_t> result;
  for (const auto& value : list.as_array()) result.push_back(value.as_int());
  return result;
}

void check_rows(const text::Tokenizer& tokenizer, const std::string& name) {
  const auto& rows = expected_tokens().at("tokenizers").at(name).at("rows").as_array();
  REQUIRE(rows.size() == tokenizer_texts().size());
  for (size_t i = 0; i < rows.size(); ++i) {
    INFO(name << ", text " << i << ": " << tokenizer_texts()[i]);
    auto ids = tokenizer.encode(tokenizer_texts()[i]).ids;
    CHECK(ids == ints(rows[i].at("ids")));
    CHECK(tokenizer.decode(ids) == rows[i].at("text").as_string());
    CHECK(tokenizer.decode(ids, false) == rows[i].at("whole").as_string());
  }
}

text::Tokenizer from_text(const std::string& json) { return text::detail::tokenizer_from_json(io::parse_json(json)); }
void refuses_tokenizer(const std::string& json, const std::string& text) {
  INFO(json);
  test::check_error<FormatError>([&] { return from_text(json); }, text);
}
/// A tokenizer.json whose model knows "a" and "b", with further members.
std::string with_members(const std::string& members) {
  return R"({"model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0, "b": 1}})" +
         std::string(members.empty() ? "" : ", ") + members + "}";
}
std::vector<std::string> pieces_of(const std::string& pattern, const std::string& text) {
  std::vector<std::string> found;
  auto characters = text::detail::to_characters(text);
  text::detail::Regex(pattern).find_all(characters, [&](size_t start, size_t end) {
    found.push_back(text::detail::to_utf8(std::u32string_view(characters).substr(start, end - start)));
  });
  return found;
}
using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("tokenizers of every kind give the ids and texts of the Python package") {
  for (auto name :
       {"byte_level", "byte_fallback", "word_piece", "unigram", "word_level", "clip", "pieces", "metaspace"})
    check_rows(text::Tokenizer::from_file(tokenizer_files + name + ".json"), name);
}

TEST_CASE("the older files of GPT-2 and BERT give the same ids as tokenizer.json") {
  check_rows(text::Tokenizer::from_file(tokenizer_files + "gpt2"), "gpt2");
  check_rows(text::Tokenizer::from_file(tokenizer_files + "bert"), "word_piece");
}

TEST_CASE("ranks of tiktoken give its ids") {
  auto tokenizer =
      text::tokenizer_from_tiktoken(tokenizer_files + "ranks.tiktoken", text::TiktokenEncoding::named("cl100k_base"));
  const auto& want = expected_tokens().at("tiktoken").as_array();
  for (size_t i = 0; i < want.size(); ++i) CHECK(tokenizer.encode(tokenizer_texts()[i]).ids == ints(want[i]));
  CHECK(tokenizer.encode("<|endoftext|>").ids == std::vector<int64_t>{100257});
  CHECK(pieces_of(text::TiktokenEncoding::named("o200k_base").pattern, "HelloWorld they'LL 1234/\n") ==
        Strings{"Hello", "World", " they'LL", " ", "123", "4", "/\n"});
  test::check_error<ValueError>(
      [] { return text::TiktokenEncoding::named("x"); },
      "TiktokenEncoding: 'x' is not known; known are r50k_base, cl100k_base, o200k_base, llama3");
  test::TemporaryFolder folder;
  test::write_bytes(folder / "bad", "YQ== 0\nYg==\n");
  test::check_error<FormatError>([&] { return text::tokenizer_from_tiktoken(folder / "bad", {}); },
                                 (folder / "bad") + ": 'Yg==' is not a token in base 64 and its rank");
}

TEST_CASE("pairs of texts and their truncation are the Python package's") {
  auto count = 0;
  for (auto name : {"byte_level", "byte_fallback", "word_piece"}) {
    auto json = io::parse_json(io::detail::read_whole_file(tokenizer_files + name + ".json"));
    for (const auto& pair : expected_tokens().at("tokenizers").at(name).at("pairs").as_array()) {
      json.set("truncation", pair.at("strategy"));
      auto got =
          text::detail::tokenizer_from_json(json).encode(pair.at("first").as_string(), pair.at("second").as_string());
      INFO(name << " " << io::to_string(pair));
      CHECK(got.ids == ints(pair.at("ids")));
      CHECK(got.type_ids == ints(pair.at("type_ids")));
      ++count;
    }
  }
  CHECK(count >= 30);
}

TEST_CASE("a tokenizer that is saved gives the same ids") {
  test::TemporaryFolder folder;
  for (auto name : {"byte_level", "byte_fallback", "word_piece", "unigram", "word_level", "clip"}) {
    text::Tokenizer::from_file(tokenizer_files + name + ".json").save(folder / "tokenizer.json");
    check_rows(text::Tokenizer::from_file(folder / ""), name);
  }
}

TEST_CASE("truncation is saved as it is now") {
  test::TemporaryFolder folder;
  auto tokenizer = text::Tokenizer::from_file(tokenizer_files + "word_piece.json");
  CHECK(tokenizer.truncation() == 0);
  tokenizer.truncate_to(7);
  tokenizer.save(folder / "tokenizer.json");
  CHECK(text::Tokenizer::from_file(folder / "tokenizer.json").truncation() == 7);
  tokenizer.truncate_to(0);
  tokenizer.save(folder / "tokenizer.json");
  CHECK(text::Tokenizer::from_file(folder / "tokenizer.json").truncation() == 0);
}

TEST_CASE("normal forms are those of Unicode") {
  using text::detail::NormalForm;
  const auto& forms = expected_tokens().at("normal_forms").as_array();
  for (size_t i = 0; i < forms.size(); ++i) {
    auto characters = text::detail::to_characters(tokenizer_texts()[i]);
    for (auto form : {NormalForm::nfc, NormalForm::nfd, NormalForm::nfkc, NormalForm::nfkd}) {
      auto got = text::detail::to_utf8(text::detail::normalized(characters, form));
      CHECK(got == forms[i].as_array()[static_cast<size_t>(form)].as_string());
    }
  }
}

TEST_CASE("broken UTF-8 is read as U+FFFD, one for each beginning of a character") {
  using text::detail::to_characters;
  CHECK(to_characters("a\xff z") == U"a\ufffd z");
  CHECK(to_characters("\xe4\xb8") == U"\ufffd");  // the longest beginning of a character is one
  CHECK(to_characters("\xe4\xb8x\xb8") == U"\ufffdx\ufffd");
  CHECK(to_characters("\xc0\x80\xed\xa0\x80") == U"\ufffd\ufffd\ufffd\ufffd\ufffd");  // overlong; half of a pair
  CHECK(to_characters("\xf4\x90\x80\x80") == U"\ufffd\ufffd\ufffd\ufffd");            // beyond the last character
  CHECK(to_characters("\xf0\x9f\x98\x80") == U"\U0001F600");
}

TEST_CASE("a batch is padded to its longest text") {
  auto tokenizer = text::Tokenizer::from_file(tokenizer_files + "word_piece.json");
  auto longer = tokenizer.encode("the model"), shorter = tokenizer.encode("a");
  auto batch = tokenizer.encode_batch(Strings{"a", "the model"});
  auto n = std::ssize(longer.ids), m = std::ssize(shorter.ids);
  REQUIRE(batch.ids.shape() == Shape{2, n});
  for (int64_t i = 0; i < n; ++i) {
    CHECK(batch.ids(1, i) == longer.ids[static_cast<size_t>(i)]);
    CHECK(batch.ids(0, i) == (i < m ? shorter.ids[static_cast<size_t>(i)] : tokenizer.id("[PAD]")));
    CHECK(batch.mask(0, i) == (i < m));
  }
  CHECK(tokenizer.encode_batch({}).ids.shape() == Shape{0, 0});
  tokenizer.truncate_to(4);
  CHECK(tokenizer.encode("the model is a plain struct").size() == 4);
  CHECK(tokenizer.encode("the model is a plain struct").ids.back() == tokenizer.id("[SEP]"));
  test::check_error<ValueError>([&] { tokenizer.truncate_to(3); },
                                "Tokenizer: texts of 3 tokens, but 3 of them are special");
}

TEST_CASE("ids and tokens are looked up both ways") {
  auto tokenizer = text::Tokenizer::from_file(tokenizer_files + "word_piece.json");
  CHECK(tokenizer.token(tokenizer.id("[MASK]")) == "[MASK]");
  CHECK(tokenizer.id("nothing of the kind") == -1);
  auto end = std::to_string(tokenizer.vocabulary());
  test::check_error<IndexError>(
      [&] {
        return tokenizer.decode(std::vector<int64_t>{5, 70000});
      },
      "Tokenizer: no token has the id 70000 (ids are below " + end + ")");
  test::check_error<IndexError>([&] { return std::string(tokenizer.token(-1)); },
                                "Tokenizer: no token has the id -1 (ids are below " + end + ")");
}

TEST_CASE("a byte-level BPE is learnt from texts") {
  Strings texts(20, "low lower lowest, new newer newest. ");
  auto tokenizer = text::train_bpe(texts, {.vocabulary = 280});
  CHECK(tokenizer.vocabulary() <= 280);
  CHECK(tokenizer.id("<|endoftext|>") == 0);
  CHECK(tokenizer.token(257) == "we");  // seen most often: in lower, lowest, newer, newest
  auto ids = tokenizer.encode(texts[0]).ids;
  CHECK(ids.size() < texts[0].size() / 3);
  std::string all;
  for (int i = 1; i < 128; ++i) all += static_cast<char>(i);
  all += "\u00e4\u4e16\U0001F600";
  CHECK(tokenizer.decode(tokenizer.encode(all).ids) == all);
  test::TemporaryFolder folder;
  tokenizer.save(folder / "tokenizer.json");
  CHECK(text::Tokenizer::from_file(folder / "tokenizer.json").encode(texts[0]).ids == ids);
  CHECK(text::train_bpe({}, {.vocabulary = 300}).vocabulary() == 257);
  test::check_error<ValueError>([&] { return text::train_bpe(texts, {.vocabulary = 100}); },
                                "train_bpe: a vocabulary of 100, but bytes and 1 special tokens are 257");
}

TEST_CASE("bytes as a tokenizer that can be saved") {
  auto tokenizer = text::tokenizer_of_bytes();
  std::string text = "a\n \u00e4\u4e16";
  std::vector<int64_t> bytes;
  for (auto c : text) bytes.push_back(static_cast<unsigned char>(c));
  CHECK(tokenizer.encode(text).ids == bytes);
  CHECK(tokenizer.decode(bytes) == text);
}

TEST_CASE("words weighted by how rare they are") {
  // TfidfVectorizer() and TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True) of scikit-learn 1.9.1
  const Strings texts = {"The film, the FILM!", "a dull film", "The end: dull"};
  text::TfIdf words(texts);
  CHECK(words.vocabulary() == 4);  // dull end film the
  auto rows = words.rows(Strings{"the film the end", "nothing known", "dull"});
  CHECK(rows.words.shape() == Shape{3, 3});
  CHECK(rows.words(0, 0) == 1);
  CHECK(rows.weights(0, 0) == Approx(0.5068900));
  CHECK(rows.weights(0, 1) == Approx(0.3855029));
  CHECK(rows.weights(0, 2) == Approx(0.7710058));
  CHECK(rows.weights(1, 0) == 0);
  CHECK(rows.weights(2, 0) == 1);
  text::TfIdf pairs(texts, {.min_texts = 2, .longest = 2, .logarithm_of_count = true});
  CHECK(pairs.vocabulary() == 3);
  auto row = pairs.rows(Strings{"the film the film dull"});
  CHECK(row.weights(0, 0) == Approx(0.3853716));
  CHECK(row.weights(0, 1) == Approx(0.6524909));
  test::check_error<ValueError>([&] { text::TfIdf none(texts, {.longest = 0}); },
                                "TfIdf: neighbours up to 0 of at least 1 texts");
}

TEST_CASE("characters are tokens, others are 0") {
  text::CharacterTokenizer characters("hello w\u00f6rld");
  CHECK(characters.vocabulary() == 10);
  CHECK(characters.decode(characters.encode("w\u00f6rd?")) == "w\u00f6rd\ufffd");
  CHECK(characters.encode("?") == std::vector<int64_t>{0});
  test::check_error<IndexError>([&] { return characters.decode(std::vector<int64_t>{10}); },
                                "CharacterTokenizer: id 10 of 10");
}

TEST_CASE("regular expressions of tokenizers") {
  CHECK(pieces_of("a|bc+", "abcccab") == Strings{"a", "bccc", "a"});
  CHECK(pieces_of("(?i:'S|é)x?", "'sÉx's") == Strings{"'s", "Éx", "'s"});
  CHECK(pieces_of("\\s+(?!\\S)|\\s+", "a   b  ") == Strings{"  ", " ", "  "});
  CHECK(pieces_of("(?:ab){2,3}", "abababababab") == Strings{"ababab", "ababab"});
  CHECK(pieces_of("a{2}|a", "aaa") == Strings{"aa", "a"});
  CHECK(pieces_of("a+?b|a", "aab") == Strings{"aab"});
  CHECK(pieces_of("a++a|b", "aab") == Strings{"b"});
  CHECK(pieces_of("(?>a|ab)c|x", "abcx") == Strings{"x"});
  CHECK(pieces_of("(?:a|ab)*+c", "aabc") == Strings{"c"});
  CHECK(pieces_of("(?:a|ab)*c", "aabc") == Strings{"aabc"});
  CHECK(pieces_of("[^\\p{L}\\d-]+|[a-c\\]]|\\x41|\\u{4e16}", "ab] -1A\u4e16!") ==
        Strings{"a", "b", "] ", "A", "\u4e16", "!"});
  CHECK(pieces_of("^a|b$", "aab") == Strings{"a", "b"});
  CHECK(pieces_of("x(?=y)|\\P{Lu}", "xyX") == Strings{"x", "y"});
  CHECK(pieces_of("(?i)a.", "AbA\n") == Strings{"Ab"});
  CHECK(pieces_of("", "ab").empty());
}

TEST_CASE("a regular expression that is none, or that never ends, is an error") {
  auto refuses = [](const std::string& pattern, const std::string& text) {
    test::check_error<FormatError>([&] { text::detail::Regex regex(pattern); },
                                   "regular expression '" + pattern + "': " + text);
  };
  refuses("a(b", "a '(' without its ')' (at character 3)");
  refuses("a)", "a ')' without its '(' (at character 1)");
  refuses("[a", "a '[' without its ']' (at character 2)");
  refuses("*", "a count without what is counted (at character 1)");
  refuses("a{2,1}", "a count that is none (at character 6)");
  refuses("a{x}", "a count that is no number up to 1000 (at character 2)");
  refuses("\\q", "a '\\' before a letter that means nothing here (at character 2)");
  refuses("(?<n>a)", "a group of a kind that is not known (at character 3)");
  refuses("\\p{Greek}", "\\p{Greek}, which is not known: categories of Unicode and Han are (at character 9)");
  refuses("[a[b]]", "a class within a class (at character 3)");
  refuses("[z-a]", "a range whose end is before its start (at character 4)");
  refuses("(?:(?:(?:a{1000}b){1000}){1000})", "more than 20000 steps (at character 31)");
  test::check_error<FormatError>([] { pieces_of("(?:a|a)*b", std::string(30, 'a')); },
                                 "regular expression '(?:a|a)*b': takes too many steps on this text");
}

TEST_CASE("a tokenizer's file that is wrong says what is") {
  refuses_tokenizer("{}", "json: the object has no member 'model'");
  refuses_tokenizer(R"({"model": {"type": "Markov"}})",
                    "model 'Markov' is not known; known are BPE, Unigram, WordLevel, WordPiece");
  refuses_tokenizer(R"({"model": {"type": "WordPiece", "vocab": {"a": 0}}})", "'[UNK]' is no token of the vocabulary");
  refuses_tokenizer(R"({"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 0}}})",
                    "id 0 is given to 'a' and to 'b'");
  refuses_tokenizer(R"({"model": {"type": "WordLevel", "vocab": {"a": -1}}})", "token 'a' has the id -1");
  refuses_tokenizer(R"({"model": {"type": "WordLevel", "vocab": {"a": 16000000}}})", "token 'a' has the id 16000000");
  refuses_tokenizer(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})",
                    "'b' is no token of the vocabulary");
  refuses_tokenizer(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})",
                    "merge 'a' is not two tokens with a space between");
  refuses_tokenizer(R"({"model": {"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}})",
                    "BPE with dropout gives other ids each time: set it to null");
  refuses_tokenizer(R"({"model": {"type": "Unigram", "unk_id": 4, "vocab": [["a", -1]]}})", "unk_id 4 of 1 tokens");
  refuses_tokenizer(with_members(R"("normalizer": {"type": "Rot13"})"),
                    "normalizer 'Rot13' is not known; known are BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, "
                    "NFKD, Nmt, Precompiled, Prepend, Replace, Sequence, Strip, StripAccents");
  refuses_tokenizer(
      with_members(R"("pre_tokenizer": {"type": "UnicodeScripts"})"),
      "pre-tokenizer 'UnicodeScripts' is not known; known are BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, "
      "FixedLength, Metaspace, Punctuation, Sequence, Split, Whitespace, WhitespaceSplit");
  refuses_tokenizer(with_members(R"("decoder": {"type": "Rot13"})"),
                    "decoder 'Rot13' is not known; known are BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, "
                    "Metaspace, Replace, Sequence, Strip, WordPiece");
  refuses_tokenizer(with_members(R"("post_processor": {"type": "Bow"})"),
                    "post-processor 'Bow' is not known; known are BertProcessing, ByteLevel, RobertaProcessing, "
                    "Sequence, TemplateProcessing");
  refuses_tokenizer(with_members(R"("normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"})"),
                    "a pattern must not be empty");
  refuses_tokenizer(with_members(R"("normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"})"),
                    "Precompiled: a map of 3 bytes");
  refuses_tokenizer(with_members(R"("normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"})"),
                    "not base 64: '?'");
  refuses_tokenizer(with_members(R"("normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="})"),
                    "Precompiled: a trie of 4294967295 bytes in a map of 8");
  refuses_tokenizer(with_members(R"("truncation": {"max_length": 0})"), "truncation to 0 tokens, but 0 are special");
  refuses_tokenizer(with_members(R"("added_tokens": [{"id": 1, "content": ""}])"), "added token '' has the id 1");
  refuses_tokenizer(with_members(R"("post_processor": {"type": "BertProcessing", "sep": ["b", 1], "cls": ["c", 2]})"),
                    "post-processor: no token has the id 2");
  std::string deep = "null";
  for (int i = 0; i < 25; ++i) deep = R"({"type": "Sequence", "normalizers": [)" + deep + "]}";
  refuses_tokenizer(with_members(R"("normalizer": )" + deep), "normalizers more than 20 deep");
}

TEST_CASE("a short text does not become a huge one") {
  std::string steps;
  for (int i = 0; i < 60; ++i)
    steps += std::string(i > 0 ? "," : "") + R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  auto tokenizer = from_text(with_members(R"("normalizer": {"type": "Sequence", "normalizers": [)" + steps + "]}"));
  test::check_error<FormatError>([&] { return tokenizer.encode("aaaa"); },
                                 "a text of 4 characters would become one of 131072 or more");
}

TEST_CASE("folders and files without a tokenizer") {
  test::TemporaryFolder folder;
  test::check_error<IoError>(
      [&] { return text::Tokenizer::from_file(folder / ""); },
      (folder / "") + ": has neither tokenizer.json nor vocab.json with merges.txt nor vocab.txt");
  test::check_error<IoError>([&] { return text::Tokenizer::from_file(folder / "none"); },
                             "cannot open " + (folder / "none") + ": No such file or directory");
  test::write_bytes(folder / "tokenizer.json", "{\"model\": ");
  test::check_error_contains<FormatError>(
      [&] { return text::Tokenizer::from_file(folder / ""); },
      "tokenizer.json: json: line 1, column 11: expected a value, found the end of the text");
}

TEST_CASE("long texts take time in proportion") {
  // one piece of half a million characters, and a million of spaces that a pattern looks ahead of
  auto fallback = text::Tokenizer::from_file(tokenizer_files + "byte_fallback.json");
  CHECK(fallback.encode(std::string(500'000, 'a')).size() > 1000);
  auto bytes = text::Tokenizer::from_file(tokenizer_files + "byte_level.json");
  CHECK(bytes.encode(std::string(300'000, ' ') + "a").size() > 1000);
  auto words = text::Tokenizer::from_file(tokenizer_files + "word_piece.json");
  CHECK(words.encode(std::string(300'000, 'a')).ids == std::vector<int64_t>{2, 1, 3});
  auto unigram = text::Tokenizer::from_file(tokenizer_files + "unigram.json");
  CHECK(unigram.encode(std::string(300'000, 'z')).size() > 1);
}

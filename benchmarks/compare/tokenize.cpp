// The C++ side of compare_tokenizers.py: tokenize <tokenizer> <texts> <ids> reads texts that end in a zero byte and
// writes a line of ids and the text decoded from them for each; tokenize <tokenizer> <text> prints the seconds of three
// passes.
#include <chrono>
#include <iostream>

#include "gradus/text/tokenizer.hpp"

using namespace gradus;

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: tokenize <tokenizer.json> <texts> [<ids>]\n";
    return 2;
  }
  auto tokenizer = text::Tokenizer::from_file(argv[1]);
  tokenizer.truncate_to(0);
  auto texts = io::detail::read_whole_file(argv[2]);
  if (argc == 3) {
    for (int pass = 0; pass < 3; ++pass) {
      auto began = std::chrono::steady_clock::now();
      auto count = tokenizer.encode(texts).size();
      std::cout << count << ' ' << std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count()
                << '\n';
    }
    return 0;
  }
  std::string out;
  for (size_t at = 0; at < texts.size();) {
    auto end = std::min(texts.find('\0', at), texts.size());
    auto ids = tokenizer.encode(texts.substr(at, end - at)).ids;
    auto line = io::Json::array();
    for (auto id : ids) line.push_back(id);
    out += io::to_string(io::Json::object({{"ids", std::move(line)}, {"text", tokenizer.decode(ids)}})) + '\n';
    at = end + 1;
  }
  io::write_file(argv[3], out);
  return 0;
}

// The list that other tests walk must hold every pointwise formula of the library.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "tests/ops/formula/formulas.hpp"
#include "tests/support/catch.hpp"

TEST_CASE("the list of formulas is complete", "[formula]") {
  std::set<std::string> listed;
  gradus::test::for_each_formula([&]<gradus::test::FormulaSignature>(const auto& formula) {
    CHECK(listed.insert(formula.name()).second);  // twice in the list, or two formulas of one name
  });

  const std::regex definition(R"re(_formula\s*=\s*pointwise\(\s*"(\w+)")re");
  size_t found = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator("include/gradus")) {
    if (file.path().extension() != ".hpp") continue;
    std::ifstream stream(file.path());
    std::string text(std::istreambuf_iterator<char>(stream), {});
    for (std::sregex_iterator match(text.begin(), text.end(), definition), end; match != end; ++match) {
      auto name = (*match)[1].str();
      INFO(file.path() << " defines the formula " << name << "; add it to tests/ops/formula/formulas.hpp");
      CHECK(listed.count(name) == 1);
      ++found;
    }
  }
  CHECK(found == listed.size());
}

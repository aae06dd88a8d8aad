#include "gradus/data/csv.hpp"

#include <numeric>

#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using data::ColumnType;
using data::parse_csv;
using gradus::test::check_error;

namespace {

using Texts = std::vector<std::string>;

/// All columns as text, by rows, in one line: "a|b / c|d".
std::string csv_cells(const std::string& text, data::CsvOptions options = {}) {
  auto names = parse_csv(text, options).names_without();
  for (const auto& name : names) options.types.emplace_back(name, ColumnType::text);
  auto table = parse_csv(text, options);
  std::string cells;
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (size_t i = 0; i < names.size(); ++i) {
      cells += (i > 0 ? "|" : row > 0 ? " / " : "") + table.text(names[i])[static_cast<size_t>(row)];
    }
  }
  return cells;
}

ColumnType csv_type(const std::string& values) { return parse_csv("x,other\n" + values).columns()[0].type; }

void check_csv_error(const std::string& text, const std::string& error, const data::CsvOptions& options = {}) {
  INFO(text.substr(0, 80));
  check_error<FormatError>([&] { parse_csv(text, options); }, "parse_csv: " + error);
}

std::vector<std::string> csv_issues(const data::Table& table) {
  std::vector<std::string> texts;
  for (const auto& issue : table.issues()) texts.push_back(to_string(issue));
  return texts;
}

}  // namespace

TEST_CASE("csv: fields, quotes and line ends as RFC 4180 has them") {
  CHECK(csv_cells("x,y\na,b\nc,d\n") == "a|b / c|d");
  CHECK(csv_cells("x,y\r\na,b\r\nc,d") == "a|b / c|d");
  CHECK(csv_cells("x,y\ra,b\rc,d\r") == "a|b / c|d");
  CHECK(csv_cells("x,y\n\"a,b\",\"c\"\"d\"\n") == "a,b|c\"d");
  CHECK(csv_cells("x,y\n\"\"\"\",\"\"\n") == "\"|");
  CHECK(csv_cells("x,y\n\"a\nb\",\"c\r\nd\"\n") == "a\nb|c\r\nd");
  CHECK(csv_cells("x,y\n,\n") == "|");
  CHECK(csv_cells("x,y\na,") == "a|");
  CHECK(csv_cells("x,y\n\n\na,b\n\n") == "a|b");    // empty lines are left out
  CHECK(csv_cells("x,y\n a ,5\"\n") == " a |5\"");  // a quote within a field is itself
  CHECK(csv_cells("\xef\xbb\xbfx,y\na,b\n") == "a|b");
  CHECK(parse_csv("\xef\xbb\xbf\"x\",y\n").names_without() == Texts{"x", "y"});
  CHECK(csv_cells("x;y\n1,5;b\n", {.separator = ';'}) == "1,5|b");
  CHECK(csv_cells("x\ty\n \tb\n", {.separator = '\t'}) == " |b");
  CHECK(csv_cells("x,y\n'a,b',\"c\n", {.quote = '\''}) == "a,b|\"c");
  CHECK(csv_cells("x,y\n\"a,b\n", {.quote = '\0'}) == "\"a|b");
  CHECK(csv_cells("x, y\n a , \" b \" \n", {.trim = true}) == "a| b ");
}

TEST_CASE("csv: names from the header, from the caller, or counted") {
  CHECK(parse_csv("a,,\"b\"\"\"\n").names_without() == Texts{"a", "", "b\""});
  auto counted = parse_csv("1,2\n3,4\n", {.header = false});
  CHECK(counted.names_without() == Texts{"0", "1"});
  CHECK(counted.numbers<float>("1").to_vector() == std::vector<float>{2, 4});
  CHECK(parse_csv("1,2\n", {.header = false, .names = {"a", "b"}}).numbers<float>("b").item() == 2);
  CHECK(parse_csv("x,x\n1,2\n", {.names = {"a", "b"}}).numbers<float>("b").item() == 2);
  CHECK(counted.names_without({"0"}) == Texts{"1"});
  auto none = parse_csv("a,b\n");
  CHECK(none.rows() == 0);
  CHECK(none.matrix<float>({"a", "b"}).shape() == Shape{0, 2});
}

TEST_CASE("csv: the types of columns are found") {
  CHECK(csv_type("1,\n-2,\n+3,\n 4 ,\n") == ColumnType::int64);
  CHECK(csv_type("1,\n2.5,\n") == ColumnType::float64);
  CHECK(csv_type("1e3,\n") == ColumnType::float64);
  CHECK(csv_type(".5,\n-inf,\n") == ColumnType::float64);
  CHECK(csv_type("9223372036854775807,\n") == ColumnType::int64);
  CHECK(csv_type("9223372036854775808,\n") == ColumnType::float64);
  CHECK(csv_type("1,\n,\nNA,\n") == ColumnType::int64);  // missing values leave the type as it is
  CHECK(csv_type(",\n?,\n") == ColumnType::float64);
  CHECK(csv_type("nan,\n1,\n") == ColumnType::int64);
  for (const auto* text :
       {"a", "true", "1,5", "0x10", "1 2", "+-1", "++1", "-", "+", "1e", "--1", "1-", "1.2.3", "$1"}) {
    CAPTURE(text);
    CHECK(csv_type("1,\n\"" + std::string(text) + "\",\n") == ColumnType::text);
  }
}

TEST_CASE("csv: numbers keep their value") {
  auto table = parse_csv("i,f\n9223372036854775807,0.1\n-9223372036854775808,-5e-324\n+7, 1e300 \n");
  CHECK(table.numbers<int64_t>("i").to_vector() ==
        std::vector<int64_t>{std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(), 7});
  CHECK(table.numbers<double>("f").to_vector() == std::vector<double>{0.1, -5e-324, 1e300});
  CHECK(parse_csv("x\n-inf\n+inf\n").numbers<float>("x").to_vector() == std::vector<float>{-INFINITY, INFINITY});
  auto matrix = parse_csv("a,b,c\n1,2.5,x\n3,4,y\n").matrix<float>({"b", "a"});
  CHECK(matrix.shape() == Shape{2, 2});
  CHECK(matrix.to_vector() == std::vector<float>{2.5, 1, 4, 3});
  CHECK(static_cast<float>(parse_csv("a\n1.5\n").numbers<bf16>("a").item()) == 1.5f);
  CHECK(parse_csv("a\n255\n0\n").numbers<uint8_t>("a").to_vector() == std::vector<uint8_t>{255, 0});
}

TEST_CASE("csv: types that the caller demands") {
  data::CsvOptions options{.types = {{"zip", ColumnType::text}, {"n", ColumnType::float64}}};
  auto table = parse_csv("zip,n\n00501,1\n10001,2\n", options);
  CHECK(table.text("zip") == Texts{"00501", "10001"});
  CHECK(table.columns()[1].type == ColumnType::float64);
  options.types = {{"n", ColumnType::int64}};
  CHECK(parse_csv("n\n\n", options).columns()[0].type == ColumnType::int64);
  check_csv_error("m,n\n,3\n,2.5\n",
                  "line 3, column 'n': '2.5' is not a whole number of 64 bits; "
                  "CsvOptions::strict = false reads on",
                  options);
  check_csv_error("n\n9223372036854775808\n",
                  "line 2, column 'n': '9223372036854775808' is not a whole number of 64 "
                  "bits; CsvOptions::strict = false reads on",
                  options);
  check_error<ValueError>([&] { parse_csv("a,b\n", options); },
                          "parse_csv: CsvOptions::types has 'n', but the columns are 'a', 'b'");
}

TEST_CASE("csv: missing values are counted, NaN in floating tensors and refused by others") {
  auto table = parse_csv("i,f,t\n1,?,a\n,2.5,\nNA,NaN,NA\n");
  CHECK(table.columns() == std::vector<data::ColumnInfo>{
                               {"i", ColumnType::int64, 2}, {"f", ColumnType::float64, 2}, {"t", ColumnType::text, 2}});
  auto i = table.numbers<float>("i"), f = table.numbers<float>("f");
  CHECK(i(0) == 1);
  CHECK((std::isnan(i(1)) && std::isnan(i(2)) && std::isnan(f(0)) && std::isnan(f(2))));
  CHECK(f(1) == 2.5f);
  CHECK(table.missing("i").to_vector() == std::vector<bool>{false, true, true});
  CHECK(table.text("t") == Texts{"a", "", "NA"});
  check_error<ValueError>(
      [&] { table.numbers<int64_t>("i"); },
      "Table: column 'i' has no value in row 1, which int64 cannot hold; read it as float or double");
  data::CsvOptions own{.missing = {"-999", "none"}};
  auto other = parse_csv("x,y\n-999,NA\n3,none\n", own);
  CHECK(other.columns()[0] == data::ColumnInfo{"x", ColumnType::int64, 1});
  CHECK(other.columns()[1] == data::ColumnInfo{"y", ColumnType::text, 1});
}

TEST_CASE("csv: categories are numbered in ascending order") {
  auto table = parse_csv("t,n,f\nb,10,1.5\na,-3,2\n,10,2\nb,NA,2\n");
  auto [codes, names] = table.categories("t");
  CHECK(codes.to_vector() == std::vector<int64_t>{1, 0, -1, 1});
  CHECK(names == Texts{"a", "b"});
  auto numbered = table.categories("n");
  CHECK(numbered.codes.to_vector() == std::vector<int64_t>{1, 0, 1, -1});
  CHECK(numbered.names == Texts{"-3", "10"});
  check_error<TypeError>([&] { table.categories("f"); },
                         "Table: column 'f' is float64, but categories are text or whole numbers");
}

TEST_CASE("table: questions that it cannot answer") {
  auto table = parse_csv("age,name\n300,Ada\n2,7\n");
  check_error<ValueError>([&] { table.numbers<float>("agee"); },
                          "Table: there is no column 'agee'; there are 'age', 'name'");
  check_error<ValueError>([&] { table.names_without({"x"}); },
                          "Table: there is no column 'x'; there are 'age', 'name'");
  check_error<TypeError>([&] { table.numbers<float>("name"); },
                         "Table: column 'name' is text, not numbers (line 2 has 'Ada')");
  check_error<TypeError>([&] { table.text("age"); },
                         "Table: column 'age' is int64, not text; demand text with CsvOptions::types");
  check_error<ValueError>([&] { table.numbers<uint8_t>("age"); },
                          "Table: column 'age' holds 300 in row 0, which is out of the range of uint8");
  check_error<TypeError>([] { parse_csv("x\n1.5\n").numbers<int32_t>("x"); },
                         "Table: column 'x' is float64, which int32 cannot hold; read it as float or double");
  std::string many;
  for (int i = 0; i < 25; ++i) many += join(i > 0 ? "," : "", 'c', i);
  auto text = test::error_text<ValueError>([&] { parse_csv(many + "\n").text("x"); });
  CHECK(text.ends_with("'c18', 'c19' and 5 more"));
}

TEST_CASE("csv: strict mode names line and column of what is wrong") {
  const std::string on = "; CsvOptions::strict = false reads on";
  data::CsvOptions age{.types = {{"age", ColumnType::float64}}};
  check_csv_error("name,age\n\"a\nb\",1\nc,old\n", "line 4, column 'age': 'old' is not a number" + on, age);
  check_csv_error("age\n1\n1e999\n", "line 3, column 'age': '1e999' is out of the range of float64" + on);
  check_csv_error("a,b\n1,2\n3\n", "line 3: 1 field, but there are 2 columns" + on);
  check_csv_error("a,b\n1,2,3\n", "line 2: 3 fields, but there are 2 columns" + on);
  check_csv_error("a,b\n\"x\"y,2\n", "line 2, column 'a': 'xy' has text after the closing quote" + on);
  check_csv_error("age\n" + std::string(60, 'x') + "\n",
                  "line 2, column 'age': '" + std::string(40, 'x') + "'... is not a number" + on, age);
  check_csv_error("age\n\"x\x01\n\"\n", "line 2, column 'age': 'x\\x01\\x0a' is not a number" + on, age);
  std::string accents;  // cut between characters, not within one
  for (int i = 0; i < 30; ++i) accents += i == 0 ? "x" : "\u00e9";
  check_csv_error("age\n" + accents + "\n",
                  "line 2, column 'age': '" + accents.substr(0, 39) + "'... is not a number" + on, age);
}

TEST_CASE("csv: otherwise it reads on and keeps a report") {
  data::CsvOptions options{.types = {{"age", ColumnType::int64}}, .strict = false};
  auto table = parse_csv("name,age,w\nAda,36,1\nBob,old,2\nCy\n\"D\"d,4,1e999,9\n", options);
  CHECK(table.rows() == 4);
  CHECK(csv_issues(table) == Texts{"line 3, column 'age': 'old' is not a number",
                                   "line 4: 1 field, but there are 3 columns",
                                   "line 5, column 'name': 'Dd' has text after the closing quote",
                                   "line 5, column 'w': '1e999' is out of the range of float64",
                                   "line 5: 4 fields, but there are 3 columns"});
  CHECK(table.issues()[0] == data::TableIssue{3, "age", "'old'", "is not a number"});
  CHECK(table.missing("age").to_vector() == std::vector<bool>{false, true, true, false});
  CHECK(table.missing("w").to_vector() == std::vector<bool>{false, false, true, true});
  CHECK(table.text("name") == Texts{"Ada", "Bob", "Cy", "Dd"});
  CHECK(table.report() ==
        "parse_csv: 4 rows, 3 columns\n"
        "  'name'  text\n"
        "  'age'   int64, 2 missing\n"
        "  'w'     float64, 2 missing\n"
        "5 problems\n"
        "  line 3, column 'age': 'old' is not a number\n"
        "  line 4: 1 field, but there are 3 columns\n"
        "  line 5, column 'name': 'Dd' has text after the closing quote\n"
        "  line 5, column 'w': '1e999' is out of the range of float64\n"
        "  line 5: 4 fields, but there are 3 columns\n");
  CHECK(parse_csv("x\n1\n2\nthree\n").report() == "parse_csv: 3 rows, 1 column\n  'x'  text (line 4 has 'three')\n");
}

TEST_CASE("csv: a report stays short, whatever the file") {
  std::string rows = "a,b\n";
  for (int i = 0; i < 10'000; ++i) rows += "1,2,3\n";
  auto table = parse_csv(rows, {.strict = false, .max_issues = 3});
  CHECK(table.issues().size() == 3);
  CHECK(table.issue_count() == 10'000);
  CHECK(
      table.report().ends_with("10000 problems\n  line 2: 3 fields, but there are 2 columns\n"
                               "  line 3: 3 fields, but there are 2 columns\n"
                               "  line 4: 3 fields, but there are 2 columns\n  and 9997 more\n"));
  std::string header;
  for (int i = 0; i < 1000; ++i) header += join(i > 0 ? "," : "", std::string(500, 'n'), i);
  auto report = parse_csv(header + "\n").report();
  CHECK(report.size() < 5000);
  CHECK(report.ends_with("  and 950 more\n"));
}

TEST_CASE("csv: hostile texts are refused with a reason") {
  check_csv_error("", "there are no columns: the text is empty");
  check_csv_error("\n\r\n\n", "there are no columns: the text is empty");
  check_csv_error("", "there are no columns: the text is empty", {.header = false});
  check_csv_error("a,b\n1,\"2\n3,4\n", "line 2, column 'b': this quote never ends");
  check_csv_error("a,\"b\n", "line 1, column 2: this quote never ends");
  check_csv_error("a\n\"\"\"", "line 2, column 'a': this quote never ends");
  check_csv_error(std::string("a,b\n1,\0", 7), "line 2 has a byte 0, which text has not: is it a CSV file?");
  check_csv_error(std::string("\xff\xfe\x61\0", 4), "the text is UTF-16, but must be UTF-8");
  check_csv_error("a,b,a\n", "two columns are called 'a'; give them names with CsvOptions::names");
  check_csv_error("a\n12345\n", "8 bytes, but at most 7 are allowed (CsvOptions::max_bytes)", {.max_bytes = 7});
  check_csv_error(std::string(100'000, ','), "more than 65536 columns (CsvOptions::max_columns)");
  check_csv_error(
      "a\n" + std::string(1 << 21, 'x'),
      "line 2, column 'a': a field of 2097152 bytes, but at most 1048576 are allowed; is the end of a quote "
      "missing?");
  check_csv_error(
      "a,b\n1,\"2\n" + std::string(1 << 20, '3') + "\",4\n",
      "line 2, column 'b': a field of 1048578 bytes, but at most 1048576 are allowed; is the end of a quote "
      "missing?");
  check_csv_error(
      "a\n" + std::string(1 << 22, '"'),
      "line 2, column 'a': a field of 1048577 bytes, but at most 1048576 are allowed; is the end of a quote "
      "missing?");
  // Few bytes that ask for much memory.
  std::string rows;
  for (int i = 0; i < 10'000; ++i) rows += "1\n";
  std::string names;
  for (int i = 0; i < 60'000; ++i) names += join(i > 0 ? "," : "", i);
  check_csv_error(
      names + '\n' + rows,
      join("10000 rows of 60000 columns in ", names.size() + 1 + rows.size(), " bytes: too many fields are left out"),
      {.strict = false});
}

TEST_CASE("csv: options that make no sense") {
  auto refuse = [](data::CsvOptions options, const std::string& error) {
    check_error<ValueError>([&] { parse_csv("a,b\n", options); }, "parse_csv: " + error);
  };
  const std::string rule = ", but must be two characters, and neither may end a line";
  refuse({.separator = '"'}, "separator and quote are '\"' and '\"'" + rule);
  refuse({.separator = '\n'}, "separator and quote are '\\x0a' and '\"'" + rule);
  refuse({.separator = '\0', .quote = '\0'}, "separator and quote are '\\x00' and '\\x00'" + rule);
  refuse({.quote = '\r'}, "separator and quote are ',' and '\\x0d'" + rule);
  refuse({.names = {"a"}}, "CsvOptions::names are 1, but there are 2 columns");
}

TEST_CASE("csv: what is written with quotes is read back") {
  RandomStream random{3, 0};
  int64_t drawn = 0;
  const std::string letters = "ab1.,\"\n\r; \t\xc3\xa9";
  for (int round = 0; round < 200; ++round) {
    auto columns = 1 + random.below(drawn++, 5), rows = random.below(drawn++, 6);
    std::string text;
    std::vector<Texts> values(columns);
    data::CsvOptions options{.header = false, .missing = {}};
    for (size_t column = 0; column < columns; ++column) options.types.emplace_back(join(column), ColumnType::text);
    for (uint64_t row = 0; row <= rows; ++row) {
      for (size_t column = 0; column < columns; ++column) {
        std::string value, quoted;
        for (auto left = random.below(drawn++, 8); left > 0; --left) value += letters[random.below(drawn++, 13)];
        for (auto c : value) quoted += c == '"' ? "\"\"" : std::string(1, c);
        text += (column > 0 ? ",\"" : "\"") + quoted + '"';
        values[column].push_back(value);
      }
      text += random.below(drawn++, 2) == 0 ? "\n" : "\r\n";
    }
    auto table = parse_csv(text, options);
    for (size_t column = 0; column < columns; ++column) CHECK(table.text(join(column)) == values[column]);
  }
}

TEST_CASE("csv: any bytes give a table or a FormatError") {
  RandomStream random{4, 0};
  int64_t drawn = 0, tables = 0;
  const std::string letters = std::string("\"\"\"\",,,\n\n\r1e9+-.x ?\xef\xbb\xbf\xff", 24) + '\0';
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto left = random.below(drawn++, 40); left > 0; --left)
      text += letters[random.below(drawn++, 24 + (round % 8 == 0))];
    try {
      auto table = parse_csv(text, {.header = round % 2 == 0, .trim = round % 3 == 0, .strict = round % 5 == 0});
      ++tables;
      for (const auto& [name, type, missing] : table.columns()) {
        if (type != ColumnType::text) CHECK(table.numbers<double>(name).numel() == table.rows());
        CHECK(missing <= table.rows());
      }
      CHECK(!table.report().empty());
    } catch (const FormatError& error) {
      CHECK(std::string(error.what()).starts_with("parse_csv: "));
    }
  }
  CHECK(tables > 4000);
  CHECK(tables < 18'000);
}

TEST_CASE("csv: files, packed and not, and files that cannot be read") {
  test::TemporaryFolder folder;
  auto path = folder / "x.csv";
  test::write_bytes(path, "a,b\n1,2\n");
  CHECK(data::read_csv(path).numbers<float>("b").item() == 2);
  CHECK(data::read_csv(path).report().starts_with("read_csv: " + path + ": 1 row, 2 columns\n"));
  check_error<FormatError>(
      [&] {
        data::read_csv(path, {.types = {{"b", ColumnType::text}}, .max_bytes = 3});
      },
      "read_csv: " + path + " holds more than 3 bytes (CsvOptions::max_bytes)");
  test::write_bytes(path, "a,b\n1\n");
  check_error<FormatError>(
      [&] { data::read_csv(path); },
      "read_csv: " + path + ": line 2: 1 field, but there are 2 columns; CsvOptions::strict = false reads on");
  auto missing = folder / "missing";
  check_error<IoError>([&] { data::read_csv(missing); }, "cannot open " + missing + ": No such file or directory");
#if defined(GRADUS_HAS_ZLIB)
  auto packed = folder / "x.csv.gz";
  auto* file = gzopen(packed.c_str(), "wb9");
  std::string text = "a,b\n";
  for (int i = 0; i < 300'000; ++i) text += "1,2\n";
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  CHECK(data::read_csv(packed).rows() == 300'000);
  check_error<FormatError>([&] { data::read_csv(packed, {.max_bytes = 1 << 20}); },
                           "read_csv: " + packed + " holds more than 1048576 bytes (CsvOptions::max_bytes)");
#endif
}

TEST_CASE("csv: the tables kept in the repository") {
  auto tumours = data::read_csv("data/breast-cancer/breast-cancer.csv");
  auto features = tumours.names_without({"diagnosis"});
  CHECK(features.size() == 30);
  CHECK(features[7] == "mean concave points");
  auto x = tumours.matrix<double>(features);
  CHECK(x.shape() == Shape{569, 30});
  double radius = 0, dimension = 0;
  for (int64_t row = 0; row < 569; ++row) {
    radius += x(row, 0);
    dimension += x(row, 29);
  }
  CHECK(radius == Approx(8038.429));
  CHECK(dimension == Approx(47.76517));
  auto [diagnoses, names] = tumours.categories("diagnosis");
  CHECK(names == Texts{"benign", "malignant"});
  CHECK(std::count(diagnoses.data(), diagnoses.data() + 569, 1) == 212);

  auto cars = data::read_csv("data/auto-mpg/auto-mpg.csv");
  std::string types;
  for (const auto& column : cars.columns()) types += join(column.name, ' ', column.type, ' ', column.missing, "; ");
  CHECK(types ==
        "mpg float64 0; cylinders int64 0; displacement float64 0; horsepower int64 0; weight int64 0; "
        "acceleration float64 0; year int64 0; origin text 0; name text 0; ");
  CHECK(cars.rows() == 392);
  auto weights = cars.numbers<int64_t>("weight");
  CHECK(std::accumulate(weights.data(), weights.data() + 392, int64_t{0}) == 1167213);
  CHECK(cars.categories("origin").names == Texts{"America", "Europe", "Japan"});
}

#include <cmath>
#include <limits>

#include "gradus/io/safetensors.hpp"
#include "gradus/io/write_safetensors.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

const std::string fixtures = GRADUS_TEST_DATA_DIR "/safetensors/";
constexpr auto infinity = std::numeric_limits<float>::infinity();

/// A file of this header and `bytes` bytes of data.
std::string file_of(const std::string& header, size_t bytes) {
  auto length = static_cast<uint64_t>(header.size());
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(bytes, '\1');
}

void check_refused(const std::string& content, const std::string& text) {
  test::TemporaryFolder folder;
  auto path = folder / "bad.safetensors";
  test::write_bytes(path, content);
  check_error<FormatError>([&] { io::SafeTensors::read(path); }, "safetensors: " + path + ": " + text);
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}
/// A header with one tensor, "x".
std::string header(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + tensor("x", dtype, shape, offsets) + "}";
}

}  // namespace

TEST_CASE("safetensors: a file of the Python package is read") {
  auto file = io::SafeTensors::read(fixtures + "gradus_types.safetensors");
  CHECK(file.names() ==
        std::vector<std::string>{"bf16", "bool", "empty", "f16", "f32", "f64", "i32", "i64", "scalar", "u8"});
  CHECK(file.metadata() == std::map<std::string, std::string>{{"made by", "safetensors \u00e9"}});
  CHECK(file.contains("f32"));
  CHECK(!file.contains("f33"));
  CHECK(file.dtype("bf16") == "BF16");
  CHECK(file.shape("f32") == Shape{2, 3});
  CHECK(file.get<float>("f32").to_vector() == std::vector<float>{1.5f, -2, 3.25f, 0, infinity, -0.5f});
  CHECK(file.get<double>("f64").to_vector() == std::vector<double>{0.1, -1e300});
  auto narrow = file.get<bf16>("bf16");
  CHECK(narrow(0) == 1.0f);
  CHECK(narrow(1) == -2.5f);
  CHECK(narrow(2) == float(bf16(0.1f)));
  CHECK(file.get<int64_t>("i64").to_vector() == std::vector<int64_t>{int64_t{1} << 62, -5});
  CHECK(file.get<int64_t>("i64").shape() == Shape{2, 1});
  CHECK(file.get<int32_t>("i32").to_vector() == std::vector<int32_t>{7, -8});
  CHECK(file.get<uint8_t>("u8").to_vector() == std::vector<uint8_t>{0, 128, 255});
  CHECK(file.get<bool>("bool").to_vector() == std::vector<bool>{true, false, true});
  CHECK(file.get<float>("scalar").item() == 42);
  CHECK(file.get<float>("scalar").shape() == Shape{});
  CHECK(file.get<float>("empty").shape() == Shape{0, 4});
}

TEST_CASE("safetensors: a file written here is the Python package's, byte for byte") {
  test::TemporaryFolder folder;
  auto path = folder / "out.safetensors";
  io::write_safetensors(path,
                        {{"bool", gradus::tensor<bool>({true, false, true})},
                         {"u8", gradus::tensor<uint8_t>({0, 128, 255})},
                         {"scalar", gradus::tensor<float>(42)},
                         {"f32", transpose(gradus::tensor<float>({{1.5f, 0}, {-2, infinity}, {3.25f, -0.5f}}))},
                         {"f64", gradus::tensor<double>({0.1, -1e300})},
                         {"bf16", cast<bf16>(gradus::tensor<float>({1, -2.5f, 0.1f}))},
                         {"f16", cast<f16>(gradus::tensor<float>({1, -2.5f, 0.1f, 1e-7f}))},
                         {"i64", from_vector<int64_t>({int64_t{1} << 62, -5}, {2, 1})},
                         {"i32", gradus::tensor<int32_t>({7, -8})},
                         {"empty", empty<float>({0, 4})}},
                        {{"made by", "safetensors \u00e9"}});
  CHECK(test::read_bytes(path) == test::read_bytes(fixtures + "gradus_types.safetensors"));
  CHECK(folder.entries() == 1);
}

TEST_CASE("safetensors: get asks for the exact type, get_as converts") {
  auto file = io::SafeTensors::read(fixtures + "gradus_types.safetensors");
  auto path = file.path();
  CHECK(file.get_as<double>("f32")(1, 1) == infinity);
  CHECK(file.get_as<float>("f64").to_vector() == std::vector<float>{0.1f, -infinity});
  CHECK(file.get_as<bf16>("f64")(0) == float(bf16(0.1f)));
  CHECK(file.get_as<float>("bf16")(1) == -2.5f);
  CHECK(file.get_as<int64_t>("i32").to_vector() == std::vector<int64_t>{7, -8});
  CHECK(file.get_as<int32_t>("u8").to_vector() == std::vector<int32_t>{0, 128, 255});
  check_error<TypeError>(
      [&] { file.get<double>("f32"); },
      "safetensors: " + path + ": tensor 'f32' has elements of type F32, not double; get_as converts");
  auto refused = [&](const std::string& name, const std::string& from, const std::string& to) {
    return "safetensors: " + path + ": tensor '" + name + "' has elements of type " + from +
           ", which do not convert to " + to;
  };
  check_error<TypeError>([&] { file.get_as<int32_t>("i64"); }, refused("i64", "I64", "int32"));
  check_error<TypeError>([&] { file.get_as<uint8_t>("i32"); }, refused("i32", "I32", "uint8"));
  check_error<TypeError>([&] { file.get_as<float>("i32"); }, refused("i32", "I32", "float"));
  check_error<TypeError>([&] { file.get_as<int64_t>("f32"); }, refused("f32", "F32", "int64"));
  check_error<TypeError>([&] { file.get_as<bool>("u8"); }, refused("u8", "U8", "bool"));
  check_error<TypeError>([&] { file.get_as<uint8_t>("bool"); }, refused("bool", "BOOL", "uint8"));
  check_error<IndexError>([&] { file.get<float>("nobody"); }, "safetensors: " + path + " has no tensor 'nobody'");
}

TEST_CASE("safetensors: element types that files have are converted") {
  auto file = io::SafeTensors::read(fixtures + "other_types.safetensors");
  auto half = file.get_as<float>("f16").to_vector();
  CHECK(std::vector<float>(half.begin(), half.end() - 1) ==
        std::vector<float>{1, 65504, 0x1p-14f, 0x1p-24f, -3 * 0x1p-20f, 0, -infinity});
  CHECK(std::signbit(half[5]));
  CHECK(std::isnan(half[7]));
  CHECK(file.get_as<double>("f16")(4) == -3 * 0x1p-20);
  CHECK(cast<float>(file.get_as<bf16>("f16"))(0) == 1);
  CHECK(file.get_as<int32_t>("i16").to_vector() == std::vector<int32_t>{-32768, 32767});
  CHECK(file.get_as<int64_t>("i8").to_vector() == std::vector<int64_t>{-128, 127});
  CHECK(file.get_as<int32_t>("u16").to_vector() == std::vector<int32_t>{0, 65535});
  CHECK(file.get_as<int64_t>("u32").to_vector() == std::vector<int64_t>{0, 4294967295});
  check_error<TypeError>(
      [&] { file.get_as<int32_t>("u32"); },
      "safetensors: " + file.path() + ": tensor 'u32' has elements of type U32, which do not convert to int32");
  check_error<TypeError>(
      [&] { file.get_as<int64_t>("u64"); },
      "safetensors: " + file.path() + ": tensor 'u64' has elements of type U64, which do not convert to int64");
}

TEST_CASE("safetensors: half precision is read and written as it is") {
  test::TemporaryFolder folder;
  auto path = folder / "half.safetensors";
  auto from_file = io::SafeTensors::read(fixtures + "other_types.safetensors").get<f16>("f16");
  CHECK(from_file(3).bits == 1);
  io::write_safetensors(path, {{"a", from_file}, {"b", gradus::tensor<float>({1, 70000})}});
  auto file = io::SafeTensors::read(path);
  CHECK(file.dtype("a") == "F16");
  for (int64_t i = 0; i < 8; ++i) CHECK(file.get<f16>("a")(i).bits == from_file(i).bits);
  CHECK(file.get_as<f16>("b")(0).bits == 0x3c00);
  CHECK(file.get_as<f16>("b")(1).bits == 0x7c00);  // larger than 65504
}

TEST_CASE("safetensors: files cut short or with a wrong length are refused") {
  check_refused("", "the file has 0 bytes, but starts with a length of 8");
  check_refused("1234567", "the file has 7 bytes, but starts with a length of 8");
  check_refused(std::string("\x64\0\0\0\0\0\0\0{}", 10), "the header length is 100, but only 2 bytes follow");
  check_refused(std::string(8, '\xff') + "{}",
                "the header length is 18446744073709551615, but at most 100000000 is allowed");
  check_refused(std::string("\0\0\0\0\0\0\0\x80{}", 10),
                "the header length is 9223372036854775808, but at most 100000000 is allowed");
  check_refused(file_of("", 0), "the header does not start with '{'");
  check_refused(file_of(" {}", 0), "the header does not start with '{'");
  check_refused(file_of("{", 0), "json: line 1, column 2: expected a key in quotes, found the end of the text");
  check_refused(file_of("{}", 4), "the file has 4 bytes of data, but its tensors end at 0");
  check_refused(file_of(header("F32", "[2]", "[0,8]"), 7),
                "tensor 'x' ends at byte 8, but the file has only 7 bytes of data");
  check_refused(file_of(header("F32", "[2]", "[0,8]"), 9), "the file has 9 bytes of data, but its tensors end at 8");

  auto whole = test::read_bytes(fixtures + "gradus_types.safetensors");
  test::TemporaryFolder folder;
  auto path = folder / "cut.safetensors";
  for (size_t size = 0; size < whole.size(); size += 3) {
    test::write_bytes(path, whole.substr(0, size));
    CHECK_THROWS_AS(io::SafeTensors::read(path), FormatError);
  }
}

TEST_CASE("safetensors: a header that lies is refused") {
  check_refused(file_of(header("F8_E4M3", "[2]", "[0,2]"), 2), "'x': unknown dtype 'F8_E4M3'");
  check_refused(file_of(header("F32", "[2]", "[0,4]"), 4),
                "'x': data_offsets [0, 4] hold 4 bytes, but shape (2,) of F32 has 8");
  check_refused(file_of(header("F32", "[-1]", "[0,4]"), 4), "'x': the shape has a negative size, -1");
  check_refused(file_of(header("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4),
                "'x': the shape has 9 sizes, but a tensor has at most 8");
  check_refused(file_of(header("F32", "[4294967296,4294967296]", "[0,0]"), 0),
                "'x': shape (4294967296, 4294967296) of F32 has more bytes than 63 bits can count");
  check_refused(file_of(header("F64", "[2305843009213693952]", "[0,0]"), 0),
                "'x': shape (2305843009213693952,) of F64 has more bytes than 63 bits can count");
  check_refused(file_of(header("F32", "[99999999999999999999]", "[0,4]"), 4),
                "'x': json: the value is a number, but must be a whole number");
  check_refused(file_of(header("F32", "[1.5]", "[0,4]"), 4),
                "'x': json: the value is a number, but must be a whole number");
  check_refused(file_of(header("F32", "1", "[0,4]"), 4),
                "'x': json: the value is a whole number, but must be an array");
  check_refused(file_of(header("F32", "[1]", "[4,0]"), 4), "'x': data_offsets [4, 0] are not a range");
  check_refused(file_of(header("F32", "[1]", "[-4,0]"), 4), "'x': data_offsets [-4, 0] are not a range");
  check_refused(file_of(header("F32", "[1]", "[0]"), 4), "'x': data_offsets has 1 numbers, but must have 2");
  check_refused(file_of(header("F32", "[1]", "[0,18446744073709551615]"), 4),
                "'x': json: the value is a number, but must be a whole number");
  check_refused(file_of(R"({"x":{"shape":[1],"data_offsets":[0,4]}})", 4),
                "'x': json: the object has no member 'dtype'");
  check_refused(file_of(R"({"x":3})", 0), "'x': json: the value is a whole number, but must be an object");
  check_refused(file_of(R"({"__metadata__":{"a":1}})", 0),
                "'__metadata__': json: the value is a whole number, but must be a string");
  check_refused(file_of("{\"\xff\":1}", 0), "json: line 1, column 3: not UTF-8");
}

TEST_CASE("safetensors: tensors must fill the data without gaps or overlaps, under one name each") {
  auto two = [](const std::string& first, const std::string& second) {
    return "{" + tensor("a", "F32", "[1]", first) + "," + tensor("b", "F32", "[1]", second) + "}";
  };
  check_refused(file_of(two("[0,4]", "[2,6]"), 6),
                "tensor 'b' begins at byte 2, but the data before it ends at 4: there must be no overlap");
  check_refused(file_of(two("[0,4]", "[0,4]"), 4),
                "tensor 'b' begins at byte 0, but the data before it ends at 4: there must be no overlap");
  check_refused(file_of(two("[0,4]", "[8,12]"), 12),
                "tensor 'b' begins at byte 8, but the data before it ends at 4: there must be no gap");
  check_refused(file_of(header("F32", "[1]", "[4,8]"), 8),
                "tensor 'x' begins at byte 4, but the data before it ends at 0: there must be no gap");
  auto twice = "{" + tensor("a", "F32", "[1]", "[0,4]") + "," + tensor("a", "F32", "[1]", "[4,8]") + "}";
  check_refused(file_of(twice, 8), "json: line 1, column 55: key 'a' appears twice");

  test::TemporaryFolder folder;  // but in any order, with padding after the header, and empty tensors anywhere
  auto path = folder / "good.safetensors";
  test::write_bytes(path, file_of("{" + tensor("a", "U8", "[2]", "[1,3]") + "," + tensor("e", "F64", "[0,3]", "[1,1]") +
                                      "," + tensor("b", "U8", "[1]", "[0,1]") + "}      ",
                                  3));
  CHECK(io::SafeTensors::read(path).get<uint8_t>("a").to_vector() == std::vector<uint8_t>{1, 1});
}

TEST_CASE("safetensors: a bool must be 0 or 1") {
  test::TemporaryFolder folder;
  auto path = folder / "bool.safetensors";
  test::write_bytes(path, file_of(header("BOOL", "[3]", "[0,3]"), 1) + "\x01\x02");
  auto file = io::SafeTensors::read(path);
  check_error<FormatError>([&] { file.get<bool>("x"); },
                           "safetensors: " + path + ": tensor 'x' is BOOL, but element 2 is 2");
}

TEST_CASE("safetensors: files that cannot be read or written") {
  test::TemporaryFolder folder;
  auto missing = folder / "missing.safetensors";
  check_error<IoError>([&] { io::SafeTensors::read(missing); },
                       "cannot open " + missing + ": No such file or directory");
  check_error<IoError>([&] { io::SafeTensors::read(folder / ""); },
                       "cannot open " + (folder / "") + ": it is not a regular file");
  auto unwritable = folder / "no folder/x.safetensors";
  check_error<IoError>(
      [&] {
        io::write_safetensors(unwritable, {{"x", zeros<float>({2})}});
      },
      "cannot write " + unwritable + ": No such file or directory");
  check_error<ValueError>(
      [&] {
        io::write_safetensors(missing, {{"x", zeros<float>({2})}, {"x", zeros<bool>({2})}});
      },
      "write_safetensors: two tensors are called 'x'");
  check_error<ValueError>(
      [&] {
        io::write_safetensors(missing, {{"__metadata__", zeros<float>({2})}});
      },
      "write_safetensors: a tensor must not be called '__metadata__'");
  CHECK(folder.entries() == 0);

  auto path = folder / "shrinks.safetensors";
  io::write_safetensors(path, {{"x", zeros<float>({1000})}});
  auto file = io::SafeTensors::read(path);
  std::filesystem::resize_file(path, 2000);
  check_error<IoError>([&] { file.get<float>("x"); }, "cannot read " + path + ": it became shorter while it was read");
}

TEST_CASE("safetensors: large tensors are read by several threads, in parts") {
  test::TemporaryFolder folder;
  auto path = folder / "large.safetensors";
  constexpr int64_t n = 300'001;
  std::vector<float> numbers;
  for (int64_t i = 0; i < n; ++i) numbers.push_back(static_cast<float>(i) * 0.37f - 50'000);
  numbers[70'000] = std::numeric_limits<float>::quiet_NaN();
  auto wide = from_vector(numbers, {n});
  auto narrow = Tensor<bf16>::empty({n});
  for (int64_t i = 0; i < n; ++i) narrow.mutable_data()[i] = bf16(numbers[static_cast<size_t>(i)]);
  io::write_safetensors(path, {{"narrow", narrow}, {"wide", wide}});
  auto file = io::SafeTensors::read(path);
  auto same = file.get<float>("wide"), widened = file.get_as<float>("narrow");
  auto rounded = file.get_as<bf16>("wide");
  auto doubled = file.get_as<double>("wide");
  int different = 0;
  for (int64_t i = 0; i < n; ++i) {
    auto x = numbers[static_cast<size_t>(i)];
    auto equal = [](auto a, auto b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    different += !equal(same(i), x) + !equal(float(rounded(i)), float(bf16(x))) + !equal(widened(i), float(bf16(x))) +
                 !equal(doubled(i), static_cast<double>(x));
  }
  CHECK(different == 0);
  std::filesystem::resize_file(path, 1'000'000);
  auto text = "cannot read " + path + ": it became shorter while it was read";
  check_error<IoError>([&] { file.get<float>("wide"); }, text);
  check_error<IoError>([&] { file.get_as<double>("wide"); }, text);
}

TEST_CASE("safetensors: random damage is refused or read, never worse") {
  auto whole = test::read_bytes(fixtures + "gradus_types.safetensors");
  test::TemporaryFolder folder;
  auto path = folder / "damaged.safetensors";
  RandomStream random{1, 0};
  int refused = 0;
  for (int64_t round = 0; round < 500; ++round) {
    auto damaged = whole;
    auto at = random.below(2 * round, 600);
    damaged[at] = static_cast<char>(random.word(4 * round + 2000));
    test::write_bytes(path, damaged);
    try {
      auto file = io::SafeTensors::read(path);
      for (const auto& name : file.names()) {
        if (file.dtype(name) == "F32") file.get<float>(name);
        if (file.dtype(name) == "BOOL") file.get<bool>(name);
      }
    } catch (const FormatError&) {
      ++refused;
    }
  }
  CHECK(refused > 250);
}

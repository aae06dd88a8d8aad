// Weights as PyTorch, NumPy and Hugging Face write them: files made by these, and files made to deceive.
#include "gradus/io/weights.hpp"

#include "gradus/io/npz.hpp"
#include "gradus/nn/linear.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;

namespace {

const std::string weight_files = std::string(GRADUS_TEST_DATA_DIR) + "/weights/";

Tensor<float> eighths(const Shape& shape) {
  return reshape(arange<float>(static_cast<float>(shape.numel())), shape) / 8.0f;
}

template <Element T = float>
Tensor<T> tensor_of(const io::Weights& weights, const std::string& name) {
  return weights.get_as<T>(name);
}

/// A pickle of these instructions, read.
void read_pickle(const std::string& code) { io::detail::Pickle(code, "test"); }

void refuses_pickle(const std::string& code, const std::string& text) {
  test::check_error<FormatError>([&] { read_pickle(code); }, "test: pickle: " + text);
}

}  // namespace

TEST_CASE("a PyTorch file gives the tensors of its nested dicts") {
  io::Weights weights(weight_files + "nested.pt");
  CHECK(weights.names() == std::vector<std::string>{"model.flags", "model.half", "model.layer.bias",
                                                    "model.layer.weight", "model.none", "model.part", "model.steps",
                                                    "model.turned", "optimizer.state.0.exp_avg",
                                                    "optimizer.state.0.step"});
  CHECK(test::mismatch(tensor_of(weights, "model.layer.weight"), eighths({3, 4})) == "");
  CHECK(test::mismatch(tensor_of(weights, "model.turned"), contiguous(transpose(eighths({3, 4})))) == "");
  CHECK(test::mismatch(tensor_of(weights, "model.part"), tensor<float>({{0.5, 0.75}, {1, 1.25}})) == "");
  CHECK(test::mismatch(tensor_of(weights, "model.layer.bias"), tensor<float>({0, 0.125, 0.25})) == "");
  CHECK(test::mismatch(tensor_of(weights, "model.half"), tensor<float>({0, 0.125})) == "");
  CHECK(test::mismatch(tensor_of<double>(weights, "optimizer.state.0.step"), tensor<double>(3)) == "");
  CHECK(tensor_of<int64_t>(weights, "model.steps").item() == 7);
  CHECK(tensor_of<bool>(weights, "model.flags")(0));
  CHECK(weights.shape("model.none") == Shape{0, 3});
  CHECK(tensor_of(weights, "model.none").numel() == 0);
  CHECK(weights.dtype("model.layer.bias") == "BF16");
}

TEST_CASE("PyTorch's form from before version 1.6") {
  io::Weights weights(weight_files + "old.pt");
  CHECK(weights.names() == std::vector<std::string>{"a"});
  CHECK(test::mismatch(tensor_of(weights, "a"), tensor<float>({0, 0.125})) == "");
  test::TemporaryFolder folder;
  auto good = test::read_bytes(weight_files + "old.pt"), path = folder / "x.pt";
  test::write_bytes(path, good.substr(0, good.size() - 1));
  test::check_error_contains<FormatError>([&] { io::Weights cut(path); }, "of 2 elements reaches beyond the file");
  test::write_bytes(path, "\x80\x02N.");
  test::check_error<FormatError>([&] { io::Weights other(path); },
                                 path + ": a pickle, but not one that PyTorch's save() writes");
}

TEST_CASE("NumPy's arrays, stored and packed, in either order of memory") {
  auto want = eighths({2, 3});
  CHECK(test::mismatch(tensor_of(io::Weights(weight_files + "array.npy"), "array"), want) == "");
  io::Weights stored(weight_files + "stored.npz");
  CHECK(stored.names() == std::vector<std::string>{"a", "b", "scalar"});
  CHECK(test::mismatch(tensor_of(stored, "a"), want) == "");
  CHECK(test::mismatch(tensor_of<int64_t>(stored, "b"), arange<int64_t>(4)) == "");
  CHECK(tensor_of<double>(stored, "scalar").item() == 2.5);
#ifdef GRADUS_HAS_ZLIB
  io::Weights packed(weight_files + "packed.npz");
  CHECK(test::mismatch(tensor_of(packed, "a"), want) == "");
  CHECK(test::mismatch(tensor_of(packed, "fortran"), want) == "");
  CHECK(test::mismatch(tensor_of(packed, "half"), arange<float>(3)) == "");
#endif
}

TEST_CASE("what save_npz writes is read back") {
  test::TemporaryFolder folder;
  auto path = folder / "x.npz";
  auto a = randn<double>({2, 0, 3}), b = randn<double>({5});
  io::save_npz(path, {{"a", a},
                      {"layer.b", b},
                      {"flags", full<bool>({2}, true)},
                      {"half", full<f16>({3}, f16(0.5f))},
                      {"one", tensor<int64_t>(7)}});
  io::Weights weights(path);
  CHECK(weights.names() == std::vector<std::string>{"a", "flags", "half", "layer.b", "one"});
  CHECK(test::bit_mismatch(tensor_of<double>(weights, "layer.b"), b) == "");
  CHECK(weights.shape("a") == Shape{2, 0, 3});
  CHECK(tensor_of<f16>(weights, "half")(2).bits == 0x3800);
  CHECK(tensor_of<int64_t>(weights, "one").item() == 7);
  CHECK(io::detail::crc32("123456789") == 0xCBF43926u);
  nn::Linear<float> layer(3, 2), other(3, 2);
  io::save_npz(path, layer);
  io::load(io::Weights(path), other);
  CHECK(test::bit_mismatch(other.weight.tensor(), layer.weight.tensor()) == "");
  test::check_error<TypeError>(
      [&] {
        io::save_npz(path, {{"x", zeros<bf16>({2})}});
      },
      "save_npz: tensor 'x' holds bf16, which NumPy does not have; cast it");
  test::check_error<ValueError>(
      [&] {
        io::save_npz(path, {{"x", a}, {"x", b}});
      },
      "save_npz: two tensors are called 'x'");
}

TEST_CASE("names are changed, dropped, transposed and split on the way to a model") {
  test::TemporaryFolder folder;
  auto path = folder / "x.safetensors";
  io::write_safetensors(path, {{"body.weight", eighths({3, 2})},
                               {"body.bias", eighths({2})},
                               {"extra", eighths({1})},
                               {"qkv.weight", eighths({6, 2})}});
  io::Weights weights(path);
  weights.rename("body.*", "*").drop("extra").transpose("weight").split("qkv.*", {"q.*", "k.*", "v.*"});
  CHECK(weights.names() == std::vector<std::string>{"bias", "k.weight", "q.weight", "v.weight", "weight"});
  CHECK(test::mismatch(tensor_of(weights, "k.weight"), slice(eighths({6, 2}), 0, 2, 4)) == "");
  weights.drop("*.weight");
  nn::Linear<double> layer(3, 2);
  io::load(weights, layer);
  CHECK(test::mismatch(layer.weight.tensor(), cast<double>(contiguous(transpose(eighths({3, 2}))))) == "");
  test::check_error<ValueError>([&] { weights.rename("weight", "bias"); },
                                path + ": two tensors would be called 'bias'");
  test::check_error<ShapeError>([&] { io::Weights(path).transpose("body.bias"); },
                                path + ": tensor 'body.bias' is (2,), but only matrices are transposed");
  test::check_error<ShapeError>(
      [&] {
        io::Weights(path).split("body.weight", {"a", "b"});
      },
      path + ": tensor 'body.weight' is (3, 2), which has no 2 equal parts");
  test::check_error<IndexError>([&] { tensor_of(weights, "none"); }, path + " has no tensor 'none'");
}

TEST_CASE("a load that does not fit says what differs and changes nothing") {
  io::Weights weights(weight_files + "state_dict.pth");
  nn::Linear<float> layer(3, 5);
  auto before = layer.weight.tensor().clone();
  weights.drop("1.*").rename("0.weight", "weight");
  test::check_error<FormatError>(
      [&] { io::load(weights, layer); },
      "load: " + weight_files +
          "state_dict.pth does not fit the model Linear:\n  missing in the "
          "file (1): bias\n  not in the model (1): 0.bias\n  mismatched (1):\n    weight: F32 (4, 3) "
          "in the file, float (5, 3) in the model");
  CHECK(test::bit_mismatch(layer.weight.tensor(), before) == "");
}

TEST_CASE("files that are no weights, or want to be more") {
  auto refused = [](const std::string& name, const std::string& text) {
    test::check_error<FormatError>([&] { io::Weights(weight_files + name); }, weight_files + name + ": " + text);
  };
  refused("evil.pt", "pickle: it wants 'posix.system', which is no part of weights; nothing of the file was executed");
  refused("objects.npy", "an array of '|O'; numbers in little-endian order are read");
  refused("big_endian.npy", "an array of '>f4'; numbers in little-endian order are read");
  test::TemporaryFolder folder;
  test::check_error<IoError>([&] { io::Weights(folder / ""); },
                             folder / "" + ": holds no model.safetensors, pytorch_model.bin or index of one");
  auto index = [&](const std::string& content, const std::string& text) {
    auto path = folder / "model.safetensors.index.json";
    test::write_bytes(path, content);
    test::check_error<FormatError>([&] { io::Weights weights(path); }, path + ": " + text);
  };
  index(R"({"weight_map": {"a": "../x.safetensors"}})", "shard '../x.safetensors' does not lie beside the index");
  index(R"({"weight_map": {"a": "model.safetensors.index.json"}})",
        "shard 'model.safetensors.index.json' does not lie beside the index");
  index(R"({"map": {}})", "json: the object has no member 'weight_map'");
}

TEST_CASE("zip archives that deceive") {
  test::TemporaryFolder folder;
  auto good = test::read_bytes(weight_files + "stored.npz");
  auto directory = good.find("PK\1\2");
  auto path = folder / "x.npz";
  auto refused = [&](std::string bytes, const std::string& text) {
    test::write_bytes(path, bytes);
    test::check_error<FormatError>([&] { io::Weights weights(path); }, path + ": " + text);
  };
  auto changed = [&](size_t at, const std::string& to) {
    auto bytes = good;
    bytes.replace(at, to.size(), to);
    return bytes;
  };
  refused(good.substr(0, good.size() - 30), "no zip archive: it has no directory");
  refused(changed(directory + 8, std::string("\1\0", 2)), "member 'a.npy' is encrypted");
  refused(changed(directory + 10, std::string("\x0c\0", 2)),
          "member 'a.npy' is packed by method 12; stored and deflated ones are read");
  refused(changed(directory + 20, "\xff\xff\xff\x7f"), "member 'a.npy' lies outside");
  refused(changed(directory + 24, "\xff\xff"), "member 'a.npy' is not packed, but 152 bytes stand for 65535");
  refused(changed(directory + 42, "\x05"), "member 'a.npy' does not begin where the directory says");
  refused(changed(good.size() - 12, "\xff\xff\xff"), "the directory lies outside");
  auto second = good.find("PK\1\2", directory + 1);
  refused(changed(second + 46, "a"), "member 'a.npy' is there twice");
  auto offset_of_first = good.substr(directory + 42, 4);
  refused(changed(second + 42, offset_of_first), "members overlap");
  test::write_bytes(path, changed(good.find("(2, 3)"), "(2, 9)"));
  test::check_error<FormatError>([&] { io::Weights weights(path); },
                                 path + ", a.npy: an array of shape (2, 9) and type F32 has 24 bytes");
}

#ifdef GRADUS_HAS_ZLIB
TEST_CASE("a member that promises more than it can unpack to") {
  test::TemporaryFolder folder;
  auto bytes = test::read_bytes(weight_files + "packed.npz"), path = folder / "x.npz";
  auto directory = bytes.find("PK\1\2");
  bytes.replace(directory + 24, 4, "\xff\xff\xff\x7f");
  test::write_bytes(path, bytes);
  test::check_error<FormatError>([&] { io::Weights weights(path); },
                                 path + ": a member that would unpack to 2147483647 bytes from 87");
}
#endif

TEST_CASE("pickles that deceive") {
  refuses_pickle("", "it ends in the middle of an object");
  refuses_pickle("\x80\x07N.", "a protocol newer than 5");
  refuses_pickle("X\xff\xff\xff\x7fshort.", "it ends in the middle of an object");
  refuses_pickle("cbuiltins\neval\n.",
                 "it wants 'builtins.eval', which is no part of weights; nothing of the file was "
                 "executed");
  using namespace std::string_literals;
  refuses_pickle("X\2\0\0\0osX\6\0\0\0system\x93."s,
                 "it wants 'os.system', which is no part of weights; nothing of the "
                 "file was executed");
  refuses_pickle("NN.", "it ends before its objects are put together");
  refuses_pickle(".", "it takes what is not there");
  refuses_pickle("(N.", "it ends before its objects are put together");
  refuses_pickle("Nt.", "there is no mark");
  refuses_pickle("h\5.", "it recalls what it did not keep");
  refuses_pickle("Na.", "it changes an object of another kind");
  refuses_pickle("NNa.", "it changes an object of another kind");
  refuses_pickle("N)R.", "it calls what cannot be called");
  refuses_pickle("ctorch._utils\n_rebuild_tensor_v2\n)R.",
                 "a tensor with other arguments than storage, offset, size and stride");
  refuses_pickle("NQ.", "it refers to something else than a storage");
  refuses_pickle("iposix\nsystem\n.", "instruction 105 at byte 0 is no part of weights");
  refuses_pickle(std::string("}(N", 3) + "u.", "a key without a value");
  refuses_pickle("\x8a\x09.........", "a whole number of more than 64 bits");
  // A dict that holds itself is read, and refused where names are made of it: 32 deep.
  CHECK_NOTHROW(read_pickle("}q\0X\1\0\0\0ah\0s."s));
}

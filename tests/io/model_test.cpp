#include "gradus/io/model.hpp"

#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

template <class T>
struct Dense {
  Parameter<T> weight, bias;
  Buffer<int64_t> steps{tensor<int64_t>(0)};
  GRADUS_FIELDS(weight, bias, steps)

  Dense(int64_t in, int64_t out) : weight(cast<T>(randn<float>({out, in}))), bias(zeros<T>({out})) {}
};

template <class T>
struct Net {
  Dense<T> hidden{3, 4}, output{4, 2};
  GRADUS_FIELDS(hidden, output)
};

struct Other {
  Dense<float> hidden{3, 5};
  Parameter<float> scale{ones<float>({1})};
  GRADUS_FIELDS(hidden, scale)
};

}  // namespace

TEST_CASE("save and load: a model's numbers come back into its own memory") {
  test::TemporaryFolder folder;
  auto path = folder / "net.safetensors";
  Net<float> saved, loaded;
  Tensor<int64_t>(saved.output.steps.tensor()).fill_(7);
  io::save(path, saved, {{"epoch", "3"}});
  auto attached = loaded.hidden.weight.tensor();  // as an optimizer holds it
  auto report = io::load(path, loaded);
  CHECK(report.missing.empty());
  CHECK(report.unexpected.empty());
  CHECK(attached.to_vector() == saved.hidden.weight.tensor().to_vector());
  CHECK(loaded.output.bias.tensor().to_vector() == saved.output.bias.tensor().to_vector());
  CHECK(loaded.output.steps.tensor().item() == 7);
  CHECK(loaded.hidden.weight.tensor().requires_grad());
  auto file = io::SafeTensors::read(path);
  CHECK(file.names() == std::vector<std::string>{"hidden.bias", "hidden.steps", "hidden.weight", "output.bias",
                                                 "output.steps", "output.weight"});
  CHECK(file.metadata().at("epoch") == "3");
}

TEST_CASE("load: floating types are converted") {
  test::TemporaryFolder folder;
  auto path = folder / "net.safetensors";
  Net<double> wide;
  io::save(path, wide);
  Net<bf16> narrow;
  io::load(path, narrow);
  CHECK(narrow.hidden.weight.tensor()(1, 2) == static_cast<float>(bf16(wide.hidden.weight.tensor()(1, 2))));
}

TEST_CASE("load: a file that does not fit is refused with the whole list, and changes nothing") {
  test::TemporaryFolder folder;
  auto path = folder / "net.safetensors";
  io::save(path, Net<float>());
  Other other;
  auto before = other.hidden.bias.tensor().to_vector();
  auto before_weight = other.hidden.weight.tensor().to_vector();
  check_error<FormatError>([&] { io::load(path, other); },
                           "load: " + path +
                               " does not fit the model Other:\n"
                               "  missing in the file (1): scale\n"
                               "  not in the model (3): output.bias, output.steps, output.weight\n"
                               "  mismatched (2):\n"
                               "    hidden.weight: F32 (4, 3) in the file, float (5, 3) in the model\n"
                               "    hidden.bias: F32 (4,) in the file, float (5,) in the model");
  CHECK(other.hidden.bias.tensor().to_vector() == before);
  CHECK(other.hidden.weight.tensor().to_vector() == before_weight);

  io::write_safetensors(path, {{"hidden.weight", zeros<int32_t>({5, 3})}});
  check_error<FormatError>([&] { io::load(path, other, {.strict = false}); },
                           "load: " + path +
                               " does not fit the model Other:\n"
                               "  missing in the file (3): hidden.bias, hidden.steps, scale\n"
                               "  mismatched (1):\n"
                               "    hidden.weight: I32 (5, 3) in the file, float (5, 3) in the model");
}

TEST_CASE("load: not strict takes what fits and tells the rest") {
  test::TemporaryFolder folder;
  auto path = folder / "part.safetensors";
  io::write_safetensors(path, {{"hidden.bias", full<float>({5}, 3)}, {"head.weight", zeros<float>({1})}});
  Other other;
  auto report = io::load(path, other, {.strict = false});
  CHECK(report.missing == std::vector<std::string>{"hidden.weight", "hidden.steps", "scale"});
  CHECK(report.unexpected == std::vector<std::string>{"head.weight"});
  CHECK(other.hidden.bias.tensor().to_vector() == std::vector<float>(5, 3.0f));
  CHECK(other.scale.tensor().item() == 1);
}

TEST_CASE("load: a file that shrinks while it is read changes nothing") {
  test::TemporaryFolder folder;
  auto path = folder / "net.safetensors";
  io::save(path, Net<float>());
  Net<float> net;
  auto before = net.hidden.weight.tensor().to_vector();
  auto file = io::SafeTensors::read(path);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  check_error<IoError>([&] { io::load(file, net); }, "cannot read " + path + ": it became shorter while it was read");
  CHECK(net.hidden.weight.tensor().to_vector() == before);
}

TEST_CASE("load: a long list of names is cut") {
  test::TemporaryFolder folder;
  auto path = folder / "many.safetensors";
  std::vector<io::SafeTensorsEntry> entries;
  for (int i = 10; i < 35; ++i) entries.emplace_back("t" + std::to_string(i), zeros<float>({1}));
  io::write_safetensors(path, entries);
  struct Empty {
  } empty;
  check_error<FormatError>([&] { io::load(path, empty); },
                           "load: " + path +
                               " does not fit the model Empty:\n  not in the model (25): t10, t11, t12, t13, t14, t15, "
                               "t16, t17, t18, t19, t20, t21, t22, t23, t24, t25, t26, t27, t28, t29 and 5 more");
}

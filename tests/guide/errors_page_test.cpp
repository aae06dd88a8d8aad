// docs/guide/errors.md is made here: its lines of code run, and the texts on it are those that they throw. When a text
// or an entry has changed, GRADUS_WRITE_PAGES=1 in the environment writes the page anew.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "gradus/data/images.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/io/json_reader.hpp"
#include "gradus/io/model.hpp"
#include "gradus/metrics/confusion_matrix.hpp"
#include "gradus/models/lenet.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/sequential.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/indexing/index_select.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/sgd.hpp"
#include "gradus/tensor.hpp"
#include "gradus/train/metrics_log.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

struct Mistake {
  const char* code;  // as the preprocessor writes it
  void (*make)();
  const char* advice;
};
struct Section {
  const char* title;
  std::vector<Mistake> mistakes;
};

/// The text behind the code's last statement: "ShapeError: matmul: ..."; empty when nothing was thrown.
std::string thrown_by(const Mistake& mistake) {
  try {
    mistake.make();
    return "";
  } catch (const ShapeError& error) {
    return std::string("ShapeError: ") + error.what();
  } catch (const TypeError& error) {
    return std::string("TypeError: ") + error.what();
  } catch (const IndexError& error) {
    return std::string("IndexError: ") + error.what();
  } catch (const ValueError& error) {
    return std::string("ValueError: ") + error.what();
  } catch (const DeviceError& error) {
    return std::string("DeviceError: ") + error.what();
  } catch (const AutogradError& error) {
    return std::string("AutogradError: ") + error.what();
  } catch (const FormatError& error) {
    return std::string("FormatError: ") + error.what();
  } catch (const IoError& error) {
    return std::string("IoError: ") + error.what();
  }
}

/// A statement a line; those within braces stay together.
std::string a_line_each(std::string code) {
  for (size_t i = 0, depth = 0; i + 1 < code.size(); ++i) {
    depth += code[i] == '{' || code[i] == '(';
    depth -= code[i] == '}' || code[i] == ')';
    if (depth == 0 && code[i] == ';' && code[i + 1] == ' ') code[i + 1] = '\n';
  }
  return code + ";\n";
}

#define MISTAKE(advice, ...)                  \
  {                                           \
#__VA_ARGS__, [] { __VA_ARGS__; }, advice \
  }

// clang-format off
const std::vector<Section> sections = {
  {"Tensors", {
    MISTAKE("Sizes broadcast only where they are equal or 1: `reshape`, `unsqueeze` or `transpose` one of them.",
      ones<float>({2, 3}) + ones<float>({2, 4})),
    MISTAKE("Name a shape of as many elements, or let one size be worked out: `reshape(x, {-1, 2})`.",
      reshape(ones<float>({2, 3}), {4, 2})),
    MISTAKE("Indices run from 0 to size - 1, or from -size to -1 counted from the end.",
      auto x = ones<float>({2, 3}); x(2, 0)),
    MISTAKE("`item()` is for one element: reduce first (`sum(x).item()`), or name an index (`x(0, 1)`).",
      ones<float>({2, 3}).item()),
    MISTAKE("Give every row as many elements.",
      tensor<float>({{1, 2}, {3}})),
    MISTAKE("Axes run from 0 to rank - 1; -1 is the last one.",
      sum(ones<float>({2, 3}), 2)),
    MISTAKE("A view with strides is no plain array: call `contiguous(x)`, which copies when it must.",
      auto x = transpose(ones<float>({2, 3})); x.span()),
    MISTAKE("A `Tensor` that was only declared holds nothing: make it with `zeros`, `empty`, `tensor` or an operator.",
      Tensor<float> x; x.shape()),
    MISTAKE("All sizes but the one of the axis to join along must be equal.",
      cat<float>({ones<float>({2, 3}), ones<float>({2, 4})})),
    MISTAKE("Look for whence the index comes: a token or class number that the table has no row for.",
      index_select(ones<float>({100, 8}), 0, tensor<int64_t>({3, 100}))),
    MISTAKE("Use `Device::best()`, which takes a GPU when the program can use one.",
      Device::cuda()),
  }},
  {"Operators and layers", {
    MISTAKE("The columns of a must be the rows of b: often `transpose(b)` is meant.",
      matmul(ones<float>({2, 3}), ones<float>({5, 3}))),
    MISTAKE("Images go into a dense layer as rows: `layer(flatten(images))`.",
      nn::Linear<float> layer(784, 10); layer(ones<float>({32, 28, 28}))),
    MISTAKE("Colour images have three channels: build the model for them, or make them grey. The path before the text says which layer it was.",
      models::LeNet<float> model; eval(model); model(ones<float>({8, 3, 28, 28}))),
    MISTAKE("Images are (n, channels, height, width): put the channels first with `permute(x, {0, 3, 1, 2})`.",
      nn::Conv2d<float> layer(3, 16); layer(ones<float>({8, 32, 32, 3}))),
    MISTAKE("A single image is a batch of one: `unsqueeze(image, 0)`.",
      max_pool2d(ones<float>({1, 28, 28}), 2)),
    MISTAKE("Images that were pooled too often are smaller than the kernel: pool less, or pad.",
      conv2d(ones<float>({1, 8, 2, 2}), ones<float>({8, 8, 3, 3}))),
    MISTAKE("Choose channels that are multiples of the groups.",
      nn::Conv2d<float>(3, 8, {.groups = 2})),
    MISTAKE("p is the share that is dropped, so below 1: 50 percent are 0.5.",
      nn::Dropout(50)),
    MISTAKE("Assigning writes into a model's own parameters, so the models must be of one size; a new model is a new variable.",
      nn::Linear<float> small(2, 1); nn::Linear<float> large(3, 1); small = large),
  }},
  {"Losses", {
    MISTAKE("There must be a label for each row of logits; look at the shapes that the loader makes.",
      cross_entropy(ones<float>({4, 10}), tensor<int64_t>({1, 2, 3}))),
    MISTAKE("Labels count from 0: give the model as many outputs as there are classes, or subtract 1 from labels that count from 1.",
      cross_entropy(ones<float>({2, 10}), tensor<int64_t>({3, 10}))),
    MISTAKE("A column and a row would broadcast to a matrix and train nonsense: `squeeze(output, 1)` or `unsqueeze(target, 1)`.",
      mse_loss(ones<float>({4, 1}), ones<float>({4}))),
  }},
  {"Gradients", {
    MISTAKE("Ask for gradients before the computation: `x.set_requires_grad()`, or parameters of a model; and not under `no_grad`.",
      auto loss = sum(ones<float>({3}) * 2.0); loss.backward()),
    MISTAKE("Reduce the losses of samples to one number: `mean(loss).backward()`.",
      auto x = ones<float>({3}).set_requires_grad(); (x * x).backward()),
    MISTAKE("Compute the loss anew in each step; when one graph is needed twice, `loss.backward(true)` keeps it.",
      auto x = ones<float>({3}).set_requires_grad(); auto loss = sum(x * x); loss.backward(); loss.backward()),
    MISTAKE("Change parameters under `no_grad([&] { ... })`, as optimizers do.",
      auto weight = ones<float>({3}).set_requires_grad(); weight.fill_(0)),
    MISTAKE("Change a copy, or change it after `backward()`: the gradient needs the numbers that were used.",
      auto weight = ones<float>({3}).set_requires_grad(); auto x = ones<float>({3}); auto loss = sum(weight * x); x.fill_(2); loss.backward()),
    MISTAKE("`grad()` is empty until `backward()` reached the tensor: ask `x.grad().defined()`, or look why the loss does not depend on it.",
      auto x = ones<float>({3}).set_requires_grad(); x.grad().item()),
    MISTAKE("Check that the computation used this very tensor and not a `clone()` or `detach()` of it.",
      auto x = ones<float>({3}).set_requires_grad(); auto y = ones<float>({3}).set_requires_grad(); grad(sum(x * x), y)),
    MISTAKE("To stop gradients in the middle of a computation, go on with `y.detach()`.",
      auto x = ones<float>({3}).set_requires_grad(); auto y = x * x; y.set_requires_grad(false)),
    MISTAKE("Whole numbers have no derivative: `cast<float>(x)` first.",
      tensor<int64_t>({1, 2}).set_requires_grad()),
  }},
  {"Optimizers", {
    MISTAKE("Keep the model alive and in place while the optimizer is used.",
      auto model = std::make_unique<nn::Linear<float>>(2, 1); optim::SGD sgd(*model, {.lr = 0.1}); model.reset(); sgd.step()),
    MISTAKE("Name the element type: `optim::AdamW<double> adam(model);`.",
      nn::Linear<double> model(2, 1); optim::AdamW<float> adam(model)),
    MISTAKE("Give the optimizer the model that holds the layers; members that GRADUS_FIELDS does not name are not seen.",
      nn::Sequential<float> model(nn::Relu{}, nn::Flatten{}); optim::SGD sgd(model, {.lr = 0.1})),
    MISTAKE("A rate is 0 or more: the sign of the step is the optimizer's affair.",
      nn::Linear<float> model(2, 1); optim::SGD sgd(model, {.lr = -0.1})),
  }},
  {"Data and files", {
    MISTAKE("Inputs and labels must have as many rows: check how they were cut.",
      data::TensorDataset(ones<float>({10, 4}), zeros<int64_t>({9}))),
    MISTAKE("A batch has at least one sample.",
      data::TensorDataset set(ones<float>({10, 4})); data::Loader(set, {.batch_size = 0})),
    MISTAKE("Name the folder that holds the files, packed or unpacked.",
      data::fashion_mnist("photos", data::Split::train)),
    MISTAKE("Check the path; it is taken from the folder in which the program was started.",
      nn::Linear<float> model(3, 1); io::load("weights.safetensors", model)),
    MISTAKE("Build the model as it was when it was saved: the list says where they differ.",
      io::save("small.safetensors", nn::Linear<float>(2, 1)); nn::Linear<float> model(3, 1, {.bias = false}); io::load("small.safetensors", model)),
    MISTAKE("Check that it is the right file, and that its download or copy was complete.",
      nn::Linear<float> model(3, 1); io::load("notes.txt", model)),
    MISTAKE("Check that it is the right file; `.gz` files need not be unpacked.",
      data::read_idx<uint8_t>("notes.txt")),
    MISTAKE("JSON wants double quotes; line and column say where the reader stopped.",
      io::parse_json("{'epochs': 6}")),
    MISTAKE("Give the matrix as many classes as the labels have.",
      metrics::ConfusionMatrix matrix(3); matrix.update(tensor<int64_t>({0, 1}), tensor<int64_t>({0, 3}))),
    MISTAKE("Step, epoch and seconds are written by themselves: name only what was measured.",
      training::MetricsLog log("run"); log.write(100, 1, {{"epoch", 1}, {"loss", 0.5}})),
  }},
};
// clang-format on
#undef MISTAKE

constexpr auto introduction =
    R"(# Error messages

What goes wrong for most people at first: a line of code, what it throws, and what to do. Every error is a `gradus::Error`; its text
names the operator, shows the values involved, and says the rule. Errors from within a model start with the path of the layer. This page
is written by a test, which runs each line.
)";

std::string make_page() {
  std::string page = introduction;
  for (const auto& section : sections) {
    page += std::string("\n## ") + section.title + '\n';
    for (const auto& mistake : section.mistakes) {
      auto text = thrown_by(mistake);
      INFO(mistake.code);
      CHECK(!text.empty());
      page += "\n```c++\n" + a_line_each(mistake.code) + "```\n```text\n" + text + "\n```\n" + mistake.advice + '\n';
    }
  }
  return page;
}

/// The first line that is not the same, as it is and as it must be; empty when there is none.
std::string first_difference(const std::string& is, const std::string& must_be) {
  if (is == must_be) return "";
  auto at = std::mismatch(is.begin(), is.end(), must_be.begin(), must_be.end()).first - is.begin();
  auto start = at == 0 ? 0 : is.rfind('\n', static_cast<size_t>(at) - 1) + 1;
  auto line = [start](const std::string& text) { return text.substr(start, text.find('\n', start) - start); };
  return "the page says\n" + line(is) + "\nbut the library\n" + line(must_be);
}

/// Runs f() in a folder of its own, where notes.txt is a text.
template <class F>
std::string in_scratch_folder(F&& f) {
  test::TemporaryFolder folder;
  test::write_bytes(folder / "notes.txt", "These are notes, not numbers.\n");
  struct Return {
    std::filesystem::path home = std::filesystem::current_path();
    ~Return() { std::filesystem::current_path(home); }
  } home;
  std::filesystem::current_path(folder / "");
  return f();
}

}  // namespace

TEST_CASE("docs/guide/errors.md holds what the library says") {
  const std::string path = "docs/guide/errors.md";
  struct WithoutCards {  // the page is that of a program without GPU support
    decltype(gradus::detail::count_cards) before = std::exchange(gradus::detail::count_cards, nullptr);
    ~WithoutCards() { gradus::detail::count_cards = before; }
  } without_cards;
  auto page = in_scratch_folder(make_page);
  if (std::getenv("GRADUS_WRITE_PAGES") != nullptr) test::write_bytes(path, page);
  INFO("to renew the page, run this with GRADUS_WRITE_PAGES=1 in the environment");
  CHECK(first_difference(test::read_bytes(path), page) == "");
}

#include "gradus/train/checkpoint.hpp"

#include <sys/wait.h>

#include "gradus/data/loader.hpp"
#include "gradus/nn/batch_norm2d.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/dropout.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/schedule.hpp"
#include "gradus/optim/sgd.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;
using test::check_error, test::check_error_contains, test::TemporaryFolder;

namespace {

/// Everything a run depends on: a buffer, bf16 weights with their exact values, random numbers, a shuffled loader.
template <Floating T>
struct SmallNet {
  nn::Linear<T> hidden{3, 5}, output{5, 1};
  Buffer<int64_t> calls{zeros<int64_t>({})};
  GRADUS_FIELDS(hidden, output, calls)

  Tensor<T> operator()(const Tensor<T>& x) {
    Tensor<int64_t>(calls.tensor()).fill_(calls.tensor().item() + 1);
    return output(dropout(hidden(x), 0.3, true));
  }
};

/// A run of a few epochs; `batches` counts the steps, for this test to stop it.
template <Floating T>
struct Run {
  SmallNet<T> model;
  optim::AdamW<T> adam{model, {.lr = 0.05}};
  optim::Schedule<optim::AdamW<T>> schedule{adam, optim::cosine({.steps = 40, .warmup = 5})};
  data::Loader<data::TensorDataset<T, T>> loader;
  int64_t steps = 0;
  std::vector<double> losses;
  std::string note;
  training::Checkpoint checkpoint;

  explicit Run(const std::string& path, uint64_t seed = 1)
      : model((manual_seed(seed), SmallNet<T>())),
        loader(make_set(), {.batch_size = 4, .shuffle = true, .device = test::tested_device()}),
        checkpoint(path, "lr 0.05") {
    to(model, test::tested_device());
    checkpoint.add("model", model).add("adam", adam).add("schedule", schedule).add("loader", loader);
    checkpoint.add("steps", steps).add("losses", losses).add("note", note);
  }
  static data::TensorDataset<T, T> make_set() {
    auto before = default_generator();
    manual_seed(99);
    auto x = randn<T>({22, 3}), y = randn<T>({22, 1});
    default_generator() = before;
    return data::TensorDataset<T, T>(x, y);
  }

  /// Goes on to `last` steps; save(steps) tells after which to save.
  template <class Save>
  void go_on(int64_t last, Save&& save) {
    while (steps < last) {
      for (auto& [x, y] : loader) {
        auto loss = mse_loss(model(x), y);
        loss.backward();
        adam.step();
        adam.zero_grad();
        schedule.step();
        losses.push_back(static_cast<double>(loss.item()));
        ++steps;
        note += static_cast<char>('a' + steps % 26);
        if (save(steps)) checkpoint.save();
        if (steps == last) break;
      }
    }
  }
  std::vector<Tensor<T>> weights() { return parameters<T>(model); }
};

template <Floating T>
void check_same(Run<T>& a, Run<T>& b) {
  CHECK(a.losses == b.losses);
  CHECK(a.note == b.note);
  CHECK(a.model.calls.tensor().item() == b.model.calls.tensor().item());
  CHECK(a.adam.lr() == b.adam.lr());
  auto first = a.weights(), second = b.weights();
  for (size_t i = 0; i < first.size(); ++i) CHECK(first[i].to_vector() == second[i].to_vector());
}

auto never = [](int64_t) { return false; };

}  // namespace

TEMPLATE_TEST_CASE("checkpoint: a run that goes on has the bits of one that never stopped", "[gpu]", float, bf16) {
  using T = TestType;
  TemporaryFolder folder;
  Run<T> unbroken(folder / "unbroken");
  CHECK(!unbroken.checkpoint.resume());
  unbroken.go_on(30, never);
  for (int64_t stop : {1, 5, 6, 7, 12, 29}) {  // 6 steps an epoch: at its start, within, at its end
    INFO("stopped after " << stop);
    auto path = folder / "run" + std::to_string(stop);
    {
      Run<T> broken(path);
      broken.go_on(stop + 2, [&](int64_t step) { return step == stop; });  // two more steps that are lost
    }
    Run<T> resumed(path, 1234);  // other weights and random numbers, until it resumes
    auto found = resumed.checkpoint.resume();
    CHECK(found.file == path + ".1.safetensors");
    CHECK(found.skipped == "");
    CHECK(resumed.steps == stop);
    resumed.go_on(30, never);
    check_same(resumed, unbroken);
  }
}

TEST_CASE("checkpoint: two files take turns, and the whole one counts when the newer is damaged") {
  TemporaryFolder folder;
  auto path = folder / "run";
  Run<float> run(path);
  run.go_on(3, [](int64_t) { return true; });
  CHECK(folder.entries() == 2);
  auto newest = path + ".1.safetensors", older = path + ".0.safetensors";
  auto whole = test::read_bytes(newest);
  {
    Run<float> resumed(path);
    CHECK(resumed.checkpoint.resume().file == newest);
    CHECK(resumed.steps == 3);
  }
  for (size_t position : {size_t{3}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    auto damaged = whole;
    damaged[position] = static_cast<char>(damaged[position] ^ 4);
    test::write_bytes(newest, damaged);
    Run<float> resumed(path);
    auto found = resumed.checkpoint.resume();
    CHECK(found.file == older);
    CHECK(found.skipped.find(newest) != std::string::npos);
    CHECK(resumed.steps == 2);
  }
  for (size_t length : {size_t{0}, size_t{7}, size_t{300}, whole.size() - 1}) {
    test::write_bytes(newest, whole.substr(0, length));
    Run<float> resumed(path);
    CHECK(resumed.checkpoint.resume().file == older);
    resumed.go_on(3, [](int64_t) { return true; });  // writes the damaged one anew
    CHECK(Run<float>(path).checkpoint.resume().file == newest);
    CHECK(test::read_bytes(newest) == whole);
  }
  ::unlink(newest.c_str());
  std::filesystem::create_directory(newest);  // cannot be read at all
  CHECK(Run<float>(path).checkpoint.resume().skipped == "cannot open " + newest + ": it is not a regular file");
  std::filesystem::remove(newest);
  test::write_bytes(newest, "x");
  test::write_bytes(older, "y");
  Run<float> lost(path);
  check_error_contains<FormatError>([&] { lost.checkpoint.resume(); }, "resume: no whole file is left: ");
  CHECK(lost.steps == 0);
  lost.checkpoint.save();  // a run that starts anew may write
  CHECK(Run<float>(path).checkpoint.resume());
  lost.checkpoint.remove();
  CHECK(folder.entries() == 0);
}

TEST_CASE("checkpoint: what a killed process left behind is removed, what a living one writes is not") {
  TemporaryFolder folder;
  auto child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  auto left = folder / "run.0.safetensors.tmp-" + std::to_string(child) + "-7";
  auto living = folder / "run.0.safetensors.tmp-" + std::to_string(::getpid()) + "-7";
  auto other = folder / "run.0.safetensorsX.tmp-" + std::to_string(child) + "-7";
  for (const auto& name : {left, living, other}) test::write_bytes(name, "x");
  Run<float>(folder / "run").checkpoint.resume();
  CHECK(test::read_bytes(left).empty());
  CHECK(test::read_bytes(living) == "x");
  CHECK(test::read_bytes(other) == "x");
}

TEST_CASE("checkpoint: a file that does not fit changes nothing and says everything") {
  TemporaryFolder folder;
  auto path = folder / "run";
  {
    nn::Linear<float> model(3, 5);
    optim::SGD sgd(model, {.momentum = 0.9});
    int64_t steps = 7;
    training::Checkpoint checkpoint(path, "settings A");
    checkpoint.add("model", model).add("sgd", sgd).add("steps", steps);
    checkpoint.save();
  }
  nn::Linear<float> model(4, 5);
  auto before = model;
  optim::SGD sgd(model, {.momentum = 0.9});
  double steps = 1;
  training::Checkpoint checkpoint(path, "settings A");
  checkpoint.add("model", model).add("steps", steps).add("extra", sgd);
  auto file = path + ".1.safetensors";
  check_error<FormatError>(
      [&] { checkpoint.resume(); },
      "resume: " + file +
          " does not fit this program:\n  different: model/weight is F32 (5, 3) in the file, F32 (5, 4) in the "
          "program\n  different: steps/value is I64 () in the file, F64 () in the program\n  missing in the file: "
          "extra/lr\n  missing in the file: extra/weight.steps\n  missing in the file: extra/bias.steps\n  not in the "
          "program: sgd/bias.steps\n  not in the program: sgd/lr\n  not in the program: sgd/weight.steps");
  CHECK(model.bias.tensor().to_vector() == before.bias.tensor().to_vector());
  CHECK(steps == 1);
  training::Checkpoint others(path, "settings B");
  check_error<FormatError>([&] { others.resume(); },
                           "resume: " + file +
                               " belongs to a run with other settings:\n  there: settings A\n  here:  settings B\nuse "
                               "the same ones, or remove the file to start anew");
  io::write_safetensors(path + ".0.safetensors", {{"a", ones<float>({2})}});
  double steps_there = 0;
  training::Checkpoint partly(path, "settings A");
  check_error_contains<FormatError>([&] { partly.add("steps", steps_there).resume(); }, "not in the program: sgd/lr");
  ::unlink(file.c_str());
  check_error<FormatError>([&] { partly.resume(); }, "resume: no whole file is left: " + path +
                                                         ".0.safetensors is not a checkpoint: 'gradus.run' is "
                                                         "missing; remove them to start anew");
}

TEST_CASE("checkpoint: a folder that cannot be written, names that cannot be") {
  TemporaryFolder folder;
  int64_t steps = 0;
  training::Checkpoint nowhere(folder / "missing/run");
  nowhere.add("steps", steps);
  CHECK(!nowhere.resume());
  check_error<IoError>([&] { nowhere.save(); },
                       "cannot write " + (folder / "missing/run.1.safetensors") + ": No such file or directory");
  check_error<ValueError>([&] { nowhere.add("steps", steps); }, "Checkpoint: two parts are called 'steps'");
  for (const auto* name : {"", "generator", "a/b"}) {
    check_error<ValueError>([&] { nowhere.add(name, steps); },
                            std::string("Checkpoint: a part is called '") + name +
                                "', but names are not empty, not 'generator' and without '/'");
  }
}

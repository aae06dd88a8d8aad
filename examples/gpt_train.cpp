// Trains a small GPT on real text (Shakespeare's plays, or any text file), byte by byte or in tokens that it learns, or
// goes on from the weights of a GPT-2 or Llama; lets it write as it learns, and says how many bits it needs for a byte
// of text that it has never seen. `gpt_train --help` lists the options.

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>

#include "gradus/io/lora.hpp"
#include "gradus/io/model.hpp"
#include "gradus/models/generate.hpp"
#include "gradus/models/pretrained.hpp"
#include "gradus/nn/mode_guard.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/clip.hpp"
#include "gradus/optim/schedule.hpp"
#include "gradus/text/byte_tokenizer.hpp"
#include "gradus/text/token_windows.hpp"
#include "gradus/text/train_bpe.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/checkpoint.hpp"
#include "gradus/train/describe.hpp"
#include "gradus/train/metrics_log.hpp"
#include "gradus/train/run_report.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string text = "data/shakespeare", out = "runs/gpt_train", prompt = "\nROMEO.\n", tokens = "bytes", init, python;
  int64_t vocabulary = 4096, lora = 0;
  int64_t layers = 6, heads = 6, width = 192, context = 128, batch = 32, steps = 1200, warmup = 100;
  int64_t report_every = 100, sample_length = 240, threads = 0;
  double lr = 2e-3, dropout = 0, held_out = 0.1, temperature = 0.8, save_every = 30;
  uint64_t seed = 1;
  bool fresh = false;
};

constexpr auto help = R"(usage: gpt_train [options]

Trains a GPT on text and lets it write. Interrupted (Ctrl-C, a lost machine) and started again, it goes on where it was.

  --text PATH         a text file, or a folder whose .txt files are read in order of their names (data/shakespeare)
  --held-out X        share of the text, at its end, that is only tested with (0.1)
  --out DIR           where weights, metrics, report.html and summary.json go (runs/gpt_train)
  --tokens KIND       bytes, or bpe: learnt from the text (bytes)
  --vocabulary N      of bpe (4096)
  --init DIR          goes on from a GPT-2 or Llama with its tokenizer in Hugging Face's layout, in place of a new network
  --lora N            trains adapters of this rank, the network stays as it was (with --init)
  --layers N  --heads N  --width N  --context N    size of the network (6, 6, 192, 128)
  --batch N           windows of the text a step (32)
  --steps N           (1200)
  --lr X              highest learning rate (0.002)
  --dropout X         (0)
  --prompt TEXT       what its texts begin with ("\nROMEO.\n")
  --temperature X     0: always the likeliest token (0.8)
  --report-every N    steps between two looks at what it has learned (100)
  --seed N            start of all random numbers (1)
  --threads N         threads (one a core)
  --save-every S      seconds between two saves of the whole run, to go on from (30)
  --fresh             start anew, also when an interrupted run could go on
  --python PROGRAM    a Python with PyTorch: the same network is trained there too, from the same start on the same windows
  --quick             a tiny network and few steps: to see that it works
)";

/// The file, or all .txt files of the folder.
std::string read_text(const std::string& path) {
  std::vector<std::filesystem::path> files;
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem)) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.path().extension() == ".txt") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    require<IoError>(!files.empty(), path, " holds no .txt file; `./run gpt` fetches Shakespeare's plays there");
  } else {
    files.push_back(path);
  }
  std::string text;
  for (const auto& file : files) text += io::detail::read_whole_file(file.string()) + '\n';
  return text;
}

/// Bytes, or tokens of a vocabulary.
class Words {
 public:
  Words(const Options& options, const std::string& train_text) {
    if (!options.init.empty()) {
      tokenizer_ = text::Tokenizer::from_file(options.init);
      tokenizer_->truncate_to(0);
    } else if (options.tokens == "bpe") {
      std::vector<std::string> lines;
      for (size_t at = 0; at < train_text.size();) {
        auto end = std::min(train_text.find('\n', at), train_text.size() - 1) + 1;
        lines.push_back(train_text.substr(at, end - at));
        at = end;
      }
      tokenizer_ = text::train_bpe(lines, {.vocabulary = options.vocabulary});
    }
  }

  int64_t vocabulary() const { return tokenizer_ ? tokenizer_->vocabulary() : text::ByteTokenizer().vocabulary(); }
  std::vector<int64_t> encode(const std::string& text) const {
    return tokenizer_ ? tokenizer_->encode(text, false).ids : text::ByteTokenizer().encode(text);
  }
  /// What is not UTF-8, as a network that writes bytes may make it, becomes U+FFFD.
  std::string decode(const std::vector<int64_t>& ids) const { return tokenizer().decode(ids); }
  void save(const std::string& folder) const { tokenizer().save(folder + "/tokenizer.json"); }

 private:
  text::Tokenizer tokenizer() const { return tokenizer_ ? *tokenizer_ : text::tokenizer_of_bytes(); }

  std::optional<text::Tokenizer> tokenizer_;  ///< absent: bytes
};

/// The text as a file of tokens: what is learnt from, and behind it what is held out.
struct Tokens {
  text::TokenFile file;
  int64_t border;          ///< the first token that is held out
  double bytes_per_token;  ///< of what is held out
};

Tokens write_tokens(const Options& options, const std::string& train, const std::string& held_out, const Words& words) {
  auto ids = words.encode(train), behind = words.encode(held_out);
  auto border = std::ssize(ids);
  auto bytes_per_token = static_cast<double>(held_out.size()) / static_cast<double>(std::max<size_t>(behind.size(), 1));
  ids.insert(ids.end(), behind.begin(), behind.end());
  auto path = options.out + "/tokens.bin";
  text::write_tokens(path, ids, words.vocabulary());
  return {text::TokenFile(path), border, bytes_per_token};
}

/// Bits that the model needs for a token of these windows.
template <class Model>
double bits_per_token(Model& model, const text::TokenWindows& windows, int64_t count) {
  nn::detail::ModeGuard mode(model, false);
  NoGradGuard guard;
  double sum = 0;
  count = std::min(count, windows.size());
  for (int64_t first = 0; first < count; first += 32) {
    std::vector<int64_t> indices;
    for (auto i = first; i < std::min(first + 32, count); ++i) indices.push_back(i * windows.size() / count);
    auto [ids, next] = windows.batch(indices);
    auto device = device_of(model);
    auto loss = model.loss(ids.to(device), next.to(device));
    sum += static_cast<double>(loss.item()) * static_cast<double>(indices.size());
  }
  return sum / static_cast<double>(count) / std::log(2.0);
}

/// What it writes behind the prompt.
template <class Model>
std::string write_text(Model& model, const Words& words, const Options& options) {
  nn::detail::ModeGuard mode(model, false);
  auto ids = words.encode(options.prompt);
  auto wanted = std::ssize(ids) + options.sample_length;
  while (std::ssize(ids) < wanted) {  // the context is smaller than the text: go on from its second half
    auto seen = ids;
    if (std::ssize(seen) > options.context / 2) seen.erase(seen.begin(), seen.end() - options.context / 2);
    auto more = std::min(options.context - std::ssize(seen), wanted - std::ssize(ids));
    auto made =
        models::generate(model, seen, {.max_tokens = std::max<int64_t>(more, 1), .temperature = options.temperature});
    ids.insert(ids.end(), made.begin(), made.end());
  }
  return words.decode(ids);
}

/// Where a training stands, for its checkpoint.
struct State {
  int64_t step = 0;
  double seconds = 0, loss = 0;

  template <class Visitor>
  void visit_state(Visitor&& visitor) {
    visitor("step", step);
    visitor("seconds", seconds);
    visitor("loss", loss);
  }
};

/// Trains the same network in PyTorch and returns its bits per token.
double train_in_pytorch(const Options& options, int64_t vocabulary) {
  auto record = io::Json::object({{"vocabulary", vocabulary},
                                  {"layers", options.layers},
                                  {"heads", options.heads},
                                  {"width", options.width},
                                  {"context", options.context},
                                  {"batch", options.batch},
                                  {"lr", options.lr},
                                  {"threads", num_threads()}});
  io::write_file(options.out + "/pytorch_settings.json", io::to_pretty_string(record) + '\n');
  std::cout << "\nThe same network in PyTorch:" << std::endl;
  auto command = join('\'', options.python, "' -B benchmarks/compare/gpt_text.py '", options.out, '\'');
  require<IoError>(std::system(command.c_str()) == 0, "failed: ", command);
  return io::parse_json(io::detail::read_whole_file(options.out + "/pytorch.json")).at("bits_per_token").as_number();
}

std::atomic<bool> interrupted = false;

/// The first Ctrl-C ends the run after the step at work, the second at once.
void interrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

/// Adapters, where they are asked for; onto the device.
template <class Model>
void prepare(Model& model, const Options& options) {
  train(model);
  if (options.lora > 0) {
    auto count = nn::add_lora(model, {.rank = options.lora, .alpha = 2.0 * static_cast<double>(options.lora)});
    std::cout << count << " layers have adapters of rank " << options.lora << '\n';
  }
  to(model, Device::best());
}
void save_folder(const std::string& folder, const models::Gpt<float>& model) { models::gpt2_to(folder, model); }
void save_folder(const std::string& folder, const models::Llama<float>& model) { models::llama_to(folder, model); }

template <class Model>
int train_model(const Options& options, Model& model, const Words& words, const Tokens& tokens) {
  prepare(model, options);
  auto device = device_of(model);
  text::TokenWindows train(tokens.file, {.length = options.context, .stride = 1, .last = tokens.border});
  text::TokenWindows held_out(tokens.file, {.length = options.context, .first = tokens.border});
  require<ValueError>(train.size() > 0 && held_out.size() > 0, options.text, ": ", tokens.file.size(),
                      " tokens are too few for windows of ", options.context, " in both parts");
  std::cout << options.text << ": " << tokens.file.size() << " tokens of " << words.vocabulary() << ", the last "
            << tokens.file.size() - tokens.border << " held out; " << count_parameters(model)
            << " numbers are trained, " << describe(device) << '\n';
  io::save(options.out + "/start.safetensors", model);

  optim::AdamW adam(model, {.lr = options.lr});
  auto factor = optim::cosine(
      {.steps = options.steps, .warmup = std::min(options.warmup, options.steps - 1), .final_factor = 0.1});
  optim::Schedule schedule(adam, factor);
  // Which windows a step reads depends on seed and step alone.
  auto order = default_generator().reserve(2 * options.steps * options.batch);
  auto starts = Tensor<int64_t>::empty({options.steps, options.batch});
  for (int64_t i = 0; i < starts.numel(); ++i)
    starts.mutable_data()[i] = static_cast<int64_t>(order.below(i, static_cast<uint64_t>(train.size())));
  auto factors = Tensor<float>::empty({options.steps});
  for (int64_t i = 0; i < options.steps; ++i) factors.mutable_data()[i] = static_cast<float>(factor(i));
  auto held_out_starts = Tensor<int64_t>::empty({held_out.size()});
  for (int64_t i = 0; i < held_out.size(); ++i) held_out_starts.mutable_data()[i] = tokens.border + i * options.context;
  io::write_safetensors(options.out + "/order.safetensors",
                        {{"starts", starts}, {"held_out", held_out_starts}, {"factors", factors}});

  State state;
  training::Checkpoint checkpoint(
      options.out + "/run",
      join(options.text, ", ", tokens.file.size(), " tokens of ", words.vocabulary(), ", start ", options.init,
           ", lora ", options.lora, ", ", options.layers, " layers, ", options.heads, " heads, width ", options.width,
           ", context ", options.context, ", batch ", options.batch, ", steps ", options.steps, ", lr ", options.lr,
           ", dropout ", options.dropout, ", seed ", options.seed));
  checkpoint.add("model", model).add("optimizer", adam).add("schedule", schedule).add("state", state);
  if (options.fresh) checkpoint.remove();
  if (checkpoint.resume()) std::cout << "Going on behind step " << state.step << ".\n";
  std::signal(SIGINT, interrupt);
  std::signal(SIGTERM, interrupt);
  training::MetricsLog log(options.out, {.resume_step = state.step});

  auto began = training::detail::steady_seconds() - state.seconds, saved = training::detail::steady_seconds();
  auto tokens_a_step = options.batch * options.context;
  training::Progress progress(options.steps * tokens_a_step, {.title = "training", .unit = "tokens"});
  progress.start_at(state.step * tokens_a_step);
  while (state.step < options.steps) {
    auto [ids, next] =
        train.batch(std::span(starts.data() + state.step * options.batch, static_cast<size_t>(options.batch)));
    auto loss = model.loss(ids.to(device), next.to(device));
    loss.backward();
    optim::clip_grad_norm(model, 1.0);
    adam.step();
    adam.zero_grad();
    schedule.step();
    auto bits = static_cast<double>(loss.item()) / std::log(2.0) / tokens.bytes_per_token;
    require<ValueError>(std::isfinite(bits), "the loss of step ", state.step + 1, " is not finite; try a lower --lr");
    state.loss = state.step == 0 ? bits : 0.95 * state.loss + 0.05 * bits;
    ++state.step;
    progress.advance(tokens_a_step, [&] { return join("bits per byte ", std::round(1000 * state.loss) / 1000); });
    state.seconds = training::detail::steady_seconds() - began;
    if (interrupted || training::detail::steady_seconds() - saved > options.save_every) {
      checkpoint.save();
      saved = training::detail::steady_seconds();
    }
    if (interrupted) {
      std::cout << "\nInterrupted. The same command goes on from here.\n";
      return 130;
    }
    if (state.step % options.report_every == 0 && state.step < options.steps) {
      auto validated = bits_per_token(model, held_out, 256) / tokens.bytes_per_token;
      log.write(state.step, state.step, {{"train_bits per byte", state.loss}, {"held out_bits per byte", validated}});
      std::printf("\r\x1b[Kstep %lld/%lld  bits per byte %.3f, of text held out %.3f\n",
                  static_cast<long long>(state.step), static_cast<long long>(options.steps), state.loss, validated);
      auto generator = default_generator();  // what it writes changes nothing in the training
      std::cout << write_text(model, words, options) << "\n" << std::endl;
      default_generator() = generator;
    }
  }
  progress.finish();
  auto seconds = state.seconds;
  auto final_bits = bits_per_token(model, held_out, held_out.size()) / tokens.bytes_per_token;
  log.write(state.step, state.step, {{"train_bits per byte", state.loss}, {"held out_bits per byte", final_bits}});
  auto sample = write_text(model, words, options);
  auto trained = count_parameters(model);
  if (options.lora > 0) {
    auto prefix = std::is_same_v<Model, models::Gpt<float>> ? "base_model.model.transformer." : io::peft_prefix;
    io::save_lora(options.out + "/adapter", model, prefix);
    nn::merge_lora(model);
  }
  save_folder(options.out + "/model", model);
  words.save(options.out + "/model");
  std::printf("%s\n\nbits per byte of text held out: %.4f (%lld tokens); %.0f tokens/s, %.0f s\n", sample.c_str(),
              final_bits, static_cast<long long>(held_out.size() * options.context),
              static_cast<double>(options.steps * tokens_a_step) / seconds, seconds);

  auto record = io::Json::object({{"text", options.text},
                                  {"tokens", tokens.file.size()},
                                  {"vocabulary", words.vocabulary()},
                                  {"bytes_per_token", tokens.bytes_per_token},
                                  {"start", options.init.empty() ? "random numbers" : options.init},
                                  {"lora", options.lora},
                                  {"parameters", trained},
                                  {"layers", options.layers},
                                  {"heads", options.heads},
                                  {"width", options.width},
                                  {"context", options.context},
                                  {"batch", options.batch},
                                  {"steps", options.steps},
                                  {"lr", options.lr},
                                  {"seed", options.seed},
                                  {"bits_per_byte", final_bits},
                                  {"seconds", seconds},
                                  {"sample", sample}});
  if (!options.python.empty()) {
    auto theirs = train_in_pytorch(options, words.vocabulary()) / tokens.bytes_per_token;
    std::printf("bits per byte of text held out: Gradus %.4f, PyTorch %.4f\n", final_bits, theirs);
    record.set("bits_per_byte_pytorch", theirs);
  }
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  training::write_report(options.out + "/report.html", training::report_of_run(options.out));
  checkpoint.remove();
  std::cout << options.out << ": model/, metrics.csv, metrics.jsonl, report.html, summary.json\n";
  return 0;
}

int run(Options options) {
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  manual_seed(options.seed);
  std::error_code problem;
  std::filesystem::create_directories(options.out, problem);
  require<IoError>(!problem, "cannot create ", options.out, ": ", problem.message(),
                   "; name another folder with --out");
  auto whole = read_text(options.text);
  auto border = static_cast<size_t>(static_cast<double>(whole.size()) * (1 - options.held_out));
  auto train_text = whole.substr(0, border), held_out_text = whole.substr(border);
  Words words(options, train_text);
  auto tokens = write_tokens(options, train_text, held_out_text, words);

  auto use = [&](auto model) {
    require<ValueError>(words.vocabulary() <= model.options.vocabulary, options.init, ": the tokenizer has ids up to ",
                        words.vocabulary() - 1, ", but the network knows ", model.options.vocabulary, " tokens");
    options.layers = model.options.layers;
    options.heads = model.options.heads;
    options.width = model.options.width;
    options.context = std::min(options.context, model.context());
    return train_model(options, model, words, tokens);
  };
  if (options.init.empty()) {
    return use(models::Gpt<float>({.vocabulary = words.vocabulary(),
                                   .context = options.context,
                                   .layers = options.layers,
                                   .heads = options.heads,
                                   .width = options.width,
                                   .dropout = options.dropout}));
  }
  auto config = options.init + "/config.json";
  auto type = io::parse_json(io::detail::read_whole_file(config)).at("model_type").as_string();
  if (type == "gpt2") {
    auto model = models::gpt2_from(options.init);
    model.options.dropout = options.dropout;
    return use(std::move(model));
  }
  require<FormatError>(type == "llama" || type == "mistral", config, ": model_type is '", type,
                       "', but only gpt2, llama and mistral are known");
  return use(models::llama_from(options.init, type));
}

}  // namespace

int main(int argc, char** argv) {
  return training::run_program("gpt_train", help, argc, argv, [](training::Arguments& given) {
    Options options;
    if (given.flag("--quick")) {
      options.layers = options.heads = 2;
      options.width = 32;
      options.context = options.sample_length = 32;
      options.batch = 16;
      options.steps = 60;
      options.report_every = 30;
      options.warmup = 10;
      options.lr = 1e-2;
    }
    constexpr int64_t many = 1 << 20;
    given.read("--text", options.text);
    given.read("--held-out", options.held_out, 0.001, 0.9);
    given.read("--out", options.out);
    given.read("--layers", options.layers, 1, 1000);
    given.read("--heads", options.heads, 1, 1000);
    given.read("--width", options.width, 1, many);
    given.read("--context", options.context, 2, many);
    given.read("--batch", options.batch, 1, many);
    given.read("--steps", options.steps, 2, int64_t{1} << 40);
    given.read("--lr", options.lr, 0, 10);
    given.read("--dropout", options.dropout, 0, 0.99);
    given.read("--tokens", options.tokens);
    given.read("--vocabulary", options.vocabulary, 257, many);
    given.read("--init", options.init);
    given.read("--lora", options.lora, 0, 4096);
    given.read("--prompt", options.prompt);
    given.read("--temperature", options.temperature, 0, 100);
    given.read("--report-every", options.report_every, 1, int64_t{1} << 40);
    given.read("--seed", options.seed, 0, uint64_t{1} << 53);
    given.read("--threads", options.threads, 1, 1024);
    given.read("--save-every", options.save_every, 0, 1e9);
    given.read("--python", options.python);
    options.fresh = given.flag("--fresh");
    given.finish();
    require<training::UsageError>(!options.prompt.empty(), "--prompt must not be empty");
    require<training::UsageError>(options.tokens == "bytes" || options.tokens == "bpe",
                                  "--tokens must be bytes or bpe");
    require<training::UsageError>(options.lora == 0 || !options.init.empty(),
                                  "--lora needs a network to stay as it was: --init");
    if (!options.init.empty()) options.python.clear();  // a comparison of new networks
    return run(options);
  });
}

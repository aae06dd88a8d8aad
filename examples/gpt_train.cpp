// Trains a small GPT, letter by letter, on real text (Shakespeare's plays, or any text file), lets it write as it
// learns, and says how many bits it needs for a byte of text that it has never seen. `gpt_train --help` lists the
// options.

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "gradus/io/model.hpp"
#include "gradus/models/generate.hpp"
#include "gradus/models/gpt.hpp"
#include "gradus/nn/mode_guard.hpp"
#include "gradus/ops/loss/cross_entropy.hpp"
#include "gradus/optim/adamw.hpp"
#include "gradus/optim/clip.hpp"
#include "gradus/optim/schedule.hpp"
#include "gradus/text/byte_tokenizer.hpp"
#include "gradus/text/token_windows.hpp"
#include "gradus/train/arguments.hpp"
#include "gradus/train/checkpoint.hpp"
#include "gradus/train/metrics_log.hpp"
#include "gradus/train/run_report.hpp"

using namespace gradus;

namespace {

struct Options {
  std::string text = "data/shakespeare", out = "runs/gpt_train", prompt = "\nROMEO.\n", python;
  int64_t layers = 6, heads = 6, width = 192, context = 128, batch = 32, steps = 1200, warmup = 100;
  int64_t report_every = 100, sample_length = 240, threads = 0;
  double lr = 2e-3, dropout = 0, held_out = 0.1, temperature = 0.8, save_every = 30;
  uint64_t seed = 1;
  bool fresh = false;
};

constexpr auto help = R"(usage: gpt_train [options]

Trains a GPT on bytes of text and lets it write. Interrupted (Ctrl-C, a lost machine) and started again, it goes on where
it was.

  --text PATH         a text file, or a folder whose .txt files are read in order of their names (data/shakespeare)
  --held-out X        share of the text, at its end, that is only tested with (0.1)
  --out DIR           where weights, metrics, report.html and summary.json go (runs/gpt_train)
  --layers N  --heads N  --width N  --context N    size of the network (6, 6, 192, 128)
  --batch N           windows of the text a step (32)
  --steps N           (1200)
  --lr X              highest learning rate (0.002)
  --dropout X         (0)
  --prompt TEXT       what its texts begin with ("\nROMEO.\n")
  --temperature X     0: always the likeliest byte (0.8)
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

/// Bits that the model needs for a byte of these windows.
double bits_per_byte(models::Gpt<float>& model, const text::TokenWindows& windows, int64_t count) {
  nn::detail::ModeGuard mode(model, false);
  NoGradGuard guard;
  double sum = 0;
  count = std::min(count, windows.size());
  for (int64_t first = 0; first < count; first += 32) {
    std::vector<int64_t> indices;
    for (auto i = first; i < std::min(first + 32, count); ++i) indices.push_back(i * windows.size() / count);
    auto [ids, next] = windows.batch(indices);
    auto loss = cross_entropy(flatten(model(ids), 0, 1), flatten(next, 0));
    sum += static_cast<double>(loss.item()) * static_cast<double>(indices.size());
  }
  return sum / static_cast<double>(count) / std::log(2.0);
}

/// What it writes behind the prompt.
std::string write_text(models::Gpt<float>& model, const Options& options) {
  nn::detail::ModeGuard mode(model, false);
  text::ByteTokenizer bytes;
  auto prompt = bytes.encode(options.prompt);
  auto room = std::max<int64_t>(1, options.context - std::ssize(prompt));
  std::string written;
  while (std::ssize(written) <
         options.sample_length) {  // the context is smaller than the text: go on from its second half
    auto seen = bytes.encode(options.prompt + written);
    if (std::ssize(seen) > options.context / 2) seen.erase(seen.begin(), seen.end() - options.context / 2);
    auto more = std::min({room, options.context - std::ssize(seen), options.sample_length - std::ssize(written)});
    written += bytes.decode(models::generate(model, seen, {.max_tokens = more, .temperature = options.temperature}));
  }
  return options.prompt + written;
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

/// Trains the same network in PyTorch and returns its bits per byte.
double train_in_pytorch(const Options& options) {
  auto record = io::Json::object({{"layers", options.layers},
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
  return io::parse_json(io::detail::read_whole_file(options.out + "/pytorch.json")).at("bits_per_byte").as_number();
}

std::atomic<bool> interrupted = false;

/// The first Ctrl-C ends the run after the step at work, the second at once.
void interrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

int run(const Options& options) {
  if (options.threads > 0) set_num_threads(static_cast<int>(options.threads));
  manual_seed(options.seed);
  std::error_code problem;
  std::filesystem::create_directories(options.out, problem);
  require<IoError>(!problem, "cannot create ", options.out, ": ", problem.message(),
                   "; name another folder with --out");

  auto whole = read_text(options.text);
  auto tokens_path = options.out + "/tokens.bin";
  text::write_tokens(tokens_path, text::ByteTokenizer().encode(whole), 256);
  text::TokenFile tokens(tokens_path);
  auto border = static_cast<int64_t>(static_cast<double>(tokens.size()) * (1 - options.held_out));
  text::TokenWindows train(tokens, {.length = options.context, .stride = 1, .last = border});
  text::TokenWindows held_out(tokens, {.length = options.context, .first = border});
  require<ValueError>(train.size() > 0 && held_out.size() > 0, options.text, ": ", tokens.size(),
                      " bytes are too few for windows of ", options.context, " in both parts");

  models::Gpt<float> model({.vocabulary = 256,
                            .context = options.context,
                            .layers = options.layers,
                            .heads = options.heads,
                            .width = options.width,
                            .dropout = options.dropout});
  std::cout << options.text << ": " << tokens.size() << " bytes, the last " << tokens.size() - border
            << " held out; network of " << count_parameters(model) << " parameters, " << num_threads() << " threads\n";
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
  for (int64_t i = 0; i < held_out.size(); ++i) held_out_starts.mutable_data()[i] = border + i * options.context;
  io::write_safetensors(options.out + "/order.safetensors",
                        {{"starts", starts}, {"held_out", held_out_starts}, {"factors", factors}});

  State state;
  training::Checkpoint checkpoint(
      options.out + "/run",
      join(options.text, ", ", tokens.size(), " bytes, ", options.layers, " layers, ", options.heads, " heads, width ",
           options.width, ", context ", options.context, ", batch ", options.batch, ", steps ", options.steps, ", lr ",
           options.lr, ", dropout ", options.dropout, ", seed ", options.seed));
  checkpoint.add("model", model).add("optimizer", adam).add("schedule", schedule).add("state", state);
  if (options.fresh) checkpoint.remove();
  if (checkpoint.resume()) std::cout << "Going on behind step " << state.step << ".\n";
  std::signal(SIGINT, interrupt);
  std::signal(SIGTERM, interrupt);
  training::MetricsLog log(options.out, {.resume_step = state.step});

  auto began = training::detail::steady_seconds() - state.seconds, saved = training::detail::steady_seconds();
  auto bytes_a_step = options.batch * options.context;
  training::Progress progress(options.steps * bytes_a_step, {.title = "training", .unit = "bytes"});
  progress.start_at(state.step * bytes_a_step);
  while (state.step < options.steps) {
    auto [ids, next] =
        train.batch(std::span(starts.data() + state.step * options.batch, static_cast<size_t>(options.batch)));
    auto loss = cross_entropy(flatten(model(ids), 0, 1), flatten(next, 0));
    loss.backward();
    optim::clip_grad_norm(model, 1.0);
    adam.step();
    adam.zero_grad();
    schedule.step();
    auto bits = static_cast<double>(loss.item()) / std::log(2.0);
    require<ValueError>(std::isfinite(bits), "the loss of step ", state.step + 1, " is not finite; try a lower --lr");
    state.loss = state.step == 0 ? bits : 0.95 * state.loss + 0.05 * bits;
    ++state.step;
    progress.advance(bytes_a_step, [&] { return join("bits per byte ", std::round(1000 * state.loss) / 1000); });
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
      auto validated = bits_per_byte(model, held_out, 256);
      log.write(state.step, state.step, {{"train_bits per byte", state.loss}, {"held out_bits per byte", validated}});
      std::printf("\r\x1b[Kstep %lld/%lld  bits per byte %.3f, of text held out %.3f\n",
                  static_cast<long long>(state.step), static_cast<long long>(options.steps), state.loss, validated);
      auto generator = default_generator();  // what it writes changes nothing in the training
      std::cout << write_text(model, options) << "\n" << std::endl;
      default_generator() = generator;
    }
  }
  progress.finish();
  auto seconds = state.seconds;
  auto final_bits = bits_per_byte(model, held_out, held_out.size());
  log.write(state.step, state.step, {{"train_bits per byte", state.loss}, {"held out_bits per byte", final_bits}});
  auto sample = write_text(model, options);
  io::save(options.out + "/weights.safetensors", model);
  std::printf("%s\n\nbits per byte of text held out: %.4f (%lld bytes); %.0f bytes/s, %.0f s\n", sample.c_str(),
              final_bits, static_cast<long long>(held_out.size() * options.context),
              static_cast<double>(options.steps * bytes_a_step) / seconds, seconds);

  auto record = io::Json::object({{"text", options.text},
                                  {"bytes", tokens.size()},
                                  {"parameters", count_parameters(model)},
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
    auto theirs = train_in_pytorch(options);
    std::printf("bits per byte of text held out: Gradus %.4f, PyTorch %.4f\n", final_bits, theirs);
    record.set("bits_per_byte_pytorch", theirs);
  }
  io::write_file(options.out + "/summary.json", io::to_pretty_string(record) + '\n');
  training::write_report(options.out + "/report.html", training::report_of_run(options.out));
  checkpoint.remove();
  std::cout << options.out << ": weights.safetensors, metrics.csv, metrics.jsonl, report.html, summary.json\n";
  return 0;
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
    return run(options);
  });
}

// What the real compiler and the real cuDNN say of Gradus's GPU work, on a machine without a GPU:
// gpu_plans <folder of kernels' texts> <null driver>.
//   - Every text in the folder is compiled for each architecture: no spilled registers, registers within a bound.
//   - Every graph of attention and convolution below becomes a plan of cuDNN's for each card.
// Ends with `kernels: N, architectures: N, plans: N, cards: N, failed: N`. 77: there is no compiler to ask.
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#include "gradus/device/cuda/cudnn_attention.hpp"
#include "gradus/device/cuda/cudnn_conv.hpp"

using namespace gradus;
using namespace gradus::cuda::detail;

namespace {

constexpr int architectures[] = {80, 86, 89, 90, 100, 120};
/// 256 threads a block, of which four fit a multiprocessor of 65,536 registers with 64 registers each, and two with
/// 128: below that too little is in flight to hide the time of memory.
constexpr int most_registers = 128;

std::atomic<int> failed{0};
std::mutex printing;
void fail(const std::string& text) {
  std::lock_guard lock(printing);
  std::printf("FAILED: %s\n", text.c_str());
  ++failed;
}

/// The number in front of `word` in a line of the assembler's.
int number_before(const std::string& line, const char* word) {
  auto at = line.find(word);
  if (at == std::string::npos || at < 2) return 0;
  auto from = at - 1;
  while (from > 0 && std::isdigit(static_cast<unsigned char>(line[from - 1])) != 0) --from;
  return std::atoi(line.c_str() + from);
}

struct Program {
  std::string name, text;
};

/// Reads what the assembler says of each kernel: "Compiling entry function 'x' for", "N bytes spill stores", "Used N
/// registers".
void check_log(const Program& program, int architecture, const std::string& log) {
  std::istringstream lines(log);
  std::string line, kernel;
  auto where = [&] { return join(program.name, " ", kernel, " for sm_", architecture, ": "); };
  while (std::getline(lines, line)) {
    if (auto at = line.find("entry function '"); at != std::string::npos) {
      auto from = at + 16;
      kernel = line.substr(from, line.find('\'', from) - from);
    }
    if (auto spilled = number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
        spilled > 0)
      fail(join(where(), spilled, " bytes of registers are spilled"));
    if (auto used = number_before(line, " registers"); used > most_registers)
      fail(join(where(), used, " registers, but at most ", most_registers, " may be used"));
  }
}

int compile_all(const std::filesystem::path& folder) {
  std::vector<Program> programs;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cu") continue;
    std::ifstream file(entry.path());
    auto name = entry.path().filename().string();
    programs.push_back({name.substr(0, name.find('.')), {std::istreambuf_iterator<char>(file), {}}});
  }
  std::sort(programs.begin(), programs.end(), [](const auto& a, const auto& b) { return a.text < b.text; });
  auto same = [](const auto& a, const auto& b) { return a.text == b.text; };
  programs.erase(std::unique(programs.begin(), programs.end(), same), programs.end());
  if (programs.empty()) fail("the folder holds no kernels' texts: run the simulated card's tests first");
  const auto& nvrtc = Nvrtc::get();
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  auto work = [&] {
    for (auto i = next++; i < programs.size(); i = next++) {
      const auto& program = programs[i];
      for (auto architecture : architectures) {
        try {
          KernelSource source{.name = program.name, .text = program.text};
          source.options.push_back("--ptxas-options=-v");
          check_log(program, architecture, compile(nvrtc, source, architecture).log);
        } catch (const std::exception& error) {
          fail(error.what());
        }
      }
    }
  };
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  for (auto& thread : threads) thread.join();
  return static_cast<int>(programs.size());
}

/// What cuDNN must know of a card; figures of NVIDIA's data sheets.
struct CardFacts {
  const char* name;
  int version, multiprocessors, shared_bytes;
  int64_t memory, cache;
};
constexpr CardFacts cards[] = {{"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 85'000'000'000, 41'943'040},
                               {"NVIDIA H100 80GB HBM3", 900, 132, 232448, 85'000'000'000, 52'428'800},
                               {"NVIDIA H200", 900, 132, 232448, 150'000'000'000, 62'914'560},
                               {"NVIDIA B200", 1000, 148, 232448, 190'000'000'000, 132'644'864},
                               {"NVIDIA GeForce RTX 5090", 1200, 170, 101376, 34'000'000'000, 100'663'296}};

CudnnDescriptor described(const Cudnn& api, const CardFacts& card) {
  auto text =
      join("{\"deviceVer\":", card.version, ",\"multiProcessorCount\":", card.multiprocessors,
           ",\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":", card.shared_bytes,
           ",\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,",
           "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"regsPerBlock\":65536,",
           "\"totalGlobalMem\":", card.memory, ",\"smClockRateKHz\":1980000,\"l2CacheSize\":", card.cache,
           ",\"maxBlockSize\":[1024,1024,64],\"memClockRateKHz\":2619000,",
           "\"maxGridSize\":[2147483647,65535,65535],\"supportCoopLaunch\":1,\"pciDeviceId\":0,",
           "\"isTccDriver\":0,\"cudaDeviceId\":0,\"driverVer\":13000,\"deviceName\":\"", card.name, "\"}");
  CudnnDescriptor properties(api, "plans", CudnnKind::device_properties);
  properties.set(2702, CudnnValue::character, static_cast<int64_t>(text.size()), text.data()).finalize();
  return properties;
}

int plan_attention(const Cudnn& api, const CardFacts& card, Handle properties) {
  int plans = 0;
  struct Case {
    int64_t n, heads, kv_heads, queries, keys, depth;
    int causal;
  };
  // GPT-2, BERT, Llama with grouped queries, translation, a short text of an odd length.
  for (const auto& c : {Case{8, 12, 12, 1024, 1024, 64, 1},
                        {16, 12, 12, 512, 512, 64, 0},
                        {2, 32, 8, 2048, 2048, 128, 1},
                        {4, 8, 8, 96, 128, 64, 0},
                        {2, 2, 2, 128, 128, 16, 1}}) {
    AttentionGraphShape s{};
    s.causal = c.causal;
    s.n = c.n;
    s.heads = c.heads;
    s.kv_heads = c.kv_heads;
    s.queries = c.queries;
    s.keys = c.keys;
    s.depth = s.width = c.depth;
    auto rows = [](int64_t tokens, int64_t heads, int64_t size) {
      return CudnnSizes{tokens * heads * size, size, heads * size, 1};
    };
    s.query = s.y = s.dy = s.dq = rows(c.queries, c.heads, c.depth);
    s.key = s.value = s.dk = s.dv = rows(c.keys, c.kv_heads, c.depth);
    for (auto back : {false, true}) {
      std::string why;
      try {
        AttentionGraph graph(api, s);
        auto plan = (back ? graph.backward() : graph.forward()).plan({nullptr, properties}, 0, &why);
        if (plan) ++plans;
        else fail(join("attention ", back ? "back" : "forward", " for ", card.name, ": ", why));
      } catch (const std::exception& error) {
        fail(join("attention for ", card.name, ": ", error.what()));
      }
    }
  }
  return plans;
}

int plan_convolutions(const Cudnn& api, const CardFacts& card, Handle properties) {
  int plans = 0;
  struct Case {
    int64_t n, in, size, out, groups, kernel, stride, padding;
  };
  // LeNet; ResNet-50's kinds; MobileNetV2's channel by channel; ViT's patches; WaveNet-like gaps are 1-D elsewhere.
  for (const auto& c : {Case{128, 1, 28, 32, 1, 3, 1, 1},
                        {128, 32, 14, 64, 1, 3, 1, 1},
                        {64, 3, 224, 64, 1, 7, 2, 3},
                        {64, 64, 56, 64, 1, 1, 1, 0},
                        {64, 64, 56, 64, 1, 3, 1, 1},
                        {64, 256, 56, 512, 1, 1, 2, 0},
                        {64, 512, 7, 512, 1, 3, 1, 1},
                        {32, 96, 112, 96, 96, 3, 2, 1},
                        {32, 960, 7, 960, 960, 3, 1, 1},
                        {16, 3, 224, 192, 1, 16, 16, 0},
                        {3, 6, 9, 4, 2, 3, 2, 1}}) {
    auto out = (c.size + 2 * c.padding - c.kernel) / c.stride + 1;
    for (auto type : {CudnnType::f32, CudnnType::bf16, CudnnType::f64}) {
      ConvGraphShape s{};
      s.type = type;
      s.unwanted = CudnnNote::compiled_at_run_time;
      if (type == CudnnType::f32) s.unwanted |= CudnnNote::tensor_cores | CudnnNote::rounds_inputs;
      s.x = {c.n, c.in, c.size, c.size};
      s.w = {c.out, c.in / c.groups, c.kernel, c.kernel};
      s.y = {c.n, c.out, out, out};
      s.x_strides = dense_strides(s.x);
      s.w_strides = dense_strides(s.w);
      s.y_strides = dense_strides(s.y);
      s.window = {{c.stride, c.stride}, {c.padding, c.padding}, {1, 1}};
      for (auto kind : {CudnnKind::convolution_forward, CudnnKind::convolution_backward_data,
                        CudnnKind::convolution_backward_filter}) {
        std::string why;
        try {
          if (plan_convolution(api, kind, s, {nullptr, properties}, &why)) ++plans;
          else fail(join("convolution ", kind, " of ", c.in, " to ", c.out, " channels for ", card.name, ": ", why));
        } catch (const std::exception& error) {
          fail(join("convolution for ", card.name, ": ", error.what()));
        }
      }
    }
  }
  return plans;
}

int plan_all(const char* null_driver, int& planned_cards) {
  if (::dlopen(null_driver, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    fail(::dlerror());
    return 0;
  }
  const auto* api = Cudnn::find();
  if (api == nullptr) {
    std::puts("There is no cuDNN from 9.0 on: its plans are left out.");
    return 0;
  }
  int plans = 0;
  for (const auto& card : cards) {
    auto properties = described(*api, card);
    plans += plan_attention(*api, card, properties.handle()) + plan_convolutions(*api, card, properties.handle());
    ++planned_cards;
  }
  return plans;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::puts("gpu_plans <folder of kernels' texts> <null driver>");
    return 2;
  }
  try {
    Nvrtc::get();
  } catch (const std::exception& error) {
    std::puts(error.what());
    return 77;
  }
  try {
    int planned_cards = 0;
    auto plans = plan_all(argv[2], planned_cards);
    auto kernels = compile_all(argv[1]);
    std::printf("kernels: %d, architectures: %d, plans: %d, cards: %d, failed: %d\n", kernels,
                static_cast<int>(std::size(architectures)), plans, planned_cards, failed.load());
  } catch (const std::exception& error) {
    fail(error.what());
  }
  return failed == 0 ? 0 : 1;
}

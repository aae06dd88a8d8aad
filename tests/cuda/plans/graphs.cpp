// The real cuDNN on the graphs of attention and convolution: each becomes a plan, for cards of which it is told what
// there is to know.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "gradus/device/cuda/cudnn_attention.hpp"
#include "gradus/device/cuda/cudnn_conv.hpp"
#include "tests/cuda/plans/plans.hpp"

namespace gradus::test {
namespace {

using namespace cuda::detail;

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

/// A graph as the library asks for it: CudnnPlans::find's name and the bytes of the shape.
struct Graph {
  std::string name, shape;
  auto operator<=>(const Graph&) const = default;
};
template <class Shape>
Graph graph_of(const char* name, const Shape& shape) {
  return {name, std::string(reinterpret_cast<const char*>(&shape), sizeof(shape))};
}
template <class Shape>
Shape shape_of(const Graph& graph) {
  require<Error>(graph.shape.size() == sizeof(Shape), graph.name, ": another program's shape");
  Shape shape{};
  std::memcpy(static_cast<void*>(&shape), graph.shape.data(), sizeof(shape));
  return shape;
}

std::optional<CudnnPlan> plan(const Cudnn& api, const Graph& graph, const CudnnTarget& target, std::string* why) {
  if (graph.name.starts_with("attention")) {
    AttentionGraph attention(api, shape_of<AttentionGraphShape>(graph));
    return (graph.name == "attention" ? attention.forward() : attention.backward()).plan(target, 0, why);
  }
  auto kind = graph.name == "convolution"                  ? CudnnKind::convolution_forward
              : graph.name == "convolution_input_gradient" ? CudnnKind::convolution_backward_data
                                                           : CudnnKind::convolution_backward_filter;
  return plan_convolution(api, kind, shape_of<ConvGraphShape>(graph), target, why);
}

/// For people: what the graph is about.
std::string describe(const Graph& graph) {
  auto list = [](const CudnnSizes& s) { return join('(', s[0], ", ", s[1], ", ", s[2], ", ", s[3], ')'); };
  if (graph.name.starts_with("attention")) {
    auto s = shape_of<AttentionGraphShape>(graph);
    return join(graph.name, " of ", s.n, " samples, ", s.heads, " heads over ", s.kv_heads, ", ", s.queries,
                " queries, ", s.keys, " keys, ", s.depth, " and ", s.width, " numbers",
                s.causal != 0 ? ", causal" : "");
  }
  auto s = shape_of<ConvGraphShape>(graph);
  return join(graph.name, " of x ", list(s.x), " and w ", list(s.w), " in cuDNN's type ", static_cast<int>(s.type),
              s.x_strides[1] == 1 ? ", channels last" : "", s.has_bias != 0 ? ", with a bias" : "",
              s.has_relu != 0 ? ", relu" : "", ", unwanted notes ", s.unwanted);
}

/// Those that programs left beside their kernels.
void add_kept(const std::string& folder, std::vector<Graph>& graphs) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".graph") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(file), {});
    auto name = entry.path().filename().string();
    name.resize(name.find('.'));
    graphs.push_back({name, bytes.substr(name.size())});
  }
}

/// GPT-2, BERT, Llama with grouped queries, translation, a short text.
void add_attention(std::vector<Graph>& graphs) {
  struct Case {
    int64_t n, heads, kv_heads, queries, keys, depth;
    int causal;
  };
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
    s.query = s.y = rows(c.queries, c.heads, c.depth);
    s.key = s.value = rows(c.keys, c.kv_heads, c.depth);
    graphs.push_back(graph_of("attention", s));
    s.dy = s.dq = s.y;
    s.dk = s.dv = s.key;
    graphs.push_back(graph_of("attention_gradient", s));
  }
}

/// LeNet; ResNet-50's kinds; MobileNetV2's channel by channel; ViT's patches; odd numbers. Planar, and channels last
/// where the library wants it: in half precision, and in float when TF32 is allowed.
void add_convolutions(std::vector<Graph>& graphs) {
  struct Case {
    int64_t n, in, size, out, groups, kernel, stride, padding;
  };
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
                        {3, 6, 9, 4, 2, 3, 2, 1},
                        {2, 5, 7, 1, 1, 3, 1, 1}}) {
    auto out = (c.size + 2 * c.padding - c.kernel) / c.stride + 1;
    struct Way {
      CudnnType type;
      bool last, tf32;
    };
    for (auto way : {Way{CudnnType::f32, false, false},
                     {CudnnType::f32, true, true},
                     {CudnnType::bf16, false, false},
                     {CudnnType::bf16, true, false},
                     {CudnnType::f16, true, false},
                     {CudnnType::f64, false, false}}) {
      ConvGraphShape s{};
      s.type = way.type;
      s.unwanted = CudnnNote::compiled_at_run_time;
      if (way.type == CudnnType::f32 && !way.tf32)
        s.unwanted |= CudnnNote::tensor_cores | CudnnNote::rounds_inputs | CudnnNote::rounds_sums;
      s.x = {c.n, c.in, c.size, c.size};
      s.w = {c.out, c.in / c.groups, c.kernel, c.kernel};
      s.y = {c.n, c.out, out, out};
      s.x_strides = way.last ? channels_last_strides(s.x) : dense_strides(s.x);
      s.w_strides = dense_strides(s.w);
      s.y_strides = way.last ? channels_last_strides(s.y) : dense_strides(s.y);
      s.window = {{c.stride, c.stride}, {c.padding, c.padding}, {1, 1}};
      for (const char* name : {"convolution", "convolution_input_gradient", "convolution_weight_gradient"})
        graphs.push_back(graph_of(name, s));
      if (way.tf32) continue;
      s.has_bias = 1;
      graphs.push_back(graph_of("convolution", s));
      s.has_relu = 1;
      graphs.push_back(graph_of("convolution", s));
    }
  }
}

/// Plans come back from disk as they were, and are made again when their file is damaged.
void check_disk(const Cudnn& api, const Graph& graph, const std::string& card, const CudnnTarget& target) {
  namespace fs = std::filesystem;
  auto folder = fs::temp_directory_path() / join("gradus-plans-", ::getpid());
  fs::create_directories(folder);
  KernelCache disk(folder);
  int made = 0;
  auto get = [&] {
    auto result = plan_from_disk(disk, api, graph.name.c_str(), card, graph.name + graph.shape, target,
                                 [&](const Cudnn&, const CudnnTarget& for_whom) {
                                   ++made;
                                   return plan(api, graph, for_whom, nullptr);
                                 });
    return result ? join(result->workspace_bytes(), ' ', result->text()) : "";
  };
  auto first = get(), second = get();
  if (made != 1 || first.size() < 100 || first != second) fail(join(describe(graph), ": its plan is lost on disk"));
  for (const auto& entry : fs::directory_iterator(folder)) std::ofstream(entry.path(), std::ios::app) << "damage";
  if (get().size() < 100 || made != 2) fail(join(describe(graph), ": a damaged plan was taken"));
  fs::remove_all(folder);
}

}  // namespace

int check_plans(const std::string& folder, bool all_pairs, int& planned_cards) {
  const auto* api = Cudnn::find();
  if (api == nullptr) {
    std::puts("There is no cuDNN from 9.0 on: its plans are skipped.");
    return 0;
  }
  std::vector<Graph> graphs;
  add_attention(graphs);
  add_convolutions(graphs);
  auto chosen = graphs.size();  // for every card; those that programs left are many, and take turns
  add_kept(folder, graphs);
  if (graphs.size() == chosen) fail("the folder holds no graphs");
  std::sort(graphs.begin() + static_cast<std::ptrdiff_t>(chosen), graphs.end());
  graphs.erase(std::unique(graphs.begin() + static_cast<std::ptrdiff_t>(chosen), graphs.end()), graphs.end());
  int plans = 0;
  for (const auto& card : cards) {
    auto properties = described(*api, card);
    for (size_t i = 0; i < graphs.size(); ++i) {
      if (!all_pairs && i >= chosen && i % std::size(cards) != static_cast<size_t>(planned_cards)) continue;
      const auto& graph = graphs[i];
      try {
        std::string why;
        if (plan(*api, graph, {nullptr, properties.handle()}, &why)) ++plans;
        else fail(join(describe(graph), " for ", card.name, ": ", why));
      } catch (const std::exception& error) {
        fail(join(graph.name, " for ", card.name, ": ", error.what()));
      }
    }
    auto kept = [&](const char* name) {
      auto found = std::find_if(graphs.begin(), graphs.end(), [&](const Graph& graph) { return graph.name == name; });
      check_disk(*api, *found, card.name, {nullptr, properties.handle()});
    };
    for (const char* name : {"attention", "attention_gradient", "convolution", "convolution_weight_gradient"})
      kept(name);
    ++planned_cards;
  }
  return plans;
}

}  // namespace gradus::test

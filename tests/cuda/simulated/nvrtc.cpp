// libnvrtc of the simulated card: the host's compiler makes a shared object of the CUDA text.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/cuda/simulated/card.hpp"

namespace {

struct Program {
  std::string text, name, log, code;
};

/// What the GPU's compiler brings along, and how kernels are found. What they call is in block.cpp and check.cpp.
constexpr const char* before = R"host(
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#define __restrict__ __restrict
#define GRADUS_REACHES(kernel, ...) \
 extern "C" { extern const size_t kernel##_reaches[]; const size_t kernel##_reaches[] = {__VA_ARGS__}; }
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

namespace simulated {
struct Dim { unsigned x, y, z; };
struct Kernel {
  const char* name;
  void (*call)(void**);
  bool fibers;
  char *image_begin, *image_end, *shared_begin, *shared_end;
};
}  // namespace simulated

extern "C" {
extern const simulated::Dim gridDim, blockDim, blockIdx, threadIdx;
void gradus_run(const simulated::Kernel*, const unsigned* grid, const unsigned* block, void** arguments, unsigned order);
int gradus_lane();
void gradus_shuffle(void* value, size_t bytes, int source);
void gradus_syncthreads();
void gradus_syncwarp();
void gradus_atomic(void* at, size_t bytes);
void* __tsan_memcpy(void* to, const void* from, size_t bytes);
extern __attribute__((visibility("hidden"))) char __ehdr_start, __bss_start, _end;
}

static void __syncthreads() { gradus_syncthreads(); }
static void __syncwarp(unsigned = 0xffffffffu) { gradus_syncwarp(); }
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  static_assert(sizeof(T) <= 8);
  gradus_shuffle(&value, sizeof(T), lane % 32);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  return __shfl_sync(mask, value, gradus_lane() ^ distance);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance) {
  const int lane = gradus_lane() + distance;
  return __shfl_sync(mask, value, lane < 32 ? lane : gradus_lane());
}
template <class T>
__attribute__((no_sanitize("thread"))) T atomicAdd(T* at, T value) {
  gradus_atomic(at, sizeof(T));
  T before = *at;
  *at = before + value;
  return before;
}
template <class T>
__attribute__((no_sanitize("thread"))) T atomicCAS(T* at, T expected, T value) {
  gradus_atomic(at, sizeof(T));
  T before = *at;
  if (before == expected) *at = value;
  return before;
}
#ifdef GRADUS_SIMULATED_CHECKS
// Small copies become plain assignments, which are checked.
#define memcpy(to, from, bytes) \
  (__builtin_constant_p(bytes) && (bytes) <= 16 ? __builtin_memcpy(to, from, bytes) : __tsan_memcpy(to, from, bytes))
#endif

namespace simulated {

template <class... P>
struct Sizes {
  static constexpr size_t of[sizeof...(P) + 1] = {sizeof(P)...};
};
struct Entry {
  const char* name;
  void (*call)(void**);
  const size_t* sizes;
  int count;
  bool fibers;
  Entry* next;
};
static Entry* entries = nullptr;

template <size_t... I>
struct Places {};
template <size_t N, size_t... I>
struct MakePlaces : MakePlaces<N - 1, N - 1, I...> {};
template <size_t... I>
struct MakePlaces<0, I...> {
  typedef Places<I...> type;
};
template <class T>
struct Plain {
  typedef T type;
};
template <class T>
struct Plain<const T> {
  typedef T type;
};

template <auto kernel, class F>
struct Call;
template <auto kernel, class... P>
struct Call<kernel, void (*)(P...)> {
  template <size_t... I>
  __attribute__((no_sanitize("thread"))) static void run(void** a, Places<I...>) {
    kernel(*static_cast<typename Plain<P>::type*>(a[I])...);
  }
  static void from(void** a) { run(a, typename MakePlaces<sizeof...(P)>::type()); }
  static Entry make(const char* name, bool fibers) {
    return {name, &from, Sizes<P...>::of, static_cast<int>(sizeof...(P)), fibers, nullptr};
  }
};
struct Registrar {
  Entry entry;
  explicit Registrar(Entry made) : entry(made) {
    entry.next = entries;
    entries = &entry;
  }
};

}  // namespace simulated

extern "C" int gradus_find(const char* name, void (**call)(void**), const size_t** sizes, int* count, bool* fibers) {
  for (auto* entry = simulated::entries; entry != nullptr; entry = entry->next) {
    if (strcmp(entry->name, name) != 0) continue;
    *call = entry->call;
    *sizes = entry->sizes;
    *count = entry->count;
    *fibers = entry->fibers;
    return 1;
  }
  return 0;
}
extern "C" void gradus_launch(void (*call)(void**), bool fibers, const unsigned* grid, const unsigned* block, unsigned,
                              void** arguments, unsigned order) {
  auto* entry = simulated::entries;
  while (entry->call != call) entry = entry->next;
  const simulated::Kernel kernel = {entry->name, call, fibers, &__ehdr_start, &_end, &__bss_start, &_end};
  gradus_run(&kernel, grid, block, arguments, order);
}
)host";

/// Declares each kernel before its definition and registers it. Kernels begin with GRADUS_KERNEL or with
/// extern "C" __global__ void __launch_bounds__(n), and their parameters end with ") {". Those with barriers or
/// shuffles are known by these words or by a name that begins with block_.
std::string with_registrars(const std::string& text) {
  std::string out;
  size_t at = 0;
  const std::string macro = "\nGRADUS_KERNEL ", plain = "\nextern \"C\" __global__ void __launch_bounds__(";
  while (true) {
    auto by_macro = text.find(macro, at), by_plain = text.find(plain, at);
    auto start = std::min(by_macro, by_plain);
    if (start == std::string::npos) break;
    auto name = start + macro.size();
    if (start == by_plain) name = text.find_first_not_of(" \n", text.find(')', start + plain.size()) + 1);
    auto open = text.find('(', name), end = text.find(") {", open);
    auto kernel = text.substr(name, open - name), parameters = text.substr(open, end + 1 - open);
    auto next = std::min(text.find(macro, end), text.find(plain, end));
    auto body = text.substr(end, next == std::string::npos ? next : next - end);
    auto has = [&](const char* word) { return body.find(word) != std::string::npos; };
    auto fibers = has("reduce<") || has("__sync") || has("__shfl") || kernel.starts_with("block_");
    out += text.substr(at, start - at);
    auto declared = parameters;
    std::replace(declared.begin(), declared.end(), '\n', ' ');  // the text keeps its lines
    out += "\nextern \"C\" void " + kernel + declared + "; static simulated::Registrar " + kernel +
           "_registrar(simulated::Call<&" + kernel + ", decltype(&" + kernel + ")>::make(\"" + kernel + "\", " +
           (fibers ? "true" : "false") + ")); extern \"C\" void " + kernel + parameters;
    at = end + 1;
  }
  return out + text.substr(at);
}

std::string compiler() {
  const auto* chosen = std::getenv("GRADUS_SIMULATED_COMPILER");
  return chosen != nullptr && *chosen != '\0' ? chosen : GRADUS_TEST_COMPILER;
}

/// Products and sums stay apart as they do not on a card; what the text leaves undefined about aliases is defined.
/// GRADUS_SIMULATED_CHECKS=off leaves out what check.cpp needs; with "address" the compiler's address sanitizer checks
/// accesses in its stead, in a program that has its library.
std::string compiler_options() {
  const std::string options = " -std=c++17 -O1 -w -ffp-contract=off -fno-strict-aliasing -shared -fPIC -nodefaultlibs";
  const auto* chosen = std::getenv("GRADUS_SIMULATED_CHECKS");
  const std::string checks = chosen == nullptr ? "" : chosen;
  if (checks == "off") return options;
  return options + (checks == "address" ? " -g1 -fsanitize=address" : " -DGRADUS_SIMULATED_CHECKS -fsanitize=thread") +
         " -fno-sanitize-recover=all -fsanitize=signed-integer-overflow,integer-divide-by-zero,shift,bounds,alignment,"
         "bool,unreachable,return";
}

/// The library that this is a part of, in which kernels find what they call.
std::string own_path() {
  Dl_info info;
  return dladdr(reinterpret_cast<const void*>(&own_path), &info) != 0 ? info.dli_fname : "";
}

}  // namespace

using simulated::count_object, simulated::injected;

extern "C" {

int nvrtcVersion(int* major, int* minor) {
  if (auto failed = injected("nvrtcVersion"); failed != 0) return failed;
  unsigned hash = 7;
  for (auto c : before + compiler_options()) hash = hash * 31 + static_cast<unsigned char>(c);
  return *major = 1000, *minor = static_cast<int>(hash % 100000), 0;
}
const char* nvrtcGetErrorString(int result) {
  return result == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_SIMULATED";
}
int nvrtcCreateProgram(void** program, const char* source, const char* name, int, const char* const*,
                       const char* const*) {
  if (auto failed = injected("nvrtcCreateProgram"); failed != 0) return failed;
  count_object("program", 1);
  return *program = new Program{source, name, "", ""}, 0;
}
int nvrtcDestroyProgram(void** program) {
  count_object("program", -1);
  delete static_cast<Program*>(*program);
  return *program = nullptr, injected("nvrtcDestroyProgram");
}
int nvrtcCompileProgram(void* program, int, const char* const*) {
  if (auto failed = injected("nvrtcCompileProgram"); failed != 0) return failed;
  auto& p = *static_cast<Program*>(program);
  auto pattern = (std::filesystem::temp_directory_path() / "gradus-simulated-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) return 1;
  std::filesystem::path folder = pattern;
  std::ofstream(folder / "kernels.cpp") << before << "#line 1 \"" << p.name << "\"\n" << with_registrars(p.text);
  auto command = "LD_PRELOAD= " + compiler() + compiler_options() + " '" + pattern + "/kernels.cpp' -o '" + pattern +
                 "/kernels.so' '" + own_path() + "' -lm -lc -lgcc > '" + pattern + "/log' 2>&1";
  auto failed = std::system(command.c_str()) != 0;
  auto read = [&](const char* name) {
    std::ifstream file(folder / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  p.log = read("log");
  if (!failed) {
    auto code = read("kernels.so");
    uint64_t length = code.size();
    p.code = "GRADSIM1" + std::string(reinterpret_cast<char*>(&length), 8) + code;
  }
  std::filesystem::remove_all(folder);
  return failed ? 6 : 0;
}
int nvrtcGetProgramLogSize(void* program, size_t* bytes) {
  if (auto failed = injected("nvrtcGetProgramLogSize"); failed != 0) return failed;
  return *bytes = static_cast<Program*>(program)->log.size() + 1, 0;
}
int nvrtcGetProgramLog(void* program, char* text) {
  if (auto failed = injected("nvrtcGetProgramLog"); failed != 0) return failed;
  const auto& log = static_cast<Program*>(program)->log;
  return std::memcpy(text, log.c_str(), log.size() + 1), 0;
}
int nvrtcGetCUBINSize(void* program, size_t* bytes) {
  if (auto failed = injected("nvrtcGetCUBINSize"); failed != 0) return failed;
  return *bytes = static_cast<Program*>(program)->code.size(), 0;
}
int nvrtcGetCUBIN(void* program, char* code) {
  if (auto failed = injected("nvrtcGetCUBIN"); failed != 0) return failed;
  const auto& all = static_cast<Program*>(program)->code;
  return std::memcpy(code, all.data(), all.size()), 0;
}
int nvrtcGetPTXSize(void*, size_t* bytes) { return *bytes = 0, 0; }
int nvrtcGetPTX(void*, char*) { return 0; }
int nvrtcGetNumSupportedArchs(int* count) {
  if (auto failed = injected("nvrtcGetNumSupportedArchs"); failed != 0) return failed;
  return *count = 1, 0;
}
int nvrtcGetSupportedArchs(int* list) {
  if (auto failed = injected("nvrtcGetSupportedArchs"); failed != 0) return failed;
  return *list = simulated::capability(), 0;
}

}  // extern "C"

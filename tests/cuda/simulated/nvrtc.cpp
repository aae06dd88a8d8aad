// libnvrtc of the simulated card: the host's compiler makes a shared object of the CUDA text.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
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

/// What the GPU's compiler brings along, and the block that runs: one fiber a thread.
constexpr const char* before = R"host(
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#define __restrict__ __restrict
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct Dim { unsigned x, y, z; };
static Dim gridDim, blockDim, blockIdx, threadIdx;
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

namespace simulated {

[[noreturn]] static void mistake(const char* text) {
  fprintf(stderr, "\nsimulated card: %s (block %u, thread %u)\n", text, blockIdx.x, threadIdx.x);
  abort();
}

struct Fiber {
  void* stack_pointer;
  char* stack;
  Dim thread;
  bool done, waiting;
};
static Fiber fibers[1024];
static void* scheduler_pointer;
static int current, in_block, running, arrived, fibers_on;
static unsigned generation;
static void (*body)(void**);
static void** body_arguments;
static bool progress;

// Saves what a call must keep, and goes on elsewhere.
#if defined(__x86_64__)
asm(R"(
.text
.local gradus_switch
gradus_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
constexpr int saved_words = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.local gradus_switch
gradus_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#endif
extern "C" void gradus_switch(void** save, void* to);

static void yield() { gradus_switch(&fibers[current].stack_pointer, scheduler_pointer); }

static void run_fiber() {
  body(body_arguments);
  fibers[current].done = true;
  progress = true;
  --running;
  yield();
  abort();
}

static void start(Fiber& fiber) {
  constexpr size_t bytes = 1 << 16;
  if (fiber.stack == nullptr) {
    fiber.stack = static_cast<char*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(fiber.stack + bytes - 64);
  *--top = nullptr;  // keeps the alignment of a call
  *--top = reinterpret_cast<void*>(&run_fiber);
  for (int i = 0; i < saved_words; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#else
  char* top = fiber.stack + bytes - 64 - 160;
  memset(top, 0, 160);
  reinterpret_cast<void**>(top)[11] = reinterpret_cast<void*>(&run_fiber);
  fiber.stack_pointer = top;
#endif
  fiber.done = false;
}

static void run_block(unsigned order) {
  const int threads = in_block;
  running = threads;
  arrived = 0;
  for (int i = 0; i < threads; ++i) start(fibers[i]);
  // Any step that is prime to the number of threads visits all of them.
  int first = static_cast<int>(order % static_cast<unsigned>(threads));
  const bool back = (order >> 10 & 1) != 0;
  while (running > 0) {
    progress = false;
    for (int k = 0; k < threads; ++k) {
      const int i = (first + (back ? threads - 1 - k : k)) % threads;
      if (fibers[i].done) continue;
      current = i;
      threadIdx = fibers[i].thread;
      gradus_switch(&scheduler_pointer, fibers[i].stack_pointer);
    }
    if (!progress && running > 0) mistake("a barrier or shuffle is not reached by all threads");
  }
}

struct Warp {
  uint64_t values[2][32];
  unsigned arrived, taken;
};
static Warp warps[32];
static unsigned shuffles[1024];

template <class T>
T shuffle(T value, int source) {
  static_assert(sizeof(T) <= 8);
  if (!fibers_on) mistake("a shuffle in a kernel that was taken to have none");
  const int self = current, lane = self % 32, base = self - lane;
  const int lanes = in_block - base < 32 ? in_block - base : 32;
  Warp& warp = warps[self / 32];
  const unsigned turn = shuffles[self]++;
  memcpy(&warp.values[turn % 2][lane], &value, sizeof(T));
  ++warp.arrived;
  progress = true;
  while (warp.arrived < (turn + 1) * static_cast<unsigned>(lanes)) yield();
  progress = true;
  T result;
  memcpy(&result, &warp.values[turn % 2][source < lanes ? source : lane], sizeof(T));
  return result;
}

}  // namespace simulated

static void __syncthreads() {
  using namespace simulated;
  if (!fibers_on) mistake("a barrier in a kernel that was taken to have none");
  progress = true;
  const unsigned mine = generation;
  if (++arrived == in_block) {
    arrived = 0;
    ++generation;
  } else {
    while (generation == mine) yield();
  }
  progress = true;
}
static void __syncwarp() {}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return simulated::shuffle(value, simulated::current % 32 ^ mask);
}
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return simulated::shuffle(value, lane % 32);
}
template <class T>
T __shfl_down_sync(unsigned, T value, int distance) {
  const int lane = simulated::current % 32 + distance;
  return simulated::shuffle(value, lane < 32 ? lane : simulated::current % 32);
}
template <class T>
T atomicAdd(T* at, T value) {
  T before = *at;
  *at = before + value;
  return before;
}

namespace simulated {

template <class... P>
struct Kernel {
  static constexpr size_t sizes[sizeof...(P) + 1] = {sizeof(P)...};
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
template <auto kernel, class... P, size_t... I>
static void call_with(void (*)(P...), void** a, __attribute__((unused)) const size_t (*)[sizeof...(I) + 1]);

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
  static void run(void** a, Places<I...>) {
    kernel(*static_cast<typename Plain<P>::type*>(a[I])...);
  }
  static void from(void** a) { run(a, typename MakePlaces<sizeof...(P)>::type()); }
  static Entry make(const char* name, bool fibers) {
    return {name, &from, Kernel<P...>::sizes, static_cast<int>(sizeof...(P)), fibers, nullptr};
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
  using namespace simulated;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  in_block = static_cast<int>(block[0] * block[1] * block[2]);
  fibers_on = fibers;
  body = call;
  body_arguments = arguments;
  const unsigned blocks = grid[0] * grid[1] * grid[2];
  for (unsigned k = 0; k < blocks; ++k) {
    const unsigned b = (order & 1) != 0 ? blocks - 1 - k : (k + order / 2) % blocks;  // blocks come in any order
    blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
    unsigned t = 0;
    for (unsigned z = 0; z < block[2]; ++z)
      for (unsigned y = 0; y < block[1]; ++y)
        for (unsigned x = 0; x < block[0]; ++x) fibers_on ? void(simulated::fibers[t++].thread = {x, y, z}) : void();
    if (fibers_on) {
      for (auto& warp : warps) warp.arrived = 0;
      memset(shuffles, 0, sizeof(shuffles));
      run_block(order / 4 + k);
    } else {
      for (unsigned z = 0; z < block[2]; ++z)
        for (unsigned y = 0; y < block[1]; ++y)
          for (unsigned x = 0; x < block[0]; ++x) {
            threadIdx = {x, y, z};
            call(arguments);
          }
    }
  }
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
    out += "\nextern \"C\" void " + kernel + parameters + ";\nstatic simulated::Registrar " + kernel +
           "_registrar(simulated::Call<&" + kernel + ", decltype(&" + kernel + ")>::make(\"" + kernel + "\", " +
           (fibers ? "true" : "false") + "));\nextern \"C\" void " + kernel + parameters;
    at = end + 1;
  }
  return out + text.substr(at);
}

std::string compiler() {
  const auto* chosen = std::getenv("GRADUS_SIMULATED_COMPILER");
  return chosen != nullptr && *chosen != '\0' ? chosen : GRADUS_TEST_COMPILER;
}

}  // namespace

using simulated::count_object, simulated::injected;

extern "C" {

int nvrtcVersion(int* major, int* minor) {
  if (auto failed = injected("nvrtcVersion"); failed != 0) return failed;
  unsigned hash = 7;
  for (const char* c = before; *c != '\0'; ++c) hash = hash * 31 + static_cast<unsigned char>(*c);
  return *major = 1000, *minor = static_cast<int>(hash % 100), 0;
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
  std::ofstream(folder / "kernels.cpp") << before << with_registrars(p.text);
  // Products and sums stay apart as they do not on a card; what the text leaves undefined about aliases is defined.
  auto command = compiler() + " -std=c++17 -O1 -w -ffp-contract=off -fno-strict-aliasing -shared -fPIC '" + pattern +
                 "/kernels.cpp' -o '" + pattern + "/kernels.so' > '" + pattern + "/log' 2>&1";
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
  return *list = 90, 0;
}

}  // extern "C"

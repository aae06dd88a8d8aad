// libcuda of the simulated card.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/cuda/simulated/card.hpp"
#include "tests/cuda/simulated/faults.hpp"

namespace simulated {
namespace {

constexpr size_t page = 4096;
/// Addresses, which are never used twice. What is known of each byte takes several more.
size_t arena_bytes() { return size_t{1} << (computes_nothing() ? 44 : 38); }

struct Event;
/// A kernel with the arguments of one launch.
struct KernelCall {
  std::function<void(std::vector<std::vector<char>>&)> run;
  std::vector<std::vector<char>> arguments;
};
/// One piece of a graph: a kernel, whose arguments can be changed, or other work.
struct Node {
  std::function<void()> work;
  std::shared_ptr<KernelCall> kernel;
};
struct Work {
  std::function<void()> run;
  Event* wait = nullptr;  ///< goes on when this event has happened
  Event* happens = nullptr;
  uint64_t number = 0;  ///< of the event's recording
};
thread_local void* current_context = nullptr;

struct Stream {
  std::deque<Work> queue;
  void* context = current_context;
  bool capturing = false, relaxed = false;
  std::vector<std::shared_ptr<Node>> captured;
  void* last = nullptr;  ///< what was captured last
};
struct Event {
  uint64_t recorded = 0, happened = 0;
  Stream* stream = nullptr;
  DoneWork work;  ///< done before it
};
struct Graph {
  std::vector<std::shared_ptr<Node>> nodes;
};
struct Module {
  void* library = nullptr;
  void* context = current_context;
};
struct Function {
  void* context = nullptr;
  void (*call)(void** arguments) = nullptr;
  std::vector<size_t> sizes;
  const size_t* reaches = nullptr;  ///< what the text says of each argument (GRADUS_REACHES), or null
  bool fibers = false;
  void (*run)(const Function&, const unsigned* grid, const unsigned* block, unsigned shared,
              void** arguments) = nullptr;
  int (*find)(const char*, void (**)(void**), const size_t**, int*, bool*) = nullptr;
  void (*launch)(void (*)(void**), bool, const unsigned*, const unsigned*, unsigned, void**, unsigned) = nullptr;
};

struct Fault {
  std::string function;  ///< "*": any
  int64_t call = 0;      ///< 0: no fault
  int code = 0, kind = fails_once;
  int64_t seen = 0, fired = 0;
};

struct Card {
  std::recursive_mutex mutex;
  char* arena = nullptr;
  size_t used = 0;                  ///< of the arena's addresses
  std::map<char*, size_t> blocks;   ///< what is allocated
  std::map<char*, void*> owners;    ///< the contexts of blocks
  std::map<char*, size_t> leaving;  ///< what was freed behind work that has not run yet
  std::map<char*, size_t> pinned;   ///< host memory that copies read and write later
  size_t limit = size_t{computes_nothing() ? 1024u : 4u} << 30, held = 0;
  int open = 0;
  std::set<Stream*> streams;
  std::mt19937 chance{seed()};
  std::map<std::string, int64_t> calls, objects;
  int64_t copied[3] = {};  ///< bytes: to the card, from it, within it
  Fault fault;
  bool lost = false;

  static unsigned seed() {
    const auto* text = std::getenv("GRADUS_SIMULATED_SEED");
    return text == nullptr ? 1u : static_cast<unsigned>(std::atoi(text));
  }
  Card() {
    auto* at = mmap(nullptr, arena_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) mistake("no addresses for the simulated card's memory");
    arena = static_cast<char*>(at);
    if (!computes_nothing()) watch_arena(arena, arena_bytes());
    if (const auto* text = std::getenv("GRADUS_SIMULATED_MEMORY"); text != nullptr)
      limit = std::strtoull(text, nullptr, 10);
    if (const auto* text = std::getenv("GRADUS_SIMULATED_FAIL"); text != nullptr) {
      char name[64] = {};
      int at = 0, code = 0;
      if (std::sscanf(text, "%63[^:]:%d:%d", name, &at, &code) == 3) fault = {name, at, code};
    }
  }
};
Card& card() {
  static Card* one = new Card;
  return *one;
}

void protect(int how) {
  if (computes_nothing()) return;
  for (const auto* blocks : {&card().blocks, &card().leaving})
    for (const auto& [at, bytes] : *blocks) mprotect(at, (bytes + page - 1) / page * page, how);
}
void take_away(char* at) {
  auto block = card().leaving.find(at);
  if (!computes_nothing()) {
    mmap(at, (block->second + page - 1) / page * page, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    memory_ends(at, block->second);
  }
  card().leaving.erase(block);
}

/// Runs the first piece of work of a stream that can run. False when there is none.
bool step(Stream& stream) {
  auto& queue = stream.queue;
  if (queue.empty()) return false;
  auto work = std::move(queue.front());
  queue.pop_front();
  if (work.wait != nullptr) {
    while (work.wait->happened < work.number) {
      if (!step(*work.wait->stream)) mistake("a stream waits for an event that nothing in front of it makes happen");
    }
  }
  if (work.run) {
    OpenMemory opened;
    work.run();
  }
  if (work.happens != nullptr) work.happens->happened = std::max(work.happens->happened, work.number);
  return true;
}

/// Forgets what waits in a stream.
void drop(Stream& stream) {
  for (const auto& work : stream.queue)
    if (work.happens != nullptr) work.happens->happened = std::max(work.happens->happened, work.number);
  stream.queue.clear();
}

Stream default_stream;
Stream& stream_of(void* handle) { return handle == nullptr ? default_stream : *static_cast<Stream*>(handle); }

}  // namespace

OpenMemory::OpenMemory() {
  if (card().open++ == 0) protect(PROT_READ | PROT_WRITE);
}
OpenMemory::~OpenMemory() {
  if (--card().open == 0) protect(PROT_NONE);
}

void mistake(const std::string& text) {
  std::fprintf(stderr, "\nsimulated card: %s\n", text.c_str());
  std::abort();
}

bool is_device_memory(const void* at, size_t bytes) {
  auto* from = const_cast<char*>(static_cast<const char*>(at));
  auto& blocks = card().blocks;
  auto after = blocks.upper_bound(from);
  if (after == blocks.begin()) return false;
  auto block = std::prev(after);
  auto offset = static_cast<size_t>(from - block->first);  // what is no address may be very large
  return offset <= block->second && bytes <= block->second - offset;
}

int capability() {
  const auto* text = std::getenv("GRADUS_SIMULATED_CAPABILITY");
  return text == nullptr ? 90 : std::atoi(text);
}

int injected(const char* function) {
  auto& c = card();
  std::lock_guard lock(c.mutex);
  ++c.calls[function];
  std::string_view name = function;
  auto& fault = c.fault;
  if (!c.lost) {
    if (fault.call == 0 || (fault.function != "*" && fault.function != name)) return success;
    auto at = ++fault.seen;
    if (at < fault.call || (at > fault.call && fault.kind == fails_once)) return success;
  }
  if (name.starts_with("nvrtc") && (c.lost || fault.kind == loses_card)) return success;  // it needs no card
  ++fault.fired;
  if (fault.kind != loses_card) return fault.code;
  if (!std::exchange(c.lost, true)) {
    drop(default_stream);
    for (auto* stream : c.streams) drop(*stream);
    while (!c.leaving.empty()) take_away(c.leaving.begin()->first);
  }
  return name.starts_with("cublasLt") ? 14 : name.starts_with("cudnn") ? 5000 : fault.code;
}

void count_object(const char* kind, int by) {
  std::lock_guard lock(card().mutex);
  card().objects[kind] += by;
}

int enqueue(void* handle, std::function<void()> work) {
  auto& stream = stream_of(handle);
  std::lock_guard lock(card().mutex);
  if (stream.capturing) {
    stream.captured.push_back(std::make_shared<Node>(Node{std::move(work), nullptr}));
    return success;
  }
  if (computes_nothing()) return success;
  stream.queue.push_back({std::move(work)});
  // As late as the rules allow, but by chance earlier, and never without bound.
  auto roll = card().chance() % 64;
  if (roll == 0 || stream.queue.size() > 256) drain(handle);
  return success;
}

int drain(void* handle) {
  std::lock_guard lock(card().mutex);
  if (stream_of(handle).queue.empty()) return success;
  OpenMemory opened;
  while (step(stream_of(handle))) {
  }
  return success;
}

namespace {
/// The same for a kernel.
int enqueue_kernel(void* handle, KernelCall call) {
  auto& stream = stream_of(handle);
  if (!stream.capturing)
    return enqueue(handle, [call = std::make_shared<KernelCall>(std::move(call))] { call->run(call->arguments); });
  std::lock_guard lock(card().mutex);
  stream.captured.push_back(std::make_shared<Node>(Node{{}, std::make_shared<KernelCall>(std::move(call))}));
  return success;
}
/// Everything that was begun; freeing memory waits for it.
void drain_all() {
  drain(nullptr);
  for (auto* stream : card().streams) drain(stream);
}
/// Whether a capture forbids what is not a stream's work.
bool any_capture() {
  return std::any_of(card().streams.begin(), card().streams.end(), [](auto* s) { return s->capturing && !s->relaxed; });
}
bool capture_goes_on() {
  return std::any_of(card().streams.begin(), card().streams.end(), [](auto* s) { return s->capturing; });
}
}  // namespace

}  // namespace simulated

using namespace simulated;

#define GRADUS_INJECT(name)           \
  std::lock_guard lock(card().mutex); \
  if (auto failed = injected(name); failed != 0) return failed

extern "C" {

int cuInit(unsigned) {
  GRADUS_INJECT("cuInit");
  return success;
}
int cuDriverGetVersion(int* version) {
  GRADUS_INJECT("cuDriverGetVersion");
  const auto* text = std::getenv("GRADUS_SIMULATED_DRIVER");
  return *version = text == nullptr ? 13000 : std::atoi(text), success;
}
int cuDeviceGetCount(int* count) {
  GRADUS_INJECT("cuDeviceGetCount");
  const auto* text = std::getenv("GRADUS_SIMULATED_CARDS");
  *count = text == nullptr ? 1 : std::atoi(text);
  // A list of numbers: those that the program may see.
  if (const auto* visible = std::getenv("CUDA_VISIBLE_DEVICES"); visible != nullptr)
    *count =
        *visible == '\0'
            ? 0
            : std::min<int>(*count, static_cast<int>(1 + std::count(visible, visible + std::strlen(visible), ',')));
  return success;
}
int cuDeviceGet(int* device, int ordinal) {
  GRADUS_INJECT("cuDeviceGet");
  return *device = ordinal, success;
}
int cuDeviceGetName(char* name, int size, int) {
  GRADUS_INJECT("cuDeviceGetName");
  std::snprintf(name, static_cast<size_t>(size), "simulated card");
  return success;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  GRADUS_INJECT("cuDeviceGetAttribute");
  switch (attribute) {
    case 75:
      *value = capability() / 10;
      break;
    case 76:
      *value = capability() % 10;
      break;
    case 16:
      *value = computes_nothing() ? 132 : 2;  // as an H100 and an H200 have
      break;
    default:
      *value = 0;
  }
  return success;
}
int cuGetErrorName(int error, const char** text) {
  switch (error) {
    case invalid_value:
      return *text = "CUDA_ERROR_INVALID_VALUE", success;
    case out_of_memory:
      return *text = "CUDA_ERROR_OUT_OF_MEMORY", success;
    case illegal_address:
      return *text = "CUDA_ERROR_ILLEGAL_ADDRESS", success;
    case launch_failed:
      return *text = "CUDA_ERROR_LAUNCH_FAILED", success;
    case capture_unsupported:
      return *text = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", success;
    case capture_invalidated:
      return *text = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", success;
    default:
      return *text = "CUDA_ERROR_SIMULATED", success;
  }
}
int cuGetErrorString(int error, const char** text) {
  return *text = error == out_of_memory ? "out of memory" : "made by the simulated card", success;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  GRADUS_INJECT("cuDevicePrimaryCtxRetain");
  static int contexts[64];
  return *context = &contexts[device], success;
}
int cuCtxSetCurrent(void* context) {
  GRADUS_INJECT("cuCtxSetCurrent");
  current_context = context;
  return success;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  GRADUS_INJECT("cuMemGetInfo");
  *total = card().limit;
  *free = card().limit - card().held;
  return success;
}

int cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  GRADUS_INJECT("cuMemAlloc");
  auto& c = card();
  if (any_capture()) return capture_unsupported;
  if (bytes == 0) return invalid_value;
  if (c.held + bytes > c.limit) return out_of_memory;
  auto pages = (bytes + page - 1) / page * page;
  // Guard pages on both sides, and addresses that are never used again: stale pointers meet nothing.
  auto* at = c.arena + c.used + page;
  c.used += pages + 2 * page;
  if (c.used > arena_bytes()) mistake("out of addresses");
  if (!computes_nothing()) {
    mprotect(at, pages, PROT_READ | PROT_WRITE);
    std::memset(at, 0xff, pages);
    if (c.open == 0) mprotect(at, pages, PROT_NONE);
  }
  c.blocks[at] = bytes;
  c.owners[at] = current_context;
  memory_begins(at, bytes);
  c.held += bytes;
  return *pointer = reinterpret_cast<Pointer>(at), success;
}
int cuMemFree_v2(Pointer pointer) {
  GRADUS_INJECT("cuMemFree");
  auto& c = card();
  if (capture_goes_on()) mistake("cuMemFree while a step is captured, which may have used it");
  auto* at = reinterpret_cast<char*>(pointer);
  auto block = c.blocks.extract(at);
  if (block.empty()) mistake("cuMemFree of what is no block of device memory");
  c.held -= block.mapped();
  c.leaving.insert(std::move(block));
  // It waits for all work. Where that is in one stream nobody can tell whether it is done now or in its turn.
  std::vector<Stream*> busy;
  if (!default_stream.queue.empty()) busy.push_back(&default_stream);
  for (auto* stream : c.streams)
    if (!stream->queue.empty()) busy.push_back(stream);
  if (busy.size() == 1) return busy[0]->queue.push_back({[at] { take_away(at); }}), success;
  drain_all();
  take_away(at);
  return success;
}
int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  GRADUS_INJECT("cuMemHostAlloc");
  // It has addresses beside device memory, so that kernels are watched there too.
  auto& c = card();
  auto* at = c.arena + c.used;
  c.used += (bytes + page - 1) / page * page + page;
  if (c.used > arena_bytes()) mistake("out of addresses");
  mprotect(at, bytes, PROT_READ | PROT_WRITE);
  c.pinned[at] = bytes;
  memory_begins(at, bytes);
  count_object("pinned memory", 1);
  return *pointer = at, success;
}
int cuMemFreeHost(void* pointer) {
  std::lock_guard lock(card().mutex);
  auto failed = injected("cuMemFreeHost");
  auto block = card().pinned.find(static_cast<char*>(pointer));
  if (block == card().pinned.end()) mistake("cuMemFreeHost of what is no block of pinned memory");
  memory_ends(block->first, block->second);
  mprotect(block->first, block->second, PROT_NONE);
  card().pinned.erase(block);
  count_object("pinned memory", -1);
  return failed;
}

static bool is_pinned(const void* at) {
  auto* from = const_cast<char*>(static_cast<const char*>(at));
  auto after = card().pinned.upper_bound(from);
  if (after == card().pinned.begin()) return false;
  auto block = std::prev(after);
  return from < block->first + block->second;
}
/// The context of the block that an address lies in; null: there is none.
static void* owner(Pointer at) {
  auto* from = reinterpret_cast<char*>(at);
  if (!is_device_memory(from, 1)) return nullptr;
  return std::prev(card().owners.upper_bound(from))->second;
}
static void check_device(Pointer at, size_t bytes, const char* call) {
  if (!is_device_memory(reinterpret_cast<void*>(at), bytes))
    mistake(std::string(call) + ": " + std::to_string(bytes) + " bytes are not all within one block of device memory");
}

int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
  GRADUS_INJECT("cuMemcpyHtoDAsync");
  check_device(to, bytes, "cuMemcpyHtoDAsync");
  card().copied[0] += static_cast<int64_t>(bytes);
  if (computes_nothing()) return success;
  auto* target = reinterpret_cast<char*>(to);
  if (is_pinned(from) || stream_of(stream).capturing) return enqueue(stream, [=] { std::memcpy(target, from, bytes); });
  auto staged =
      std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
  return enqueue(stream, [=] { std::memcpy(target, staged->data(), bytes); });
}
int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
  GRADUS_INJECT("cuMemcpyDtoHAsync");
  check_device(from, bytes, "cuMemcpyDtoHAsync");
  card().copied[1] += static_cast<int64_t>(bytes);
  if (!is_pinned(to) && stream_of(stream).capturing) return capture_unsupported;
  if (computes_nothing()) return std::memset(to, 0, bytes), success;
  auto* source = reinterpret_cast<char*>(from);
  auto result = enqueue(stream, [=] { std::memcpy(to, source, bytes); });
  if (result == success && !is_pinned(to)) drain(stream);
  return result;
}
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) {
  GRADUS_INJECT("cuMemcpyDtoDAsync");
  check_device(to, bytes, "cuMemcpyDtoDAsync");
  check_device(from, bytes, "cuMemcpyDtoDAsync");
  if (owner(to) != owner(from)) mistake("cuMemcpyDtoDAsync between two cards");
  card().copied[2] += static_cast<int64_t>(bytes);
  count_work(2.0 * static_cast<double>(bytes));
  auto *target = reinterpret_cast<char*>(to), *source = reinterpret_cast<char*>(from);
  return enqueue(stream, [=] { std::memmove(target, source, bytes); });
}
int cuMemcpyPeerAsync(Pointer to, void* to_context, Pointer from, void* from_context, size_t bytes, void* stream) {
  GRADUS_INJECT("cuMemcpyPeerAsync");
  check_device(to, bytes, "cuMemcpyPeerAsync");
  check_device(from, bytes, "cuMemcpyPeerAsync");
  if (owner(to) != to_context || owner(from) != from_context)
    mistake("cuMemcpyPeerAsync: memory is not of the context that is given for it");
  card().copied[2] += static_cast<int64_t>(bytes);
  count_work(2.0 * static_cast<double>(bytes));
  auto *target = reinterpret_cast<char*>(to), *source = reinterpret_cast<char*>(from);
  return enqueue(stream, [=] { std::memmove(target, source, bytes); });
}
int cuMemsetD8Async(Pointer to, unsigned char value, size_t count, void* stream) {
  GRADUS_INJECT("cuMemsetD8Async");
  check_device(to, count, "cuMemsetD8Async");
  count_work(static_cast<double>(count));
  auto* target = reinterpret_cast<char*>(to);
  return enqueue(stream, [=] { std::memset(target, value, count); });
}

int cuStreamCreate(void** stream, unsigned) {
  GRADUS_INJECT("cuStreamCreate");
  auto* made = new Stream;
  card().streams.insert(made);
  count_object("stream", 1);
  return *stream = made, success;
}
int cuStreamSynchronize(void* stream) {
  GRADUS_INJECT("cuStreamSynchronize");
  if (stream_of(stream).capturing) return capture_unsupported;
  return drain(stream);
}
int cuStreamWaitEvent(void* stream, void* event, unsigned) {
  GRADUS_INJECT("cuStreamWaitEvent");
  auto* e = static_cast<Event*>(event);
  if (stream_of(stream).capturing) return capture_isolation;  // an event that was recorded outside of the capture
  if (e->recorded > 0) stream_of(stream).queue.push_back({{}, e, nullptr, e->recorded});
  return success;
}
int cuEventCreate(void** event, unsigned) {
  GRADUS_INJECT("cuEventCreate");
  count_object("event", 1);
  return *event = new Event, success;
}
int cuEventRecord(void* event, void* stream) {
  GRADUS_INJECT("cuEventRecord");
  auto* e = static_cast<Event*>(event);
  e->stream = &stream_of(stream);
  if (computes_nothing()) {
    e->work = work_so_far();
    e->happened = ++e->recorded;
    return success;
  }
  e->stream->queue.push_back({{}, nullptr, e, ++e->recorded});
  return success;
}
int cuEventSynchronize(void* event) {
  GRADUS_INJECT("cuEventSynchronize");
  OpenMemory opened;
  auto* e = static_cast<Event*>(event);
  while (e->happened < e->recorded && step(*e->stream)) {
  }
  return success;
}
int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
  GRADUS_INJECT("cuEventElapsedTime");
  for (auto* event : {from, to})
    if (event == nullptr || static_cast<Event*>(event)->recorded == 0) return invalid_handle;
  if (computes_nothing()) *milliseconds = elapsed(static_cast<Event*>(from)->work, static_cast<Event*>(to)->work);
  else *milliseconds = 1;
  return success;
}
int cuEventDestroy_v2(void* event) {
  std::lock_guard lock(card().mutex);
  auto failed = injected("cuEventDestroy");
  if (event == nullptr) return invalid_handle;
  drain_all();
  delete static_cast<Event*>(event);
  count_object("event", -1);
  return failed;
}

/// An image is what nvrtc.cpp wrote: a mark, a length, and a shared object.
int cuModuleLoadData(void** module, const void* image) {
  GRADUS_INJECT("cuModuleLoadData");
  auto* bytes = static_cast<const char*>(image);
  if (std::memcmp(bytes, "GRADSIM1", 8) != 0) return invalid_value;
  uint64_t length = 0;
  std::memcpy(&length, bytes + 8, 8);
  auto file = memfd_create("kernels", 0);
  for (uint64_t done = 0; done < length;) {
    auto n = write(file, bytes + 16 + done, length - done);
    if (n <= 0) return close(file), invalid_value;
    done += static_cast<uint64_t>(n);
  }
  auto path = "/proc/self/fd/" + std::to_string(file);
  auto* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) mistake(dlerror());  // the file stays open: the loader knows libraries by their names
  count_object("module", 1);
  return *module = new Module{library}, success;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  GRADUS_INJECT("cuModuleGetFunction");
  auto* library = static_cast<Module*>(module)->library;
  auto made = std::make_unique<Function>();
  made->context = static_cast<Module*>(module)->context;
  made->find = reinterpret_cast<decltype(made->find)>(dlsym(library, "gradus_find"));
  made->launch = reinterpret_cast<decltype(made->launch)>(dlsym(library, "gradus_launch"));
  const size_t* sizes = nullptr;
  int count = 0;
  if (made->find == nullptr || made->find(name, &made->call, &sizes, &count, &made->fibers) == 0) return not_found;
  made->sizes.assign(sizes, sizes + count);
  made->reaches = static_cast<const size_t*>(dlsym(library, (std::string(name) + "_reaches").c_str()));
  return *function = made.release(), success;
}
int cuFuncSetAttribute(void*, int, int) {
  GRADUS_INJECT("cuFuncSetAttribute");
  return success;
}
/// Bytes from where arguments point to the ends of their blocks, each block once, but as often as arguments are the
/// same pointer: a result in an operand's place is read and written. Or as many bytes as the kernel says that it
/// reaches.
static double bytes_reached(const std::vector<std::vector<char>>& arguments, const size_t* reaches) {
  struct Reached {
    size_t bytes = 0;
    std::map<char*, int> times;
  };
  std::map<char*, Reached> reached;
  auto first = [&](size_t i) {
    uint64_t value = 0;
    std::memcpy(&value, arguments[i].data(), sizeof(value));
    return value;
  };
  for (size_t k = 0; k < arguments.size(); ++k) {
    const auto& argument = arguments[k];
    for (size_t i = 0; i + sizeof(char*) <= argument.size(); i += sizeof(char*)) {
      char* at = nullptr;
      std::memcpy(&at, argument.data() + i, sizeof(at));
      if (!is_device_memory(at, 1)) continue;
      auto block = std::prev(card().blocks.upper_bound(at));
      auto rest = static_cast<size_t>(block->first + block->second - at);
      auto is_part = reaches != nullptr && reaches[k] != 0;
      auto& one = reached[is_part ? at : block->first];
      one.bytes = std::max(one.bytes, is_part ? std::min<size_t>(rest, reaches[k] * first(0) * first(1)) : rest);
      ++one.times[at];
    }
  }
  double sum = 0;
  for (const auto& [block, one] : reached) {
    auto times = std::max_element(one.times.begin(), one.times.end(),
                                  [](const auto& a, const auto& b) { return a.second < b.second; });
    sum += static_cast<double>(one.bytes) * times->second;
  }
  return sum;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void**) {
  GRADUS_INJECT("cuLaunchKernel");
  auto* f = static_cast<Function*>(function);
  if (stream_of(stream).context != f->context) return invalid_handle;
  if (gx == 0 || gy == 0 || gz == 0 || bx == 0 || by * bz == 0 || bx * by * bz > 1024) return invalid_value;
  // The arguments are read now, as the driver does.
  KernelCall call;
  for (size_t i = 0; i < f->sizes.size(); ++i) {
    auto* from = static_cast<const char*>(arguments[i]);
    call.arguments.emplace_back(from, from + f->sizes[i]);
    for (size_t at = 0; at + 8 <= f->sizes[i]; at += 8) {  // whatever looks like a pointer
      Pointer pointer = 0;
      std::memcpy(&pointer, from + at, 8);
      if (auto* whose = owner(pointer); whose != nullptr && whose != f->context)
        mistake("a kernel is given memory of another card");
    }
  }
  if (computes_nothing() && !stream_of(stream).capturing)
    return count_work(bytes_reached(call.arguments, f->reaches)), success;
  auto order = static_cast<unsigned>(card().chance());
  call.run = [=](std::vector<std::vector<char>>& given) {
    std::vector<void*> pointers;
    for (auto& one : given) pointers.push_back(one.data());
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    f->launch(f->call, f->fibers, grid, block, shared, pointers.data(), order);
  };
  return enqueue_kernel(stream, std::move(call));
}

int cuStreamBeginCapture_v2(void* stream, int mode) {
  GRADUS_INJECT("cuStreamBeginCapture");
  auto& s = stream_of(stream);
  if (stream == nullptr || mode < 0 || mode > 2) return invalid_value;
  if (s.capturing) return capture_unsupported;
  s.capturing = true;
  s.relaxed = mode == 2;
  s.captured.clear();
  return success;
}
int cuStreamEndCapture(void* stream, void** graph) {
  std::lock_guard lock(card().mutex);
  auto& s = stream_of(stream);
  auto failed = injected("cuStreamEndCapture");
  if (!std::exchange(s.capturing, false) && failed == success) return invalid_value;
  auto made = std::make_unique<Graph>(Graph{std::move(s.captured)});
  if (failed != success) return failed;
  count_object("graph", 1);
  return *graph = made.release(), success;
}
int cuStreamGetCaptureInfo_v2(void* stream, int* status, uint64_t* id, void** graph, void* const** last,
                              size_t* count) {
  GRADUS_INJECT("cuStreamGetCaptureInfo");
  auto& s = stream_of(stream);
  *status = s.capturing ? 1 : 0;
  *id = 1;
  *graph = nullptr;
  *count = s.captured.empty() ? 0 : 1;
  s.last = s.captured.empty() ? nullptr : s.captured.back().get();
  *last = &s.last;
  return success;
}
int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  GRADUS_INJECT("cuGraphInstantiate");
  count_object("executable graph", 1);
  return *executable = new Graph(*static_cast<Graph*>(graph)), success;
}
struct KernelParameters {
  void* function;
  unsigned grid[3], block[3], shared;
  void **arguments, **extra, *kernel, *context;
};
int cuGraphExecKernelNodeSetParams_v2(void* executable, void* node, const KernelParameters* parameters) {
  GRADUS_INJECT("cuGraphExecKernelNodeSetParams");
  auto& nodes = static_cast<Graph*>(executable)->nodes;
  auto found = std::find_if(nodes.begin(), nodes.end(), [node](const auto& one) { return one.get() == node; });
  if (found == nodes.end() || (*found)->kernel == nullptr) return invalid_value;
  const auto& sizes = static_cast<Function*>(parameters->function)->sizes;
  auto& kept = (*found)->kernel->arguments;
  if (sizes.size() != kept.size()) return invalid_value;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != kept[i].size()) return invalid_value;
    std::memcpy(kept[i].data(), parameters->arguments[i], sizes[i]);
  }
  return success;
}
int cuGraphLaunch(void* executable, void* stream) {
  GRADUS_INJECT("cuGraphLaunch");
  for (const auto& node : static_cast<Graph*>(executable)->nodes) {
    // What is changed later does not change this launch.
    if (node->kernel != nullptr) enqueue_kernel(stream, *node->kernel);
    else enqueue(stream, node->work);
  }
  return success;
}
int cuGraphDestroy(void* graph) {
  count_object("graph", -1);
  return delete static_cast<Graph*>(graph), injected("cuGraphDestroy");
}
int cuGraphExecDestroy(void* executable) {
  std::lock_guard lock(card().mutex);
  auto failed = injected("cuGraphExecDestroy");
  drain_all();
  count_object("executable graph", -1);
  return delete static_cast<Graph*>(executable), failed;
}

void gradus_simulated_arm(const char* function, int64_t call, int code, int kind) {
  std::lock_guard lock(card().mutex);
  card().fault = {function, call, code, kind};
}
int64_t gradus_simulated_clear() {
  std::lock_guard lock(card().mutex);
  card().lost = false;
  return std::exchange(card().fault, {}).fired;
}
void gradus_simulated_calls(void (*each)(void* to, const char* function, int64_t count), void* to) {
  std::lock_guard lock(card().mutex);
  for (const auto& [function, count] : std::exchange(card().calls, {})) each(to, function.c_str(), count);
}
void gradus_simulated_objects(void (*each)(void* to, const char* kind, int64_t count), void* to) {
  std::lock_guard lock(card().mutex);
  each(to, "bytes", static_cast<int64_t>(card().held));
  for (const auto& [kind, count] : card().objects) each(to, kind.c_str(), count);
}
void gradus_simulated_copied(int64_t* bytes) {
  std::lock_guard lock(card().mutex);
  for (int i = 0; i < 3; ++i) bytes[i] = std::exchange(card().copied[i], 0);
}
void gradus_simulated_set_memory(uint64_t bytes) {
  std::lock_guard lock(card().mutex);
  card().limit = bytes;
}

}  // extern "C"

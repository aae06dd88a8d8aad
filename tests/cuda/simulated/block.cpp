// Runs a kernel's blocks one after another, in varying order, and a block's threads as fibers.
#include "tests/cuda/simulated/block.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/cuda/simulated/card.hpp"

// The address sanitizer wants to know on which stack a program goes on; null where it is not there.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t bytes);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* saved, const void** bottom, size_t* bytes);
}

simulated::Dim gridDim, blockDim, blockIdx, threadIdx;

namespace simulated {

Now now;

void mistake_in_kernel(const std::string& text) {
  auto place = [](const Dim& at) {
    return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
  };
  mistake("kernel " + std::string(now.kernel->name) + ", block " + place(blockIdx) + ", thread " + place(threadIdx) +
          ": " + text);
}

namespace {

constexpr size_t stack_bytes = 1 << 16, page = 4096;

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  Dim thread;
};
struct Warp {
  uint64_t values[2][32];
  unsigned shuffles;   ///< so far
  int shuffling;       ///< lanes at the next one
  int waiting;         ///< lanes at a __syncwarp
  uint32_t alive = 0;  ///< lanes that have not come to their end
  uint32_t ready = 0;  ///< of these, lanes that do not wait
  Moment moment;
};

Fiber fibers[1024];
Warp warps[32];
void* scheduler_pointer = nullptr;
const void* scheduler_stack = nullptr;  ///< what the address sanitizer takes it to be
size_t scheduler_bytes = 0;
int current = 0, in_block = 0, arrived = 0;
bool backwards = false;  ///< threads come in falling order
void** body_arguments = nullptr;
uint64_t moments = 0;

Moment next_moment() { return ++moments << moment_shift; }

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

/// Goes on at `to`, which is on the stack [bottom, bottom + bytes).
void go_on(void** save, void* to, const void* bottom, size_t bytes) {
  if (&__sanitizer_start_switch_fiber == nullptr) return gradus_switch(save, to);
  void* saved = nullptr;
  __sanitizer_start_switch_fiber(&saved, bottom, bytes);
  gradus_switch(save, to);
  __sanitizer_finish_switch_fiber(saved, nullptr, nullptr);
}

int lanes_of(int thread) { return std::min(32, in_block - thread / 32 * 32); }

/// The thread sees the moments that its warp and block have come to.
void refresh() {
  now.warp = warps[current / 32].moment;
  now.mine = now.warp | now.thread;
}
void be(int thread) {
  current = thread;
  now.thread = static_cast<unsigned>(thread);
  refresh();
}
/// Leaves what runs now, and goes on as this thread.
void go_to(void** save, int thread) {
  const auto& fiber = fibers[thread];
  be(thread);
  threadIdx = fiber.thread;
  now.stack = reinterpret_cast<uintptr_t>(fiber.stack);
  go_on(save, fiber.stack_pointer, fiber.stack, stack_bytes);
}

/// The next thread that is ready, of the running one's warp as long as there are any: their stacks are at hand.
int next_ready() {
  const auto lane = static_cast<unsigned>(current % 32);
  const auto warp = current / 32, count = (in_block + 31) / 32;
  auto pick = [](int of, uint32_t lanes) {
    return 32 * of + (backwards ? 31 - __builtin_clz(lanes) : __builtin_ctz(lanes));
  };
  const auto beyond = warps[warp].ready & (backwards ? (1u << lane) - 1 : ~1u << lane);
  if (beyond != 0) return pick(warp, beyond);
  for (int k = 0; k < count; ++k) {
    const auto other = (warp + (backwards ? count - k : k)) % count;
    if (warps[other].ready != 0) return pick(other, warps[other].ready);
  }
  for (int other = 0; other < count; ++other) {
    if (warps[other].alive == 0) continue;
    threadIdx = fibers[32 * other + __builtin_ctz(warps[other].alive)].thread;
    mistake_in_kernel("waits at a barrier or shuffle that is not reached by all threads");
  }
  return -1;
}
/// Others run until somebody makes this thread ready again.
void wait() {
  const auto self = current;
  warps[self / 32].ready &= ~(1u << self % 32);
  go_to(&fibers[self].stack_pointer, next_ready());
}
void end_wait(Warp& warp) { warp.ready = warp.alive; }

void run_fiber() {
  if (&__sanitizer_finish_switch_fiber != nullptr) {
    const void* bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (scheduler_stack == nullptr) scheduler_stack = bottom, scheduler_bytes = bytes;  // it began the first thread
  }
  now.kernel->call(body_arguments);
  const auto self = current;
  auto& warp = warps[self / 32];
  warp.alive &= ~(1u << self % 32);
  warp.ready &= warp.alive;
  auto** save = &fibers[self].stack_pointer;
  if (const auto next = next_ready(); next >= 0) go_to(save, next);
  else go_on(save, scheduler_pointer, scheduler_stack, scheduler_bytes);
  std::abort();
}

/// The stacks of a warp begin at different places of their pages, else these would all meet in a few lines of the
/// cache.
void start(Fiber& fiber, size_t lane) {
  constexpr size_t apart = 9 * 64;
  if (fiber.stack == nullptr) {
    auto* at =
        mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) mistake("no memory for the stacks of threads");
    mprotect(at, page, PROT_NONE);
    fiber.stack = static_cast<char*>(at) + page;
  }
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(fiber.stack + stack_bytes - 64 - apart * lane);
  *--top = nullptr;  // keeps the alignment of a call
  *--top = reinterpret_cast<void*>(&run_fiber);
  for (int i = 0; i < saved_words; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#else
  char* top = fiber.stack + stack_bytes - 64 - apart * lane - 160;
  std::memset(top, 0, 160);
  reinterpret_cast<void**>(top)[11] = reinterpret_cast<void*>(&run_fiber);
  fiber.stack_pointer = top;
#endif
}

void begin_block() {
  now.block = now.barrier = next_moment();
  for (auto& warp : warps) warp.moment = now.block;
}

void run_fibers(unsigned order) {
  const int threads = in_block;
  for (int i = 0; i < threads; ++i) start(fibers[i], static_cast<size_t>(i % 32));
  for (int i = 0; i < threads; i += 32) {
    auto& warp = warps[i / 32];
    warp.shuffles = 0;
    warp.shuffling = warp.waiting = 0;
    warp.alive = warp.ready = 0xffffffffu >> (32 - lanes_of(i));
  }
  arrived = 0;
  scheduler_stack = nullptr;
  backwards = (order >> 10 & 1) != 0;
  go_to(&scheduler_pointer, static_cast<int>(order % static_cast<unsigned>(threads)));
}

/// f(threadIdx) for all threads of a block.
template <class F>
void for_threads(F&& f) {
  for (unsigned z = 0; z < blockDim.z; ++z)
    for (unsigned y = 0; y < blockDim.y; ++y)
      for (unsigned x = 0; x < blockDim.x; ++x) f(Dim{x, y, z});
}

void check_fibers(const char* what) {
  if (!now.kernel->fibers) mistake_in_kernel(std::string(what) + " in a kernel that was taken to have none");
}

}  // namespace

// What kernels call.
extern "C" {

void gradus_run(const Kernel* kernel, const unsigned* grid, const unsigned* block, void** arguments, unsigned order) {
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  in_block = static_cast<int>(block[0] * block[1] * block[2]);
  body_arguments = arguments;
  now.kernel = kernel;
  now.launch = next_moment();
  now.shared = cells_of_shared(*kernel);
  const unsigned blocks = grid[0] * grid[1] * grid[2];
  for (unsigned k = 0; k < blocks; ++k) {
    const unsigned b = (order & 1) != 0 ? blocks - 1 - k : (k + order / 2) % blocks;  // blocks come in any order
    blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
    begin_block();
    if (kernel->fibers) {
      now.stack_bytes = stack_bytes;
      int t = 0;
      for_threads([&](Dim thread) { fibers[t++].thread = thread; });
      run_fibers(order / 4 + k);
    } else {
      now.stack_bytes = 1 << 20;
      now.stack = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - now.stack_bytes;
      int t = 0;
      for_threads([&](Dim thread) {
        be(t++);
        threadIdx = thread;
        kernel->call(arguments);
      });
    }
  }
  now.kernel = nullptr;
}

int gradus_lane() { return current % 32; }

/// value becomes that of another lane.
void gradus_shuffle(void* value, size_t bytes, int source) {
  check_fibers("a shuffle");
  const int lane = current % 32, lanes = lanes_of(current);
  Warp& warp = warps[current / 32];
  auto* values = warp.values[warp.shuffles % 2];  // a lane that reads late keeps the others from the one after the next
  std::memcpy(&values[lane], value, bytes);
  if (++warp.shuffling == lanes) {
    warp.shuffling = 0;
    ++warp.shuffles;
    end_wait(warp);
  } else {
    wait();
  }
  std::memcpy(value, &values[source < lanes ? source : lane], bytes);
}

void gradus_syncthreads() {
  check_fibers("a barrier");
  if (++arrived < in_block) return wait();
  arrived = 0;
  now.barrier = next_moment();
  for (auto& warp : warps) {
    warp.moment = now.barrier;
    end_wait(warp);
  }
  refresh();
}

void gradus_syncwarp() {
  check_fibers("a barrier");
  Warp& warp = warps[current / 32];
  if (++warp.waiting < lanes_of(current)) return wait();
  warp.waiting = 0;
  warp.moment = next_moment();
  end_wait(warp);
  refresh();
}

}  // extern "C"

}  // namespace simulated

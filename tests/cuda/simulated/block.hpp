// One block of a kernel that runs on the simulated card, as block.cpp runs it and check.cpp watches it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace simulated {

struct Dim {
  unsigned x, y, z;
};

/// What the shared object of a kernel tells about itself. The names are those in nvrtc.cpp.
struct Kernel {
  const char* name;
  void (*call)(void** arguments);
  bool fibers;                      ///< whether its threads wait for each other
  char *image_begin, *image_end;    ///< all of the shared object
  char *shared_begin, *shared_end;  ///< __shared__ variables, and what no kernel touches
};

/// What happened when: a number that grows with each launch, block and barrier, above 16 bits for who did it.
using Moment = uint64_t;
constexpr int moment_shift = 16;

/// The thread that runs. What happened before one of these moments has nothing to do with it any more, or is in order.
struct Now {
  uintptr_t stack = 0, stack_bytes = 0;  ///< the thread's own variables
  Moment launch = 0;                     ///< its beginning
  Moment block = 0;                      ///< its beginning
  Moment barrier = 0;                    ///< the block's last
  Moment warp = 0;                       ///< the last __syncwarp or barrier of the thread's warp
  Moment mine = 0;                       ///< the present, and the thread in the low bits
  unsigned thread = 0;                   ///< within the block
  const Kernel* kernel = nullptr;        ///< null: none runs
  struct Cell* shared = nullptr;         ///< of the bytes of the kernel's shared memory
};
extern __attribute__((visibility("hidden"))) Now now;

/// Ends the program; the text is about the thread that runs.
[[noreturn]] void mistake_in_kernel(const std::string& text);
/// The cells of a kernel's shared memory.
struct Cell* cells_of_shared(const Kernel& kernel);

}  // namespace simulated

// The thread's place; it does not change while it runs, so the kernels' text calls them const.
extern "C" simulated::Dim gridDim, blockDim, blockIdx, threadIdx;

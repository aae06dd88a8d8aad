// The simulated card finds what is wrong in kernels. Each runs in a process of its own, which the card ends.
#include "gradus/gradus.hpp"

#include "tests/cuda/said_by_card.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

using test::has_checks, test::said_by_card;

constexpr std::string_view wrong_text = R"cuda(
GRADUS_KERNEL reverse_by_shared(T* y) {
  __shared__ T own[256];
  own[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = own[255 - threadIdx.x];
}
GRADUS_KERNEL reverse_without_barrier(T* y) {
  __shared__ T own[256];
  own[threadIdx.x] = 0;
  __syncthreads();
  own[threadIdx.x] = y[threadIdx.x];
  y[threadIdx.x] = own[255 - threadIdx.x];
}
GRADUS_KERNEL same_shared_place(T* y) {
  __shared__ T own;
  own = 1;
  __syncthreads();
  y[threadIdx.x] = own;
}
GRADUS_KERNEL shared_again_too_early(T* y) {
  __shared__ T own[256];
  for (int i = 0; i < 2; ++i) {
    own[threadIdx.x] = i;
    __syncthreads();
    y[threadIdx.x] = own[255 - threadIdx.x];
  }
}
GRADUS_KERNEL unset_shared(T* y) {
  __shared__ T own[256];
  if (threadIdx.x > 0) own[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = own[255 - threadIdx.x];
}
GRADUS_KERNEL shared_within_warp(T* y) {
  __shared__ T own[256];
  own[threadIdx.x] = y[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = own[threadIdx.x ^ 31];
}
GRADUS_KERNEL shared_beyond_warp(T* y) {
  __shared__ T own[256];
  own[threadIdx.x] = 0;
  __syncthreads();
  own[threadIdx.x] = y[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = own[threadIdx.x ^ 32];
}
GRADUS_KERNEL own_elements(T* y) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = y[i] + 1;
}
GRADUS_KERNEL same_element(T* y) { y[threadIdx.x / 2] = 1; }
GRADUS_KERNEL same_byte(T* y) { reinterpret_cast<char*>(y)[threadIdx.x % 255] = 1; }
GRADUS_KERNEL own_byte(T* y) { reinterpret_cast<char*>(y)[threadIdx.x] = 1; }
GRADUS_KERNEL neighbours_element(T* y) { y[threadIdx.x] = y[255 - threadIdx.x] + 1; }
GRADUS_KERNEL neighbours_after_barrier(T* y) {
  y[threadIdx.x] = 1;
  __syncthreads();
  const T other = y[255 - threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = other + 1;
}
GRADUS_KERNEL element_of_all_blocks(T* y) {
  if (threadIdx.x == 0) y[0] = 1;
}
GRADUS_KERNEL element_of_the_next_block(T* y) {
  if (threadIdx.x == 0) y[blockIdx.x] = y[(blockIdx.x + 1) % gridDim.x];
}
GRADUS_KERNEL sum_by_atomics(T* y) { atomicAdd(y, T(1)); }
GRADUS_KERNEL sum_beside_atomics(T* y) {
  if (threadIdx.x == 3) y[0] += 1;
  else atomicAdd(y, T(1));
}
GRADUS_KERNEL packs(T* y) { store_pack(y + 4 * threadIdx.x, load_pack<4>(y + 4 * threadIdx.x)); }
GRADUS_KERNEL packs_from(T* y) { y[threadIdx.x] = widen_pack(load_pack<4>(y + 2000 + 2 * threadIdx.x)).at[0]; }
GRADUS_KERNEL some_reach_the_barrier(T* y) {
  if (threadIdx.x < 100) __syncthreads();
  y[threadIdx.x] = 1;
}
GRADUS_KERNEL some_shuffle(T* y) {
  if (threadIdx.x % 32 < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, y[threadIdx.x], 1);
}
GRADUS_KERNEL all_shuffle(T* y) { y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, y[threadIdx.x], 1); }
GRADUS_KERNEL read_only(T* y) {
  if (y[threadIdx.x] == 12345) y[threadIdx.x] = 0;
}
GRADUS_KERNEL big_index(T* y) {
  const int i = threadIdx.x + 70000;
  y[threadIdx.x] = i * i;
}
GRADUS_KERNEL wide_shift(T* y) { y[threadIdx.x] = 1 << threadIdx.x; }
GRADUS_KERNEL own_array_by_pointer(T* y) {
  T own[4] = {1, 2, 3, 4};
  const T* at = own;
  y[threadIdx.x] = at[static_cast<int>(y[0]) + 4];
}
GRADUS_KERNEL shared_by_pointer(T* y) {
  __shared__ T first[64], second[64];
  first[threadIdx.x % 64] = 1;
  second[threadIdx.x % 64] = 1;
  __syncthreads();
  const T* at = first;
  y[threadIdx.x] = at[static_cast<int>(y[0]) + 64] + second[0];
}
GRADUS_KERNEL array_index(T* y) {
  __shared__ T own[64];
  own[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = own[threadIdx.x];
}
)cuda";

const cuda::detail::KernelText wrong_kernels{"wrong", wrong_text};

void launch_wrong(const char* kernel, void* y, int64_t blocks = 1) {
  auto device = Device::cuda(0);
  cuda::detail::launch("wrong", device, wrong_kernels, {DType::f32}, kernel, {blocks, 256}, y);
  cuda::synchronize(device);
}

std::string said_of_wrong(const char* kernel, int64_t blocks = 1) {
  return said_by_card([&] {
    auto y = zeros<float>({4096}, Device::cuda(0));
    launch_wrong(kernel, y.impl()->data(), blocks);
  });
}

void check_said(const std::string& text, const std::string& kernel, const std::string& what) {
  INFO(kernel << ": " << text);
#if defined(__SANITIZE_ADDRESS__)
  if (text.find(": runtime error: ") != std::string::npos) return;  // a sanitized program's own reports come first
#endif
  CHECK(text.find("simulated card: kernel " + kernel + ", block (") != std::string::npos);
  CHECK(text.find("), thread (") != std::string::npos);
  CHECK(text.find(what) != std::string::npos);
}

}  // namespace

TEST_CASE("the simulated card lets right kernels pass") {
  NEEDS_SIMULATED_CARD();
  for (const char* kernel : {"reverse_by_shared", "shared_within_warp", "own_byte", "neighbours_after_barrier",
                             "sum_by_atomics", "packs", "all_shuffle", "read_only"}) {
    INFO(kernel);
    CHECK(said_of_wrong(kernel) == "");
  }
  for (const char* kernel : {"own_elements", "sum_by_atomics", "read_only"}) CHECK(said_of_wrong(kernel, 3) == "");
}

TEST_CASE("the simulated card finds races on shared memory") {
  NEEDS_SIMULATED_CARD();
  auto race = "a race on shared memory: ";
  check_said(said_of_wrong("reverse_without_barrier"), "reverse_without_barrier", race);
  check_said(said_of_wrong("same_shared_place"), "same_shared_place", race);
  check_said(said_of_wrong("shared_again_too_early"), "shared_again_too_early", race);
  check_said(said_of_wrong("shared_beyond_warp"), "shared_beyond_warp", race);
  check_said(said_of_wrong("unset_shared"), "unset_shared", "that no thread of the block has written");
}

TEST_CASE("the simulated card finds races on device memory") {
  NEEDS_SIMULATED_CARD();
  auto race = "a race on device memory: ";
  for (const char* kernel : {"same_element", "same_byte", "neighbours_element", "sum_beside_atomics"})
    check_said(said_of_wrong(kernel), kernel, race);
  for (const char* kernel : {"element_of_all_blocks", "element_of_the_next_block"})
    check_said(said_of_wrong(kernel, 3), kernel, "that another block ");
}

TEST_CASE("the simulated card finds accesses that a card refuses") {
  NEEDS_SIMULATED_CARD();
  check_said(said_of_wrong("packs_from"), "packs_from", "a misaligned access: ");
  check_said(said_by_card([] {
               std::vector<float> of_host(256);
               launch_wrong("own_elements", of_host.data());
             }),
             "own_elements", "which is the host's memory, or another thread's");
  check_said(said_by_card([] { launch_wrong("own_elements", nullptr); }), "own_elements", "near the null pointer");
  auto refused = "which is no allocated device memory: out of range, or freed";
  const auto allocate = [](size_t bytes) {
    cuda::detail::DevicePointer at = 0;
    auto& context = cuda::detail::Context::of(Device::cuda(0));
    context.check(context.driver().allocate(&at, bytes), "cuMemAlloc", "");
    return at;
  };
  check_said(said_by_card([&] { launch_wrong("own_elements", reinterpret_cast<void*>(allocate(1020))); }),
             "own_elements", refused);
  check_said(said_by_card([&] {
               auto at = allocate(1024);
               launch_wrong("own_elements", reinterpret_cast<void*>(at));
               cuda::detail::Context::of(Device::cuda(0)).driver().release(at);
               launch_wrong("own_elements", reinterpret_cast<void*>(at));
             }),
             "own_elements", refused);
}

TEST_CASE("the simulated card finds barriers and shuffles that some threads miss") {
  NEEDS_SIMULATED_CARD();
  for (const char* kernel : {"some_reach_the_barrier", "some_shuffle"})
    check_said(said_of_wrong(kernel), kernel, "waits at a barrier or shuffle that is not reached by all threads");
}

TEST_CASE("the simulated card finds what the language leaves undefined") {
  NEEDS_SIMULATED_CARD();
  check_said(said_of_wrong("big_index"), "big_index", "a product overflows (wrong.cu:");
  check_said(said_of_wrong("wide_shift"), "wide_shift", "a shift is out of range (wrong.cu:");
  check_said(said_of_wrong("array_index"), "array_index", "an index is outside of its array (wrong.cu:");
}

TEST_CASE("the address sanitizer lets right kernels pass and finds what wrong ones do") {
  if (!has_checks("address")) SKIP_LOUDLY("the kernels are not compiled with the address sanitizer");
  for (const char* kernel : {"reverse_by_shared", "shared_within_warp", "packs", "all_shuffle", "sum_by_atomics"}) {
    INFO(kernel);
    CHECK(said_of_wrong(kernel) == "");
  }
  auto check = [](const std::string& text, const char* what) {
    INFO(text);
    CHECK(text.find(std::string("ERROR: AddressSanitizer: ") + what) != std::string::npos);
  };
  check(said_of_wrong("own_array_by_pointer"), "stack-buffer-overflow");
  check(said_of_wrong("shared_by_pointer"), "global-buffer-overflow");
  // One element beyond a tensor, within its page.
  check(said_by_card([] {
          cuda::detail::DevicePointer at = 0;
          auto& context = cuda::detail::Context::of(Device::cuda(0));
          context.check(context.driver().allocate(&at, 1020), "cuMemAlloc", "");
          launch_wrong("own_elements", reinterpret_cast<void*>(at));
        }),
        "use-after-poison");
}

TEST_CASE("without the pool the simulated card sees the bounds and the life of each tensor") {
  NEEDS_SIMULATED_CARD();
  auto refused = "which is no allocated device memory: out of range, or freed";
  auto in_tensor = [](int64_t size, bool lives) {
    return said_by_card([&] {
      auto device = Device::cuda(0);
      cuda::detail::Context::of(device).memory().set_keep(false);
      auto y = zeros<float>({size}, device);
      auto* data = y.impl()->data();
      if (!lives) y = {};
      launch_wrong("own_elements", data);
    });
  };
  CHECK(in_tensor(256, true) == "");
  check_said(in_tensor(255, true), "own_elements", refused);
  check_said(in_tensor(256, false), "own_elements", refused);
}
#endif

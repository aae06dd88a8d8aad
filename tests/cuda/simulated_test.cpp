// The simulated card finds what is wrong in kernels. Each runs in a process of its own, which the card ends.
#include "gradus/gradus.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/simulated_card.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

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
GRADUS_KERNEL packs(T* y) { store_pack<4>(y + 4 * threadIdx.x, load_pack<4>(y + 4 * threadIdx.x)); }
GRADUS_KERNEL packs_from(T* y) { y[threadIdx.x] = load_pack<4>(y + 2000 + 2 * threadIdx.x).at[0]; }
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

/// What the simulated card says before it ends the process that f runs in; "" when f comes to its end.
template <class F>
std::string said_by_card(F&& f) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    try {
      f();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s", error.what());
      std::abort();
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char bytes[512];
  for (ssize_t n = 0; (n = ::read(ends[0], bytes, sizeof(bytes))) > 0;) text.append(bytes, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  const bool ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  CHECK(ended_well == text.empty());
  return text;
}
std::string said_of_wrong(const char* kernel, int64_t blocks = 1) {
  return said_by_card([&] {
    auto y = zeros<float>({4096}, Device::cuda(0));
    launch_wrong(kernel, y.impl()->data(), blocks);
  });
}

bool has_checks(std::string_view wanted = "") {
  const auto* checks = std::getenv("GRADUS_SIMULATED_CHECKS");
  return test::sees_simulated_card && (checks == nullptr ? "" : checks) == wanted;
}
#define NEEDS_SIMULATED_CARD() \
  if (!has_checks()) SKIP_LOUDLY("only the simulated card checks kernels")

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

TEST_CASE("the simulated card finds what a recurrent layer is asked wrongly") {
  NEEDS_SIMULATED_CARD();
  using namespace cuda::detail;
  enum Wrong { nothing, weights_first, small_reserve, cells_of_gru, of_another_layer };
  auto said = [](Wrong wrong) {
    return said_by_card([wrong] {
      auto device = Device::cuda(0);
      const auto& api = *CudnnRnn::find();
      auto* handle = CudnnPlans::of(device)->handle();
      RnnDescriptors d(api, handle,
                       {DType::f32, wrong == cells_of_gru ? RnnCell::gru : RnnCell::lstm, 3, 2, 4, 5, true, false});
      size_t weights = 0, work = 0, reserve = 0;
      api.weight_bytes(handle, d.rnn, &weights);
      api.space_bytes(handle, d.rnn, 1, d.x_data, &work, &reserve);
      auto memory = [&](size_t bytes) { return zeros<uint8_t>({static_cast<int64_t>(bytes)}, device); };
      auto x = memory(96), y = memory(120), dy = memory(120), dx = memory(96), cx = memory(40), w = memory(weights),
           space = memory(work), kept = memory(reserve), dw = memory(weights);
      auto at = [](const Tensor<uint8_t>& of) { return static_cast<void*>(of.impl()->data()); };
      auto kept_bytes = wrong == small_reserve ? reserve - 1 : reserve;
      api.forward(handle, d.rnn, 1, nullptr, d.x_data, at(x), d.y_data, at(y), d.state, nullptr, nullptr, d.state,
                  wrong == cells_of_gru ? at(cx) : nullptr, nullptr, weights, at(w), work, at(space), kept_bytes,
                  at(kept));
      if (wrong == of_another_layer) kept.fill_(uint8_t{1});
      if (wrong != weights_first) {
        api.backward_data(handle, d.rnn, nullptr, d.y_data, at(y), at(dy), d.x_data, at(dx), d.state, nullptr, nullptr,
                          nullptr, d.state, nullptr, nullptr, nullptr, weights, at(w), work, at(space), reserve,
                          at(kept));
      }
      api.backward_weights(handle, d.rnn, 0, nullptr, d.x_data, at(x), d.state, nullptr, d.y_data, at(y), weights,
                           at(dw), work, at(space), reserve, at(kept));
      cuda::synchronize(device);
    });
  };
  auto check = [&](Wrong wrong, const std::string& text) {
    auto found = said(wrong);
    INFO(found);
    CHECK(found.find(text) != std::string::npos);
  };
  CHECK(said(nothing) == "");
  check(weights_first, "cudnnRNNBackwardWeights_v8: the reserve has not been through cudnnRNNBackwardData_v8");
  check(small_reserve, "cudnnRNNForward: the reserve is smaller than was asked for");
  check(cells_of_gru, "cudnnRNNForward: cells of a layer that has none");
  check(of_another_layer, "cudnnRNNBackwardData_v8: no reserve of cudnnRNNForward with these descriptors");
}

TEST_CASE("the simulated card finds what is wrong with the tail of a product") {
  NEEDS_SIMULATED_CARD();
  using namespace cuda::detail;
  // (3, 4) (4, columns), with what GELU is of kept at an offset in memory of so many elements.
  auto said = [](int64_t columns, int64_t kept, int64_t offset, bool slope) {
    return said_by_card([=] {
      auto device = Device::cuda(0);
      Context::of(device).memory().set_keep(false);
      auto a = zeros<float>({3, 4}, device), b = zeros<float>({4, columns}, device),
           d = zeros<float>({3, columns}, device), before = zeros<float>({kept}, device),
           sums = zeros<float>({columns - 1}, device);
      CardProduct p;
      p.a = {a.data(), 3, 4, 4, 1};
      p.b = {b.data(), 4, columns, columns, 1};
      p.d = d.impl()->data();
      p.tail = slope ? CardTail::gelu_slope : CardTail::gelu;
      p.before_tail = before.impl()->data() + 4 * offset;
      if (slope) p.bias_gradient = sums.impl()->data();
      LtProducts::of(device).run(p, "product");
      cuda::synchronize(device);
    });
  };
  CHECK(said(8, 24, 0, false) == "");
  auto check = [](const std::string& text, const std::string& what) {
    INFO(text);
    CHECK(text.find(what) != std::string::npos);
  };
  check(said(12, 36, 0, false), "whose leading dimension is below the rows or no multiple of 8");
  check(said(8, 23, 0, false), "an auxiliary matrix that is not within one block of device memory");
  check(said(8, 25, 1, false), "an auxiliary matrix that is not aligned to 16 bytes");
  check(said(8, 24, 0, true), "a bias that is not device memory");
}
#endif

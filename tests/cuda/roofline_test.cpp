// Estimates of what a card needs for a step: the simulated card that counts instead of computing, and memory of which
// it knows each tensor.
#include <unistd.h>

#include "tests/cuda/faults.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

/// GB, TFLOP and milliseconds of work(), as the card counts them.
template <class Work>
std::array<double, 3> counted_work(Device device, Work&& work) {
  auto* library = ::dlopen((std::string(std::getenv("GRADUS_CUDA_LIBRARIES")) + "/libcuda.so.1").c_str(), RTLD_NOW);
  auto* clock = reinterpret_cast<decltype(&gradus_simulated_clock)>(::dlsym(library, "gradus_simulated_clock"));
  std::array<double, 3> sums{};
  for (int unit : {1, 2, 0}) {
    clock(unit);
    for (const auto& time : cuda::profile(device, work)) sums[static_cast<size_t>((unit + 2) % 3)] += time.milliseconds;
  }
  return sums;
}

/// Of several launches.
void check_sum(const std::array<double, 3>& counted, double bytes, double operations) {
  CHECK(counted[0] == Approx(bytes * 1e-9));
  CHECK(counted[1] == Approx(operations * 1e-12));
}

/// With 1e9 bytes and 1e12 operations a second, and both counted.
void check_work(const std::array<double, 3>& counted, double bytes, double operations) {
  check_sum(counted, bytes, operations);
  CHECK(counted[2] == Approx(1e3 * std::max(bytes / 1e9, operations / 1e12)));
}

}  // namespace

TEST_CASE("a card that counts instead of computing tells bytes and operations of each launch") {
  if (Device::best().is_cpu() || test::SimulatedFaults::find() == nullptr) SKIP_LOUDLY("no simulated card");
  if (std::getenv("GRADUS_SIMULATED_ROOFLINE") == nullptr) {  // once more, in a process that begins so
    char program[4096] = {};
    REQUIRE(::readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
    auto command = join("GRADUS_CUDA_POOL=off GRADUS_SIMULATED_ROOFLINE=1e9:1e12:1e12:1e12:1e12 '", program,
                        "' 'a card that counts instead of computing*'");
    CHECK(std::system(command.c_str()) == 0);
    return;
  }
  NoGradGuard guard;
  auto device = Device::best();
  auto count = [&](auto&& work) { return counted_work(device, [&] { static_cast<void>(work()); }); };
  auto a = zeros<float>({64, 32}, device), b = zeros<float>({32, 16}, device);
  check_work(count([&] { return matmul(a, b); }), 4 * (64 * 32 + 32 * 16 + 64 * 16), 2 * 64 * 32 * 16);
  auto large = zeros<float>({1 << 20}, device);
  check_work(count([&] { return relu(large); }), 2 * 4 * (1 << 20), 0);
  check_work(count([&] { return relu(slice(large, 0, 1 << 19, 1 << 20)); }), 4 * (1 << 20), 0);
  auto x = zeros<float>({2, 3, 8, 8}, device), w = zeros<float>({4, 3, 3, 3}, device);
  check_work(count([&] {
               return conv2d(x, w, {}, {.padding = {1, 1}});
             }),
             4 * (2 * 3 * 64 + 4 * 27 + 2 * 4 * 64), 2 * 2 * 4 * 64 * 27);
  // A step of a recurrent layer counts only its own part of what there is for all steps.
  auto sequence = zeros<float>({5, 2, 4}, device), start = zeros<float>({2, 8}, device);
  RnnParameters<float> layer{zeros<float>({8, 4}, device), zeros<float>({8, 8}, device), {}, {}};
  check_sum(count([&] { return rnn(sequence, start, layer)[1]; }),
            4 * (10 * 4 + 8 * 4 + 10 * 8) + 5 * 4 * ((2 * 8 + 8 * 8 + 2 * 8) + 3 * 2 * 8) + 4 * 2 * 2 * 8,
            2 * 10 * 4 * 8 + 5 * 2 * 2 * 8 * 8);
  auto q = zeros<bf16>({1, 2, 64, 16}, device);
  auto scores = 2.0 * 2 * 64 * 64;
  check_work(count([&] { return scaled_dot_product_attention(q, q, q); }), 4 * 2 * 64 * 16 * 2 + 4 * 2 * 64,
             2 * scores * 16);
  check_work(count([&] { return scaled_dot_product_attention(q, q, q, {.causal = true}); }),
             4 * 2 * 64 * 16 * 2 + 4 * 2 * 64, scores * 16);
}

TEST_CASE("without caching each tensor is a block of the driver's, and results are the same") {
  auto device = Device::best();
  if (device.is_cpu() || test::SimulatedFaults::find() == nullptr) SKIP_LOUDLY("no simulated card");
  auto wanted = test::train_with_faults(device);
  auto& memory = cuda::detail::Context::of(device).memory();
  cuda::synchronize(device);
  memory.empty_cache();
  auto before = cuda::stats(device);
  memory.set_keep(false);
  CHECK(test::train_with_faults(device) == wanted);
  auto x = zeros<float>({300}, device), y = zeros<float>({300}, device);
  auto now = cuda::stats(device);
  CHECK(now.bytes_held - before.bytes_held == now.bytes_in_use - before.bytes_in_use);
  x = y = {};
  CHECK(cuda::stats(device).bytes_held == before.bytes_held);
  memory.set_keep(true);
}
#endif

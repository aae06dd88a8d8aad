// Every call of driver and libraries fails once, the card is lost, and memory ends, at every place of a training step
// on the simulated card: each becomes an error that says what failed and where, nothing is left behind, and the next
// step is as if nothing had happened.
#include <cctype>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "tests/cuda/faults.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

#define NEEDS_FAULTS(device, faults)                  \
  auto device = Device::best();                       \
  const auto* faults = test::SimulatedFaults::find(); \
  if (device.is_cpu() || faults == nullptr) SKIP_LOUDLY("no simulated card")

/// A function that only gives back: its error changes nothing.
bool only_frees(const std::string& function) {
  return function.find("Destroy") != std::string::npos || function == "cuMemFree" || function == "cuMemFreeHost";
}

/// Which of `count` calls are made to fail: all of them, or where there are many the first `most`, the last 5 and about
/// 15 in between by chance.
std::vector<int64_t> calls_to_fail(int64_t count, int64_t most) {
  std::vector<int64_t> calls;
  std::mt19937 chance(static_cast<unsigned>(count));
  for (int64_t i = 1; i <= count; ++i)
    if (i <= most || i > count - 5 || chance() % static_cast<unsigned>(count) < 15) calls.push_back(i);
  return calls;
}

/// Memory of the pool that nobody uses goes back, so that what the card holds can be compared.
std::map<std::string, int64_t> settled(const test::SimulatedFaults& faults, Device device) {
  cuda::synchronize(device);
  cuda::detail::Context::of(device).memory().empty_cache();
  auto objects = faults.objects();
  std::erase_if(objects, [](const auto& one) { return one.second == 0; });
  return objects;
}

std::map<std::string, int64_t> growth(const std::map<std::string, int64_t>& before,
                                      const std::map<std::string, int64_t>& after) {
  auto more = after;
  for (const auto& [what, count] : before) more[what] -= count;
  return more;
}

/// A product, a convolution, an attention and an LSTM by cuDNN of shapes that no other number gives, and their
/// gradients.
std::vector<float> new_kinds(Device device, int64_t number) {
  auto numbers = [&](uint32_t seed, const Shape& shape) {
    auto x = test::hashed<float>(seed, shape, -1, 1).to(device);
    x.set_requires_grad(true);
    return x;
  };
  auto n = 1 + number / 8 % 4, heads = 1 + number / 32 % 4, size = 3 + number % 8, more = number / 128;
  auto x = numbers(1, {number + 2, 8}), w = numbers(2, {4, 8}), bias = numbers(3, {4}),
       image = numbers(4, {n, heads, size, 4 + more}), kernel = numbers(5, {2, heads, 3, 3}),
       tokens = numbers(6, {n, heads, size, 8 + 8 * more});
  auto sequence = numbers(7, {size, n, heads + 4 * more}), weight_ih = numbers(8, {8, heads + 4 * more}),
       weight_hh = numbers(9, {8, 2}), start = zeros<float>({n, 2}, device);
  auto t = cast<bf16>(tokens);
  auto product = linear(x, w, bias);
  auto pictures = conv2d(image, kernel, {}, {.padding = {1, 1}});
  auto seen = cast<float>(scaled_dot_product_attention(t, t, t, {.causal = true}));
  auto states = lstm(sequence, start, start, {weight_ih, weight_hh, {}, {}, {}})[0];
  (sum(product * product) + sum(pictures * pictures) + sum(seen * seen) + sum(states * states)).backward();
  std::vector<float> results;
  for (const auto& one : {product.detach(), pictures.detach(), seen.detach(), states.detach(), w.grad(), kernel.grad(),
                          tokens.grad(), sequence.grad(), weight_hh.grad()})
    results.push_back(sum(one * one).item());
  return results;
}

/// A parameter of 2 MiB and tensors of 2 MiB an item: each a request of its own to the driver where the batch is large.
struct WideLayer {
  Parameter<float> weight{ones<float>({1 << 19})};
  GRADUS_FIELDS(weight)
};
std::vector<float> train_wide(Device device, int64_t n) {
  WideLayer layer;
  to(layer, device);
  optim::SGD<float> sgd(layer, {.lr = 1e3, .momentum = 0.9});
  auto x = ones<float>({n, 1 << 19}, device);
  auto y = x * layer.weight.tensor();
  auto loss = mean(y * y);
  loss.backward();
  sgd.step();
  return {loss.item(), sum(layer.weight.tensor().detach()).item()};
}

/// "cuLaunchKernel for relu": the call and what it was for. A thread's first call of all is for no operator.
bool names_call_and_operator(const std::string& text, const std::string& function) {
  if (function == "cuCtxSetCurrent") return text.find(function) != std::string::npos;
  auto at = text.find(function + " for ");
  return at != std::string::npos && std::isalpha(static_cast<unsigned char>(text[at + function.size() + 5])) != 0;
}

}  // namespace

TEST_CASE("each call of a training step fails once, and the next step is as if it had not") {
  NEEDS_FAULTS(device, faults);
  auto wanted = test::train_with_faults(device);
  auto before = settled(*faults, device);
  faults->calls();
  test::train_with_faults(device);
  auto counts = faults->calls();
  for (const auto* function : {"cuLaunchKernel", "cublasLtMatmul", "cudnnBackendExecute", "cuMemcpyHtoDAsync"})
    CHECK(counts[function] > 0);
  for (const auto& [function, count] : counts) {
    for (auto call : calls_to_fail(count, 60)) {
      INFO(function << ", call " << call << " of " << count);
      if (function == "cuMemAlloc") settled(*faults, device);
      faults->arm(function, call, test::some_error(function));
      std::vector<float> losses;
      auto outcome = test::fault_outcome([&] { losses = test::train_with_faults(device); });
      CHECK(faults->clear() == 1);
      INFO(outcome.kind << ": " << outcome.text);
      if (only_frees(function)) {
        CHECK(losses == wanted);
      } else {
        CHECK(outcome.kind == "CudaError");
        CHECK(names_call_and_operator(outcome.text, function));
      }
      CHECK(test::train_with_faults(device) == wanted);
    }
  }
  CHECK(settled(*faults, device) == before);
}

TEST_CASE("each call of new kinds of products, convolutions and attention fails once, and nothing is left behind") {
  NEEDS_FAULTS(device, faults);
  cuda::autotune_products();
  cuda::use_cudnn_recurrent();
  int64_t kind = 0;
  auto clean = [&] {
    faults->calls();
    auto before = faults->objects();
    new_kinds(device, ++kind);
    return growth(before, faults->objects());
  };
  clean();  // loads kernels
  auto grows = clean();
  auto counts = faults->calls();
  CHECK(counts["cublasLtMatmulAlgoGetHeuristic"] > 0);
  CHECK(counts["cudnnBackendFinalize"] > 0);
  CHECK(counts["cudnnRNNBackwardWeights_v8"] == 1);
  CHECK(counts["cuEventElapsedTime"] > 0);
  for (const auto& [function, count] : counts) {
    if (function.starts_with("nvrtc") || function == "cuMemAlloc") continue;  // those of kernels are compiled elsewhere
    for (auto call : calls_to_fail(count, 10)) {
      INFO(function << ", call " << call << " of " << count);
      auto before = faults->objects();
      ++kind;
      faults->arm(function, call, test::some_error(function));
      auto outcome = test::fault_outcome([&] { new_kinds(device, kind); });
      CHECK(faults->clear() == 1);
      INFO(outcome.kind << ": " << outcome.text);
      // Of what cuDNN proposes the next is taken, or own kernels.
      auto goes_on = function == "cudnnBackendFinalize" || function == "cudnnBackendGetAttribute";
      if (only_frees(function)) {
        CHECK(outcome.kind == "");
      } else if (!goes_on || outcome.kind != "") {
        CHECK(outcome.kind == "CudaError");
        CHECK(names_call_and_operator(outcome.text, function));
      }
      auto there = new_kinds(device, kind), here = new_kinds(Device::cpu(), kind);
      for (size_t i = 0; i < here.size(); ++i) CHECK(there[i] == Approx(here[i]).epsilon(0.02).margin(0.05));
      for (const auto& [what, more] : growth(before, faults->objects())) {
        INFO(what);
        if (what != "bytes") CHECK(more <= grows[what]);
      }
    }
  }
  cuda::autotune_products(false);
}

TEST_CASE("each call of the compiler fails once, and no program of it is left") {
  NEEDS_FAULTS(device, faults);
  static_cast<void>(device);
  const auto& nvrtc = cuda::detail::Nvrtc::get();
  const cuda::detail::KernelSource source{.name = "thrice",
                                          .text = "\nGRADUS_KERNEL thrice(float* x) { x[threadIdx.x] *= 3; }\n"};
  auto compile = [&] { return cuda::detail::KernelCache("").get(nvrtc, source, 90).code; };
  faults->calls();
  CHECK(!compile().empty());
  auto counts = faults->calls();
  auto before = faults->objects();
  CHECK((counts.size() >= 9 && before["program"] == 0));
  for (const auto& [function, count] : counts) {
    for (int64_t call = 1; call <= count; ++call) {
      INFO(function << ", call " << call << " of " << count);
      faults->arm(function, call, test::some_error(function));
      auto outcome = test::fault_outcome(compile);
      CHECK(faults->clear() == 1);
      INFO(outcome.kind << ": " << outcome.text);
      auto name = function.ends_with("Size") ? function.substr(0, function.size() - 4) : function;
      if (only_frees(function)) CHECK(outcome.kind == "");
      else CHECK((outcome.kind == "CudaError" && outcome.text.starts_with(name)));
      CHECK(faults->objects() == before);
    }
  }
}

TEST_CASE("each call of a profiled step fails once, and its events are given back") {
  NEEDS_FAULTS(device, faults);
  auto wanted = test::train_with_faults(device);
  auto profiled = [&] {
    std::vector<float> losses;
    cuda::profile(device, [&] { losses = test::train_with_faults(device); });
    CHECK(losses == wanted);
  };
  profiled();
  auto before = settled(*faults, device);
  faults->calls();
  profiled();
  auto counts = faults->calls();
  for (const auto& [function, count] : counts) {
    if (!function.starts_with("cuEvent") && function != "cuStreamSynchronize") continue;
    for (auto call : calls_to_fail(count, 20)) {
      INFO(function << ", call " << call << " of " << count);
      faults->arm(function, call, 999);
      auto outcome = test::fault_outcome(profiled);
      CHECK(faults->clear() == 1);
      INFO(outcome.kind << ": " << outcome.text);
      if (only_frees(function)) CHECK(outcome.kind == "");
      else CHECK((outcome.kind == "CudaError" && names_call_and_operator(outcome.text, function)));
    }
  }
  profiled();
  CHECK(settled(*faults, device) == before);
}

TEST_CASE("each call of a captured step fails once, and the step can be captured again") {
  NEEDS_FAULTS(device, faults);
  // The step is run as it is, recorded and replayed: body(run) with run() -> losses.
  auto with_captured = [&](auto&& body) {
    settled(*faults, device);
    test::FaultTraining training(device);
    auto step = capture(
        device, [&] { return training.step(); }, 1);
    body([&] {
      training.adam.zero_grad();
      std::vector<float> losses;
      for (int i = 0; i < 4; ++i) losses.push_back(step().item());
      return losses;
    });
  };
  auto whole = [&] {
    std::vector<float> losses;
    with_captured([&](auto&& run) { losses = run(); });
    return losses;
  };
  auto wanted = whole();
  auto before = settled(*faults, device);
  std::map<std::string, int64_t> counts;
  with_captured([&](auto&& run) {
    faults->calls();
    run();
    counts = faults->calls();
  });
  for (const auto* function : {"cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphLaunch",
                               "cuGraphExecKernelNodeSetParams", "cuStreamGetCaptureInfo", "cuMemAlloc"})
    CHECK(counts[function] > 0);
  for (const auto& [function, count] : counts) {
    for (auto call : calls_to_fail(count, 20)) {
      INFO(function << ", call " << call << " of " << count);
      with_captured([&](auto&& run) {
        faults->arm(function, call, test::some_error(function));
        auto outcome = test::fault_outcome(run);
        CHECK(faults->clear() == 1);
        INFO(outcome.kind << ": " << outcome.text);
        if (only_frees(function)) CHECK(outcome.kind == "");
        else CHECK((outcome.kind == "CudaError" && names_call_and_operator(outcome.text, function)));
        for (auto loss : run()) CHECK(std::isfinite(loss));  // the same step goes on
      });
      CHECK(whole() == wanted);
    }
  }
  CHECK(settled(*faults, device) == before);
}

TEST_CASE("a card that is lost at any call of a step is told, and all that was on it can be dropped") {
  NEEDS_FAULTS(device, faults);
  auto wanted = test::train_with_faults(device);
  auto before = settled(*faults, device);
  auto kept = std::make_unique<test::FaultTraining>(device);
  faults->calls();
  test::train_with_faults(device);
  int64_t count = 0;
  for (const auto& [function, calls] : faults->calls())
    if (!function.starts_with("nvrtc")) count += calls;
  for (auto call : calls_to_fail(count, 120)) {
    INFO("call " << call << " of " << count);
    if (kept == nullptr) kept = std::make_unique<test::FaultTraining>(device);
    settled(*faults, device);
    faults->arm("*", call, call % 2 == 0 ? 719 : 700, loses_card);
    for (int i = 0; i < 2; ++i) {
      auto outcome = test::fault_outcome([&] { test::train_with_faults(device); });
      INFO(outcome.kind << ": " << outcome.text);
      CHECK(outcome.kind == "DeviceLostError");
      CHECK(outcome.text.find(
                "the GPU is lost to this program, maybe by an earlier kernel: start it again, from its last "
                "checkpoint") != std::string::npos);
    }
    std::thread([&] { kept.reset(); }).join();  // one that has not used the card
    CHECK(faults->clear() > 1);
    CHECK(test::train_with_faults(device) == wanted);
  }
  CHECK(settled(*faults, device) == before);
}

TEST_CASE("memory that ends at any request is told, and training goes on with a smaller batch") {
  NEEDS_FAULTS(device, faults);
  auto wanted = train_wide(device, 8), wanted_smaller = train_wide(device, 4);
  auto before = settled(*faults, device);
  auto in_use = cuda::stats(device).bytes_in_use;
  faults->calls();
  train_wide(device, 8);
  auto count = faults->calls()["cuMemAlloc"];
  CHECK(count >= 4);
  for (int64_t call = 1; call <= count; ++call) {
    INFO("request " << call << " of " << count);
    settled(*faults, device);
    faults->arm("cuMemAlloc", call, 2);  // once: what the pool keeps is given back, and the next request serves
    CHECK(train_wide(device, 8) == wanted);
    CHECK(faults->clear() == 1);
    settled(*faults, device);
    faults->arm("cuMemAlloc", call, 2, fails_from_there);
    auto outcome = test::fault_outcome([&] { train_wide(device, 8); });
    CHECK(faults->clear() >= 1);
    INFO(outcome.text);
    CHECK(outcome.kind == "OutOfMemoryError");
    CHECK(names_call_and_operator(outcome.text, "cuMemAlloc"));
    CHECK(outcome.text.find("is out of memory: ") != std::string::npos);
    CHECK(outcome.text.find("use a smaller batch") != std::string::npos);
    CHECK(cuda::stats(device).bytes_in_use == in_use);
    CHECK(train_wide(device, 4) == wanted_smaller);
  }
  CHECK(settled(*faults, device) == before);
}

TEST_CASE("on a card of any size training goes on with the batch that fits") {
  NEEDS_FAULTS(device, faults);
  std::map<int64_t, std::vector<float>> wanted;
  for (int64_t n : {8, 4, 2, 1}) wanted[n] = train_wide(device, n);
  auto held = static_cast<uint64_t>(settled(*faults, device)["bytes"]);
  auto in_use = cuda::stats(device).bytes_in_use;
  std::set<int64_t> batches;
  for (uint64_t megabytes = 20; megabytes <= 140; megabytes += 20) {
    faults->set_memory(held + (megabytes << 20));
    for (int64_t n : {8, 4, 2, 1}) {
      INFO(megabytes << " MiB, a batch of " << n);
      std::vector<float> losses;
      auto outcome = test::fault_outcome([&] { losses = train_wide(device, n); });
      INFO(outcome.text);
      CHECK(cuda::stats(device).bytes_in_use == in_use);
      if (outcome.kind == "") {
        CHECK(losses == wanted[n]);
        batches.insert(n);
        break;
      }
      CHECK(outcome.kind == "OutOfMemoryError");
    }
    settled(*faults, device);
  }
  faults->set_memory(uint64_t{4} << 30);
  CHECK(batches.size() >= 3);
}

TEST_CASE("each call of an epoch whose batches are sent beside the kernels fails once, and the next epoch is right") {
  NEEDS_FAULTS(device, faults);
  data::Loader loader(data::TensorDataset(test::hashed<float>(1, {40, 30}, -1, 1), test::hashed_labels(2, 40, 5)),
                      {.batch_size = 8, .seed = 3, .device = device});
  auto epoch = [&] {
    auto total = zeros<float>({}, device);
    for (auto& [x, y] : loader) total = total + sum(x * cast<float>(unsqueeze(y, 1)));
    return total.item();
  };
  auto wanted = epoch();
  CHECK(epoch() == wanted);
  faults->calls();
  epoch();
  for (const auto& [function, count] : faults->calls()) {
    for (auto call : calls_to_fail(count, 30)) {
      INFO(function << ", call " << call << " of " << count);
      faults->arm(function, call, test::some_error(function));
      float total = 0;
      auto outcome = test::fault_outcome([&] { total = epoch(); });
      auto fired = faults->clear();  // how often some functions are called depends on the threads
      INFO(outcome.kind << ": " << outcome.text);
      if (outcome.kind == "") {
        // Without the event of memory that was given back the host waits.
        CHECK((fired == 0 || only_frees(function) || function == "cuEventRecord" || function == "cuStreamSynchronize"));
        CHECK(total == wanted);
      } else {
        CHECK((outcome.kind == "CudaError" && names_call_and_operator(outcome.text, function)));
      }
      CHECK(epoch() == wanted);
    }
  }
}

TEST_CASE("an optimizer does not count a step that failed") {
  NEEDS_FAULTS(device, faults);
  auto losses = [&](bool fails) {
    test::FaultTraining training(device);
    std::vector<float> all;
    for (int i = 0; i < 3; ++i) {
      auto loss = cross_entropy(training.model(training.images), training.labels);
      loss.backward();
      if (fails) {
        faults->arm("cuLaunchKernel", 1, 999);
        CHECK(test::fault_outcome([&] { training.adam.step(); }).kind == "CudaError");
        faults->clear();
      }
      training.adam.step();
      training.adam.zero_grad();
      all.push_back(loss.item());
    }
    return all;
  };
  CHECK(losses(true) == losses(false));
}
#endif

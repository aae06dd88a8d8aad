// What the tests of faults share: the simulated card's own functions, and a training step to disturb.
#pragma once

#include "gradus/gradus.hpp"

#if defined(GRADUS_CUDA)
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/cuda/simulated/faults.hpp"
#include "tests/support/hashed.hpp"

namespace gradus::test {

/// The functions of faults.hpp, out of the library that the program has opened.
class SimulatedFaults {
 public:
  /// Null where there is no simulated card.
  static const SimulatedFaults* find() {
    static const SimulatedFaults faults;
    return faults.set_memory_ != nullptr ? &faults : nullptr;
  }

  void arm(const std::string& function, int64_t call, int code, SimulatedFaultKind kind = fails_once) const {
    arm_(function.c_str(), call, code, kind);
  }
  int64_t clear() const { return clear_(); }
  /// Since the last time.
  std::map<std::string, int64_t> calls() const { return read(calls_); }
  std::map<std::string, int64_t> objects() const { return read(objects_); }
  /// Bytes to the card, from it and within it, since the last time.
  std::array<int64_t, 3> copied() const {
    std::array<int64_t, 3> bytes{};
    copied_(bytes.data());
    return bytes;
  }
  void set_memory(uint64_t bytes) const { set_memory_(bytes); }

 private:
  using List = decltype(&gradus_simulated_calls);

  SimulatedFaults() {
    const auto* folder = std::getenv("GRADUS_CUDA_LIBRARIES");
    if (folder == nullptr) return;
    auto* library = ::dlopen((std::string(folder) + "/libcuda.so.1").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    auto set = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    };
    set(arm_, "gradus_simulated_arm");
    set(clear_, "gradus_simulated_clear");
    set(calls_, "gradus_simulated_calls");
    set(objects_, "gradus_simulated_objects");
    set(copied_, "gradus_simulated_copied");
    set(set_memory_, "gradus_simulated_set_memory");
  }
  static std::map<std::string, int64_t> read(List list) {
    std::map<std::string, int64_t> found;
    list([](void* to, const char* name,
            int64_t count) { static_cast<std::map<std::string, int64_t>*>(to)->emplace(name, count); },
         &found);
    return found;
  }

  decltype(&gradus_simulated_arm) arm_ = nullptr;
  decltype(&gradus_simulated_clear) clear_ = nullptr;
  List calls_ = nullptr, objects_ = nullptr;
  decltype(&gradus_simulated_copied) copied_ = nullptr;
  decltype(&gradus_simulated_set_memory) set_memory_ = nullptr;
};

/// An answer of each library that says no more than that it failed.
inline int some_error(const std::string& function) {
  return function.starts_with("cublasLt") ? 14 : function.starts_with("cudnn") ? 4000 : function[0] == 'n' ? 11 : 999;
}

/// Convolution, products, attention, dropout.
struct FaultNet {
  nn::Conv2d<float> conv{1, 4, {.kernel = 3, .padding = 1}};
  nn::Linear<float> tokens{36, 16}, head{64, 5};
  GRADUS_FIELDS(conv, tokens, head)

  Tensor<float> operator()(const Tensor<float>& images) {  // (n, 1, 6, 6)
    auto n = images.size(0);
    auto x = tokens(reshape(relu(conv(images)), {n, 4, 36}));  // (n, 4, 16)
    auto heads = split_heads(cast<bf16>(x), 2);                // (n, 2, 4, 8)
    auto y = join_heads(scaled_dot_product_attention(heads, heads, heads, {.causal = true}));
    return head(dropout(reshape(x + cast<float>(y), {n, 64}), 0.2));  // (n, 5)
  }
};

/// A model that is trained; the same numbers each time that one is made.
struct FaultTraining {
  FaultNet model;
  optim::AdamW<float> adam;
  Tensor<float> images;
  Tensor<int64_t> labels;

  explicit FaultTraining(Device device, int64_t n = 3)
      : model(seeded(device)),
        adam(model, {.lr = 1e-2}),
        images(hashed<float>(1, {n, 1, 6, 6}, -1, 1).to(device)),
        labels(hashed_labels(2, n, 5).to(device)) {}
  static FaultNet seeded(Device device) {
    manual_seed(7);
    FaultNet made;
    to(made, device);
    return made;
  }
  Tensor<float> step() {
    auto loss = cross_entropy(model(images), labels);
    loss.backward();
    adam.step();
    adam.zero_grad();
    return loss;
  }
};

/// Losses of two steps from the start.
inline std::vector<float> train_with_faults(Device device, int64_t n = 3) {
  FaultTraining training(device, n);
  auto first = training.step().item();
  return {first, training.step().item()};
}

/// What came of work(): the error's class and text, or nothing.
struct FaultOutcome {
  std::string kind, text;
};
template <class Work>
FaultOutcome fault_outcome(Work&& work) {
  try {
    work();
  } catch (const OutOfMemoryError& error) {
    return {"OutOfMemoryError", error.what()};
  } catch (const DeviceLostError& error) {
    return {"DeviceLostError", error.what()};
  } catch (const CaptureError& error) {
    return {"CaptureError", error.what()};
  } catch (const CudaError& error) {
    return {"CudaError", error.what()};
  } catch (const DeviceError& error) {
    return {"DeviceError", error.what()};
  } catch (const std::exception& error) {
    return {"another", error.what()};
  }
  return {"", ""};
}

}  // namespace gradus::test
#endif

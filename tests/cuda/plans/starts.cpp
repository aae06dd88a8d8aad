// A program with GPU support on a machine without a GPU, with NVIDIA's libraries and without them: it starts, says what
// is missing, and trains on the CPU.
//   gpu_starts [library]...   as if these, such as libcudnn, were not there
//   gpu_starts --stub         with the toolkit's stand-in for a driver; 77: the toolkit has none
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <filesystem>

#include "gradus/device/cuda/cudnn_rnn.hpp"
#include "gradus/nn/linear.hpp"
#include "gradus/ops/loss/mse_loss.hpp"
#include "gradus/optim/sgd.hpp"

using namespace gradus;
using namespace gradus::cuda::detail;

namespace {
std::vector<std::string> missing;
int failed = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failed;
}
bool is_missing(const std::string& name) { return std::find(missing.begin(), missing.end(), name) != missing.end(); }
}  // namespace

/// The library's calls come here instead of to the loader.
extern "C" void* dlopen(const char* path, int mode) noexcept {
  using Function = void* (*)(const char*, int);
  static const auto loader = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "dlopen"));
  for (const auto& name : missing) {
    if (path != nullptr && std::strstr(path, name.c_str()) != nullptr)
      return loader(("/missing/" + name).c_str(), mode);
  }
  return loader(path, mode);
}

namespace {

/// y = 2 x - 1, learned.
double train(Device device) {
  manual_seed(1);
  nn::Linear<float> model{1, 1};
  to(model, device);
  optim::SGD<float> sgd(model, {.lr = 0.1});
  auto x = tensor<float>({{-1}, {0}, {1}, {2}}).to(device), y = tensor<float>({{-3}, {-1}, {1}, {3}}).to(device);
  double last = 0;
  for (int step = 0; step < 200; ++step) {
    auto loss = mse_loss(model(x), y);
    loss.backward();
    sgd.step();
    sgd.zero_grad();
    last = static_cast<double>(loss.item());
  }
  return last;
}

/// Asks for a library. It is not there when it is missing or needs one that is; then the error names that.
template <class Ask>
void ask(const std::string& name, Ask&& does) {
  try {
    does();
    std::printf("%s is there\n", name.c_str());
    expect(!is_missing(name), name + " was found");
  } catch (const CudaError& error) {
    std::printf("%s: %s\n", name.c_str(), error.what());
    auto is_named = [&](const auto& one) { return std::strstr(error.what(), one.c_str()) != nullptr; };
    if (is_missing(name))
      expect(std::any_of(missing.begin(), missing.end(), is_named), "the error names nothing missing");
  }
}

/// The toolkit's folder of stand-ins; "" when it has none.
std::string stubs() {
  for (const auto& folder : toolkit_folders()) {
    std::error_code none;
    if (std::filesystem::exists(folder + "/stubs/libcuda.so", none)) return folder + "/stubs";
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  missing.assign(argv + 1, argv + argc);
  if (is_missing("--stub")) {
    auto folder = stubs();
    if (folder.empty()) {
      std::puts("skipped: there is no toolkit with stubs/libcuda.so");
      return 77;
    }
    ::setenv("GRADUS_CUDA_LIBRARIES", folder.c_str(), 1);
    missing.clear();
  }
  auto device = Device::best();
  expect(device.is_cpu(), "Device::best() is " + to_string(device));
  auto loss = train(device);
  expect(loss < 1e-3, join("the loss is ", loss));
  try {
    static_cast<void>(Device::cuda());
    expect(false, "Device::cuda() found a card");
  } catch (const DeviceError& error) {
    std::puts(error.what());
  }
  ask("libcuda", [] { Driver::get(); });
  ask("libnvrtc", [] { expect(Nvrtc::get().version_number() > 1200, "the compiler's version"); });
  // These two are there, but can do nothing without a card.
  ask("libcublasLt", [] {
    Handle handle = nullptr;
    expect(CublasLt::get().create(&handle) != 0, "cublasLtCreate found a card");
  });
  ask("libcudnn", [] {
    const auto* api = Cudnn::find();
    require<CudaError>(api != nullptr && CudnnRnn::find() != nullptr, "libcudnn was not found");
    Handle handle = nullptr;
    expect(api->create(&handle) != 0, "cudnnCreate found a card");
  });
  return failed == 0 ? 0 : 1;
}

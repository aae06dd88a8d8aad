// Models and runs on a GPU come out of files as they went in.
#include <filesystem>

#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

struct ScratchFolder {
  std::string path =
      (std::filesystem::temp_directory_path() / ("gradus_cuda_files_" + std::to_string(::getpid()))).string();
  ScratchFolder() { std::filesystem::create_directories(path); }
  ~ScratchFolder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("weights on a GPU go to a file and into models on either device") {
  auto device = Device::best();
  if (device.is_cpu()) SKIP_LOUDLY("no GPU");
  ScratchFolder folder;
  auto file = folder.path + "/weights.safetensors";
  models::Mlp<float> model({5, 4, 3}), here({5, 4, 3}), there({5, 4, 3});
  to(model, device);
  to(there, device);
  io::save(file, model);
  io::load(file, here);
  io::load(file, there);
  auto x = test::hashed<float>(1, {2, 5}, -1, 1);
  auto wanted = model(x.to(device)).to_vector();
  CHECK(there(x.to(device)).to_vector() == wanted);
  CHECK(device_of(there) == device);
  auto got = here(x).to_vector();
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(wanted[i]).margin(1e-5));
}
#endif

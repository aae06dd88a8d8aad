// NVIDIA's run-time compiler and the cache of what it makes: with functions made for the test, and with the real one.
#include "gradus/device/cuda/kernel_cache.hpp"

#include <cstring>

#include "tests/io/temporary_folder.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using cuda::detail::KernelBinary;
using cuda::detail::KernelCache;
using cuda::detail::KernelSource;
using cuda::detail::Library;
using cuda::detail::Nvrtc;

namespace {

/// What the pretended compiler does.
struct Pretended {
  int compiles = 0, programs = 0, fail_at = -1, calls = 0;
  std::string source, options;
} pretended;

int step() { return ++pretended.calls == pretended.fail_at ? 7 : 0; }

/// A compiler whose code is its options and the text in capitals; texts with "error" do not compile.
Nvrtc pretend() {
  pretended = {};
  Nvrtc api;
  api.version = [](int* major, int* minor) { return *major = 13, *minor = 2, step(); };
  api.error_text = [](int) { return "NVRTC_ERROR_PRETENDED"; };
  api.create = [](void** program, const char* source, const char*, int, const char* const*, const char* const*) {
    ++pretended.programs;
    pretended.source = source;
    *program = &pretended;
    return step();
  };
  api.destroy = [](void**) { return --pretended.programs, 0; };
  api.compile = [](void*, int count, const char* const* options) {
    ++pretended.compiles;
    pretended.options.clear();
    for (int i = 0; i < count; ++i) pretended.options += std::string(options[i]) + ' ';
    if (pretended.source.find("error") != std::string::npos) return 6;
    return step();
  };
  api.log_size = [](void*, size_t* bytes) { return *bytes = 14, step(); };
  api.log = [](void*, char* text) { return std::memcpy(text, "line 3: what?\n", 14), step(); };
  auto size = [](void*, size_t* bytes) { return *bytes = pretended.options.size() + 3, step(); };
  auto code = [](void*, char* text) {
    return std::memcpy(text, (pretended.options + "ELF").data(), pretended.options.size() + 3), step();
  };
  api.cubin_size = api.ptx_size = size;
  api.cubin = api.ptx = code;
  api.architecture_count = [](int* count) { return *count = 3, step(); };
  api.architectures = [](int* list) { return list[0] = 80, list[1] = 90, list[2] = 100, step(); };
  return api;
}

const KernelSource some_kernel{.name = "twice", .text = "__global__ void twice(float* x) { x[threadIdx.x] *= 2; }"};

}  // namespace

TEST_CASE("cuda: kernels are compiled for the architecture, or as PTX for one that is newer") {
  auto api = pretend();
  auto cubin = cuda::detail::compile(api, some_kernel, 90);
  CHECK(cubin.is_cubin);
  CHECK(cubin.code == "--gpu-architecture=sm_90 --std=c++17 ELF");
  auto ptx = cuda::detail::compile(api, some_kernel, 121);
  CHECK_FALSE(ptx.is_cubin);
  CHECK(ptx.code == "--gpu-architecture=compute_100 --std=c++17 ELF");
  CHECK(pretended.programs == 0);
  test::check_error<CudaError>([&] { cuda::detail::compile(api, some_kernel, 75); },
                               "this libnvrtc compiles for sm_80 and newer, not for sm_75");
  test::check_error<CudaError>([&] { cuda::detail::compile(api, {.name = "bad", .text = "error"}, 90); },
                               "nvrtcCompileProgram: NVRTC_ERROR_PRETENDED (bad for sm_90)\nline 3: what?");
  CHECK(pretended.programs == 0);
}

TEST_CASE("cuda: an error of each call of the compiler is named, and nothing leaks") {
  auto api = pretend();
  cuda::detail::compile(api, some_kernel, 90);
  auto calls = pretended.calls;
  CHECK(calls >= 8);
  for (int n = 1; n <= calls; ++n) {
    api = pretend();
    pretended.fail_at = n;
    auto text = test::error_text<CudaError>([&] { cuda::detail::compile(api, some_kernel, 90); });
    INFO(text);
    CHECK(text.starts_with("nvrtc"));
    CHECK(text.find(": NVRTC_ERROR_PRETENDED") != std::string::npos);
    CHECK(pretended.programs == 0);
  }
}

TEST_CASE("cuda: compiled kernels are kept on disk and in memory") {
  test::TemporaryFolder folder;
  auto place = folder / "deep/er";
  auto api = pretend();
  KernelCache first(place), second(place);
  auto made = first.get(api, some_kernel, 90);
  CHECK(first.get(api, some_kernel, 90).code == made.code);
  CHECK(second.get(api, some_kernel, 90).code == made.code);
  CHECK((first.compiled() == 1 && second.compiled() == 0));
  second.get(api, some_kernel, 80);
  second.get(api, {.name = "twice", .text = some_kernel.text + " "}, 90);
  second.get(api, {.name = "twice", .text = some_kernel.text, .options = {"-G"}}, 90);
  CHECK(second.compiled() == 3);
  auto newest = second.get(api, some_kernel, 121);
  CHECK_FALSE(newest.is_cubin);
  CHECK_FALSE(KernelCache(place).get(api, some_kernel, 121).is_cubin);
  CHECK(std::distance(std::filesystem::directory_iterator(place), std::filesystem::directory_iterator()) == 5);
}

TEST_CASE("cuda: a damaged file of the cache is compiled again") {
  test::TemporaryFolder folder;
  auto api = pretend();
  KernelCache first(folder / "");
  auto made = first.get(api, some_kernel, 90);
  auto path = (folder / "") + "/" + KernelCache::key_of(api, some_kernel, 90);
  auto good = test::read_bytes(path);
  for (size_t length : {size_t{0}, size_t{7}, size_t{40}, size_t{41}, good.size() - 1}) {
    test::write_bytes(path, good.substr(0, length));
    KernelCache again(folder / "");
    CHECK(again.get(api, some_kernel, 90).code == made.code);
    CHECK(again.compiled() == 1);
    CHECK(test::read_bytes(path) == good);
  }
  auto bent = good;
  bent[good.size() - 2] ^= 1;
  test::write_bytes(path, bent);
  KernelCache again(folder / "");
  CHECK(again.get(api, some_kernel, 90).code == made.code);
  CHECK(again.compiled() == 1);
}

TEST_CASE("cuda: where the cache cannot be written, kernels live in memory") {
  auto api = pretend();
  test::TemporaryFolder folder;
  test::write_bytes(folder / "file", "");
  for (const auto& place : {std::string(), folder / "file", std::string("/proc/gradus")}) {
    KernelCache cache(place);
    cache.get(api, some_kernel, 90);
    cache.get(api, some_kernel, 90);
    CHECK(cache.compiled() == 1);
  }
}

TEST_CASE("cuda: a library that is not there, and one without the functions") {
  auto none = Library::open({"libgradus-none.so.1"}, {"/nowhere"});
  CHECK_FALSE(static_cast<bool>(none));
  CHECK(none.reason().find("libgradus-none.so.1") != std::string::npos);
  auto libc = Library::open({"libm.so.6"}, {});
  REQUIRE(static_cast<bool>(libc));
  test::check_error<CudaError>([&] { Nvrtc::from(libc); }, "libm.so.6 has no nvrtcVersion: is it too old?");
}

#if !defined(__SANITIZE_ADDRESS__)  // slow there, and it is NVIDIA's code that runs
TEST_CASE("cuda: the real compiler", "[nvrtc]") {
  const Nvrtc* api = nullptr;
  try {
    api = &Nvrtc::get();
  } catch (const CudaError& error) {
    SKIP_LOUDLY(std::string("no kernel was compiled: ") + error.what());
  }
  auto cubin = cuda::detail::compile(*api, some_kernel, 90);
  CHECK(cubin.is_cubin);
  CHECK(cubin.code.starts_with("\177ELF"));
  auto ptx = cuda::detail::compile(*api, some_kernel, 999);
  CHECK(ptx.code.find(".target sm_") != std::string::npos);
  test::check_error_contains<CudaError>(
      [&] { cuda::detail::compile(*api, {.name = "wrong", .text = "__global__ void f() { undeclared(); }"}, 90); },
      "wrong.cu(1): error: identifier \"undeclared\" is undefined");
}
#endif

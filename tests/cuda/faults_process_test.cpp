// What can go wrong before a program has seen the GPU, and about kernels on disk: each in a process of its own, which
// is this test program once more.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/cuda/faults.hpp"
#include "tests/io/temporary_folder.hpp"
#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
#if defined(__GLIBC__)
/// Stands before the C library's own: where GRADUS_TEST_ONLY_LIBRARIES names a folder, those of NVIDIA's libraries that
/// this machine has elsewhere are not found.
extern "C" void* dlopen(const char* file, int mode) __THROWNL {
  static auto* const open = reinterpret_cast<void* (*)(const char*, int)>(::dlsym(RTLD_NEXT, "dlopen"));
  const auto* folder = std::getenv("GRADUS_TEST_ONLY_LIBRARIES");
  std::string path = file == nullptr ? "" : file;
  auto name = path.substr(path.rfind('/') + 1);
  auto is_nvidias = [&] {
    for (const auto* one : {"libcuda.so", "libnvrtc", "libcublasLt.so", "libcudnn.so"})
      if (name.starts_with(one)) return true;
    return false;
  };
  if (folder == nullptr || path.starts_with(folder) || !is_nvidias()) return open(file, mode);
  return open(("/not here/" + name).c_str(), mode);
}
#endif

namespace {

namespace fs = std::filesystem;
using Report = std::map<std::string, std::string>;

constexpr const char* child_case = "a training step in a process of its own";

/// Where the simulated card was built; "" where tests do not run on it.
std::string simulated_folder() {
  const auto* folder = std::getenv("GRADUS_TEST_SIMULATED_CARD");
  return folder == nullptr ? "" : folder;
}

/// A process that trains, with variables of the environment set.
class Child {
 public:
  Child(const fs::path& libraries, Report variables) {
    variables.try_emplace("GRADUS_KERNEL_CACHE", simulated_folder() + "/kernels");
    variables["GRADUS_CUDA_LIBRARIES"] = variables["GRADUS_TEST_ONLY_LIBRARIES"] = libraries.string();
    variables["GRADUS_TEST_REPORT"] = folder_ / "report";
    std::vector<std::string> texts;
    for (auto** one = environ; *one != nullptr; ++one) {
      std::string text = *one;
      if (!text.starts_with("GRADUS_")) texts.push_back(text);
    }
    for (const auto& [name, value] : variables) texts.push_back(name + "=" + value);
    std::vector<char*> environment;
    for (auto& text : texts) environment.push_back(text.data());
    environment.push_back(nullptr);
    std::string program = "/proc/self/exe", name = child_case;
    char* arguments[] = {program.data(), name.data(), nullptr};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    auto output = folder_ / "output";
    ::posix_spawn_file_actions_addopen(&files, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::posix_spawn_file_actions_adddup2(&files, 1, 2);
    if (::posix_spawn(&process_, program.c_str(), &files, nullptr, arguments, environment.data()) != 0) process_ = -1;
    ::posix_spawn_file_actions_destroy(&files);
  }

  /// What it reported, when it has ended; a failed check when it ended otherwise than by return.
  Report wait() {
    int status = -1;
    if (process_ > 0) ::waitpid(process_, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) FAIL_CHECK(test::read_bytes(folder_ / "output"));
    Report report;
    std::ifstream file(folder_ / "report");
    for (std::string line; std::getline(file, line);) {
      auto gap = line.find(' ');
      report[line.substr(0, gap)] = line.substr(gap + 1);
    }
    return report;
  }

 private:
  test::TemporaryFolder folder_;
  pid_t process_ = -1;
};
Report run_child(const fs::path& libraries, const Report& variables = {}) { return Child(libraries, variables).wait(); }

/// A folder of links to the simulated card's libraries, of which some are missing or something else.
class Libraries {
 public:
  Libraries() {
    library_ = fs::canonical(simulated_folder() + "/libcuda.so.1");
    for (const auto* name : all) set(name, library_);
  }
  static constexpr const char* all[] = {"libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13", "libcudnn.so.9"};

  void set(const std::string& name, const fs::path& target) const {
    fs::remove(folder_ / name);
    if (!target.empty()) fs::create_symlink(target, folder_ / name);
  }
  /// A file that is no library.
  void break_(const std::string& name) const {
    fs::remove(folder_ / name);
    test::write_bytes(folder_ / name, "not a library");
  }
  void mend(const std::string& name) const { set(name, library_); }
  fs::path folder() const { return folder_ / ""; }

 private:
  test::TemporaryFolder folder_;
  fs::path library_;
};

/// A library that has none of the functions.
fs::path other_library() {
  Dl_info info{};
  ::dladdr(reinterpret_cast<void*>(static_cast<double (*)(double)>(&std::cbrt)), &info);
  return info.dli_fname;
}

std::string as_text(const std::vector<float>& numbers) {
  std::ostringstream text;
  text.precision(9);
  for (auto number : numbers) text << number << ' ';
  return text.str();
}
double first_number(const std::string& text) { return std::atof(text.c_str()); }

/// What the process does whose report is asked for.
void report_training(std::ostream& report) {
  auto device = Device::best();
  report << "device " << to_string(device) << '\n';
  if (device.is_cpu()) {
    report << "why " << test::fault_outcome([] { Device::cuda(); }).text << '\n';
  }
  const auto* work = std::getenv("GRADUS_TEST_WORK");
  auto is = [work](const char* name) { return work != nullptr && std::string(work) == name; };
  auto attempt = [&](const std::string& name) {
    std::vector<float> losses;
    auto outcome = test::fault_outcome([&] {
      if (is("little")) losses = {sum(exp(linspace<float>(0, 1, 24).to(device))).item()};
      else losses = test::train_with_faults(device);
    });
    report << name << ' ' << as_text(losses) << '\n';
    if (outcome.kind != "") {
      for (auto& letter : outcome.text) letter = letter == '\n' ? ' ' : letter;
      report << name << ".error " << outcome.kind << ": " << outcome.text << '\n';
    }
  };
  const auto* faults = test::SimulatedFaults::find();
  if (work != nullptr && std::string(work).starts_with("walk:")) {  // every new call of a function fails once
    std::string function = work + 5;
    int errors = 0, named = 0;
    std::string before;
    for (int call = 1; errors < 200;) {
      faults->arm(function, call, 999);
      auto outcome = test::fault_outcome([&] { test::train_with_faults(device); });
      if (faults->clear() == 0) break;
      call = outcome.text == before ? call + 1 : 2;  // what failed before works now, and what comes next fails
      if (std::exchange(before, outcome.text) == outcome.text) continue;
      ++errors;
      named += outcome.kind == "CudaError" && outcome.text.find(function + " for ") != std::string::npos;
    }
    report << "errors " << errors << "\nnamed " << named << '\n';
  }
  attempt("losses");
  if (faults == nullptr || device.is_cpu()) return;
  faults->clear();
  if (is("count")) {
    for (const auto& [function, count] : faults->calls()) report << "calls." << function << ' ' << count << '\n';
  }
  attempt("again");
  for (const auto& [what, count] : faults->objects()) {
    auto name = what;
    std::replace(name.begin(), name.end(), ' ', '_');
    report << "object." << name << ' ' << count << '\n';
  }
}
std::map<std::string, int64_t> report_numbers(const Report& report, const std::string& prefix) {
  std::map<std::string, int64_t> numbers;
  for (const auto& [name, value] : report)
    if (name.starts_with(prefix)) numbers[name.substr(prefix.size())] = std::atoll(value.c_str());
  return numbers;
}

#define NEEDS_PROCESSES() \
  if (simulated_folder().empty()) SKIP_LOUDLY("no simulated card")

}  // namespace

TEST_CASE("a training step in a process of its own") {
  const auto* path = std::getenv("GRADUS_TEST_REPORT");
  std::ostringstream nowhere;
  std::ofstream file(path == nullptr ? "/dev/null" : path);
  report_training(file);
  CHECK(file.good());
}

TEST_CASE("each call of a program's start fails once, and it is told or the program runs on the CPU") {
  NEEDS_PROCESSES();
  auto clean = run_child(simulated_folder(), {{"GRADUS_TEST_WORK", "count"}});
  CHECK(clean["device"] == "cuda:0");
  CHECK(clean["losses"] == clean["again"]);
  auto objects = report_numbers(clean, "object.");
  // What a start adds to a step: the first calls of each function. cudnn_test and faults_test disturb the others.
  for (const auto& [function, count] : report_numbers(clean, "calls.")) {
    for (int64_t call = 1; call <= std::min<int64_t>(count, 3); ++call) {
      INFO(function << ", call " << call << " of " << count);
      auto code = std::to_string(test::some_error(function));
      auto report = run_child(simulated_folder(),
                              {{"GRADUS_SIMULATED_FAIL", function + ":" + std::to_string(call) + ":" + code}});
      INFO(report["why"] << report["losses.error"]);
      if (report["device"] == "cpu") {
        CHECK(report["why"].find("Device::cuda(0): " + function) == 0);
        CHECK(std::abs(first_number(report["losses"]) - first_number(clean["losses"])) < 1e-2);
        continue;
      }
      CHECK(report["again.error"].empty());
      // Where cuDNN does not start, own kernels do its work.
      auto without = function.starts_with("cudnn") && report["losses.error"].empty();
      CHECK(std::abs(first_number(report["again"]) - first_number(clean["again"])) < 1e-3);
      if (without) continue;
      CHECK(report["again"] == clean["again"]);
      auto left = report_numbers(report, "object.");
      left.erase("bytes");
      for (const auto& [what, number] : left) {
        INFO(what);
        CHECK(number == objects[what]);
      }
      if (report["losses.error"].empty()) continue;  // destroying
      CHECK(report["losses.error"].find("CudaError: ") == 0);
      CHECK(report["losses.error"].find(function) != std::string::npos);
    }
  }
}

TEST_CASE("each kernel's loading fails once, and the step is complete after it") {
  NEEDS_PROCESSES();
  auto clean = run_child(simulated_folder());
  for (const std::string function : {"cuModuleLoadData", "cuModuleGetFunction"}) {
    auto report = run_child(simulated_folder(), {{"GRADUS_TEST_WORK", "walk:" + function}});
    CHECK(report["losses"] == clean["losses"]);
    CHECK(std::atoi(report["errors"].c_str()) >= 8);
    CHECK(report["errors"] == report["named"]);
  }
}

TEST_CASE("a program starts without NVIDIA's libraries, or with old or broken ones") {
  NEEDS_PROCESSES();
  Libraries libraries;
  auto clean = run_child(libraries.folder());
  CHECK(clean["device"] == "cuda:0");
  auto wanted = first_number(clean["losses"]);
  auto trains_on = [&](const std::string& device, const std::string& why, const Report& variables = {}) {
    auto report = run_child(libraries.folder(), variables);
    INFO(report["why"] << report["losses.error"]);
    CHECK(report["device"] == device);
    CHECK(report["why"].find(why) != std::string::npos);
    CHECK(report["losses.error"].empty());
    CHECK(std::abs(first_number(report["losses"]) - wanted) < 1e-2);
  };
  for (const std::string name : Libraries::all) {
    INFO(name);
    auto device = name == "libcudnn.so.9" ? "cuda:0" : "cpu";
    auto why = name == "libcudnn.so.9"  ? ""
               : name == "libcuda.so.1" ? "(libcuda) was not found"
                                        : "(" + name.substr(0, name.find('.')) + ") was not found";
    libraries.set(name, {});
    trains_on(device, why);
    libraries.break_(name);
    trains_on(device, why);
    libraries.set(name, other_library());
    trains_on(device, name == "libcudnn.so.9" ? "" : "is it too old?");
    libraries.mend(name);
  }
  trains_on("cpu", "is of CUDA 11.4, but 12.0 or newer is needed: update the driver",
            {{"GRADUS_SIMULATED_DRIVER", "11040"}});
  trains_on("cpu", "the driver shows no card; use Device::best()", {{"GRADUS_SIMULATED_CARDS", "0"}});
  trains_on("cuda:0", "", {{"GRADUS_SIMULATED_CUDNN", "80900"}});
  trains_on("cpu", "", {{"GRADUS_DEVICE", "cpu"}});
  for (const auto* name : Libraries::all) libraries.set(name, {});
  trains_on("cpu", "(libcuda) was not found");
}

TEST_CASE("kernels on disk that are damaged are compiled again, and a folder that cannot be written is done without") {
  NEEDS_PROCESSES();
  auto clean = run_child(simulated_folder());
  test::TemporaryFolder folder;
  auto kept = folder / "kernels";
  fs::create_directory(kept);
  std::vector<fs::path> kernels;
  for (const auto& entry : fs::directory_iterator(simulated_folder() + "/kernels")) {
    if (entry.path().extension() == ".cu" || entry.path().extension() == ".tmp") continue;
    fs::copy_file(entry.path(), kept / entry.path().filename());
    if (entry.path().filename().string().starts_with("softmax")) kernels.push_back(kept / entry.path().filename());
    if (entry.path().filename().string().starts_with("sweep")) kernels.push_back(kept / entry.path().filename());
    if (entry.path().filename().string().starts_with("dropout")) kernels.push_back(kept / entry.path().filename());
  }
  CHECK(kernels.size() >= 2);
  std::map<fs::path, std::string> whole;
  for (const auto& path : kernels) whole[path] = test::read_bytes(path);
  for (size_t i = 0; i < kernels.size(); ++i) {
    const auto& bytes = whole[kernels[i]];
    if (i % 3 == 0) test::write_bytes(kernels[i], bytes.substr(0, bytes.size() / 2));
    else if (i % 3 == 1) test::write_bytes(kernels[i], std::string(5000, 'x'));
    else test::write_bytes(kernels[i], bytes.substr(0, bytes.size() - 1) + "?");
  }
  auto report = run_child(simulated_folder(), {{"GRADUS_KERNEL_CACHE", kept}});
  CHECK(report["losses"] == clean["losses"]);
  // Those that the step needs are whole again.
  int mended = 0;
  for (const auto& [path, bytes] : whole) mended += test::read_bytes(path).size() == bytes.size();
  CHECK(mended >= 2);

  auto little = run_child(simulated_folder(), {{"GRADUS_TEST_WORK", "little"}})["losses"];
  CHECK(first_number(little) > 1);
  auto gives = [&](const std::string& place) {
    auto child = run_child(simulated_folder(), {{"GRADUS_TEST_WORK", "little"}, {"GRADUS_KERNEL_CACHE", place}});
    INFO(place << ' ' << child["losses.error"]);
    CHECK(child["losses"] == little);
  };
  gives("off");
  gives("/proc/gradus");
  test::write_bytes(folder / "file", "");
  gives(folder / "file");
  fs::create_directory(folder / "closed");
  fs::permissions(folder / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  gives(folder / "closed");
  fs::permissions(folder / "closed", fs::perms::owner_all);
}

TEST_CASE("a full disk, and a folder in place of a kernel, leave kernels in memory") {
  NEEDS_PROCESSES();
  test::TemporaryFolder folder;
  const auto& nvrtc = cuda::detail::Nvrtc::get();
  const cuda::detail::KernelSource source{.name = "twice",
                                          .text = "\nGRADUS_KERNEL twice(float* x) { x[threadIdx.x] *= 2; }\n"};
  auto key = cuda::detail::KernelCache::key_of(nvrtc, source, 90);
  // What is written goes to a device that is always full.
  auto temporary = key + "." + std::to_string(::getpid()) + ".tmp";
  fs::create_symlink("/dev/full", folder / temporary);
  auto compiles = [&] {
    cuda::detail::KernelCache cache(folder / "");
    CHECK(!cache.get(nvrtc, source, 90).code.empty());
    return cache.compiled();
  };
  auto is_there = [&](const std::string& name) { return fs::exists(fs::symlink_status(folder / name)); };
  CHECK(compiles() == 1);
  CHECK((!is_there(key) && !is_there(temporary)));
  fs::create_directories(folder / (key + "/inner"));
  CHECK(compiles() == 1);
  CHECK((is_there(key) && !is_there(temporary)));
  fs::remove_all(folder / key);
  CHECK(compiles() == 1);
  CHECK(compiles() == 0);
}

TEST_CASE("programs that start at once compile into one folder") {
  NEEDS_PROCESSES();
  test::TemporaryFolder folder;
  Report variables{{"GRADUS_TEST_WORK", "little"}, {"GRADUS_KERNEL_CACHE", folder / "kernels"}};
  Child first(simulated_folder(), variables), second(simulated_folder(), variables);
  auto losses = first.wait()["losses"];
  CHECK(first_number(losses) > 1);
  CHECK(second.wait()["losses"] == losses);
  CHECK(run_child(simulated_folder(), variables)["losses"] == losses);
  for (const auto& entry : fs::directory_iterator(folder / "kernels")) {
    INFO(entry.path());
    CHECK(entry.path().extension() != ".tmp");
  }
}
#endif

// The real run-time compiler on the text of every kernel: no register is spilled, no more are used than the launches
// count on, and memory is read and written in pieces as wide as the text promises.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "gradus/device/cuda/context.hpp"
#include "tests/cuda/plans/plans.hpp"

namespace gradus::test {
namespace {

using cuda::detail::KernelSource, cuda::detail::Nvrtc;

/// Blocks have 256 threads and a multiprocessor 65,536 registers: two blocks fit, so that one computes while the other
/// waits for memory.
constexpr int most_registers = 128;

struct Program {
  std::string name, text;
};

/// The number in front of `word` in a line of the assembler's.
int number_before(const std::string& line, const char* word) {
  auto at = line.find(word);
  if (at == std::string::npos || at < 1) return 0;
  auto from = at;
  while (from > 0 && std::isdigit(static_cast<unsigned char>(line[from - 1])) != 0) --from;
  return std::atoi(line.c_str() + from);
}

/// The bytes that an argument of GRADUS_WIDE stands for: a number, or a type that the text defines.
int promised_bytes(const std::string& text, const std::string& argument) {
  if (std::isdigit(static_cast<unsigned char>(argument[0])) != 0) return std::atoi(argument.c_str());
  static const std::map<std::string, int> sizes{{"float", 4}, {"double", 8}, {"bf16", 2},
                                                {"f16", 2},   {"int", 4},    {"int64", 8}};
  auto size_of_type = [&](const std::string& name) {
    auto end = text.find(' ' + name + ";\n"), begin = text.rfind("typedef ", end) + 8;
    auto found = end == std::string::npos ? sizes.end() : sizes.find(text.substr(begin, end - begin));
    return found != sizes.end() ? found->second : 1;
  };
  auto size = size_of_type(argument == "C" ? "T" : argument);
  if (argument == "C" && size == 2) size = 4;  // bf16 and f16 are computed in float
  return std::min(16, 8 * size);
}

struct Promise {
  int reads, writes;
};
/// What the text promises of its kernels.
std::map<std::string, Promise> promises_of(const std::string& text) {
  std::map<std::string, Promise> promises;
  const std::string word = "\nGRADUS_WIDE(";
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    auto from = at + word.size(), comma = text.find(", ", from), end = text.find(')', comma);
    Promise promise{promised_bytes(text, text.substr(from, comma - from)),
                    promised_bytes(text, text.substr(comma + 2, end - comma - 2))};
    // The name stands behind GRADUS_KERNEL, or on the line after the bounds of the launch.
    auto begin = text.find_first_not_of("\n", end + 1);
    begin = text.compare(begin, 7, "GRADUS_") == 0 ? text.find(' ', begin) + 1 : text.find('\n', begin) + 1;
    promises[text.substr(begin, text.find('(', begin) - begin)] = promise;
  }
  return promises;
}

/// The most bytes that one instruction of PTX reads ("ld") or writes ("st") in the card's memory.
int widest_access(const std::string& ptx, const std::string& instruction) {
  int widest = 0;
  for (auto at = ptx.find(instruction + '.'); at != std::string::npos; at = ptx.find(instruction + '.', at + 1)) {
    if (at == 0 || std::isspace(static_cast<unsigned char>(ptx[at - 1])) == 0) continue;
    auto name = ptx.substr(at, ptx.find_first_of(" \t", at) - at);  // as ld.global.nc.v4.u32
    auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    if (has(".param") || has(".shared") || has(".const") || has(".local")) continue;
    auto bits = std::atoi(name.c_str() + name.find_last_not_of("0123456789") + 1);
    widest = std::max(widest, bits / 8 * (has(".v4.") ? 4 : has(".v2.") ? 2 : 1));
  }
  return widest;
}

/// What is wrong with a program's kernels for an architecture; their names are added to `kernels`.
std::vector<std::string> check(const Nvrtc& nvrtc, const Program& program, const std::string& architecture,
                               std::set<std::string>& kernels) {
  KernelSource source{.name = program.name, .text = program.text, .ptx_too = true};
  source.options.insert(source.options.end(),
                        {"--ptxas-options=-v", "--disable-warnings", "--gpu-architecture=sm_" + architecture});
  auto binary = cuda::detail::compile(nvrtc, source, std::atoi(architecture.c_str()));
  std::vector<std::string> wrong;
  std::istringstream lines(binary.log);
  std::string line, kernel;
  auto say = [&](const auto&... words) {
    wrong.push_back(join(program.name, ' ', kernel, " for sm_", architecture, ": ", words...));
  };
  // The assembler's lines: "Compiling entry function 'x' for", "N bytes spill stores", "Used N registers".
  while (std::getline(lines, line)) {
    if (auto at = line.find("entry function '"); at != std::string::npos) {
      kernel = line.substr(at + 16, line.find('\'', at + 16) - at - 16);
      kernels.insert(kernel);
      if (line.find("'sm_" + architecture + "'") == std::string::npos) say("compiled for another architecture");
    }
    auto spilled = number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
    if (spilled > 0) say(spilled, " bytes of registers are spilled");
    if (auto used = number_before(line, " registers"); used > most_registers)
      say(used, " registers, but at most ", most_registers, " may be used");
  }
  if (kernels.empty()) say("the assembler told nothing");
  for (const auto& [name, promise] : promises_of(program.text)) {
    kernel = name;
    auto begin = binary.ptx.find(".entry " + name + "(");
    auto ptx = begin == std::string::npos ? "" : binary.ptx.substr(begin, binary.ptx.find("\n}\n", begin) - begin);
    auto read = widest_access(ptx, "ld"), written = widest_access(ptx, "st");
    if (read < promise.reads) say("reads ", read, " bytes at once, not ", promise.reads);
    if (written < promise.writes) say("writes ", written, " bytes at once, not ", promise.writes);
  }
  return wrong;
}

/// Programs with a mistake each: that the checks see it.
void check_checks(const Nvrtc& nvrtc) {
  const std::string pointers = "(float* y, const float* x) {\n";
  // 100 numbers that live at once, in as many registers as there are, and in 64.
  auto crowded = [&](const char* bounds) {
    std::string text = join("extern \"C\" __global__ void __launch_bounds__(", bounds, ")\ncrowded", pointers);
    text += "float a[130];\n#pragma unroll\nfor (int i = 0; i < 130; ++i) a[i] = x[i * 999 + threadIdx.x];\n";
    text += "__syncthreads();\n#pragma unroll\nfor (int i = 0; i < 130; ++i) y[i * 999 + threadIdx.x] = a[i];\n}\n";
    return text;
  };
  auto narrow = [&](const char* promise) {
    return join("#define GRADUS_WIDE(a, b)\ntypedef float T;\n\nGRADUS_WIDE(", promise,
                ")\nextern \"C\" __global__ void __launch_bounds__(256)\ncopy", pointers,
                "y[threadIdx.x] = x[threadIdx.x];\n}\n");
  };
  struct Case {
    const char* mistake;
    std::string text;
  };
  for (const auto& [mistake, text] :
       {Case{"spilled", crowded("256, 4")}, Case{"registers, but", crowded("256")},
        Case{"reads 4 bytes at once, not 16", narrow("T, 0")}, Case{"writes 4 bytes at once, not 8", narrow("4, 8")}}) {
    std::set<std::string> kernels;
    auto wrong = check(nvrtc, {"planted", text}, "90a", kernels);
    auto seen = std::any_of(wrong.begin(), wrong.end(),
                            [&](const auto& one) { return one.find(mistake) != std::string::npos; });
    if (!seen) fail(join("a planted mistake was not seen: ", mistake));
  }
  std::set<std::string> kernels;
  for (const auto& one : check(nvrtc, {"planted", narrow("4, 4")}, "90a", kernels)) fail(one);
}

}  // namespace

int check_kernels(const std::string& folder) {
  std::vector<Program> programs;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cu") continue;
    std::ifstream file(entry.path());
    auto name = entry.path().filename().string();
    programs.push_back({name.substr(0, name.find('.')), {std::istreambuf_iterator<char>(file), {}}});
  }
  std::sort(programs.begin(), programs.end(), [](const auto& a, const auto& b) { return a.text < b.text; });
  auto same = [](const auto& a, const auto& b) { return a.text == b.text; };
  programs.erase(std::unique(programs.begin(), programs.end(), same), programs.end());
  const auto& nvrtc = Nvrtc::get();
  check_checks(nvrtc);
  std::atomic<size_t> next{0};
  std::atomic<int> kernels{0};
  auto work = [&] {
    for (auto i = next++; i < programs.size(); i = next++) {
      std::set<std::string> names;
      for (const auto* architecture : card_architectures) {
        try {
          for (const auto& wrong : check(nvrtc, programs[i], architecture, names)) fail(wrong);
        } catch (const std::exception& error) {
          fail(error.what());
        }
      }
      kernels += static_cast<int>(names.size());
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  for (auto& thread : threads) thread.join();
  return kernels;
}

}  // namespace gradus::test

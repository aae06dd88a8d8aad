// host PLUGIN...: loads shared objects that were built with equal and with different flags. There must be one thread
// pool in the process, and an error thrown in one of them must be caught here by its type.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <filesystem>

#include "plugin.hpp"

static int failures = 0;

static void check(bool ok, const char* plugin, const char* what) {
  std::printf("%s: %s: %s\n", plugin, what, ok ? "yes" : "NO");
  failures += !ok;
}

static void use(const char* path) {
  auto* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  auto name = std::filesystem::path(path).filename().string();
  if (!library) return check(false, name.c_str(), dlerror());
  PluginView view{};
  reinterpret_cast<void (*)(PluginView*)>(dlsym(library, "plugin_look"))(&view);
  std::printf("%s: instruction set %s, %s build\n", name.c_str(), view.isa, view.mode);
  check(view.pool == &gradus::detail::ThreadPool::instance(), name.c_str(), "the host's thread pool");
  check(view.threads == 3, name.c_str(), "the host's number of threads");
  check(view.sum == 1048576.0f, name.c_str(), "the right sum");
  try {
    reinterpret_cast<void (*)()>(dlsym(library, "plugin_fail"))();
    check(false, name.c_str(), "throws");
  } catch (const gradus::ShapeError& error) {
    check(std::strstr(error.what(), "reshape") != nullptr, name.c_str(), error.what());
  }
}

int main(int argc, char** argv) {
  gradus::set_num_threads(3);
  for (int i = 1; i < argc; ++i) use(argv[i]);
  long tasks = 0;
  for ([[maybe_unused]] auto& task : std::filesystem::directory_iterator("/proc/self/task")) ++tasks;
  check(tasks <= 3, "host", "at most three threads for all of them");
  return failures == 0 && argc > 1 ? 0 : 1;
}

// A shared object with hidden visibility that uses the library in its own way; built with several sets of flags.
#include "plugin.hpp"

#if defined(GRADUS_CHECK_PORTABLE) && (defined(__AVX__) || defined(__SSE4_2__))
#error "the portable plugin is compiled for this machine's instruction set"
#endif

extern "C" __attribute__((visibility("default"))) void plugin_look(PluginView* view) {
  view->isa = GRADUS_TEXT(GRADUS_DETAIL_ISA);
  view->mode = GRADUS_TEXT(GRADUS_DETAIL_MODE);
  view->pool = &gradus::detail::ThreadPool::instance();
  view->threads = gradus::num_threads();
  auto x = gradus::full<float>({1 << 20}, 0.5f);  // (1048576), long enough for several threads
  view->sum = gradus::sum(x + x).item();
}

extern "C" __attribute__((visibility("default"))) void plugin_fail() {
  gradus::reshape(gradus::zeros<float>({2, 3}), {4});
}

// The simulated card's clock where it computes nothing: each launch takes the time that a real card needs at least to
// move its bytes and do its operations.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/cuda/simulated/card.hpp"
#include "tests/cuda/simulated/faults.hpp"

namespace simulated {
namespace {

/// Per second; what GRADUS_SIMULATED_ROOFLINE says: bytes, operations in bf16, TF32, float and double.
struct Peaks {
  bool given = false;
  double bytes = 0, operations[4] = {};
  Peaks() {
    const auto* text = std::getenv("GRADUS_SIMULATED_ROOFLINE");
    given = text != nullptr && std::sscanf(text, "%lf:%lf:%lf:%lf:%lf", &bytes, &operations[0], &operations[1],
                                           &operations[2], &operations[3]) == 5;
    if (text != nullptr && !given) mistake("GRADUS_SIMULATED_ROOFLINE is not five numbers with colons in between");
  }
};
const Peaks& peaks() {
  static const Peaks one;
  return one;
}
DoneWork done;
int unit = 0;

}  // namespace

bool computes_nothing() { return peaks().given; }

void count_work(double bytes, double operations, Arithmetic arithmetic) {
  if (!computes_nothing()) return;
  done.bytes += bytes;
  done.operations += operations;
  done.seconds += std::max(bytes / peaks().bytes, operations / peaks().operations[static_cast<int>(arithmetic)]);
}
DoneWork work_so_far() { return done; }

float elapsed(const DoneWork& from, const DoneWork& to) {
  switch (unit) {
    case 1:
      return static_cast<float>((to.bytes - from.bytes) * 1e-9);
    case 2:
      return static_cast<float>((to.operations - from.operations) * 1e-12);
    default:
      return static_cast<float>((to.seconds - from.seconds) * 1e3);
  }
}

}  // namespace simulated

extern "C" void gradus_simulated_clock(int unit) { simulated::unit = unit; }

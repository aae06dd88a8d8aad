// Two units that include everything must link into one program and mean the same things.
#include <cstdio>

#include "everything.hpp"

Seen seen_by_first_unit() { return look(); }

int main() {
  auto first = seen_by_first_unit(), second = seen_by_second_unit();
  auto same = first.error_type == second.error_type && first.add == second.add && first.sum == second.sum;
  std::printf("%s; sums %g and %g, 12 is right\n", same ? "one definition" : "two definitions", first.sum, second.sum);
  return same && first.sum == 12.0f ? 0 : 1;
}

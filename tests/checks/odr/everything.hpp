// Both units include all of the library and say what they see of it.
#pragma once

#include "gradus/gradus.hpp"

struct Seen {
  const void* error_type;
  gradus::Tensor<float> (*add)(const gradus::Tensor<float>&, const gradus::Tensor<float>&);
  float sum;
};

Seen seen_by_first_unit();
Seen seen_by_second_unit();

static Seen look() {
  auto x = gradus::full<float>({3}, 2.0f);  // (3)
  return {&typeid(gradus::ShapeError), &gradus::operator+<float>, gradus::sum(x + x).item()};
}

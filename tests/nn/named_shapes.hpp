#pragma once

#include <string>
#include <vector>

#include "gradus/autograd/parameter.hpp"

namespace gradus::test {

/// "weight (2, 3)" for each parameter and buffer of a model.
template <class Model>
std::vector<std::string> named_shapes(const Model& model) {
  std::vector<std::string> names;
  for (const auto& part : detail::model_tensors(model)) names.push_back(part.name + ' ' + to_string(part.impl->shape));
  return names;
}

}  // namespace gradus::test

// A model in another mode for a while.
#pragma once

#include <string>
#include <vector>

#include "gradus/autograd/parameter.hpp"

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// Sets the training flags of a model's layers, and at the end of the scope sets them back as they were. Until then no
/// layer may come or go.
class ModeGuard {
 public:
  template <class Model>
  ModeGuard(Model& model, bool training) {
    flags_ = gradus::detail::training_flags(model);
    for (auto* flag : flags_) before_ += *flag ? '1' : '0';
    gradus::train(model, training);
  }
  ~ModeGuard() {
    for (size_t i = 0; i < flags_.size(); ++i) *flags_[i] = before_[i] == '1';
  }
  ModeGuard(const ModeGuard&) = delete;
  ModeGuard& operator=(const ModeGuard&) = delete;

 private:
  std::vector<bool*> flags_;
  std::string before_;  // a 1 or 0 a flag
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

// A model in another mode for a while.
#pragma once

#include <string>
#include <vector>

#include "gradus/autograd/parameter.hpp"

namespace gradus::nn::detail::inline GRADUS_BUILD {

/// Sets the training flags of a model's layers, and at the end of the scope sets them back as they were.
template <class Model>
class ModeGuard {
 public:
  ModeGuard(Model& model, bool training) : model_(model) {
    visit([&](Training& flag) { before_.push_back(flag.on); });
    gradus::train(model_, training);
  }
  ~ModeGuard() {
    size_t index = 0;
    visit([&](Training& flag) { flag.on = before_[index++]; });
  }
  ModeGuard(const ModeGuard&) = delete;
  ModeGuard& operator=(const ModeGuard&) = delete;

 private:
  template <class F>
  void visit(F&& f) {
    gradus::detail::walk_fields("", model_, [&](const std::string&, auto& part) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, Training>) f(part);
      return true;
    });
  }

  Model& model_;
  std::vector<char> before_;
};

}  // namespace gradus::nn::detail::inline GRADUS_BUILD

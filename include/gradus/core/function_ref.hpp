// FunctionRef<R(A...)>: calls a function object that lives elsewhere, and forgets its type. For parameters: a function
// that takes one is compiled once, not once for every lambda.
#pragma once

#include <memory>
#include <type_traits>

#include "gradus/core/config.hpp"

namespace gradus::detail::inline GRADUS_STABLE {

template <class Signature>
class FunctionRef;

template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_(&call<std::remove_reference_t<F>>) {}

  R operator()(A... arguments) const { return call_(object_, arguments...); }

 private:
  template <class F>
  static R call(void* object, A... arguments) {
    return static_cast<R>((*static_cast<F*>(object))(arguments...));
  }

  void* object_;
  R (*call_)(void*, A...);
};

}  // namespace gradus::detail::inline GRADUS_STABLE

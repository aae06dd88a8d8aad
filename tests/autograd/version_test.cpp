// In-place changes: refused where they would be wrong, noticed where they came too late.
#include "gradus/tensor.hpp"
#include "gradus/tensor/eigen.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

Tensor<double> differentiable(Tensor<double> x) { return x.set_requires_grad(); }

std::string changed(const std::string& op, const std::string& writer) {
  return "backward: a tensor that '" + op + "' needs for its gradient was changed in place by '" + writer +
         "' after it was used; clone() it before the change";
}
std::string refused(const std::string& writer, const std::string& what) {
  return writer + ": this tensor " + what +
         ", and in-place operators do not record; do it under no_grad, or on a detach()ed or cloned tensor";
}

}  // namespace

TEST_CASE("versions: every in-place write counts one change of the storage") {
  auto x = zeros<double>({2, 2});
  auto version = [&] { return x.impl()->storage->version(); };
  auto before = version();
  x.fill_(1);
  CHECK(version() == before + 1);
  x.copy_(ones<double>({2, 2}));
  x.set({0, 0}, 2);
  x.mutable_data();
  x.mutable_span();
  as_mutable_eigen(x);
  CHECK(version() == before + 6);
  select(x, 0, 1).zero_();  // a view shares it
  x.detach().zero_();
  CHECK(version() == before + 8);
  x.data();
  x.span();
  as_eigen(x);
  x.to_vector();
  CHECK(version() == before + 8);
}

TEST_CASE("versions: a change of what a gradient needs is an error that names both operators") {
  auto x = differentiable(tensor<double>({1, 2}));
  auto seed = ones<double>({2});
  auto factor = tensor<double>({3, 4});
  auto y = x * factor;
  factor.fill_(0);
  check_error<AutogradError>([&] { y.backward(seed); }, changed("multiply", "fill_"));

  auto z = x * factor;
  factor.copy_(seed);
  check_error<AutogradError>([&] { z.backward(seed); }, changed("multiply", "copy_"));

  auto w = x / factor;
  slice(factor, 0, 0, 1).set({0}, 5);  // through a view
  check_error<AutogradError>([&] { w.backward(seed); }, changed("divide", "mutable_data"));

  auto v = x * x;
  no_grad([&] { x.zero_(); });  // an optimizer's step before backward
  check_error<AutogradError>([&] { v.backward(seed); }, changed("multiply", "fill_"));
  CHECK(!x.grad().defined());
}

TEST_CASE("versions: a change of what no gradient needs is fine") {
  auto x = differentiable(tensor<double>({1, 2}));
  auto other = tensor<double>({3, 4});
  auto sum = x + other;
  other.fill_(0);
  sum.backward(ones<double>({2}));
  CHECK(x.grad().to_vector() == std::vector<double>{1, 1});
  auto product = x * other;
  CHECK_NOTHROW(product.backward(ones<double>({2})));
  auto copied = tensor<double>({3, 4});
  auto safe = x * copied.clone();
  copied.fill_(0);
  CHECK_NOTHROW(safe.backward(ones<double>({2})));
}

TEST_CASE("versions: writing is refused on tensors of a graph") {
  auto x = differentiable(tensor<double>({1, 2}));
  auto is_leaf = "is a leaf that requires a gradient", in_graph = "is part of a graph";
  check_error<AutogradError>([&] { x.fill_(0); }, refused("fill_", is_leaf));
  check_error<AutogradError>([&] { x.zero_(); }, refused("fill_", is_leaf));
  check_error<AutogradError>([&] { x.copy_(zeros<double>({2})); }, refused("copy_", is_leaf));
  check_error<AutogradError>([&] { x.mutable_data(); }, refused("mutable_data", is_leaf));
  check_error<AutogradError>([&] { x.mutable_span(); }, refused("mutable_data", is_leaf));
  check_error<AutogradError>([&] { x.set({0}, 1); }, refused("mutable_data", is_leaf));
  auto y = x * x;
  check_error<AutogradError>([&] { y.fill_(0); }, refused("fill_", in_graph));
  check_error<AutogradError>([&] { select(x, 0, 0).fill_(0); }, refused("fill_", in_graph));
  CHECK(x.to_vector() == std::vector<double>{1, 2});
  no_grad([&] { x.fill_(7); });
  CHECK(x.to_vector() == std::vector<double>{7, 7});
  x.detach().set({0}, 8);
  CHECK(x(0) == 8);
}

TEST_CASE("versions: a user's own function checks what it saved") {
  auto x = differentiable(tensor<double>({1, 2}));
  auto table = tensor<double>({3, 4});
  auto y = differentiable("lookup", (x.detach() * table),
                          wrt(x, [table = saved(table)](const Tensor<double>& dy) { return dy * table(); }));
  table.fill_(1);
  check_error<AutogradError>([&] { y.backward(ones<double>({2})); }, changed("lookup", "fill_"));
}

// gradus/tensor.hpp alone is enough to call every member of Tensor: this unit includes nothing else of the library
// and must link.
#include "gradus/tensor.hpp"

#include <sstream>

#include "tests/support/catch.hpp"

TEMPLATE_TEST_CASE("tensor.hpp: every member links", "", float, double, gradus::bf16) {
  using T = TestType;
  using gradus::Tensor;
  T memory[2] = {T(1), T(2)};
  auto x = Tensor<T>::empty({2});
  x.copy_(Tensor<T>::view_of(memory, {2}));
  x.fill_(T(3)).zero_();
  x.set({0}, T(2));
  x.mutable_data()[1] = T(4);
  x.mutable_span()[1] = T(5);
  CHECK(x.defined());
  CHECK(x.rank() == 1);
  CHECK(x.size(0) == x.shape()[0]);
  CHECK(x.numel() == 2);
  CHECK(x.strides()[0] == 1);
  CHECK(x.device() == gradus::Device::cpu());
  CHECK(x.is_contiguous());
  CHECK(x.span()[0] == x.data()[0]);
  CHECK(x.to_vector()[1] == x(1));
  CHECK(x.clone().data() != x.data());
  CHECK(x.detach().data() == x.data());
  CHECK(x.to(gradus::Device::cpu()).impl() == x.impl());

  x.set_requires_grad();
  CHECK(x.requires_grad());
  auto y = x * x;
  y.backward(gradus::ones_like(y), true);
  CHECK(static_cast<float>(x.grad()(1)) == 10);
  auto first = gradus::select(y, 0, 0);
  first.backward();
  CHECK(static_cast<float>(first.item()) == 4);
  CHECK(static_cast<float>(x.grad()(0)) == 8);
  x.set_grad({});
  gradus::no_grad([&] { x.begin_write("test"); });
  CHECK(!x.grad().defined());
  auto dx = gradus::grad(gradus::select(x * x * x, 0, 1), x, {.create_graph = true});
  CHECK(static_cast<float>(gradus::grad(gradus::select(dx, 0, 1), x)(1)) == 30);
  std::ostringstream text;
  text << x;
  CHECK(!text.str().empty());
}

TEMPLATE_TEST_CASE("tensor.hpp: every member links without gradients", "", int64_t, int32_t, uint8_t, bool) {
  using T = TestType;
  auto x = gradus::Tensor<T>::empty({1});
  x.fill_(T(1)).copy_(gradus::zeros<T>({1}));
  x.set({0}, T(1));
  CHECK(x.item() == T(1));
  CHECK(x.to_vector().size() == 1);
  CHECK(!x.requires_grad());
  CHECK(!x.grad().defined());
  CHECK_NOTHROW(x.set_requires_grad(false));
  CHECK_THROWS_AS(x.set_requires_grad(), gradus::TypeError);
  CHECK_THROWS_AS(x.set_grad({}), gradus::AutogradError);
  CHECK_THROWS_AS(x.backward(), gradus::AutogradError);
  CHECK(to_string(x).find("tensor<") != std::string::npos);
}

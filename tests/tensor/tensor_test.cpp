#include "gradus/tensor.hpp"

#include <array>
#include <limits>

#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

TEST_CASE("tensor: shape, strides, sizes") {
  auto x = zeros<float>({2, 3, 4});
  CHECK(x.defined());
  CHECK(x.shape() == Shape{2, 3, 4});
  CHECK(x.strides() == Strides{12, 4, 1});
  CHECK(x.rank() == 3);
  CHECK(x.numel() == 24);
  CHECK(x.size(0) == 2);
  CHECK(x.size(-1) == 4);
  CHECK(x.device() == Device::cpu());
  CHECK(x.is_contiguous());
  CHECK(!transpose(x).is_contiguous());
  CHECK(slice(x, 0, 1, 2).is_contiguous());
  CHECK(!slice(x, 2, 0, 2).is_contiguous());
  CHECK(transpose(zeros<float>({0, 5})).is_contiguous());  // nothing lies out of order
  CHECK(reinterpret_cast<uintptr_t>(x.data()) % 64 == 0);
  check_error<IndexError>([&] { x.size(3); }, "size: axis 3 of a tensor with 3 axes");
}

TEST_CASE("tensor: a copy shares memory, a clone does not") {
  auto x = tensor<float>({1, 2, 3});  // (3,)
  auto shared = x;
  auto cloned = x.clone();
  x.set({0}, 9);
  CHECK(shared(0) == 9);
  CHECK(cloned(0) == 1);
  auto moved = std::move(shared);
  CHECK(moved(0) == 9);
  CHECK(!shared.defined());  // NOLINT: what moving leaves is part of the promise
  CHECK(std::is_nothrow_move_constructible_v<Tensor<float>>);
  CHECK(std::is_nothrow_move_assignable_v<Tensor<float>>);
}

TEST_CASE("tensor: element access, also from the end") {
  auto x = tensor<int32_t>({{1, 2, 3}, {4, 5, 6}});  // (2, 3)
  CHECK(x(0, 0) == 1);
  CHECK(x(1, 2) == 6);
  CHECK(x(-1, -3) == 4);
  CHECK(transpose(x)(2, 0) == 3);
  CHECK(tensor<float>(2.5f)() == 2.5f);
  x.set({1, -1}, 60);
  CHECK(x(1, 2) == 60);
  auto view = select(x, 1, 0);  // (2,)
  view.set({-1}, 40);
  CHECK(x(1, 0) == 40);
}

TEST_CASE("tensor: an index out of range names index, axis and shape") {
  auto x = zeros<float>({2, 3});
  check_error<IndexError>([&] { x(2, 0); }, "element access: index 2 is out of range for axis 0 of shape (2, 3)");
  check_error<IndexError>([&] { x(0, 3); }, "element access: index 3 is out of range for axis 1 of shape (2, 3)");
  check_error<IndexError>([&] { x(0, -4); }, "element access: index -4 is out of range for axis 1 of shape (2, 3)");
  check_error<IndexError>([&] { x(0); }, "element access: 1 indices for a tensor of shape (2, 3)");
  check_error<IndexError>([&] { x(0, 0, 0); }, "element access: 3 indices for a tensor of shape (2, 3)");
  check_error<IndexError>([&] { x.set({5, 0}, 1); }, "set: index 5 is out of range for axis 0 of shape (2, 3)");
  check_error<IndexError>([] { zeros<float>({0})(0); },
                          "element access: index 0 is out of range for axis 0 of shape (0,)");
  auto lowest = std::numeric_limits<int64_t>::lowest();
  check_error<IndexError>([&] { x(0, lowest); },
                          "element access: index -9223372036854775808 is out of range for axis 1 of shape (2, 3)");
}

TEST_CASE("tensor: item is the value of one element") {
  CHECK(tensor<float>(3).item() == 3);
  CHECK(full<int64_t>({1, 1}, 7).item() == 7);
  CHECK(tensor<bool>(true).item());
  check_error<ShapeError>([] { zeros<float>({2}).item(); },
                          "item: a tensor of shape (2,) has 2 elements, but must have one");
  check_error<ShapeError>(
      [] {
        zeros<float>({0, 3}).item();
      },
      "item: a tensor of shape (0, 3) has 0 elements, but must have one");
}

TEST_CASE("tensor: an undefined tensor says so, whatever is asked of it") {
  Tensor<float> x;
  auto text = "tensor: used before it was given a value";
  CHECK(!x.defined());
  check_error<ValueError>([&] { x.shape(); }, text);
  check_error<ValueError>([&] { x.numel(); }, text);
  check_error<ValueError>([&] { x.device(); }, text);
  check_error<ValueError>([&] { x.data(); }, text);
  check_error<ValueError>([&] { x.mutable_data(); }, text);
  check_error<ValueError>([&] { x.span(); }, text);
  check_error<ValueError>([&] { x.to_vector(); }, text);
  check_error<ValueError>([&] { x.item(); }, text);
  check_error<ValueError>([&] { x.clone(); }, text);
  check_error<ValueError>([&] { x.detach(); }, text);
  check_error<ValueError>([&] { x.fill_(1); }, text);
  check_error<ValueError>([&] { x.requires_grad(); }, text);
  check_error<ValueError>([&] { x.set_requires_grad(); }, text);
  check_error<ValueError>([&] { x.grad(); }, text);
  check_error<ValueError>([&] { x.backward(); }, text);
  check_error<ValueError>([&] { zeros<float>({1}).copy_(x); }, text);
  check_error<ValueError>([&] { x + zeros<float>({1}); }, "add: a tensor was used before it was given a value");
}

TEST_CASE("tensor: spans see the memory of contiguous tensors only") {
  auto x = tensor<float>({{1, 2}, {3, 4}});  // (2, 2)
  auto span = x.span();
  CHECK(span.size() == 4);
  CHECK(span[2] == 3);
  x.mutable_span()[2] = 30;
  CHECK(x(1, 0) == 30);
  check_error<ShapeError>([&] { transpose(x).span(); },
                          "span: tensor of shape (2, 2) with strides (1, 2) is not contiguous; call contiguous(x) "
                          "first");
  check_error<ShapeError>([&] { transpose(x).mutable_span(); },
                          "mutable_span: tensor of shape (2, 2) with strides (1, 2) is not contiguous; call "
                          "contiguous(x) first");
  CHECK(transpose(x).to_vector() == std::vector<float>{1, 30, 2, 4});
  CHECK(tensor<bool>({true, false}).to_vector() == std::vector<bool>{true, false});
}

TEST_CASE("tensor: a view of foreign memory, with and without an owner") {
  std::array<float, 6> memory{1, 2, 3, 4, 5, 6};
  auto x = Tensor<float>::view_of(memory.data(), {2, 3});
  CHECK(x(1, 0) == 4);
  x.set({1, 0}, 40);
  CHECK(memory[3] == 40);
  memory[5] = 60;
  CHECK(x(1, 2) == 60);

  auto owner = std::make_shared<std::vector<float>>(4, 2.0f);
  std::weak_ptr<std::vector<float>> watch = owner;
  auto y = Tensor<float>::view_of(owner->data(), {4}, owner);
  auto part = slice(y, 0, 1, 3);
  owner.reset();
  y = {};
  CHECK(!watch.expired());  // a view of the view is enough
  CHECK(part(0) == 2);
  part = {};
  CHECK(watch.expired());

  check_error<ShapeError>(
      [&] {
        Tensor<float>::view_of(memory.data(), {-2, -3});
      },
      "view_of: shape (-2, -3) has a negative size");
  check_error<ValueError>([] { Tensor<float>::view_of(nullptr, {2}); }, "view_of: no memory for shape (2,)");
  CHECK(Tensor<float>::view_of(nullptr, {0, 2}).numel() == 0);
}

TEST_CASE("tensor: shapes that no memory can hold") {
  auto large = int64_t{1} << 40;
  check_error<ShapeError>([] { Tensor<float>::empty({2, -1}); }, "tensor: shape (2, -1) has a negative size");
  check_error<ShapeError>(
      [&] {
        Tensor<float>::empty({large, large});
      },
      "shape: (1099511627776, 1099511627776) holds more elements than 63 bits can count");
  check_error<OutOfMemoryError>(
      [&] {
        Tensor<double>::empty({large, int64_t{1} << 22});
      },
      "tensor: shape (1099511627776, 4194304) needs more memory than 63 bits can count");
  CHECK_THROWS_AS(Tensor<float>::empty({large, int64_t{1} << 10}), OutOfMemoryError);
  CHECK(Tensor<float>::empty({0, large, large}).numel() == 0);
}

TEST_CASE("tensor: it stays where it is") {
  auto x = zeros<float>({2});
  CHECK(x.to(Device::cpu()).data() == x.data());
}

TEMPLATE_TEST_CASE("tensor: every element type is stored and read", "", float, double, bf16, f16, int64_t, int32_t,
                   uint8_t, bool) {
  using T = TestType;
  auto x = full<T>({2, 2}, T(1));
  x.set({0, 1}, T(0));
  CHECK(static_cast<int>(x(0, 0)) == 1);
  CHECK(static_cast<int>(x(0, 1)) == 0);
  CHECK(static_cast<int>(transpose(x).clone()(1, 0)) == 0);
  CHECK(x.to_vector().size() == 4);
}

#include "gradus/ops/view/cast.hpp"

#include "gradus/tensor/creation.hpp"
#include "tests/support/any_tensor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

TEST_CASE("cast cuts towards zero, and bool is what is not zero") {
  auto x = tensor<double>({-2.7, -0.4, 0.0, 0.4, 2.7});
  CHECK(cast<int64_t>(x).to_vector() == std::vector<int64_t>{-2, 0, 0, 0, 2});
  CHECK(cast<bool>(x).to_vector() == std::vector<bool>{true, true, false, true, true});
  CHECK(cast<float>(tensor<bool>({true, false})).to_vector() == std::vector<float>{1, 0});
  CHECK(cast<uint8_t>(tensor<int64_t>({255, 256, -1})).to_vector() == std::vector<uint8_t>{255, 0, 255});
}

TEST_CASE("bf16 rounds to nearest even and keeps what is not finite") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  // Neighbours of 1 are 1/128 apart above it: halfway cases go to the even one.
  auto x = tensor<float>({1 + 1.0f / 256, 1 + 3.0f / 256, 1 + 1.1f / 256, 3.4e38f, infinity, -infinity});
  CHECK(cast<float>(cast<bf16>(x)).to_vector() ==
        std::vector<float>{1, 1 + 2.0f / 128, 1 + 1.0f / 128, infinity, infinity, -infinity});
  CHECK(std::isnan(cast<float>(cast<bf16>(tensor<float>(std::numeric_limits<float>::quiet_NaN()))).item()));
}

TEST_CASE("every element type casts to every other") {
  for (auto from : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
    test::with_type(from, [&]<class From>(From) {
      auto x = cast<From>(tensor<int64_t>({{0, 1}, {1, 0}}));
      CHECK(cast<float>(x).to_vector() == std::vector<float>{0, 1, 1, 0});
      CHECK(cast<double>(x).to_vector() == std::vector<double>{0, 1, 1, 0});
      CHECK(cast<float>(cast<bf16>(x)).to_vector() == std::vector<float>{0, 1, 1, 0});
      CHECK(cast<int64_t>(x).to_vector() == std::vector<int64_t>{0, 1, 1, 0});
      CHECK(cast<int32_t>(x).to_vector() == std::vector<int32_t>{0, 1, 1, 0});
      CHECK(cast<uint8_t>(x).to_vector() == std::vector<uint8_t>{0, 1, 1, 0});
      CHECK(cast<bool>(x).to_vector() == std::vector<bool>{false, true, true, false});
    });
  }
}

TEST_CASE("cast to the same type is the tensor itself") {
  auto x = zeros<float>({2});
  CHECK(cast<float>(x).impl() == x.impl());
}

TEST_CASE("cast reads any layout") {
  auto x = test::scattered(tensor<float>({{1, 2, 3}, {4, 5, 6}})).as<float>();
  CHECK(cast<double>(x).to_vector() == std::vector<double>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("gradients are cast back, through bf16 in one graph with float") {
  auto x = tensor<float>({1.5f, -2, 3}).set_requires_grad();
  auto y = cast<float>(cast<bf16>(x));
  y.backward(tensor<float>({1, 2, 1 + 1.0f / 1024}));
  CHECK(x.grad().to_vector() == std::vector<float>{1, 2, 1});  // the last one was rounded on its way through bf16
  CHECK_FALSE(cast<int64_t>(x).requires_grad());
}

TEST_CASE("a cast's gradient can be differentiated again") {
  auto x = tensor<double>(3).set_requires_grad();
  auto dy = tensor<float>(2).set_requires_grad();
  auto dx = grad(cast<float>(x), x, {.create_graph = true}, dy);
  CHECK(grad(dx, dy).item() == 1);
}

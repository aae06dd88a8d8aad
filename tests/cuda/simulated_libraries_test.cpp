// The simulated card finds what its libraries are asked wrongly. Each mistake is made in a process of its own, which
// the card ends.
#include "gradus/gradus.hpp"

#include "tests/cuda/said_by_card.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
TEST_CASE("the simulated card finds what a recurrent layer is asked wrongly") {
  NEEDS_SIMULATED_CARD();
  using namespace cuda::detail;
  enum Wrong { nothing, weights_first, small_reserve, cells_of_gru, of_another_layer };
  auto said = [](Wrong wrong) {
    return test::said_by_card([wrong] {
      auto device = Device::cuda(0);
      const auto& api = *CudnnRnn::find();
      auto* handle = CudnnPlans::of(device)->handle();
      RnnDescriptors d(api, handle,
                       {DType::f32, wrong == cells_of_gru ? RnnCell::gru : RnnCell::lstm, 3, 2, 4, 5, true, false});
      size_t weights = 0, work = 0, reserve = 0;
      api.weight_bytes(handle, d.rnn, &weights);
      api.space_bytes(handle, d.rnn, 1, d.x_data, &work, &reserve);
      auto memory = [&](size_t bytes) { return zeros<uint8_t>({static_cast<int64_t>(bytes)}, device); };
      auto x = memory(96), y = memory(120), dy = memory(120), dx = memory(96), cx = memory(40), w = memory(weights),
           space = memory(work), kept = memory(reserve), dw = memory(weights);
      auto at = [](const Tensor<uint8_t>& of) { return static_cast<void*>(of.impl()->data()); };
      auto kept_bytes = wrong == small_reserve ? reserve - 1 : reserve;
      api.forward(handle, d.rnn, 1, nullptr, d.x_data, at(x), d.y_data, at(y), d.state, nullptr, nullptr, d.state,
                  wrong == cells_of_gru ? at(cx) : nullptr, nullptr, weights, at(w), work, at(space), kept_bytes,
                  at(kept));
      if (wrong == of_another_layer) kept.fill_(uint8_t{1});
      if (wrong != weights_first) {
        api.backward_data(handle, d.rnn, nullptr, d.y_data, at(y), at(dy), d.x_data, at(dx), d.state, nullptr, nullptr,
                          nullptr, d.state, nullptr, nullptr, nullptr, weights, at(w), work, at(space), reserve,
                          at(kept));
      }
      api.backward_weights(handle, d.rnn, 0, nullptr, d.x_data, at(x), d.state, nullptr, d.y_data, at(y), weights,
                           at(dw), work, at(space), reserve, at(kept));
      cuda::synchronize(device);
    });
  };
  auto check = [&](Wrong wrong, const std::string& text) {
    auto found = said(wrong);
    INFO(found);
    CHECK(found.find(text) != std::string::npos);
  };
  CHECK(said(nothing) == "");
  check(weights_first, "cudnnRNNBackwardWeights_v8: the reserve has not been through cudnnRNNBackwardData_v8");
  check(small_reserve, "cudnnRNNForward: the reserve is smaller than was asked for");
  check(cells_of_gru, "cudnnRNNForward: cells of a layer that has none");
  check(of_another_layer, "cudnnRNNBackwardData_v8: no reserve of cudnnRNNForward with these descriptors");
}

TEST_CASE("the simulated card refuses the graphs of convolutions that cuDNN refuses") {
  NEEDS_SIMULATED_CARD();
  using namespace cuda::detail;
  auto said = [](int64_t has_bias, int64_t has_relu) {
    ConvGraphShape s{};
    s.x = s.y = {2, 3, 5, 6};
    s.w = {3, 3, 1, 1};
    s.x_strides = s.y_strides = dense_strides(s.x);
    s.w_strides = dense_strides(s.w);
    s.window = {{1, 1}, {0, 0}, {1, 1}};
    s.has_bias = has_bias;
    s.has_relu = has_relu;
    std::string why;
    auto* handle = CudnnPlans::of(Device::cuda(0))->handle();
    auto plan = plan_convolution(*Cudnn::find(), CudnnKind::convolution_forward, s, {handle, nullptr}, &why);
    return plan ? "" : why;
  };
  CHECK(said(0, 0) == "");
  CHECK(said(1, 0) == "");
  CHECK(said(1, 1) == "");
  CHECK(said(0, 1) == "a convolution that no bias is added to");
}

TEST_CASE("the simulated card finds what is wrong with the tail of a product") {
  NEEDS_SIMULATED_CARD();
  using namespace cuda::detail;
  // (3, 4) (4, columns), with what GELU is of kept at an offset in memory of so many elements.
  auto said = [](int64_t columns, int64_t kept, int64_t offset, bool slope) {
    return test::said_by_card([=] {
      auto device = Device::cuda(0);
      Context::of(device).memory().set_keep(false);
      auto a = zeros<float>({3, 4}, device), b = zeros<float>({4, columns}, device),
           d = zeros<float>({3, columns}, device), before = zeros<float>({kept}, device),
           sums = zeros<float>({columns - 1}, device);
      CardProduct p;
      p.a = {a.data(), 3, 4, 4, 1};
      p.b = {b.data(), 4, columns, columns, 1};
      p.d = d.impl()->data();
      p.tail = slope ? CardTail::gelu_slope : CardTail::gelu;
      p.before_tail = before.impl()->data() + 4 * offset;
      if (slope) p.bias_gradient = sums.impl()->data();
      LtProducts::of(device).run(p, "product");
      cuda::synchronize(device);
    });
  };
  CHECK(said(8, 24, 0, false) == "");
  auto check = [](const std::string& text, const std::string& what) {
    INFO(text);
    CHECK(text.find(what) != std::string::npos);
  };
  check(said(12, 36, 0, false), "whose leading dimension is below the rows or no multiple of 8");
  check(said(8, 23, 0, false), "an auxiliary matrix that is not within one block of device memory");
  check(said(8, 25, 1, false), "an auxiliary matrix that is not aligned to 16 bytes");
  check(said(8, 24, 0, true), "a bias that is not device memory");
}

TEST_CASE("the simulated card finds what a product in fp8 is asked wrongly") {
  NEEDS_SIMULATED_CARD();
  using namespace cuda::detail;
  // a (32, 48) of e4m3 times b (48, 64) of e4m3, with a bias; `change` makes the mistake.
  struct Asked {
    CardProduct product;
    Tensor<uint8_t> a, b, d, bias;
    Tensor<float> scales;
  };
  const auto said = [](auto change) {
    return test::said_by_card([change] {
      auto device = Device::cuda(0);
      Context::of(device).memory().set_keep(false);
      auto memory = [device](int64_t bytes) { return zeros<uint8_t>({bytes}, device); };
      Asked asked{{}, memory(8192), memory(8192), memory(16384), memory(256), ones<float>({2}, device)};
      auto& p = asked.product;
      p.type = DType::bf16;
      p.a = {asked.a.impl()->data(), 32, 48, 48, 1};
      p.b = {asked.b.impl()->data(), 48, 64, 1, 48};
      p.d = asked.d.impl()->data();
      p.bias = asked.bias.impl()->data();
      p.a_code = p.b_code = CardCode::e4m3;
      p.a_scale = asked.scales.impl()->data();
      p.b_scale = asked.scales.impl()->data() + sizeof(float);
      change(asked);
      LtProducts::of(device).run(p, "product");
      cuda::synchronize(device);
    });
  };
  for (auto fast : {false, true}) CHECK(said([fast](Asked& asked) { asked.product.fast_sums = fast; }) == "");
  CHECK(said([](Asked& asked) { asked.product.a_code = CardCode::e5m2; }) == "");
  CHECK(said([](Asked& asked) { asked.product.b_code = CardCode::e5m2; }) == "");
  CHECK(said([](Asked& asked) { asked.product.a.row_stride = asked.product.b.column_stride = 64; }) == "");
  const auto check = [&](auto change, const std::string& what) {
    auto found = said(change);
    INFO(found);
    CHECK(found.find("simulated card: " + what) != std::string::npos);
  };
  const std::string by_heuristic = "cublasLtMatmulAlgoGetHeuristic: ", by_product = "cublasLtMatmul: ";

  // Types.
  check([](Asked& asked) { asked.product.a_code = asked.product.b_code = CardCode::e5m2; },
        by_heuristic + "e5m2 times e5m2");
  check([](Asked& asked) { asked.product.a_code = CardCode::none; }, by_heuristic + "fp8 times another type");
  check([](Asked& asked) { asked.product.b_code = CardCode::none; }, by_heuristic + "fp8 times another type");
  for (auto type : {DType::f32, DType::f16, DType::f64})
    check([type](Asked& asked) { asked.product.type = type; }, by_heuristic + "a result of fp8 that is not bf16");

  // Layouts: what is added up must lie side by side. cuBLASLt's first matrix is b.
  const auto layout = by_heuristic + "fp8 whose first matrix is not turned, or whose second is";
  const auto turn_a = [](Asked& asked) { asked.product.a = {asked.product.a.data, 32, 48, 1, 32}; };
  const auto turn_b = [](Asked& asked) { asked.product.b = {asked.product.b.data, 48, 64, 64, 1}; };
  check(turn_a, layout);
  check(turn_b, layout);
  check([=](Asked& asked) { turn_a(asked), turn_b(asked); }, layout);
  check([](Asked& asked) { asked.product.count = 2; }, by_heuristic + "fp8 in a stack");

  // Sizes, and where rows begin.
  const auto sizes = by_heuristic + "fp8 with sizes that are no multiples of 16";
  check([](Asked& asked) { asked.product.a.rows = 24; }, sizes);
  check([](Asked& asked) { asked.product.b.columns = 56; }, sizes);
  check([](Asked& asked) { asked.product.a.columns = asked.product.b.rows = 40; }, sizes);
  const auto rows = by_heuristic + "fp8 with columns that do not begin at multiples of 16 bytes";
  check([](Asked& asked) { asked.product.a.row_stride = 56; }, rows);
  check([](Asked& asked) { asked.product.b.column_stride = 56; }, rows);
  check([](Asked& asked) { asked.product.b.rows = 64, asked.product.b.column_stride = 64; },
        by_heuristic + "sizes that do not fit");

  // Memory.
  const auto beside = [](const void* at, int64_t bytes) { return static_cast<const char*>(at) + bytes; };
  const auto unaligned = by_product + "fp8 with memory that is not aligned to 16 bytes";
  check([=](Asked& asked) { asked.product.a.data = beside(asked.product.a.data, 8); }, unaligned);
  check([=](Asked& asked) { asked.product.b.data = beside(asked.product.b.data, 1); }, unaligned);
  check([](Asked& asked) { asked.product.d = asked.d.impl()->data() + 8; }, unaligned);
  const auto outside = by_product + "a matrix that is not within one block of device memory";
  check([=](Asked& asked) { asked.product.a.data = beside(asked.product.a.data, 8192 - 32 * 48 + 16); }, outside);
  check([](Asked& asked) { asked.product.d = asked.d.impl()->data() + 16384 - 2 * 32 * 64 + 16; }, outside);

  // Scales.
  const auto missing = by_heuristic + "fp8 without a scale";
  check([](Asked& asked) { asked.product.a_scale = nullptr; }, missing);
  check([](Asked& asked) { asked.product.b_scale = nullptr; }, missing);
  const auto no_float = by_product + "a scale that is no float of device memory";
  check(
      [](Asked& asked) {
        static const float of_host = 1;
        asked.product.a_scale = &of_host;
      },
      no_float);
  check([=](Asked& asked) { asked.product.b_scale = beside(asked.product.b_scale, 4); }, no_float);  // behind the last
  check([=](Asked& asked) { asked.product.a_scale = beside(asked.product.a_scale, 2); }, no_float);
  check(
      [](Asked& asked) {
        asked.product.a = {asked.product.a.data, 32, 48, 48, 1};
        asked.product.a_code = asked.product.b_code = CardCode::none;
      },
      by_heuristic + "scales or fast sums of what is not fp8");

  // Tails.
  check(
      [](Asked& asked) {
        asked.product.tail = CardTail::gelu;
        asked.product.before_tail = asked.a.impl()->data();
      },
      by_heuristic + "fp8 with another epilogue than a bias");
  check([=](Asked& asked) { asked.product.bias = beside(asked.product.bias, 256 - 2 * 64 + 2); },
        by_product + "a bias that is not device memory");
}
#endif

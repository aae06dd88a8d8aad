// Images that lie channels last on a GPU: convolutions by cuDNN, what follows them, and that nothing is copied on the
// way.
#include "gradus/gradus.hpp"

#include "tests/ops/formula/skip.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/hashed.hpp"

using namespace gradus;

#if defined(GRADUS_CUDA)
namespace {

bool convolves_by_cudnn() { return !Device::best().is_cpu() && cuda::cudnn_version(Device::best()) > 0; }

/// Float is multiplied in TF32 while it lives.
struct Tf32Guard {
  Tf32Guard() { cuda::allow_tf32(); }
  ~Tf32Guard() { cuda::allow_tf32(false); }
};

template <Element T>
bool lies_last(const Tensor<T>& x) {
  return detail::is_channels_last(*x.impl());
}
template <Element T>
Tensor<T> laid_last(const Tensor<T>& x) {
  return detail::in_order(x, true);
}

template <Floating T>
double distance(const Tensor<T>& a, const Tensor<T>& b) {
  double largest = 0;
  REQUIRE(a.shape() == b.shape());
  auto x = cast<double>(a.to(Device::cpu())).to_vector(), y = cast<double>(b.to(Device::cpu())).to_vector();
  for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x[i] - y[i]));
  return largest;
}
template <Floating T>
constexpr double image_tolerance() {
  return dtype_of<T> == DType::f64 ? 1e-11 : dtype_of<T> == DType::f32 ? 2e-4 : dtype_of<T> == DType::f16 ? 0.02 : 0.1;
}

struct ImageCase {
  int64_t n, in, rows, columns, out, groups, kernel, stride, padding, dilation;
};
/// One channel; three; odd numbers; groups; depthwise; larger steps; gaps; one pixel; a column.
constexpr ImageCase image_cases[] = {
    {2, 1, 7, 6, 8, 1, 3, 1, 1, 1}, {2, 3, 9, 8, 8, 1, 5, 2, 2, 1},  {3, 5, 6, 5, 7, 1, 3, 1, 0, 1},
    {2, 8, 5, 6, 1, 1, 1, 1, 0, 1}, {2, 8, 6, 6, 16, 1, 1, 2, 0, 1}, {2, 6, 5, 7, 4, 2, 3, 1, 1, 1},
    {2, 6, 5, 5, 6, 6, 3, 2, 1, 1}, {1, 4, 8, 9, 6, 1, 3, 1, 2, 2},  {3, 16, 1, 1, 8, 1, 1, 1, 0, 1},
    {2, 8, 7, 1, 8, 1, 3, 1, 1, 1}, {1, 1, 4, 4, 1, 1, 3, 1, 1, 1}};

/// y and the gradients of x, w and the bias.
template <Floating T>
std::vector<Tensor<T>> convolve_images(const ImageCase& c, Device device, bool with_bias,
                                       Rectifier activation = Rectifier::none) {
  auto leaf = [&](uint32_t seed, const Shape& shape) {
    auto x = test::hashed<T>(seed, shape, -1, 1).to(device);
    x.set_requires_grad(true);
    return x;
  };
  auto x = leaf(1, {c.n, c.in, c.rows, c.columns}), w = leaf(2, {c.out, c.in / c.groups, c.kernel, c.kernel}),
       bias = with_bias ? leaf(3, {c.out}) : Tensor<T>();
  if (c.columns == 1) w = leaf(2, {c.out, c.in / c.groups, c.kernel, 1});
  auto y = conv2d(x, w, bias,
                  {.stride = c.stride,
                   .padding = {c.padding, c.columns == 1 ? 0 : c.padding},
                   .dilation = c.dilation,
                   .groups = c.groups,
                   .activation = activation});
  sum(y * test::hashed<T>(4, y.shape(), -1, 1).to(device)).backward();
  std::vector<Tensor<T>> all = {y.detach(), x.grad(), w.grad()};
  if (with_bias) all.push_back(bias.grad());
  return all;
}

int64_t launches_of(const std::vector<cuda::KernelTime>& times, std::initializer_list<std::string_view> kernels) {
  int64_t count = 0;
  for (const auto& time : times)
    if (std::find(kernels.begin(), kernels.end(), time.kernel) != kernels.end()) count += time.count;
  return count;
}
/// Kernels that only copy.
int64_t copies_of(const std::vector<cuda::KernelTime>& times) {
  return launches_of(times, {"move", "block_transpose"});
}

}  // namespace

TEMPLATE_TEST_CASE("convolutions whose images lie channels last agree with the CPU", "", float, bf16, f16) {
  if (!convolves_by_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  Tf32Guard tf32;
  for (const auto& c : image_cases) {
    for (auto with_bias : {false, true}) {
      INFO(c.in << " channels to " << c.out << ", " << c.rows << " x " << c.columns << ", kernel " << c.kernel);
      auto here = convolve_images<TestType>(c, Device::cpu(), with_bias);
      std::vector<Tensor<TestType>> there;
      auto times =
          cuda::profile(Device::best(), [&] { there = convolve_images<TestType>(c, Device::best(), with_bias); });
      CHECK(launches_of(times, {"library"}) == 3);
      // In TF32 the bias is no part of cuDNN's graph.
      CHECK(launches_of(times, {"finish_images"}) == (with_bias && dtype_of<TestType> == DType::f32 ? 1 : 0));
      for (size_t i = 0; i < here.size(); ++i) CHECK(distance(here[i], there[i]) < image_tolerance<TestType>());
      CHECK(lies_last(there[0]) == (c.out > 1 && there[0].size(2) * there[0].size(3) > 1 && c.rows > 1));
      for (size_t i = 1; i < there.size(); ++i) CHECK(there[i].is_contiguous());  // leaves' gradients
    }
  }
}
TEMPLATE_TEST_CASE("convolutions with their activations on a card agree with the CPU", "", float, double, bf16, f16) {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto element = dtype_of<TestType>;
  auto check = [&](bool tf32) {
    for (const auto& c : image_cases) {
      for (auto with_bias : {false, true}) {
        for (auto activation : {Rectifier::relu, Rectifier::relu6}) {
          INFO(c.in << " channels to " << c.out << ", " << c.rows << " x " << c.columns << ", kernel " << c.kernel);
          auto here = convolve_images<TestType>(c, Device::cpu(), with_bias, activation);
          std::vector<Tensor<TestType>> there;
          auto times = cuda::profile(
              Device::best(), [&] { there = convolve_images<TestType>(c, Device::best(), with_bias, activation); });
          if (convolves_by_cudnn()) {
            // relu behind a bias is part of cuDNN's graph, but not in TF32.
            auto by_cudnn = with_bias && activation == Rectifier::relu && !tf32;
            CHECK(launches_of(times, {"finish_images"}) == (by_cudnn ? 0 : 1));
          }
          CHECK(lies_last(there[0]) == ((tf32 || sizeof(TestType) == 2) && convolves_by_cudnn() && c.out > 1 &&
                                        there[0].size(2) * there[0].size(3) > 1 && c.rows > 1));
          // Near a kink a sum that is rounded otherwise has another gradient: most of them agree.
          CHECK(distance(here[0], there[0]) < image_tolerance<TestType>());
          for (size_t i = 1; i < here.size(); ++i)
            CHECK(distance(here[i], there[i]) < (sizeof(TestType) == 2 ? 10 : 1) * image_tolerance<TestType>());
        }
      }
    }
  };
  check(false);
  if (element != DType::f32 || !convolves_by_cudnn()) return;
  Tf32Guard guard;
  check(true);
}
TEMPLATE_TEST_CASE("a convolution's activation on a card keeps NaN", "", float, double, bf16, f16) {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto x = test::hashed<TestType>(1, {1, 8, 5, 5}, -1, 1), w = test::hashed<TestType>(2, {8, 8, 3, 3}, -1, 1),
       bias = test::hashed<TestType>(3, {8}, -1, 1);
  x.mutable_data()[12] = static_cast<TestType>(std::numeric_limits<float>::quiet_NaN());
  for (auto activation : {Rectifier::relu, Rectifier::relu6}) {
    for (const auto& b : {Tensor<TestType>(), bias.to(Device::best())}) {
      auto y = conv2d(x.to(Device::best()), w.to(Device::best()), b, {.padding = 1, .activation = activation});
      auto values = cast<double>(y.to(Device::cpu())).to_vector();
      CHECK(std::count_if(values.begin(), values.end(), [](double v) { return std::isnan(v); }) == 8 * 9);
    }
  }
}
TEST_CASE("convolutions without tensor cores and of sequences keep to planes") {
  if (!convolves_by_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  auto check = [&](auto element, const Shape& shape, const Shape& filter, bool by_library) {
    using T = decltype(element);
    auto run = [&](Device where) {
      auto x = test::hashed<T>(1, shape, -1, 1).to(where), w = test::hashed<T>(2, filter, -1, 1).to(where),
           bias = test::hashed<T>(3, {filter[0]}, -1, 1).to(where);
      return conv2d(x, w, bias);
    };
    Tensor<T> there;
    auto times = cuda::profile(device, [&] { there = run(device); });
    CHECK(there.is_contiguous());
    CHECK(launches_of(times, {"finish_images"}) == (by_library ? 0 : 1));
    CHECK(distance(run(Device::cpu()), there) < image_tolerance<T>());
  };
  check(float(), {2, 3, 6, 5}, {4, 3, 3, 3}, true);
  check(double(), {2, 3, 6, 5}, {4, 3, 3, 3}, true);
  check(bf16(), {2, 3, 1, 15}, {4, 3, 1, 3}, true);
}
TEMPLATE_TEST_CASE("batch norm of images that lie channels last", "", float, double, bf16, f16) {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  for (const auto& shape : {Shape{3, 16, 5, 4}, {2, 5, 3, 7}, {2, 264, 2, 3}, {40, 8, 19, 21}}) {
    for (auto training : {true, false}) {
      auto run = [&](Device device, bool last) {
        auto leaf = [&](uint32_t seed, const Shape& of) {
          auto x = test::hashed<TestType>(seed, of, -1, 2).to(device);
          x.set_requires_grad(true);
          return x;
        };
        auto x = leaf(1, shape), weight = leaf(2, {shape[1]}), bias = leaf(3, {shape[1]});
        auto mean = zeros<TestType>({shape[1]}, device), var = ones<TestType>({shape[1]}, device);
        auto y = batch_norm(last ? laid_last(x) : x, mean, var, weight, bias, {.training = training});
        CHECK(lies_last(y) == last);
        sum(y * test::hashed<TestType>(4, shape, -1, 1).to(device)).backward();
        return std::vector<Tensor<TestType>>{y.detach(), x.grad(), mean, var, weight.grad(), bias.grad()};
      };
      auto here = run(Device::cpu(), false), there = run(Device::best(), true);
      for (size_t i = 0; i < here.size(); ++i) {
        INFO("shape " << shape << ", training " << training << ", result " << i);
        auto size = i < 4 ? 1.0 : std::sqrt(static_cast<double>(shape.numel() / shape[1]));
        CHECK(distance(here[i], there[i]) < size * image_tolerance<TestType>());
      }
    }
  }
}
TEMPLATE_TEST_CASE("batch norm of images that lie channels last with a residual, its result used twice", "", float,
                   double, bf16) {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto activations = std::vector{Rectifier::none, Rectifier::relu, Rectifier::relu6};
  if (sizeof(TestType) < 4) activations.resize(1);  // what is cut may be rounded to either side
  for (const auto& shape : {Shape{3, 16, 5, 4}, {2, 5, 3, 7}, {2, 264, 2, 3}, {40, 8, 19, 21}}) {
    for (auto activation : activations) {
      auto run = [&](Device device, bool last) {
        auto leaf = [&](uint32_t seed, const Shape& of) {
          auto x = test::hashed<TestType>(seed, of, -3, 4).to(device);
          x.set_requires_grad(true);
          return x;
        };
        auto x = leaf(1, shape), weight = leaf(2, {shape[1]}), bias = leaf(3, {shape[1]}), residual = leaf(4, shape);
        auto y = batch_norm(last ? laid_last(x) : x, {}, {}, weight, bias, {.activation = activation},
                            last ? laid_last(residual) : residual);
        CHECK(lies_last(y) == last);
        sum(y * test::hashed<TestType>(5, shape, -1, 1).to(device) + y * 0.25).backward();
        return std::vector<Tensor<TestType>>{y.detach(), x.grad(), residual.grad(), weight.grad(), bias.grad()};
      };
      auto here = run(Device::cpu(), false), there = run(Device::best(), true);
      for (size_t i = 0; i < here.size(); ++i) {
        INFO("shape " << shape << ", activation " << static_cast<int>(activation) << ", result " << i);
        auto size = i < 3 ? 1.0 : std::sqrt(static_cast<double>(shape.numel() / shape[1]));
        CHECK(distance(here[i], there[i]) < 2 * size * image_tolerance<TestType>());
      }
    }
  }
}
TEST_CASE("batch norm of images that lie channels last is exact where the mean is large") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto x = test::hashed<float>(1, {8, 8, 9, 9}, 999, 1001);
  Tensor<float> none;
  auto here = batch_norm(x, none, none), there = batch_norm(laid_last(x.to(Device::best())), none, none);
  CHECK(distance(here, there) < 1e-3);
}
TEST_CASE("what follows a convolution keeps its channels last") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto device = Device::best();
  auto x = test::hashed<float>(1, {2, 5, 6, 7}, -1, 1), mask = test::hashed<float>(2, {1, 5, 1, 1}, -1, 1);
  auto last = laid_last(x.to(device));
  REQUIRE(lies_last(last));
  auto check = [&](const Tensor<float>& there, const Tensor<float>& here, bool stays = true) {
    CHECK(lies_last(there) == stays);
    CHECK(distance(here, there) < 1e-5);
  };
  check(relu(last), relu(x));
  check(last + x.to(device), x + x);
  check(x.to(device) - last * 2.0, x - x * 2.0);
  check(last * mask.to(device), x * mask);
  check(where(last > 0.0, last, -last), where(x > 0.0, x, -x));
  check(max_pool2d(last, 2), max_pool2d(x, 2));
  check(avg_pool2d(last, 3, {.stride = 2, .padding = 1}), avg_pool2d(x, 3, {.stride = 2, .padding = 1}));
  check(cat<float>({last, x.to(device)}, 1), cat<float>({x, x}, 1));
  check(cat<float>({last, last}, 0), cat<float>({x, x}, 0));
  check(max_pool2d(last, {6, 7}), max_pool2d(x, {6, 7}), false);  // one pixel: both orders are one
  check(contiguous(last), x, false);
  check(last.clone(), x, false);
  check(slice(last, 1, 1, 4) + 1.0, slice(x, 1, 1, 4) + 1.0, false);
  CHECK(distance(global_avg_pool2d(last), global_avg_pool2d(x)) < 1e-5);
  CHECK(distance(sum(last, {0, 2, 3}), sum(x, {0, 2, 3})) < 1e-4);
  CHECK(distance(flatten(last), flatten(x)) == 0);
  CHECK(last.to_vector() == x.to_vector());
  auto single = laid_last(test::hashed<float>(1, {3, 1, 4, 5}, -1, 1).to(device));
  CHECK(single.is_contiguous());
}
TEST_CASE("gradients of several users meet channels last") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto run = [](Device device) {
    auto x = test::hashed<float>(1, {2, 6, 5, 4}, -1, 1).to(device);
    x.set_requires_grad(true);
    auto y = detail::in_order(x, !device.is_cpu());
    // One of the gradients is repeated from (n, c), one is planar, two are channels last.
    auto loss = sum(global_avg_pool2d(relu(y) + y)) + sum(y * test::hashed<float>(2, {2, 6, 5, 4}, -1, 1).to(device)) +
                sum(max_pool2d(y, 2) * 0.5) + sum(contiguous(y) * 3.0);
    loss.backward();
    return x.grad();
  };
  CHECK(distance(run(Device::cpu()), run(Device::best())) < 1e-5);
}
TEST_CASE("pointwise kernels go along memory wherever all tensors lie as the result does", "[cuda]") {
  if (Device::best().is_cpu()) SKIP_LOUDLY("no GPU");
  auto kernel_of = [](auto&& work) {
    auto times = cuda::profile(Device::best(), work);
    REQUIRE(times.size() == 1);
    auto kernel = times[0].kernel;
    return kernel.ends_with("_along") ? "along" : kernel.ends_with("_strided") ? "strided" : "packs";
  };
  auto planes = ones<bf16>({2, 16, 4, 4}).to(Device::best()), images = laid_last(planes);
  for (const auto& x : {planes, images}) {
    CHECK(kernel_of([&] { return x * 0.5f; }) == std::string("along"));
    CHECK(kernel_of([&] { return relu(x); }) == std::string("along"));
    CHECK(kernel_of([&] { return x + x; }) == std::string("along"));
  }
  auto of_channels = reshape(ones<bf16>({16}), {16, 1, 1}).to(Device::best());
  CHECK(kernel_of([&] { return images + of_channels; }) == std::string("packs"));
  CHECK(kernel_of([&] { return slice(planes, 3, 0, 3) * 0.5f; }) == std::string("strided"));
}

TEST_CASE("channels last costs a step of a residual network one copy, of its images") {
  if (!convolves_by_cudnn()) SKIP_LOUDLY("no GPU with cuDNN");
  auto device = Device::best();
  auto copies = [&](auto model, auto element, const Shape& shape) {
    to(model, device);
    auto images = test::hashed<decltype(element)>(1, shape, -1, 1).to(device);
    auto labels = test::hashed_labels(2, shape[0], 5).to(device);
    return copies_of(cuda::profile(device, [&] { cross_entropy(model(images), labels).backward(); }));
  };
  // Beside the images, the loss is rounded from float, which counts as a copy of one number.
  models::ResNetOptions options{.blocks = {1, 2, 1, 1}, .bottleneck = true, .classes = 5, .width = 8};
  Shape images{2, 3, 64, 64};
  CHECK(copies(models::ResNet<bf16>(options), bf16(), images) ==
        copies(models::ResNet<float>(options), float(), images) + 2);
  images = {2, 3, 32, 32};
  CHECK(copies(models::ResNet9<bf16>(3, 5, 8), bf16(), images) ==
        copies(models::ResNet9<float>(3, 5, 8), float(), images) + 2);
}
#endif

// Indexing against loops over each element: sizes around those of blocks and registers, several axes, positions that
// meet, many threads.
#include "gradus/autograd/autograd.hpp"
#include "gradus/ops/indexing/embedding.hpp"
#include "gradus/ops/indexing/gather.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/permute.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;

namespace {

/// Small whole numbers, whose sums are exact.
Tensor<float> whole_numbers(const Shape& shape) { return cast<float>(randint<int32_t>(-9, 10, shape)); }

/// Calls body(place in a tensor of shape `of`, place in the index) for each element of an index of positions along
/// axis.
template <class Body>
void for_indexed(const Shape& of, int axis, const Tensor<int64_t>& index, Body body) {
  auto strides = contiguous_strides(of);
  for (int64_t at = 0; at < index.numel(); ++at) {
    int64_t rest = at, place = 0;
    for (int i = of.rank() - 1; i >= 0; --i) {
      auto position = rest % index.shape()[i];
      rest /= index.shape()[i];
      if (i == axis) {
        position = index.data()[at];
        if (position < 0) position += of[i];
      }
      place += position * strides[i];
    }
    body(static_cast<size_t>(place), static_cast<size_t>(at));
  }
}

void check_gather(const Shape& shape, int axis, const Shape& of_index) {
  INFO("x is " << to_string(shape) << ", the index " << to_string(of_index) << " along " << axis);
  auto x = whole_numbers(shape).set_requires_grad();
  auto index = randint<int64_t>(-shape[axis], shape[axis], of_index);
  auto dy = whole_numbers(of_index);
  auto in = x.detach().to_vector(), from = dy.to_vector();
  std::vector<float> wanted(static_cast<size_t>(of_index.numel())), gradient(in.size());
  for_indexed(shape, axis, index, [&](size_t place, size_t at) {
    wanted[at] = in[place];
    gradient[place] += from[at];
  });
  auto threads = num_threads();
  for (int count : {1, 2, 3}) {
    set_num_threads(count);
    auto y = gather(x, axis, index);
    CHECK(y.detach().to_vector() == wanted);
    CHECK(grad(y, x, {}, dy).to_vector() == gradient);
  }
  set_num_threads(threads);
}

void check_select(const Shape& shape, int axis, int64_t count) {
  INFO("x is " << to_string(shape) << ", " << count << " positions along " << axis);
  auto x = whole_numbers(shape).set_requires_grad();
  auto index = randint<int64_t>(-shape[axis], shape[axis], {count});
  auto y_shape = shape;
  y_shape[axis] = count;
  auto dy = whole_numbers(y_shape);
  int64_t inner = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  auto in = x.detach().to_vector(), from = dy.to_vector();
  std::vector<float> wanted(from.size()), gradient(in.size());
  for (int64_t at = 0; at < dy.numel(); ++at) {
    auto position = index.data()[at / inner % count];
    if (position < 0) position += shape[axis];
    auto place = static_cast<size_t>((at / inner / count * shape[axis] + position) * inner + at % inner);
    wanted[static_cast<size_t>(at)] = in[place];
    gradient[place] += from[static_cast<size_t>(at)];
  }
  auto threads = num_threads();
  for (int number : {1, 2, 3}) {
    set_num_threads(number);
    auto y = index_select(x, axis, index);
    CHECK(y.detach().to_vector() == wanted);
    CHECK(grad(y, x, {}, dy).to_vector() == gradient);
  }
  set_num_threads(threads);
}

}  // namespace

TEST_CASE("gather and its gradient give what loops over elements give") {
  manual_seed(5);
  for (int64_t n : {1, 7, 8, 511, 513, 1300}) {
    check_gather({3, n}, 1, {3, n});
    check_gather({n, 5}, 0, {2 * n, 4});
  }
  check_gather({70, 9}, 0, {33, 9});
  check_gather({40, 30, 70}, 1, {40, 55, 70});
  check_gather({40, 30, 70}, 1, {39, 55, 67});
  check_gather({40, 30, 70}, 0, {90, 30, 70});
  check_gather({40000}, 0, {70000});
  auto turned = whole_numbers({600, 90});
  auto index = randint<int64_t>(0, 600, {90, 700});
  CHECK(gather(transpose(turned), 1, index).to_vector() == gather(contiguous(transpose(turned)), 1, index).to_vector());
}

TEST_CASE("index_select and its gradient give what loops over elements give") {
  manual_seed(6);
  for (int64_t inner : {1, 3, 15, 16, 17, 40, 2049}) {
    check_select({30, inner}, 0, 50);
    check_select({3, 20, inner}, 1, 45);
  }
  check_select({5, 3000}, 1, 4000);
  check_select({2, 1, 5000}, 1, 30);
}

TEST_CASE("sums by index are rounded once") {
  auto weight = zeros<bf16>({2, 16}).set_requires_grad();
  auto y = embedding(zeros<int64_t>({400}), weight);
  auto gradient = grad(y, weight, {}, ones_like(y.detach())).to_vector();  // by steps, bf16 ends at 256
  CHECK(static_cast<float>(gradient[0]) == 400);
  CHECK(static_cast<float>(gradient[16]) == 0);
}

TEST_CASE("a position out of range is found in any place of an index") {
  auto x = zeros<float>({2, 700});
  for (int64_t place : {0, 5, 510, 512, 699, 1399}) {
    for (int64_t number :
         {int64_t{700}, int64_t{-701}, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()}) {
      auto index = zeros<int64_t>({2, 700});
      index.mutable_data()[place] = number;
      test::check_error<IndexError>([&] { return gather(x, 1, index); },
                                    join("gather: index ", number, " is out of range for axis 1 of shape (2, 700)"));
      test::check_error<IndexError>(
          [&] {
            return scatter_add(x, 1, index, {2, 700});
          },
          join("scatter_add: index ", number, " is out of range for axis 1 of shape (2, 700)"));
    }
  }
  test::check_error<IndexError>(
      [&] {
        return gather(zeros<float>({2, 0}), 1, zeros<int64_t>({2, 1}));
      },
      "gather: index 0 is out of range for axis 1 of shape (2, 0)");
}

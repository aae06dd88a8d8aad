#include "gradus/data/dataset.hpp"

#include "gradus/data/transform.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

/// Sample i is a vector (i, 10 i), its number as an int, half of it, and whether it is odd.
struct Numbers {
  int64_t count = 5;
  int64_t size() const { return count; }
  auto get(int64_t i) const {
    require<ValueError>(i != 3 || count < 100, "the third is broken");
    auto x = static_cast<float>(i);
    return std::tuple(tensor<float>({x, 10 * x}), static_cast<int>(i), 0.5f * x, i % 2 == 1);
  }
};
static_assert(data::Dataset<Numbers>);
static_assert(!data::BatchDataset<Numbers>);
static_assert(data::BatchDataset<data::TensorDataset<float, int64_t>>);
static_assert(!data::Dataset<std::vector<int>>);

/// Its samples grow.
struct Growing {
  int64_t size() const { return 4; }
  auto get(int64_t i) const { return std::tuple(zeros<float>({i + 1})); }
};

struct Foreign {
  int64_t size() const { return 4; }
  std::tuple<int> get(int64_t i) const { throw std::runtime_error("no disk for " + std::to_string(i)); }
};

std::vector<int64_t> indices(std::initializer_list<int64_t> values) { return values; }

}  // namespace

TEST_CASE("tensor dataset: rows by index, single and as a batch") {
  auto images = from_vector<float>({0, 1, 2, 3, 4, 5}, {3, 1, 2});
  auto labels = tensor<int64_t>({7, 8, 9});
  data::TensorDataset set(images, labels);
  CHECK(set.size() == 3);
  auto [image, label] = set.get(1);
  CHECK(image.shape() == Shape{1, 2});
  CHECK(image.to_vector() == std::vector<float>{2, 3});
  CHECK(label.item() == 8);
  auto [rows, row_labels] = set.batch(indices({2, 0, 2}));
  CHECK(rows.shape() == Shape{3, 1, 2});
  CHECK(rows.to_vector() == std::vector<float>{4, 5, 0, 1, 4, 5});
  CHECK(row_labels.to_vector() == std::vector<int64_t>{9, 7, 9});
  rows.fill_(0);  // memory of its own
  CHECK(images(2, 0, 0) == 4);
  CHECK(std::get<0>(set.batch({})).shape() == Shape{0, 1, 2});
}

TEST_CASE("tensor dataset: any strides, and tensors without elements") {
  data::TensorDataset set(transpose(tensor<float>({{1, 2, 3}, {4, 5, 6}})));
  CHECK(std::get<0>(set.batch(indices({2}))).to_vector() == std::vector<float>{3, 6});
  data::TensorDataset none(zeros<float>({0, 4}));
  CHECK(none.size() == 0);
  data::TensorDataset thin(zeros<float>({4, 0}));
  CHECK(std::get<0>(thin.batch(indices({1, 2}))).shape() == Shape{2, 0});
}

TEST_CASE("tensor dataset: errors") {
  check_error<ShapeError>(
      [] {
        data::TensorDataset(zeros<float>({3, 2}), zeros<int64_t>({4}));
      },
      "TensorDataset: tensor 1 is (4,), but must have 3 rows as tensor 0 has");
  check_error<IndexError>([] { data::TensorDataset(zeros<float>({3})).get(3); }, "TensorDataset: sample 3 of 3");
  check_error<IndexError>(
      [] {
        data::TensorDataset(zeros<float>({3})).batch(indices({0, -1}));
      },
      "TensorDataset: sample -1 of 3");
}

TEST_CASE("collation: tensors are stacked, numbers become vectors") {
  auto [vectors, numbers, halves, odd] = data::detail::make_batch(Numbers(), indices({4, 1}));
  static_assert(std::is_same_v<decltype(numbers), Tensor<int64_t>>);
  CHECK(vectors.shape() == Shape{2, 2});
  CHECK(vectors.to_vector() == std::vector<float>{4, 40, 1, 10});
  CHECK(numbers.to_vector() == std::vector<int64_t>{4, 1});
  CHECK(halves.to_vector() == std::vector<float>{2, 0.5f});
  CHECK(odd.to_vector() == std::vector<bool>{false, true});
}

TEST_CASE("collation: errors name the sample") {
  check_error<ShapeError>(
      [] {
        data::detail::make_batch(Growing(), indices({1, 3}));
      },
      "sample 3: its tensor is (4,), but the first of the batch is (2,)");
  check_error<ValueError>(
      [] {
        data::detail::make_batch(Numbers{100}, indices({1, 3}));
      },
      "sample 3: the third is broken");
  try {
    data::detail::make_batch(Foreign(), indices({2}));
    FAIL("no exception");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "sample 2: no disk for 2");
    CHECK_THROWS_AS(std::rethrow_if_nested(error), std::runtime_error);
  }
  check_error<IndexError>(
      [] {
        data::detail::make_batch(data::TensorDataset(zeros<float>({3})), indices({1, 5}));
      },
      "samples 1, 5: TensorDataset: sample 5 of 3");
}

TEST_CASE("map: a function of each sample's parts") {
  Numbers numbers;
  auto mapped = data::map(
      numbers, [](const auto& vector, int number, float, bool) { return std::tuple(vector + 1.0, number * 2); });
  numbers.count = 7;  // an lvalue is referred to
  CHECK(mapped.size() == 7);
  CHECK(std::get<0>(mapped.get(2)).to_vector() == std::vector<float>{3, 21});
  CHECK(std::get<1>(mapped.get(2)) == 4);
  auto single = data::map(Numbers(), [](const auto&, int number, float, bool) { return number; });
  CHECK(std::get<0>(single.get(4)) == 4);
}

TEST_CASE("map_batches: a function of whole batches") {
  auto set = data::map_batches(
      data::TensorDataset(from_vector<uint8_t>({0, 51, 102, 255}, {4, 1}), arange<int64_t>(4)),
      [](const auto& pixels, const auto& labels) { return std::tuple(cast<float>(pixels) * (1.0 / 255), labels); });
  auto [pixels, labels] = set.batch(indices({3, 1}));
  CHECK(pixels.shape() == Shape{2, 1});
  CHECK(pixels(0, 0) == 1.0f);
  CHECK(pixels(1, 0) == Approx(0.2f));
  CHECK(labels.to_vector() == std::vector<int64_t>{3, 1});
  CHECK(std::get<0>(set.get(3)).shape() == Shape{1});
  auto stacked = data::map_batches(Numbers(), [](const auto& vectors, auto&&...) { return vectors; });
  CHECK(std::get<0>(stacked.batch(indices({1, 2}))).shape() == Shape{2, 2});
}

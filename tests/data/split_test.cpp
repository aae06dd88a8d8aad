#include "gradus/data/split.hpp"

#include <map>

#include "gradus/data/loader.hpp"
#include "gradus/data/standard_scaler.hpp"
#include "gradus/data/transform.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

/// Sample i is i; cannot be copied.
struct Uncopied {
  int64_t count;
  explicit Uncopied(int64_t n) : count(n) {}
  Uncopied(const Uncopied&) = delete;
  Uncopied(Uncopied&&) = default;
  int64_t size() const { return count; }
  auto get(int64_t i) const { return std::tuple(i); }
};
static_assert(data::Dataset<data::Subset<Uncopied>> && !data::BatchDataset<data::Subset<Uncopied>>);
static_assert(data::BatchDataset<data::Subset<data::TensorDataset<float>>>);

std::vector<int64_t> both_sorted(const auto& parts) {
  auto all = parts.train.indices();
  all.insert(all.end(), parts.validation.indices().begin(), parts.validation.indices().end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("split: two views that share nothing and leave nothing out") {
  Uncopied numbers(10);
  for (uint64_t seed : {0, 1, 2}) {
    auto parts = data::split(numbers, 0.3, seed);
    CHECK(parts.validation.size() == 3);
    CHECK(parts.train.size() == 7);
    CHECK(both_sorted(parts) == arange<int64_t>(10).to_vector());
    CHECK(std::is_sorted(parts.train.indices().begin(), parts.train.indices().end()));
  }
  auto [train, validation] = data::split(numbers, 0.5, 7);
  CHECK(std::get<0>(train.get(2)) == train.indices()[2]);
  auto kept = data::split(Uncopied(4), 0.5, 7);  // an rvalue lives on in the parts
  CHECK(std::get<0>(kept.validation.get(1)) == kept.validation.indices()[1]);
  auto images = zeros<float>({6, 2});
  auto shared = data::split(data::TensorDataset(images), 0.5, 1);
  CHECK(std::get<0>(shared.train.get(1)).data() == images.data() + 2 * shared.train.indices()[1]);  // no copy
}

TEST_CASE("split: seed, size and share alone decide") {
  Uncopied numbers(1000);
  auto chosen = [&](uint64_t seed) { return data::split(numbers, 0.2, seed).validation.indices(); };
  CHECK(chosen(1) == chosen(1));
  CHECK(chosen(1) != chosen(2));
  manual_seed(5);
  auto before = default_generator().offset();
  // What a seed gives is a promise: a run can be repeated with a later version.
  CHECK(data::split(Uncopied(20), 0.25, 3).validation.indices() == std::vector<int64_t>{1, 5, 8, 11, 17});
  CHECK(default_generator().offset() == before);
  std::vector<int> counts(20);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    auto parts = data::split(Uncopied(20), 0.25, seed);
    for (auto index : parts.validation.indices()) ++counts[static_cast<size_t>(index)];
  }
  for (auto count : counts) CHECK(std::abs(count - 500) < 80);  // four standard deviations
}

TEST_CASE("split: parts work wherever data sets do") {
  auto set = data::TensorDataset(arange<float>(12), arange<int64_t>(12));
  auto [train, validation] = data::split(set, 0.25, 1);
  data::Loader loader(train, {.batch_size = 4, .shuffle = true, .seed = 2});
  double sum = 0;
  for (auto& [values, labels] : loader) {
    for (int64_t i = 0; i < values.numel(); ++i) CHECK(values(i) == static_cast<float>(labels(i)));
    sum += static_cast<double>(gradus::sum(values).item());
  }
  auto [rest, rest_labels] = data::whole_batch(validation);
  CHECK(rest.shape() == Shape{3});
  CHECK(rest_labels.to_vector() == validation.indices());
  CHECK(sum + static_cast<double>(gradus::sum(rest).item()) == 66);
  auto mapped = data::map(validation, [](const auto& value, const auto&) { return value * 2.0; });
  CHECK(std::get<0>(data::whole_batch(mapped))(1) == 2 * rest(1));
  auto [inner, outer] = data::split(train, 1.0 / 3, 1);  // a part of a part
  CHECK(inner.size() == 6);
  CHECK(std::get<1>(outer.get(0)).item() == train.indices()[static_cast<size_t>(outer.indices()[0])]);
}

TEST_CASE("stratified split: every class keeps its share") {
  auto labels = Tensor<int64_t>::empty({100});
  for (int64_t i = 0; i < 100; ++i) labels.set({i}, i < 61 ? 5 : i < 97 ? -2 : 9);  // 61, 36 and 3
  for (double share : {0.2, 0.25, 0.5, 0.07}) {
    CAPTURE(share);
    auto parts = data::stratified_split(Uncopied(100), labels, share, 4);
    CHECK(parts.validation.size() == std::llround(100 * share));
    CHECK(both_sorted(parts) == arange<int64_t>(100).to_vector());
    std::map<int64_t, int> found;
    for (auto index : parts.validation.indices()) ++found[labels(index)];
    for (auto [label, count] : {std::pair(5, 61.0), std::pair(-2, 36.0), std::pair(9, 3.0)}) {
      CHECK(std::abs(found[label] - share * count) < 1);
    }
  }
  auto chosen = [&](uint64_t seed) { return data::stratified_split(Uncopied(100), labels, 0.2, seed).train.indices(); };
  CHECK(chosen(1) == chosen(1));
  CHECK(chosen(1) != chosen(2));
  CHECK(data::detail::validation_quotas({10, 10, 10}, 0.25, 8) == std::vector<int64_t>{3, 3, 2});
  CHECK(data::detail::validation_quotas({1, 1, 1, 1}, 0.5, 2) == std::vector<int64_t>{1, 1, 0, 0});
  CHECK(data::detail::validation_quotas({100}, 0.29, 29) == std::vector<int64_t>{29});
}

TEST_CASE("split: errors") {
  check_error<ValueError>([] { data::split(Uncopied(10), 1, 0); },
                          "split: the share is 1, but must be between 0 and 1");
  check_error<ValueError>([] { data::split(Uncopied(3), 0.1, 0); },
                          "split: a share of 0.1 of 3 samples is 0, but both parts must have samples");
  check_error<ValueError>([] { data::split(Uncopied(3), 0.9, 0); },
                          "split: a share of 0.9 of 3 samples is 3, but both parts must have samples");
  check_error<ShapeError>([] { data::stratified_split(Uncopied(3), zeros<int64_t>({4}), 0.5, 0); },
                          "stratified_split: labels are (4,), but there are 3 samples");
  check_error<IndexError>([] { data::split(Uncopied(4), 0.5, 0).train.get(2); }, "Subset: sample 2 of 2");
  auto parts = data::split(data::TensorDataset(zeros<float>({4})), 0.5, 0);
  std::vector<int64_t> beyond{0, -1};
  check_error<IndexError>([&] { parts.train.batch(beyond); }, "Subset: sample -1 of 2");
}

TEST_CASE("standard scaler: fitted to some samples, applied to others, and back") {
  auto train = tensor<double>({{1, 10, 7}, {2, 30, 7}, {3, 50, 7}, {6, 70, 7}});
  data::StandardScaler<double> scale(train);
  CHECK(scale.mean() == std::vector<double>{3, 40, 7});
  CHECK(scale.std()[0] == Approx(std::sqrt(3.5)));  // of the population
  CHECK(scale.std()[1] == Approx(std::sqrt(500.0)));
  CHECK(scale.std()[2] == 1);  // never changes
  auto scaled = scale(train);
  CHECK(scaled(3, 0) == Approx(3 / std::sqrt(3.5)));
  CHECK(scaled(1, 2) == 0);
  CHECK(train(0, 0) == 1);
  auto back = scale.inverse(scale(tensor<double>({{8, -4, 9}})));
  CHECK(back(0, 0) == Approx(8));
  CHECK(back(0, 1) == Approx(-4));
  CHECK(back(0, 2) == Approx(9));
  data::StandardScaler<float> single(tensor<float>({2, 4}));
  CHECK(single(tensor<float>({2, 4})).to_vector() == std::vector<float>{-1, 1});
  CHECK(single.inverse(full<float>({1, 1}, 2)).to_vector() == std::vector<float>{5});  // (n,) and (n, 1) alike
  CHECK(data::StandardScaler<float>(full<float>({1000}, 0.1f)).std()[0] == 1);
}

TEST_CASE("standard scaler: missing values do not count, and stay or become the mean") {
  auto x = tensor<float>({{1, NAN}, {NAN, 2}, {3, 4}});
  data::StandardScaler<float> keeps(x), fills(x, {.missing_as_mean = true});
  CHECK(keeps.mean() == std::vector<double>{2, 3});
  CHECK(std::isnan(keeps(x)(1, 0)));
  CHECK(fills(x).to_vector() == std::vector<float>{-1, 0, 0, -1, 1, 1});
}

TEST_CASE("standard scaler: errors") {
  check_error<ShapeError>(
      [] {
        data::StandardScaler<float>(zeros<float>({2, 3, 4}));
      },
      "StandardScaler: the samples are (2, 3, 4), but must be (n, columns) or (n,)");
  check_error<ValueError>(
      [] {
        data::StandardScaler<float>(tensor<float>({{1, NAN}, {2, NAN}}));
      },
      "StandardScaler: column 1 of (2, 2) has no value");
  check_error<ValueError>([] { data::StandardScaler<float>(zeros<float>({0})); },
                          "StandardScaler: column 0 of (0,) has no value");
  data::StandardScaler<float> scale(zeros<float>({2, 3}));
  check_error<ShapeError>(
      [&] {
        scale(zeros<float>({2, 4}));
      },
      "StandardScaler: the samples are (2, 4), but must have 3 columns");
}

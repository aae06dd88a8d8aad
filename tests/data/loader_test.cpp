#include "gradus/data/loader.hpp"

#include <atomic>
#include <numeric>
#include <set>

#include "gradus/data/transform.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

/// Sample i is i; sample `broken` cannot be read. Counts its calls and the threads that live in them.
struct Counting {
  int64_t count = 10;
  int64_t broken = -1;
  std::atomic<int64_t>* calls = nullptr;

  int64_t size() const { return count; }
  auto get(int64_t i) const {
    if (calls != nullptr) ++*calls;
    require<IoError>(i != broken, "the disk is broken");
    return std::tuple(i);
  }
};

template <class Loader>
std::vector<int64_t> samples_of_epoch(Loader& loader) {
  std::vector<int64_t> seen;
  for (auto& [numbers] : loader) {
    for (auto number : numbers.span()) seen.push_back(number);
  }
  return seen;
}

std::vector<int64_t> counted(int64_t n) {
  std::vector<int64_t> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  return numbers;
}

int threads_of_process() {
  int threads = 0;
  if (auto* file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof(line), file) != nullptr) std::sscanf(line, "Threads: %d", &threads);
    std::fclose(file);
  }
  return threads;
}

}  // namespace

TEST_CASE("loader: batches in order, the last one short or left out") {
  for (int prefetch : {0, 1, 2, 5}) {
    CAPTURE(prefetch);
    data::Loader loader(Counting{10}, {.batch_size = 4, .prefetch = prefetch});
    CHECK(loader.size() == 10);
    CHECK(loader.batches() == 3);
    std::vector<Shape> shapes;
    for (auto& [numbers] : loader) shapes.push_back(numbers.shape());
    CHECK(shapes == std::vector<Shape>{{4}, {4}, {2}});
    CHECK(samples_of_epoch(loader) == counted(10));

    data::Loader whole(Counting{10}, {.batch_size = 4, .drop_last = true, .prefetch = prefetch});
    CHECK(whole.size() == 8);
    CHECK(whole.batches() == 2);
    CHECK(samples_of_epoch(whole) == counted(8));

    data::Loader none(Counting{0}, {.batch_size = 4, .prefetch = prefetch});
    CHECK(none.batches() == 0);
    CHECK(samples_of_epoch(none).empty());
  }
}

TEST_CASE("loader: the order follows from seed and epoch alone") {
  data::LoaderOptions options{.batch_size = 7, .shuffle = true, .seed = 5};
  data::Loader loader(Counting{100}, options);
  auto first = samples_of_epoch(loader), second = samples_of_epoch(loader);
  CHECK(loader.epoch() == 2);
  CHECK(first != second);
  CHECK(first != counted(100));
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == counted(100));
  // The order of a seed is a promise: a run can be repeated with a later version.
  CHECK(std::vector<int64_t>(first.begin(), first.begin() + 8) == std::vector<int64_t>{49, 67, 8, 81, 35, 12, 31, 43});

  options.prefetch = 0;
  options.batch_size = 3;  // another size of batch, another thread: the same order
  data::Loader again(Counting{100}, options);
  CHECK(samples_of_epoch(again) == first);
  CHECK(samples_of_epoch(again) == second);
  again.set_epoch(0);
  CHECK(samples_of_epoch(again) == first);
  CHECK(again.order(1) == second);
}

TEST_CASE("loader: without a seed it draws one from the thread's generator") {
  auto order = [](uint64_t seed) {
    manual_seed(seed);
    data::Loader loader(Counting{50}, {.batch_size = 50, .shuffle = true});
    return loader.order(0);
  };
  CHECK(order(1) == order(1));
  CHECK(order(1) != order(2));
  manual_seed(1);
  data::Loader first(Counting{50}, {.shuffle = true}), second(Counting{50}, {.shuffle = true});
  CHECK(first.seed() != second.seed());
}

TEST_CASE("loader: an even shuffle") {
  // Every sample at every place about equally often: 5 places and 2000 epochs, 400 each, standard deviation 18.
  data::Loader loader(Counting{5}, {.shuffle = true, .seed = 9});
  std::vector<int> counts(25);
  for (int64_t epoch = 0; epoch < 2000; ++epoch) {
    auto order = loader.order(epoch);
    for (size_t place = 0; place < 5; ++place) ++counts[place * 5 + static_cast<size_t>(order[place])];
  }
  for (auto count : counts) CHECK(std::abs(count - 400) < 80);
}

TEST_CASE("loader: an lvalue data set is referred to, an rvalue kept") {
  Counting numbers{3};
  data::Loader loader(numbers, {.batch_size = 10});
  numbers.count = 5;
  CHECK(samples_of_epoch(loader) == counted(5));
  const Counting fixed{4};
  data::Loader constant(fixed, {.batch_size = 10});
  CHECK(samples_of_epoch(constant) == counted(4));
}

TEST_CASE("loader: a batch may be kept") {
  auto rows = arange<float>(12);
  data::Loader loader(data::TensorDataset(reshape(rows, {6, 2})), {.batch_size = 2});
  std::vector<Tensor<float>> kept;
  for (auto& [batch] : loader) kept.push_back(batch);
  for (int64_t i = 0; i < 3; ++i) {
    auto x = static_cast<float>(4 * i);
    CHECK(kept[static_cast<size_t>(i)].to_vector() == std::vector<float>{x, x + 1, x + 2, x + 3});
  }
}

TEST_CASE("loader: an error comes where its batch is asked for, with the sample's index") {
  for (int prefetch : {0, 1, 3}) {
    CAPTURE(prefetch);
    data::Loader loader(Counting{10, 5}, {.batch_size = 2, .prefetch = prefetch});
    auto batch = loader.begin();  // samples 0 and 1
    ++batch;                      // 2 and 3
    CHECK(std::get<0>(*batch).to_vector() == std::vector<int64_t>{2, 3});
    check_error<IoError>([&] { ++batch; }, "sample 5: the disk is broken");
    CHECK(batch == loader.end());
    ++batch;
    if (prefetch > 0) CHECK(batch == loader.end());
    data::Loader at_once(Counting{10, 0}, {.batch_size = 2, .prefetch = prefetch});
    check_error<IoError>([&] { at_once.begin(); }, "sample 0: the disk is broken");
  }
}

TEST_CASE("loader: breaking out ends the background thread and its work") {
  std::atomic<int64_t> calls{0};
  auto before = threads_of_process();
  {
    data::Loader loader(Counting{1'000'000, -1, &calls}, {.batch_size = 10, .prefetch = 2});
    for (int i = 0; i < 20; ++i) {
      for (auto& [numbers] : loader) {
        if (numbers.data()[0] >= 20) break;
      }
    }
    CHECK(threads_of_process() == before);
    auto seen = calls.load();
    CHECK(seen >= 20 * 30);
    CHECK(seen <= 20 * 60);  // three batches taken, at most two ready and one in the making
    CHECK_THROWS_AS(
        [&] {
          for (auto& batch : loader)
            throw std::runtime_error(join("batch of ", std::tuple_size_v<std::remove_reference_t<decltype(batch)>>));
        }(),
        std::runtime_error);
  }
  CHECK(threads_of_process() == before);
}

TEST_CASE("loader: it runs no further ahead than it was told") {
  std::atomic<int64_t> calls{0};
  data::Loader loader(Counting{1000, -1, &calls}, {.batch_size = 1, .prefetch = 3});
  auto batch = loader.begin();
  for (int i = 0; i < 200 && calls.load() < 4; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(calls.load() == 4);  // one here, three ahead
}

TEST_CASE("loader: two loops over one loader do not mix") {
  data::Loader loader(Counting{6}, {.batch_size = 2});
  auto first = loader.begin(), second = loader.begin();
  ++first;
  CHECK(std::get<0>(*first).to_vector() == std::vector<int64_t>{2, 3});
  CHECK(std::get<0>(*second).to_vector() == std::vector<int64_t>{0, 1});
}

TEST_CASE("loader: random transforms follow from the seed, not from threads, and the caller's generator stays") {
  auto noise = [](int prefetch, int64_t epoch) {
    data::Loader loader(data::map(Counting{20}, [](int64_t) { return rand<float>({3}); }),
                        {.batch_size = 4, .seed = 3, .prefetch = prefetch});
    loader.set_epoch(epoch);
    std::vector<float> all;
    for (auto& [values] : loader) {
      auto part = values.to_vector();
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  };
  manual_seed(8);
  auto expected = rand<float>({2}).to_vector();
  manual_seed(8);
  auto made_here = noise(0, 0);
  CHECK(rand<float>({2}).to_vector() == expected);
  CHECK(made_here == noise(2, 0));
  CHECK(made_here != noise(0, 1));
  CHECK(std::set<float>(made_here.begin(), made_here.end()).size() > 55);  // batches differ
}

TEST_CASE("loader: what transforms compute is not recorded") {
  auto weight = ones<float>({1});
  weight.set_requires_grad();
  for (int prefetch : {0, 2}) {
    data::Loader loader(data::map(Counting{4}, [&](int64_t i) { return weight * static_cast<double>(i); }),
                        {.batch_size = 2, .prefetch = prefetch});
    for (auto& [values] : loader) CHECK(!values.requires_grad());
  }
  CHECK(grad_enabled());
}

TEST_CASE("loader: loops of the background thread leave the pool to the thread that trains") {
  data::Loader loader(data::map(Counting{2},
                                [](int64_t) {
                                  std::atomic<int64_t> elsewhere{0};
                                  auto here = std::this_thread::get_id();
                                  parallel_chunks(64, [&](int64_t) {
                                    std::this_thread::sleep_for(std::chrono::microseconds(200));
                                    if (std::this_thread::get_id() != here) ++elsewhere;
                                  });
                                  return elsewhere.load();
                                }),
                      {.batch_size = 2});
  for (auto& [elsewhere] : loader) CHECK(elsewhere.to_vector() == std::vector<int64_t>{0, 0});
}

#if !defined(__SANITIZE_ADDRESS__)  // under it, memory is not cached
TEST_CASE("loader: a steady epoch takes no memory from the system") {
  for (int64_t row : {3, 100'000}) {  // kept by the thread, kept for all
    auto set = data::map_batches(
        data::TensorDataset(zeros<uint8_t>({200, row}), zeros<int64_t>({200})),
        [](const auto& pixels, const auto& labels) { return std::tuple(cast<float>(pixels) * 0.5, labels); });
    data::Loader loader(set, {.batch_size = 10, .shuffle = true, .prefetch = 2});
    auto epoch = [&](int pause) {
      for (auto& [pixels, labels] : loader) {
        if (pause > 0) std::this_thread::sleep_for(std::chrono::milliseconds(pause));
        CHECK(pixels.size(0) == labels.size(0));
      }
    };
    epoch(0);
    auto before = memory_stats().system_allocations;
    for (int pause : {0, 2, 0, 2}) epoch(pause);  // now the one thread waits, now the other
    CHECK(memory_stats().system_allocations == before);
  }
}
#endif

TEST_CASE("loader: options out of range") {
  check_error<ValueError>([] { data::Loader(Counting{3}, {.batch_size = 0}); },
                          "Loader: batch_size is 0, but must be at least 1");
  check_error<ValueError>([] { data::Loader(Counting{3}, {.prefetch = -1}); },
                          "Loader: prefetch is -1, but must not be negative");
}

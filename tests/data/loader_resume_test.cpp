// A loader that goes on in the middle of an epoch.
#include "gradus/data/loader.hpp"
#include "gradus/data/transform.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using test::check_error;

namespace {

auto noisy_set() {
  return data::map(data::TensorDataset(arange<float>(23)), [](const Tensor<float>& x) { return x + rand<float>({}); });
}

/// The batches of a loop over the loader, as text of their bits.
template <class Loader>
std::vector<std::vector<float>> batches_of(Loader& loader) {
  std::vector<std::vector<float>> result;
  for (auto& [x] : loader) result.push_back(x.to_vector());
  return result;
}

}  // namespace

TEST_CASE("loader: begins an epoch at any batch, with the samples and random numbers it would have had") {
  for (int prefetch : {0, 2}) {
    data::Loader whole(noisy_set(), {.batch_size = 4, .shuffle = true, .seed = 5, .prefetch = prefetch});
    auto first = batches_of(whole), second = batches_of(whole), third = batches_of(whole);
    data::Loader resumed(noisy_set(), {.batch_size = 4, .shuffle = true, .seed = 5, .prefetch = prefetch});
    resumed.set_epoch(1, 4);
    CHECK(resumed.skipped() == 16);
    CHECK(batches_of(resumed) == std::vector(second.begin() + 4, second.end()));
    CHECK(resumed.skipped() == 0);
    CHECK(batches_of(resumed) == third);
    resumed.set_epoch(0, 6);  // behind the last one: an empty loop
    CHECK(batches_of(resumed).empty());
    CHECK(batches_of(resumed) == second);
    CHECK(first != second);
  }
}

TEST_CASE("loader: positions that cannot be") {
  data::Loader loader(noisy_set(), {.batch_size = 4});
  check_error<ValueError>([&] { loader.set_epoch(-1); },
                          "Loader: epoch -1 and batch 0, but there are epochs from 0 on, of 6 batches");
  check_error<ValueError>([&] { loader.set_epoch(0, 7); },
                          "Loader: epoch 0 and batch 7, but there are epochs from 0 on, of 6 batches");
}

#include "gradus/data/augment.hpp"

#include <set>

#include "gradus/data/images.hpp"
#include "gradus/data/loader.hpp"
#include "gradus/data/normalize.hpp"
#include "gradus/data/transform.hpp"
#include "gradus/ops/indexing/cat.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"

using namespace gradus;
using gradus::test::check_error;

namespace {

/// Pixel (row, column) of channel c of image i is 1000 i + 100 c + 10 row + column + 1.
Tensor<float> numbered_images(int64_t n, int64_t channels, int64_t height, int64_t width) {
  auto images = Tensor<float>::empty({n, channels, height, width});
  auto* to = images.mutable_data();
  for (int64_t i = 0; i < images.numel(); ++i) {
    auto column = i % width, row = i / width % height, channel = i / width / height % channels;
    to[i] = static_cast<float>(1000 * (i / width / height / channels) + 100 * channel + 10 * row + column + 1);
  }
  return images;
}

}  // namespace

TEST_CASE("random crop: every window is a part of its padded image, and every place is drawn") {
  manual_seed(1);
  auto image = numbered_images(1, 2, 3, 4);
  std::set<std::pair<int64_t, int64_t>> places;
  for (int round = 0; round < 200; ++round) {
    auto crop = data::random_crop(image, {3, 4}, {.padding = {1, 2}, .fill = -7});
    REQUIRE(crop.shape() == Shape{1, 2, 3, 4});
    // Find the place from any pixel of the image, then check all.
    std::optional<std::pair<int64_t, int64_t>> place;
    for (int64_t y = 0; y < 3; ++y) {
      for (int64_t x = 0; x < 4; ++x) {
        auto number = static_cast<int64_t>(crop(0, 0, y, x)) - 1;
        if (number >= 0) place = {number / 10 - y, number % 10 - x};
      }
    }
    REQUIRE(place.has_value());
    auto [top, left] = *place;
    places.insert(*place);
    for (int64_t c = 0; c < 2; ++c) {
      for (int64_t y = 0; y < 3; ++y) {
        for (int64_t x = 0; x < 4; ++x) {
          auto inside = top + y >= 0 && top + y < 3 && left + x >= 0 && left + x < 4;
          CHECK(crop(0, c, y, x) == (inside ? image(0, c, top + y, left + x) : -7.0f));
        }
      }
    }
  }
  CHECK(places.size() == 3 * 5);
}

TEST_CASE("random crop: other sizes than the image's, other types, views, nothing at all") {
  manual_seed(2);
  auto images = numbered_images(3, 1, 5, 5);
  CHECK(data::random_crop(images, 5).to_vector() == images.to_vector());
  CHECK(data::random_crop(images, {2, 3}).shape() == Shape{3, 1, 2, 3});
  CHECK(data::random_crop(select(images, 0, 1), 5).to_vector() == select(images, 0, 1).to_vector());
  auto turned = transpose(images, 2, 3);  // not contiguous
  CHECK(data::random_crop(turned, 5).to_vector() == turned.to_vector());
  CHECK(data::random_crop(full<uint8_t>({1, 2, 2}, 9), {6, 2}, {.padding = {2, 0}, .fill = 255}).to_vector() ==
        std::vector<uint8_t>{255, 255, 255, 255, 9, 9, 9, 9, 255, 255, 255, 255});
  CHECK(data::random_crop(zeros<float>({0, 3, 4, 4}), 2).shape() == Shape{0, 3, 2, 2});
  // A padding that is wider than the window: windows beside the image hold the fill alone.
  for (int round = 0; round < 50; ++round) {
    auto crop = data::random_crop(full<float>({1, 1, 1}, 1), 1, {.padding = 3});
    CHECK((crop.data()[0] == 0 || crop.data()[0] == 1));
  }
}

TEST_CASE("random flip: an image is mirrored or it is not, about as often as asked for") {
  manual_seed(3);
  auto images = numbered_images(1000, 2, 2, 3);
  auto flipped = data::random_horizontal_flip(images, 0.3);
  int64_t count = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    auto turned = flipped(i, 0, 0, 0) != images(i, 0, 0, 0);
    count += turned;
    bool as_a_whole = true;
    for (int64_t c = 0; c < 2; ++c) {
      for (int64_t y = 0; y < 2; ++y) {
        for (int64_t x = 0; x < 3; ++x) as_a_whole &= flipped(i, c, y, x) == images(i, c, y, turned ? 2 - x : x);
      }
    }
    CHECK(as_a_whole);
  }
  CHECK(std::abs(static_cast<int>(count) - 300) < 60);  // four standard deviations
  CHECK(data::random_horizontal_flip(images, 0).to_vector() == images.to_vector());
  auto all = data::random_horizontal_flip(images, 1);
  CHECK(all(7, 1, 0, 0) == images(7, 1, 0, 2));
  CHECK(images(0, 0, 0, 0) == 1);  // not changed in place
}

TEST_CASE("augmentation: a batch gives what its samples one after the other give") {
  auto images = numbered_images(8, 1, 4, 4);
  auto one_by_one = [&](auto&& f) {
    manual_seed(4);
    std::vector<Tensor<float>> parts;
    for (int64_t i = 0; i < 8; ++i) parts.push_back(unsqueeze(f(select(images, 0, i)), 0));
    return cat(parts).to_vector();
  };
  auto at_once = [&](auto&& f) {
    manual_seed(4);
    return f(images).to_vector();
  };
  auto crop = [](const auto& x) { return data::random_crop(x, 4, {.padding = 2}); };
  auto flip = [](const auto& x) { return data::random_horizontal_flip(x); };
  CHECK(one_by_one(crop) == at_once(crop));
  CHECK(one_by_one(flip) == at_once(flip));
  CHECK(at_once(crop) != images.to_vector());
}

TEST_CASE("augmentation: in a loader it follows from seed and epoch, not from threads") {
  auto epoch = [](int prefetch, int64_t number) {
    data::Loader loader(data::map_batches(data::TensorDataset(numbered_images(20, 1, 4, 4)),
                                          [](const auto& images) {
                                            auto crops = data::random_crop(images, 4, {.padding = 1});
                                            return data::random_horizontal_flip(crops);
                                          }),
                        {.batch_size = 6, .shuffle = true, .seed = 5, .prefetch = prefetch});
    loader.set_epoch(number);
    std::vector<float> all;
    for (auto& [images] : loader) {
      auto part = images.to_vector();
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  };
  CHECK(epoch(0, 0) == epoch(3, 0));
  CHECK(epoch(0, 0) != epoch(0, 1));
}

TEST_CASE("augmentation: errors") {
  check_error<ShapeError>(
      [] {
        data::random_crop(zeros<float>({4, 4}), 2);
      },
      "random_crop: images are (4, 4), but must be (channels, height, width) or (n, channels, "
      "height, width)");
  check_error<ShapeError>(
      [] {
        data::random_crop(zeros<float>({1, 4, 4}), {7, 4}, {.padding = 1});
      },
      "random_crop: a window of (7, 4) does not fit images (1, 4, 4) with padding (1, 1)");
  check_error<ValueError>(
      [] {
        data::random_crop(zeros<float>({1, 4, 4}), 4, {.padding = {0, -1}});
      },
      "random_crop: padding is (0, -1), but must not be negative");
  check_error<ValueError>(
      [] {
        data::random_crop(zeros<uint8_t>({1, 4, 4}), 4, {.fill = 256});
      },
      "random_crop: fill is 256, which is out of the range of uint8");
  check_error<ValueError>(
      [] {
        data::random_horizontal_flip(zeros<float>({1, 4, 4}), 1.5);
      },
      "random_horizontal_flip: p is 1.5, but must be from 0 to 1");
}

TEST_CASE("normalize: channels come to mean 0 and standard deviation 1") {
  auto images = numbered_images(300, 3, 4, 5);  // more than one part of channel_stats
  auto stats = data::channel_stats(data::TensorDataset(images));
  REQUIRE(stats.mean.size() == 3);
  CHECK(stats.mean[1] - stats.mean[0] == Approx(100));
  CHECK(stats.mean[0] == Approx(1000 * 149.5 + 15 + 2 + 1));
  // Images, rows and columns vary by themselves: the variances of 1000 * 300, 10 * 4 and 5 steps, (n^2 - 1) / 12 each.
  CHECK(stats.std[2] == Approx(std::sqrt(1e6 * (300.0 * 300 - 1) / 12 + 100 * 15 / 12.0 + 2)));
  auto normal = data::normalize(images, stats);
  auto again = data::channel_stats(data::TensorDataset(normal));
  for (size_t c = 0; c < 3; ++c) {
    CHECK(again.mean[c] == Approx(0).margin(1e-6));
    CHECK(again.std[c] == Approx(1));
  }
  auto one = data::normalize(select(images, 0, 2), stats);
  CHECK(one.to_vector() == select(normal, 0, 2).to_vector());
  auto halved = data::normalize(full<double>({1, 2, 1, 1}, 3), {.mean = {1, 3}, .std = {4, 2}});
  CHECK(halved.to_vector() == std::vector<double>{0.5, 0});
}

TEST_CASE("normalize: the statistics of the digits, of bytes and of scaled floats") {
  auto digits = data::uci_digits("data/uci-digits", data::Split::train);
  auto bytes = data::channel_stats(data::TensorDataset(digits.images, digits.labels));
  CHECK(bytes.mean[0] == Approx(4.88171875));  // as NumPy has them
  CHECK(bytes.std[0] == Approx(6.0004512994));
  auto scaled = data::channel_stats(data::TensorDataset(digits.scaled()));
  CHECK(scaled.mean[0] == Approx(bytes.mean[0] / 16));
  CHECK(scaled.std[0] == Approx(bytes.std[0] / 16));
}

TEST_CASE("normalize: errors") {
  auto images = zeros<float>({2, 3, 4, 4});
  check_error<ShapeError>([&] { data::normalize(images, {.mean = {0}, .std = {1}}); },
                          "normalize: images are (2, 3, 4, 4) with 3 channels, but there are 1 means and 1 standard "
                          "deviations");
  check_error<ValueError>([&] { data::normalize(images, data::channel_stats(data::TensorDataset(images + 0.1))); },
                          "normalize: the standard deviation of channel 0 is 0, but must be above 0");
  check_error<ValueError>(
      [] {
        data::channel_stats(data::TensorDataset(zeros<float>({0, 1, 4, 4})));
      },
      "channel_stats: the data set is empty");
  check_error<ShapeError>(
      [] {
        data::channel_stats(data::TensorDataset(zeros<float>({5, 4})));
      },
      "channel_stats: a sample's first part must be (channels, height, width), but 5 of them are "
      "(5, 4)");
}

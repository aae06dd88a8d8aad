// Labelled images, and the two sets that the demo and the tests use.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <vector>

#include "gradus/data/idx.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"

namespace gradus::data::inline GRADUS_BUILD {

/// Grey images and their classes.
struct LabelledImages {
  Tensor<uint8_t> images;                ///< (n, 1, height, width)
  Tensor<int64_t> labels;                ///< (n,), below class_names.size()
  std::vector<std::string> class_names;  ///< one a class
  int white = 255;                       ///< the largest value of a pixel

  int64_t size() const { return labels.numel(); }
  /// The images as floats from 0 to 1: (n, 1, height, width).
  Tensor<float> scaled() const { return cast<float>(images) * (1.0 / white); }
  /// Images first, first + 1, ... last - 1.
  LabelledImages part(int64_t first, int64_t last) const {
    return {slice(images, 0, first, last), slice(labels, 0, first, last), class_names, white};
  }
};

enum class Split { train, test };

}  // namespace gradus::data::inline GRADUS_BUILD

namespace gradus::data::detail::inline GRADUS_BUILD {

#if defined(GRADUS_HAS_ZLIB)
inline constexpr bool reads_packed = true;
#else
inline constexpr bool reads_packed = false;
#endif

/// folder/name or folder/name.gz, whichever is there.
GRADUS_COLD inline std::optional<std::string> find_packed(const std::string& folder, const std::string& name) {
  for (const auto* ending : {"", ".gz"}) {
    auto path = folder + '/' + name + ending;
    if (std::filesystem::is_regular_file(path)) return path;
  }
  return std::nullopt;
}

/// Reads a pair of IDX files and checks that they belong together.
GRADUS_COLD inline LabelledImages read_labelled(std::string_view set, const std::string& folder,
                                                const std::string& prefix, std::vector<std::string> class_names) {
  auto path_of = [&](const std::string& name) {
    auto path = find_packed(folder, name);
    require<IoError>(path.has_value(), set, ": there is neither ", folder, '/', name, " nor ", name, ".gz");
    return *path;
  };
  auto images_path = path_of(prefix + "images-idx3-ubyte"), labels_path = path_of(prefix + "labels-idx1-ubyte");
  auto images = read_idx<uint8_t>(images_path);  // (n, height, width)
  auto labels = read_idx<int64_t>(labels_path);  // (n,)
  require<FormatError>(images.rank() == 3 && labels.rank() == 1 && images.size(0) == labels.size(0), set, ": ",
                       images_path, " holds ", images.shape(), " and ", labels_path, ' ', labels.shape(),
                       ", but they must be (n, height, width) and (n,)");
  auto classes = static_cast<int64_t>(class_names.size());
  for (auto label : labels.span()) {
    require<FormatError>(label >= 0 && label < classes, set, ": ", labels_path, " has label ", label,
                         ", but there are ", classes, " classes");
  }
  return {unsqueeze(images, 1), labels, std::move(class_names)};
}

}  // namespace gradus::data::detail::inline GRADUS_BUILD

namespace gradus::data::inline GRADUS_BUILD {

/// Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 60,000 and 10,000 photographs of clothing, 28 x 28, in ten classes.
/// `folder` holds the four files under their own names, packed or not.
GRADUS_COLD inline LabelledImages fashion_mnist(const std::string& folder, Split split) {
  return detail::read_labelled(
      "fashion_mnist", folder, split == Split::train ? "train-" : "t10k-",
      {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"});
}
/// The first of these folders that has the files in a form that this program can read, then where Debian's package
/// dataset-fashion-mnist puts them.
GRADUS_COLD inline std::optional<std::string> find_fashion_mnist(std::vector<std::string> folders = {}) {
  folders.emplace_back("/usr/share/datasets/fashion-mnist");
  for (const auto& folder : folders) {
    auto complete = true;
    for (const auto* name :
         {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
      auto path = detail::find_packed(folder, name);
      complete = complete && path && (detail::reads_packed || !path->ends_with(".gz"));
    }
    if (complete) return folder;
  }
  return std::nullopt;
}

/// The handwritten digits of data/uci-digits (Alpaydin and Kaynak, 1998): 8 x 8, in ten classes. The first 1,500 are
/// for training, the last 297 for the test.
GRADUS_COLD inline LabelledImages uci_digits(const std::string& folder, Split split) {
  auto all = detail::read_labelled("uci_digits", folder, "", {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
  all.white = 16;
  auto border = std::min<int64_t>(1500, all.size());
  return split == Split::train ? all.part(0, border) : all.part(border, all.size());
}

}  // namespace gradus::data::inline GRADUS_BUILD

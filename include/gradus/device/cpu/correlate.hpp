// The product of weights and windows behind a convolution and its input gradient: windows are packed straight from
// zero-padded copies of a few images, or from the images themselves, so no matrix of all windows is ever made.
#pragma once

#include "gradus/device/cpu/conv_pairs.hpp"
#include "gradus/device/cpu/gemm.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Where the results of a product go: window (row, column) of image i, channel c, to
/// data[i * image + c * channel + row * row + column * column].
template <class T>
struct ConvResults {
  T* data;
  int64_t image, channel, row, column;
};

/// Writes `count` results of one channel from window `first` on, counted through all images.
template <class C, class T>
void write_windows(const Windows& windows, const C* sums, int64_t first, int64_t count, C bias,
                   const RectifierRange<C>& range, T* to, const ConvResults<T>& results) {
  auto dense = results.column == 1 && results.row == windows.ow;
  for (int64_t at = 0; at < count;) {
    auto image = (first + at) / windows.pixels(), pixel = (first + at) % windows.pixels();
    auto row = pixel / windows.ow, column = pixel % windows.ow;
    auto run = std::min(dense ? windows.pixels() - pixel : windows.ow - column, count - at);
    auto* target = to + image * results.image + row * results.row + column * results.column;
    if (results.column == 1) {
      write_rectified_row(sums + at, run, bias, range, target);
    } else {
      constexpr int64_t block = 64;
      alignas(64) T values[block];
      for (int64_t i = 0; i < run; i += block) {
        auto some = std::min(block, run - i);
        write_rectified_row(sums + at + i, some, bias, range, values);
        for (int64_t k = 0; k < some; ++k) target[(i + k) * results.column] = values[k];
      }
    }
    at += run;
  }
}

/// How such a product is cut into chunks: a chunk is a few small images, or a stretch of a large one; where these are
/// few, for some of the channels.
template <class C>
struct CorrelatePlan {
  using Tile = GemmTile<C>;
  using Plan = GemmPlan<C>;
  static constexpr int64_t group = 4 * Tile::columns;  ///< windows that are packed at once
  int64_t images_per_chunk, image_chunks, stretches, stretch, row_chunks, chunk_rows;

  CorrelatePlan(int64_t images, int64_t pixels, int64_t rows) {
    images_per_chunk = Plan::ceil_div(images, std::clamp<int64_t>(images * pixels / group, 1, images));
    image_chunks = Plan::ceil_div(images, images_per_chunk);
    stretches = std::clamp<int64_t>(pixels / (8 * Tile::columns), 1, std::max<int64_t>(1, 16 / image_chunks));
    stretch = Plan::round_up(Plan::ceil_div(images_per_chunk * pixels, stretches), Tile::columns);
    row_chunks = std::clamp<int64_t>(Plan::ceil_div(8, column_chunks()), 1, Plan::ceil_div(rows, 4 * Tile::rows));
    chunk_rows = Plan::round_up(Plan::ceil_div(rows, row_chunks), Tile::rows);
    row_chunks = Plan::ceil_div(rows, chunk_rows);
  }
  int64_t column_chunks() const { return image_chunks * stretches; }
};

/// All windows packed once, for chunks that share them: panels of (all k, whole registers), so that a panel may be read
/// from any k on.
template <class C>
class PackedWindows {
 public:
  /// `windows_count` of them, in runs of `run`, each of which begins with a panel of its own.
  PackedWindows(const Windows& windows, int64_t run, int64_t windows_count)
      : k_(windows.depth()),
        run_(run),
        count_(windows_count),
        run_columns_(GemmPlan<C>::round_up(run, GemmTile<C>::lanes)),
        data_(GemmPlan<C>::ceil_div(windows_count, run) * run_columns_ * k_) {}

  /// pack_part(first window, count, first k, depth, to) packs a part of a panel.
  template <class PackPart>
  void pack(PackPart&& pack_part) {
    using Tile = GemmTile<C>;
    constexpr int64_t piece = 64;  // of k
    auto pieces = GemmPlan<C>::ceil_div(k_, piece), runs = GemmPlan<C>::ceil_div(count_, run_);
    parallel_chunks(runs * pieces, [&](int64_t chunk) {
      auto run = chunk / pieces, kb = chunk % pieces * piece;
      auto columns = std::min(run_, count_ - run * run_), depth = std::min(piece, k_ - kb);
      for (int64_t j = 0; j < columns; j += Tile::columns) {
        auto width = std::min<int64_t>(Tile::columns, columns - j);
        pack_part(run * run_ + j, width, kb, depth,
                  data_.data() + (run * run_columns_ + j) * k_ + kb * column_registers<C>(width) * Tile::lanes);
      }
    });
  }
  /// The panel at window `column` of a run, `registers` wide, from `k` on.
  const C* panel(int64_t run, int64_t column, int64_t k, int registers) const {
    return data_.data() + (run * run_columns_ + column) * k_ + k * registers * GemmTile<C>::lanes;
  }

 private:
  int64_t k_, run_, count_, run_columns_;
  Scratch<C> data_;
};

/// Images whose pixels are the windows, which need no padded copy: (images, channels, pixels), or nothing.
template <class T>
struct DenseImages {
  const T* data = nullptr;
  int64_t channels = 0;
};

/// gemm_tile of units.
template <class C>
void unit_tile(int registers, int64_t depth, const C* a, const C* b, ConvSum<C>* c, int64_t ld, bool accumulate) {
  if constexpr (in_pairs<C>) {
    gemm_tile<bf16>(registers, 2 * depth, reinterpret_cast<const bf16*>(a), reinterpret_cast<const bf16*>(b), c, ld,
                    accumulate);
  } else {
    gemm_tile<C>(registers, depth, a, b, c, ld, accumulate);
  }
}

/// y[i][p] = sum over k of weight(i, k) * window k at p, for one group of channels, all in units of C.
/// pack_weights(first row, rows, to) packs panels of A; pad(image, to) makes an image's padded copy, unless `dense`
/// images are there; bias may be null. Results are rectified.
template <class C, class T>
void correlate(const Windows& windows, int64_t images, int64_t rows,
               FunctionRef<void(int64_t first, int64_t rows, C* to)> pack_weights,
               FunctionRef<void(int64_t image, C* to)> pad, const DenseImages<T>& dense, const T* bias,
               Rectifier rectifier, const ConvResults<T>& results) {
  if (images == 0) return;
  using Tile = GemmTile<C>;
  using Plan = GemmPlan<C>;
  using Sum = ConvSum<C>;
  auto k = windows.depth(), pixels = windows.pixels(), image_size = windows.image_size();
  auto pads = dense.data == nullptr;
  CorrelatePlan<C> plan(images, pixels, rows);
  RectifierRange<Sum> range(rectifier);
  // Weights of one chunk are packed by its thread, in whose cache they stay.
  constexpr int64_t cache = 640 * 1024 / sizeof(C);
  auto weights_once = plan.column_chunks() == 1 && plan.chunk_rows * k <= cache;
  Scratch<C> all_weights(weights_once ? 0 : Plan::round_up(rows, Tile::rows) * k);
  if (!weights_once) pack_weights(0, rows, all_weights.data());
  constexpr int64_t group = CorrelatePlan<C>::group;
  auto shared = plan.row_chunks > 1 && plan.stretches == 1;
  Scratch<C> all_padded(shared && pads ? images * image_size + Windows::slack : 0);
  PackedWindows<C> all(windows, plan.images_per_chunk * pixels, shared ? images * pixels : 0);
  // A part of a panel of the windows of images from `first_image` on; those before `padded` are not in it.
  auto pack = [&](const C* padded, int64_t first_image, int64_t window, int64_t count, int64_t kb, int64_t depth,
                  C* to) {
    if (pads) return pack_windows(windows, padded, window, count, kb, depth, true, to);
    [[maybe_unused]] auto* pixel = dense.data + first_image * dense.channels * pixels;
    if constexpr (std::is_same_v<C, T>) pack_windows(windows, pixel, window, count, kb, depth, false, to);
    if constexpr (in_pairs<C>) pack_pixel_pairs(pixel, dense.channels, pixels, window, count, kb, depth, to);
  };
  if (shared) {
    if (pads) {
      parallel_for(images, std::max<int64_t>(1, 16384 / image_size), [&](int64_t first, int64_t last) {
        for (auto i = first; i < last; ++i) pad(i, all_padded.data() + i * image_size);
      });
    }
    all.pack([&](int64_t window, int64_t count, int64_t kb, int64_t depth, C* to) {
      pack(all_padded.data(), 0, window, count, kb, depth, to);
    });
  }
  parallel_chunks(plan.column_chunks() * plan.row_chunks, [&](int64_t chunk) {
    auto first_row = chunk % plan.row_chunks * plan.chunk_rows, row_count = std::min(plan.chunk_rows, rows - first_row);
    auto column_chunk = chunk / plan.row_chunks, image_chunk = column_chunk / plan.stretches;
    auto first_image = image_chunk * plan.images_per_chunk;
    auto count = std::min(plan.images_per_chunk, images - first_image);
    auto begin = column_chunk % plan.stretches * plan.stretch, end = std::min(count * pixels, begin + plan.stretch);
    if (begin >= end) return;
    Scratch<C> own_weights(weights_once ? Plan::round_up(row_count, Tile::rows) * k : 0);
    if (weights_once) pack_weights(first_row, row_count, own_weights.data());
    auto* weights = weights_once ? own_weights.data() : all_weights.data() + first_row * k;
    auto pads_here = pads && !shared;
    Scratch<C> padded(pads_here ? count * image_size + Windows::slack : 0);
    for (int64_t i = 0; pads_here && i < count; ++i) pad(first_image + i, padded.data() + i * image_size);
    Scratch<C> packed(shared ? 0 : Tile::depth * group);
    Scratch<Sum> sums(Plan::round_up(row_count, Tile::rows) * group);
    for (auto j0 = begin; j0 < end; j0 += group) {
      auto columns = std::min(group, end - j0), ld = Plan::round_up(columns, Tile::lanes);
      auto width = [&](int64_t j) { return std::min<int64_t>(Tile::columns, columns - j); };
      for (int64_t kb = 0; kb < k; kb += Tile::depth) {
        auto depth = std::min<int64_t>(Tile::depth, k - kb);
        for (int64_t j = 0; !shared && j < columns; j += Tile::columns)
          pack(padded.data(), first_image, j0 + j, width(j), kb, depth, packed.data() + j * depth);
        for (int64_t i = 0; i < row_count; i += Tile::rows) {
          for (int64_t j = 0; j < columns; j += Tile::columns) {
            auto registers = column_registers<C>(width(j));
            auto* b = shared ? all.panel(image_chunk, j0 + j, kb, registers) : packed.data() + j * depth;
            unit_tile<C>(registers, depth, weights + i * k + kb * Tile::rows, b, sums.data() + i * ld + j, ld, kb > 0);
          }
        }
      }
      for (int64_t i = 0; i < row_count; ++i) {
        auto value = bias != nullptr ? static_cast<Sum>(bias[first_row + i]) : Sum(0);
        write_windows<Sum, T>(windows, sums.data() + i * ld, j0, columns, value, range,
                              results.data + first_image * results.image + (first_row + i) * results.channel, results);
      }
    }
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD

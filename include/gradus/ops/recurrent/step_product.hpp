// The products of a recurrent layer's steps. A weight is packed once a sequence, not once a step, and the sequences of
// a batch go in groups, each of which runs all its steps on one thread: no thread waits for another within a sequence.
#pragma once

#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/gemm.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Calls body(first, count) for groups of a batch's sequences, in parallel; the groups depend on its size alone. A
/// small batch is one group, whose products use the threads instead (in a group of several, such loops run inline).
template <class Body>
void for_sequence_groups(int64_t batch, Body&& body) {
  auto eighth = (batch / 8 + 7) / 8 * 8;
  auto group = batch < 32 ? batch : std::clamp<int64_t>(eighth, 8, 32);
  parallel_for(batch, group, [&](int64_t first, int64_t last) { body(first, last - first); });
}

/// Multiplies rows by one packed matrix. Each row of a result depends on its own row alone, whatever the others are and
/// however many: a step computes the same bits within a sequence and on its own.
template <class C>
class StepProduct {
  using Tile = GemmTile<C>;

 public:
  template <class T>
  explicit StepProduct(const MatrixView<T>& b)
      : depth_(b.rows),
        columns_(b.columns),
        width_((columns_ + Tile::lanes - 1) / Tile::lanes * Tile::lanes),
        packed_(depth_ * width_) {
    for_panels(1, [&](int64_t j, int64_t columns, int registers) {
      for_blocks([&](int64_t k, int64_t depth) {
        int64_t padded = registers * Tile::lanes;
        pack_panel(b.data + k * b.row_stride + j * b.column_stride, b.column_stride, b.row_stride, columns, depth,
                   packed_.data() + k * width_ + j * depth, padded, padded);
      });
    });
  }

  /// The length of a row of results: the columns, filled up to whole registers.
  int64_t width() const { return width_; }
  /// Numbers that the results of so many rows take.
  int64_t size(int64_t rows) const { return whole_tiles(rows) * width_; }

  /// sums (size(rows) numbers) = a b, or with `accumulate` += a b. Rows of a (rows, depth) follow one another.
  template <class T>
  void operator()(const T* a, int64_t rows, C* sums, bool accumulate) const {
    if (depth_ == 0 && !accumulate) std::fill_n(sums, size(rows), C(0));
    Scratch<C> packed(whole_tiles(rows) * depth_);  // block by block, tile by tile
    for_blocks([&](int64_t k, int64_t depth) {
      for (int64_t i = 0; i < rows; i += Tile::rows)
        pack_panel(a + i * depth_ + k, depth_, int64_t{1}, std::min<int64_t>(Tile::rows, rows - i), depth,
                   packed.data() + whole_tiles(rows) * k + i * depth, Tile::rows, Tile::rows);
    });
    for_panels(rows, [&](int64_t j, int64_t, int registers) {
      for_blocks([&](int64_t k, int64_t depth) {
        for (int64_t i = 0; i < rows; i += Tile::rows)
          gemm_tile<C>(registers, depth, packed.data() + whole_tiles(rows) * k + i * depth,
                       packed_.data() + k * width_ + j * depth, sums + i * width_ + j, width_, accumulate || k > 0);
      });
    });
  }

 private:
  static int64_t whole_tiles(int64_t rows) { return (rows + Tile::rows - 1) / Tile::rows * Tile::rows; }

  /// body(first column, columns, registers), in parallel where `rows` rows make that worth it.
  template <class Body>
  void for_panels(int64_t rows, Body&& body) const {
    auto panels = (columns_ + Tile::columns - 1) / Tile::columns;
    auto grain = 262144 / std::max<int64_t>(whole_tiles(rows) * Tile::columns * depth_, 1);
    parallel_for(panels, grain, [&](int64_t first, int64_t last) {
      for (auto panel = first; panel < last; ++panel) {
        auto j = panel * Tile::columns, columns = std::min<int64_t>(Tile::columns, columns_ - j);
        body(j, columns, column_registers<C>(columns));
      }
    });
  }
  template <class Body>
  void for_blocks(Body&& body) const {
    for (int64_t k = 0; k < depth_; k += Tile::depth) body(k, std::min<int64_t>(Tile::depth, depth_ - k));
  }

  int64_t depth_, columns_, width_;
  Scratch<C> packed_;
};

}  // namespace gradus::detail::inline GRADUS_BUILD

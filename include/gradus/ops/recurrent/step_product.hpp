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
  auto quarter = (batch / 4 + 7) / 8 * 8;
  auto group = batch < 32 ? batch : std::clamp<int64_t>(quarter, 8, 32);
  parallel_for(batch, group, [&](int64_t first, int64_t last) { body(first, last - first); });
}

/// The rows that go into a step's products, packed.
template <class T>
class StepRows {
  using C = Packed<T>;
  using Tile = GemmTile<C>;

 public:
  StepRows(int64_t rows, int64_t depth)
      : rows_(rows),
        depth_(depth),
        padded_((rows + Tile::rows - 1) / Tile::rows * Tile::rows),
        packed_(padded_ * packed_depth<C>(depth)) {}

  int64_t rows() const { return rows_; }
  int64_t padded() const { return padded_; }  ///< up to whole tiles

  /// Takes a (rows, depth), whose rows follow one another.
  void pack(const T* a) {
    for (int64_t k = 0; k < depth_; k += Tile::depth) {
      for (int64_t i = 0; i < rows_; i += Tile::rows) {
        auto depth = std::min<int64_t>(Tile::depth, depth_ - k);
        pack_panel(a + i * depth_ + k, depth_, int64_t{1}, std::min<int64_t>(Tile::rows, rows_ - i), depth,
                   packed_.data() + padded_ * k + i * packed_depth<C>(depth), Tile::rows, Tile::rows);
      }
    }
  }
  /// A tile of rows from i on, in the block of `depth` from k on.
  const C* tile(int64_t i, int64_t k, int64_t depth) const {
    return packed_.data() + padded_ * k + i * packed_depth<C>(depth);
  }

 private:
  int64_t rows_, depth_, padded_;
  Scratch<C> packed_;
};

/// Multiplies rows by one packed matrix. Each row of a result depends on its own row alone, whatever the others are and
/// however many: a step computes the same bits within a sequence and on its own.
template <class T>
class StepProduct {
  using C = Packed<T>;
  using Tile = GemmTile<C>;

 public:
  explicit StepProduct(const MatrixView<T>& b)
      : depth_(b.rows),
        columns_(b.columns),
        width_((columns_ + Tile::lanes - 1) / Tile::lanes * Tile::lanes),
        packed_(packed_depth<C>(depth_) * width_) {
    for_panels(Tile::rows, [&](int64_t j, int64_t columns, int registers) {
      for_blocks([&](int64_t k, int64_t depth) {
        int64_t padded = registers * Tile::lanes;
        pack_panel(b.data + k * b.row_stride + j * b.column_stride, b.column_stride, b.row_stride, columns, depth,
                   packed_.data() + k * width_ + j * packed_depth<C>(depth), padded, padded);
      });
    });
  }

  /// The length of a row of results: the columns, filled up to whole registers.
  int64_t width() const { return width_; }

  /// sums (a.padded(), width()) = a b, or with `accumulate` += a b.
  void operator()(const StepRows<T>& a, Compute<T>* sums, bool accumulate = false) const {
    if (depth_ == 0 && !accumulate) std::fill_n(sums, a.padded() * width_, Compute<T>(0));
    for_panels(a.padded(), [&](int64_t j, int64_t, int registers) {
      for_blocks([&](int64_t k, int64_t depth) {
        for (int64_t i = 0; i < a.rows(); i += Tile::rows)
          gemm_tile<C>(registers, depth, a.tile(i, k, depth), packed_.data() + k * width_ + j * packed_depth<C>(depth),
                       sums + i * width_ + j, width_, accumulate || k > 0);
      });
    });
  }

 private:
  /// body(first column, columns, registers), in parallel where products of `rows` rows make that worth it.
  template <class Body>
  void for_panels(int64_t rows, Body&& body) const {
    auto panels = (columns_ + Tile::columns - 1) / Tile::columns;
    auto grain = 262144 / std::max<int64_t>(rows * Tile::columns * depth_, 1);
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

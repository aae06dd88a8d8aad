// Matrix product on the CPU: packed, blocked, in parallel, for operands with any strides.
//
// The result is cut into groups of rows and of columns, and a long inner dimension into parts, by the sizes alone;
// parts are added in index order. So the bits do not depend on the number of threads.
#pragma once

#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/gemm_kernel.hpp"
#include "gradus/device/cpu/simd_rows.hpp"
#include "gradus/device/cpu/strided_tile.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// Element (i, j) is data[i * row_stride + j * column_stride]; a transposed operand needs no copy.
template <class T>
struct MatrixView {
  const T* data;
  int64_t rows, columns, row_stride, column_stride;
};

/// What happens as C is written: + row_bias[i] + column_bias[j]; with accumulate, + what was there.
template <class T>
struct GemmTail {
  const T* row_bias = nullptr;
  const T* column_bias = nullptr;
  bool accumulate = false;
};

/// A result of the sums' own type, which takes them block by block: no sums beside it, and no pass that copies them.
/// Its rows lie `row` apart. With accumulate sums are added to what is there; with has_tail write() gets finished rows
/// of it to change them in place.
template <class Sum>
struct SumsInResult {
  Sum* data = nullptr;
  int64_t row = 0;
  bool accumulate = false, has_tail = false;
};

/// How a product of these sizes is cut into chunks: rows and columns into groups, a long depth into parts.
template <class C>
struct GemmPlan {
  using Tile = GemmTile<C>;
  int64_t rows, columns, depth;
  int64_t row_groups = 1, column_groups = 1, parts = 1;
  int64_t part_depth = 0, block_depth = 0;  ///< a part goes in blocks

  /// Every element is summed in the same order whatever the groups: they may follow the number of threads, parts not.
  GemmPlan(int64_t m, int64_t n, int64_t k, int64_t threads) : rows(m), columns(n), depth(k) {
    auto tiles = ceil_div(m, Tile::rows), registers = ceil_div(n, Tile::lanes);
    parts = std::clamp<int64_t>(std::min(96 / (tiles * registers), depth / (3 * Tile::depth)), 1, 32);
    part_depth = round_up(ceil_div(std::max<int64_t>(depth, 1), parts), Tile::depth);
    parts = std::max<int64_t>(1, ceil_div(depth, part_depth));
    auto longest = std::min(part_depth, round_up(std::max<int64_t>(depth, 1), Tile::lanes));
    block_depth = round_up(ceil_div(longest, ceil_div(longest, 2 * Tile::depth)), Tile::lanes);
    auto most_registers = std::clamp<int64_t>(12 * Tile::depth / block_depth, 3, 12);
    auto fewest_rows = ceil_div(tiles, most_rows / Tile::rows), fewest_columns = ceil_div(registers, most_registers);
    auto least = -1.0;
    for (auto r = fewest_rows; r <= std::min(tiles, fewest_rows + 7); ++r) {
      for (auto c = fewest_columns; c <= std::min(registers, fewest_columns + 11); ++c) {
        auto cost = cost_of(r, c, tiles, registers, threads);
        if (least >= 0 && cost >= least) continue;
        least = cost;
        row_groups = r;
        column_groups = c;
      }
    }
  }
  int64_t chunks() const { return row_groups * column_groups * parts; }
  /// Groups differ by one tile or register at most. The last ones end at these rows and columns, filled up.
  int64_t first_row(int64_t group) const { return ceil_div(rows, Tile::rows) * group / row_groups * Tile::rows; }
  int64_t first_column(int64_t group) const {
    return ceil_div(columns, Tile::lanes) * group / column_groups * Tile::lanes;
  }

  static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
  static int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

 private:
  static constexpr int64_t most_rows = 1024;

  /// Of so many groups of rows and columns, in units of a tile of one register: what the thread with most chunks has to
  /// do, and some of a chunk for one that is held up. Every panel reads the rows anew; packing a register of B costs
  /// 1.5, starting on a chunk 2 and 150 steps of the depth.
  double cost_of(int64_t r, int64_t c, int64_t tiles, int64_t registers, int64_t threads) const {
    auto turns = ceil_div(r * c * parts, threads);
    if constexpr (Tile::steps > 1) {  // of pairs the widest groups are counted, as measured
      auto widest = static_cast<double>(ceil_div(registers, c));
      auto narrow = ceil_div(registers, c) % 3 == 0 ? 0.0 : ceil_div(registers, c) % 3 == 1 ? 0.25 : 0.15;
      auto chunk = (widest + narrow + 0.3) * static_cast<double>(ceil_div(tiles, r)) + 1.5 * widest;
      return (static_cast<double>(turns) + 0.25) * chunk;
    }
    auto per_thread = [turns](int64_t all, int64_t groups) {  // one group has as many as it has on average, or one more
      return turns == 1 ? static_cast<double>(ceil_div(all, groups))
                        : static_cast<double>(all) / static_cast<double>(groups);
    };
    auto width = per_thread(registers, c);
    auto panels = static_cast<double>(ceil_div(ceil_div(registers, c), 3));
    auto start = 2 + 150.0 / static_cast<double>(std::clamp<int64_t>(depth, 1, part_depth));
    auto chunk = (width + 0.15 * panels + 0.2) * per_thread(tiles, r) + 1.5 * width + start;
    return (static_cast<double>(turns) + 0.25) * chunk;
  }
};

/// to[j] = from[j], with accumulate + what was there: bit for bit what the kernel does with whole tiles.
template <class Sum>
void put_sums(const Sum* from, int64_t n, bool accumulate, Sum* to) {
  for_each_register(from, n, Sum(0), [&](int64_t j, const Simd<Sum>& x, int64_t count) GRADUS_INLINE_LAMBDA {
    store_some(accumulate ? load_some<Sum>(to + j, count) + x : x, to + j, count);
  });
}

/// Runs the product of operands packed as C, see Packed. pack_a(first row, rows, first k, depth, to) fills panels of A
/// one behind another, each (depth, tile rows), the last one padded with zeros; pack_b(first column, columns, first k,
/// depth, to) one of B, (depth, whole registers). Both are asked for up to packed_depth() of the plan's depth.
/// write(first row, rows, first column, columns, tile, ld) takes finished results, a few rows at a time. Rows of A that
/// need no packing may be given as `direct`; of those only a last tile that is not full is packed. Into `result` sums
/// go without write(), see there; plans of several parts and of no depth take none.
template <class C, class PackA, class PackB, class Write>
void packed_product(const GemmPlan<C>& plan, PackA&& pack_a, PackB&& pack_b, Write&& write,
                    const StridedRows<C>& direct = {}, const SumsInResult<Compute<C>>& result = {}) {
  using Tile = GemmTile<C>;
  using Sum = Compute<C>;
  auto m = plan.rows, n = plan.columns, k = packed_depth<C>(plan.depth);
  auto padded_rows = plan.round_up(m, Tile::rows);
  auto prepack = direct.data == nullptr && plan.column_groups > 1;  // A would be packed once a column group otherwise
  // Panels of one block of the depth lie side by side, for one walk through memory.
  Scratch<C> all_a(prepack ? padded_rows * k : 0);
  if (prepack) {
    auto together = std::clamp<int64_t>(m / (8 * Tile::rows), 1, 16) * Tile::rows;
    parallel_for(plan.ceil_div(m, together), std::max<int64_t>(1, 16384 / std::max<int64_t>(k * together, 1)),
                 [&](int64_t first, int64_t last) {
                   for (int64_t kb = 0; kb < k; kb += plan.block_depth) {
                     auto depth = std::min(plan.block_depth, k - kb);
                     for (auto i = first * together; i < std::min(m, last * together); i += together)
                       pack_a(i, std::min(together, m - i), kb, depth, all_a.data() + kb * padded_rows + i * depth);
                   }
                 });
  }
  Scratch<Sum> partial(plan.parts > 1 ? plan.parts * m * n : 0);
  parallel_chunks(plan.chunks(), [&](int64_t chunk) {
    auto row_group = chunk % plan.row_groups, column_group = chunk / plan.row_groups % plan.column_groups;
    auto part = chunk / (plan.row_groups * plan.column_groups);
    auto i0 = plan.first_row(row_group), j0 = plan.first_column(column_group), k0 = part * plan.part_depth;
    auto rows = std::min(m, plan.first_row(row_group + 1)) - i0;
    auto columns = std::min(n, plan.first_column(column_group + 1)) - j0;
    ColumnPanels panels(column_registers<C>(columns));
    auto depth_end = std::min(k, k0 + plan.part_depth);
    auto tile_rows = plan.round_up(rows, Tile::rows), tile_columns = plan.round_up(columns, Tile::lanes);
    auto several = result.data == nullptr && depth_end - k0 > plan.block_depth;
    Scratch<Sum> sums(several ? tile_rows * tile_columns : Tile::rows * tile_columns);
    Scratch<C> b(plan.block_depth * tile_columns);
    Scratch<C> a(prepack ? 0 : plan.block_depth * Tile::rows);
    if (k0 >= depth_end) {  // an empty product
      std::fill_n(sums.data(), Tile::rows * tile_columns, Sum(0));
      for (int64_t i = 0; i < rows; i += Tile::rows)
        write(i0 + i, std::min<int64_t>(Tile::rows, rows - i), j0, columns, sums.data(), tile_columns);
      return;
    }
    for (auto kb = k0; kb < depth_end; kb += plan.block_depth) {
      auto depth = std::min(plan.block_depth, depth_end - kb);
      auto finished = kb + depth == depth_end;
      for (int64_t panel = 0; panel < panels.count; ++panel) {
        auto j = panels.first(panel) * Tile::lanes;
        pack_b(j0 + j, std::min<int64_t>(panels.width(panel) * Tile::lanes, columns - j), kb, depth,
               b.data() + j * depth);
      }
      for (int64_t i = 0; i < rows; i += Tile::rows) {
        auto height = std::min<int64_t>(Tile::rows, rows - i);
        auto* a_panel = prepack ? all_a.data() + kb * padded_rows + (i0 + i) * depth : a.data();
        auto in_place = direct.data != nullptr && height == Tile::rows;
        if (!prepack && !in_place) pack_a(i0 + i, height, kb, depth, a.data());
        auto* row = sums.data() + (several ? i * tile_columns : 0);
        Sum* in_result = nullptr;
        if constexpr (std::is_same_v<C, Sum>) {
          if (result.data != nullptr) in_result = result.data + (i0 + i) * result.row + j0;
        }
        for (int64_t panel = 0; panel < panels.count; ++panel) {
          auto j = panels.first(panel) * Tile::lanes;
          auto registers = panels.width(panel);
          auto width = std::min<int64_t>(registers * Tile::lanes, columns - j);
          auto whole = in_result != nullptr && height == Tile::rows && width == registers * Tile::lanes;
          auto* to = whole ? in_result + j : row + j;
          auto ld = whole ? result.row : tile_columns;
          auto accumulate = kb > k0 || result.accumulate, to_sums = accumulate && (whole || in_result == nullptr);
          auto* b_panel = b.data() + j * depth;
          if constexpr (Tile::steps == 1) {
            if (in_place)
              strided_tile<C>(registers, depth, {direct.data + (i0 + i) * direct.row + kb, direct.row, 1}, b_panel,
                              registers * Tile::lanes, to, ld, to_sums);
          }
          if (!in_place) gemm_tile<C>(registers, depth, a_panel, b_panel, to, ld, to_sums);
          if (in_result == nullptr || whole) continue;
          for (int64_t r = 0; r < height; ++r) put_sums(to + r * ld, width, accumulate, in_result + r * result.row + j);
        }
        if (in_result != nullptr) {
          if (finished && result.has_tail) write(i0 + i, height, j0, columns, in_result, result.row);
          continue;
        }
        if (!finished) continue;
        if (plan.parts == 1) {
          write(i0 + i, height, j0, columns, row, tile_columns);
        } else {
          for (int64_t r = 0; r < height; ++r)
            std::copy_n(row + r * tile_columns, columns, partial.data() + (part * m + i0 + i + r) * n + j0);
        }
      }
    }
  });
  if (plan.parts == 1) return;
  parallel_for(m, std::max<int64_t>(1, 16384 / std::max<int64_t>(n * plan.parts, 1)), [&](int64_t first, int64_t last) {
    for (int64_t part = 1; part < plan.parts; ++part) {
      for (auto i = first * n; i < last * n; ++i) partial[i] += partial[part * m * n + i];
    }
    write(first, last - first, 0, n, partial.data() + first * n, n);
  });
}

/// Too small for packing to pay: plain loops over rows of B. Same bits whatever the surroundings.
template <class T>
void small_gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, int64_t c_stride, const GemmTail<T>& tail) {
  using C = Compute<T>;
  constexpr int64_t block = 64, lanes = 16;
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j0 = 0; j0 < b.columns; j0 += block) {
      auto width = std::min(block, b.columns - j0);
      C sums[block];
      for (int64_t j = 0; j < width; ++j) {
        auto sum = tail.row_bias != nullptr ? static_cast<C>(tail.row_bias[i]) : C(0);
        if (tail.column_bias != nullptr) sum += static_cast<C>(tail.column_bias[j0 + j]);
        if (tail.accumulate) sum += static_cast<C>(c[i * c_stride + j0 + j]);
        sums[j] = sum;
      }
      for (int64_t k = 0; k < a.columns; ++k) {
        auto x = static_cast<C>(a.data[i * a.row_stride + k * a.column_stride]);
        auto* row = b.data + k * b.row_stride + j0 * b.column_stride;
        if (b.column_stride == 1) {
          int64_t j = 0;
          for (; j + lanes <= width; j += lanes) {  // of known length, so that it is vectorized at -O2 too
            for (int64_t l = 0; l < lanes; ++l) sums[j + l] += x * static_cast<C>(row[j + l]);
          }
          for (; j < width; ++j) sums[j] += x * static_cast<C>(row[j]);
        } else {
          for (int64_t j = 0; j < width; ++j) sums[j] += x * static_cast<C>(row[j * b.column_stride]);
        }
      }
      for (int64_t j = 0; j < width; ++j) c[i * c_stride + j0 + j] = static_cast<T>(sums[j]);
    }
  }
}

/// Adds lanes that lie D apart: those of a stay where the lane's number has the bit D clear, those of b elsewhere.
template <int D, class P>
GRADUS_INLINE P add_halves(P a, P b) {
  using Lanes = std::make_index_sequence<sizeof(P) / sizeof(a[0])>;
  return merge_lanes<D, false>(a, b, Lanes()) + merge_lanes<D, true>(a, b, Lanes());
}
template <int D, class P>
GRADUS_INLINE P add_all_halves(P x) {
  if constexpr (D == 0) return x;
  else return add_all_halves<D / 2>(add_halves<D>(x, x));
}

/// The sums of all lanes of four registers.
template <class C>
GRADUS_INLINE void fold_four(const Simd<C> (&sums)[4], C* to) {
  constexpr int n = Simd<C>::packet_lanes;
  Packet<C> packets[4];
  for (int i = 0; i < 4; ++i) {
    packets[i] = sums[i].p[0];
    for (int k = 1; k < Simd<C>::packets; ++k) packets[i] += sums[i].p[k];
  }
  auto even = add_halves<n / 2>(packets[0], packets[1]), odd = add_halves<n / 2>(packets[2], packets[3]);
  if constexpr (n == 2) {
    for (int i = 0; i < 4; ++i) to[i] = i < 2 ? even[i] : odd[i - 2];
  } else {
    auto all = add_all_halves<n / 8>(add_halves<n / 4>(even, odd));
    for (int i = 0; i < 4; ++i) to[i] = all[i % 2 * (n / 2) + i / 2 * (n / 4)];
  }
}

/// One row of a, dense and in C, times columns of b, each dense in memory: four products of a row at a time. For
/// weights (out, in) and one token, where packing b would take longer than the product.
template <class T, class C = Compute<T>>
void row_times_columns(const C* a, const MatrixView<T>& b, int64_t first, int64_t last, C bias, const T* biases, T* c,
                       bool accumulate) {
  for (auto j = first; j < last; j += 4) {
    const T* columns[4];
    Simd<C> sums[4] = {Simd<C>(C(0)), Simd<C>(C(0)), Simd<C>(C(0)), Simd<C>(C(0))};
    for (int64_t i = 0; i < 4; ++i) columns[i] = b.data + std::min(j + i, last - 1) * b.column_stride;
    int64_t k = 0;
    for (; k + simd_lanes <= b.rows; k += simd_lanes) {
      auto x = Simd<C>::load(a + k);
      GRADUS_UNROLL
      for (int i = 0; i < 4; ++i) sums[i] = fma(x, Simd<C>::load(columns[i] + k), sums[i]);
    }
    if (k < b.rows) {
      auto x = load_some<C>(a + k, b.rows - k);
      for (int i = 0; i < 4; ++i) sums[i] = fma(x, load_some<C>(columns[i] + k, b.rows - k), sums[i]);
    }
    alignas(16) C products[4];
    fold_four(sums, products);
    write_row(products, std::min<int64_t>(4, last - j), bias, biases != nullptr ? biases + j : nullptr, accumulate,
              c + j);
  }
}

/// Few rows of a: every number of b is used so seldom that packing it would take longer than the product.
template <class T>
void thin_gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, int64_t c_stride, const GemmTail<T>& tail) {
  using C = Compute<T>;
  auto grain = std::max<int64_t>(64, GemmPlan<C>::round_up(65536 / std::max<int64_t>(b.rows, 1), 64));
  if (b.row_stride != 1) {
    return parallel_for(b.columns, grain, [&](int64_t first, int64_t last) {
      auto part = tail;
      if (part.column_bias != nullptr) part.column_bias += first;
      small_gemm(a, {b.data + first * b.column_stride, b.rows, last - first, b.row_stride, b.column_stride}, c + first,
                 c_stride, part);
    });
  }
  Scratch<C> rows(a.rows * a.columns);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.columns; ++k)
      rows[i * a.columns + k] = static_cast<C>(a.data[i * a.row_stride + k * a.column_stride]);
  }
  parallel_for(b.columns, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = 0; i < a.rows; ++i) {
      row_times_columns(rows.data() + i * a.columns, b, first, last,
                        tail.row_bias != nullptr ? static_cast<C>(tail.row_bias[i]) : C(0), tail.column_bias,
                        c + i * c_stride, tail.accumulate);
    }
  });
}

/// c (a.rows, b.columns) = a b with the tail; rows of c lie c_stride apart.
template <class T>
void gemm(const MatrixView<T>& a, const MatrixView<T>& b, T* c, int64_t c_stride, const GemmTail<T>& tail = {}) {
  using C = Compute<T>;
  using P = Packed<T>;
  using Tile = GemmTile<P>;
  auto m = a.rows, n = b.columns, k = a.columns;
  if (m == 0 || n == 0) return;
  if (m * n * k <= 4096 || (m < 4 && m * n * k <= 65536)) return small_gemm(a, b, c, c_stride, tail);
  if (m < 4 && (b.row_stride == 1 || b.column_stride == 1)) return thin_gemm(a, b, c, c_stride, tail);
  GemmPlan<P> plan(m, n, k, num_threads());
  StridedRows<P> direct{};
  if constexpr (std::is_same_v<P, T> && Tile::steps == 1) {
    constexpr int64_t most_in_place = int64_t{1} << 22;
    if (a.column_stride == 1 && (m * k <= most_in_place || plan.column_groups <= 8)) direct = {a.data, a.row_stride, 1};
  }
  SumsInResult<C> result;
  if constexpr (std::is_same_v<C, T>) {
    if (plan.parts == 1 && k > 0)
      result = {c, c_stride, tail.accumulate, tail.row_bias != nullptr || tail.column_bias != nullptr};
  }
  packed_product<P>(
      plan,
      [&](int64_t i, int64_t rows, int64_t k0, int64_t depth, P* to) {
        pack_panels(a.data + i * a.row_stride + k0 * a.column_stride, a.row_stride, a.column_stride, rows,
                    std::min(depth, k - k0), to);
      },
      [&](int64_t j, int64_t columns, int64_t k0, int64_t depth, P* to) {
        int64_t padded = column_registers<P>(columns) * Tile::lanes;
        pack_panel(b.data + k0 * b.row_stride + j * b.column_stride, b.column_stride, b.row_stride, columns,
                   std::min(depth, k - k0), to, padded, padded);
      },
      [&](int64_t i0, int64_t rows, int64_t j0, int64_t columns, const C* tile, int64_t ld) {
        for (int64_t i = 0; i < rows; ++i) {
          auto bias = tail.row_bias != nullptr ? static_cast<C>(tail.row_bias[i0 + i]) : C(0);
          auto* biases = tail.column_bias != nullptr ? tail.column_bias + j0 : nullptr;
          write_row(tile + i * ld, columns, bias, biases, tail.accumulate && result.data == nullptr,
                    c + (i0 + i) * c_stride + j0);
        }
      },
      direct, result);
}

}  // namespace gradus::detail::inline GRADUS_BUILD

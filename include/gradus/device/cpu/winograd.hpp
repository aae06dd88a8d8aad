// Convolution 3 x 3 with stride 1 by Winograd's F(4 x 4, 3 x 3): forward, gradient of the input, gradient of the
// weights. A block of tiles that fits into the L2 cache goes all the way, in parallel with others: channels last,
// transform, 36 small products, transform back. Blocks depend on the sizes alone, as do the bits.
//
// Error in float, as a share of the results' root mean square, 64 channels of normal numbers: 8e-7 root mean square and
// 5e-6 at most, where plain sums have 4e-7 and 3e-6; tests/device/conv_test.cpp holds the bounds.
#pragma once

#include "gradus/core/function_ref.hpp"
#include "gradus/core/thread_pool.hpp"
#include "gradus/device/cpu/allocator.hpp"
#include "gradus/device/cpu/channels_last.hpp"
#include "gradus/device/cpu/strided_tile.hpp"
#include "gradus/device/cpu/winograd_transform.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

/// x (n, c_in, h, w) -> y (n, c_out, oh, ow), tiles starting `top` rows and `left` columns outside of the image.
struct WinogradShape {
  int64_t n, c_in, h, w, c_out, oh, ow, top, left;

  int64_t tile_rows() const { return (oh + 3) / 4; }
  int64_t tile_columns() const { return (ow + 3) / 4; }
  int64_t tiles() const { return tile_rows() * tile_columns(); }  ///< of an image
};

/// Whether 36 products a tile are well below 9 a pixel, and the channels many enough to pay for the transforms.
inline bool winograd_pays(int64_t c_in, int64_t c_out, int64_t oh, int64_t ow) {
  auto tiles = ((oh + 3) / 4) * ((ow + 3) / 4);
  return c_in >= 12 && c_out >= 12 && 36 * tiles * 3 <= 2 * 9 * oh * ow;
}

/// Cuts the tiles of all images into blocks: some images, or some rows of tiles of one.
struct WinogradBlocks {
  int64_t images = 1, rows;  ///< in a block
  int64_t image_blocks, row_blocks;
  WinogradShape s;

  WinogradBlocks(const WinogradShape& shape, int64_t wanted_tiles) : s(shape) {
    auto all = s.n * s.tiles();
    wanted_tiles = std::clamp<int64_t>(all / 8, std::min<int64_t>(wanted_tiles, 16), wanted_tiles);
    rows = std::clamp<int64_t>(wanted_tiles / s.tile_columns(), 1, s.tile_rows());
    row_blocks = (s.tile_rows() + rows - 1) / rows;
    rows = (s.tile_rows() + row_blocks - 1) / row_blocks;
    if (row_blocks == 1) images = std::clamp<int64_t>(wanted_tiles / s.tiles(), 1, s.n);
    image_blocks = (s.n + images - 1) / images;
  }
  int64_t count() const { return image_blocks * row_blocks; }
  int64_t tiles() const { return images * rows * s.tile_columns(); }  ///< in a block, at most
};

/// One of the blocks.
struct WinogradBlock {
  int64_t image, images, row, rows, columns;  ///< rows and columns of tiles

  WinogradBlock(const WinogradBlocks& all, int64_t index)
      : image(index / all.row_blocks * all.images),
        images(std::min(all.images, all.s.n - image)),
        row(index % all.row_blocks * all.rows),
        rows(std::min(all.rows, all.s.tile_rows() - row)),
        columns(all.s.tile_columns()) {}
  int64_t tiles() const { return images * rows * columns; }

  /// body(tile, y, x): number of the tile in the block, and its first pixel in the block's images, which have
  /// 4 rows + extra rows each, one below the other.
  template <class Body>
  void for_each(int64_t extra, Body&& body) const {
    int64_t tile = 0;
    for (int64_t i = 0; i < images; ++i) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) body(tile++, i * (4 * rows + extra) + 4 * r, 4 * c);
      }
    }
  }
};

/// Distance of positions in memory: one cache line more than they need, for at powers of two all would meet in the
/// same sets of the cache.
template <class C>
constexpr int64_t position_stride(int64_t size) {
  return size + static_cast<int64_t>(64 / sizeof(C));
}

/// The kernels that a product of the channels takes: weight (out, in) begins at data + out * out_stride + in *
/// in_stride; flipped, its nine numbers are read backwards.
template <class T>
struct WinogradKernels {
  const T* data;
  int64_t out_stride, in_stride;
  bool flipped;
};

/// Transforms all kernels, to panels (36, panels of c_out, c_in, width of the panel).
template <class C, class T>
void winograd_kernels(const WinogradKernels<T>& kernels, int64_t c_in, int64_t c_out, C* to, int64_t position) {
  using namespace Eigen::internal;
  constexpr int lanes = GemmTile<C>::lanes;
  using P = typename GemmTile<C>::P;
  ColumnPanels panels(padded_channels<C>(c_out) / lanes);
  auto registers = panels.registers;
  parallel_for(registers * c_in, 64, [&](int64_t first, int64_t last) {
    for (auto task = first; task < last; ++task) {
      auto in = task / registers, out = task % registers * lanes, count = std::min<int64_t>(lanes, c_out - out);
      alignas(64) C numbers[9 * lanes] = {};
      auto* from = kernels.data + in * kernels.in_stride + out * kernels.out_stride;
      if constexpr (lanes == simd_lanes) {  // a register holds a kernel
        const T* rows[lanes];
        for (int64_t i = 0; i < count; ++i) rows[i] = from + i * kernels.out_stride;
        typename VectorOf<C, lanes>::type block[lanes];
        load_transposed<C>(rows, count, 0, 9, block);
        GRADUS_UNROLL
        for (int k = 0; k < 9; ++k) pstoreu(numbers + (kernels.flipped ? 8 - k : k) * lanes, P(block[k]));
      } else {
        for (int64_t i = 0; i < count; ++i, from += kernels.out_stride) {
          GRADUS_UNROLL
          for (int k = 0; k < 9; ++k) numbers[k * lanes + i] = static_cast<C>(from[kernels.flipped ? 8 - k : k]);
        }
      }
      auto panel = task % registers * panels.count / registers;
      while (panels.first(panel + 1) <= task % registers) ++panel;
      auto begin = panels.first(panel);
      auto* target = to + (begin * c_in + in * panels.width(panel) + task % registers - begin) * lanes;
      winograd_square<C, 3, 6>(
          [&](int i, int j) GRADUS_INLINE_LAMBDA { return ploadu<P>(numbers + (3 * i + j) * lanes); },
          [](const P(&g)[3], P(&t)[6]) GRADUS_INLINE_LAMBDA { winograd_kernel_line<C>(g, t); },
          [&](int i, int j, P value) GRADUS_INLINE_LAMBDA { pstoreu(target + (6 * i + j) * position, value); });
    }
  });
}

/// y = x * kernels + bias (which may be null), rectified.
template <class C, class T>
void winograd_correlate(const WinogradShape& s, const WinogradKernels<T>& kernels, const T* x, const T* bias,
                        Rectifier rectifier, T* y) {
  using namespace Eigen::internal;
  using Tile = GemmTile<C>;
  using P = typename Tile::P;
  constexpr int lanes = Tile::lanes;
  auto in = padded_channels<C>(s.c_in), out = padded_channels<C>(s.c_out);
  auto u_stride = position_stride<C>(s.c_in * out);
  Scratch<C> u(36 * u_stride);
  winograd_kernels<C>(kernels, s.c_in, s.c_out, u.data(), u_stride);
  constexpr int64_t most_depth = 192 * 4 / sizeof(C);  // of channels: a panel stays in the L1 cache
  constexpr int64_t cache = 640 * 1024 / sizeof(C);
  WinogradBlocks blocks(s, std::clamp<int64_t>(cache / (36 * (in + out)), 32, 128));
  auto most = (blocks.tiles() + Tile::rows - 1) / Tile::rows * Tile::rows;
  ColumnPanels panels(out / lanes);
  auto splits = std::clamp<int64_t>(4 / blocks.count(), 1, panels.count);  // of the results' channels
  parallel_chunks(blocks.count() * splits, [&](int64_t chunk) {
    WinogradBlock block(blocks, chunk / splits);
    auto first_panel = panels.count * (chunk % splits) / splits,
         last_panel = panels.count * (chunk % splits + 1) / splits;
    auto first_out = panels.first(first_panel) * lanes, own = panels.first(last_panel) * lanes - first_out;
    ImagePart part{4 * block.row - s.top, 4 * block.rows + 2, -s.left, 4 * block.columns + 2};
    auto v_stride = position_stride<C>(most * in), m_stride = position_stride<C>(most * own);
    auto z_size = std::max(part.rows * part.columns * in, 4 * block.rows * s.ow * own);  // of an image
    Scratch<C> z(block.images * z_size), v(36 * v_stride), m(36 * m_stride);
    for (int64_t i = 0; i < block.images; ++i) {
      to_channels_last(x + (block.image + i) * s.c_in * s.h * s.w, s.c_in, s.h, s.w, part,
                       z.data() + i * part.rows * part.columns * in);
    }
    block.for_each(2, [&](int64_t tile, int64_t row, int64_t column) {
      auto* from = z.data() + (row * part.columns + column) * in;
      auto* to = v.data() + tile * in;
      for (int64_t c = 0; c < in; c += lanes) {
        winograd_square<C, 6, 6>(
            [&](int i, int j) GRADUS_INLINE_LAMBDA { return ploadu<P>(from + (i * part.columns + j) * in + c); },
            [](const P(&d)[6], P(&t)[6]) GRADUS_INLINE_LAMBDA { winograd_input_line<C>(d, t); },
            [&](int i, int j, P value) GRADUS_INLINE_LAMBDA { pstoreu(to + (6 * i + j) * v_stride + c, value); });
      }
    });
    for (int64_t p = 0; p < 36; ++p) {
      for (auto panel = first_panel; panel < last_panel; ++panel) {
        auto first = panels.first(panel) * lanes;
        auto width = panels.width(panel);
        for (int64_t k = 0; k < s.c_in; k += most_depth) {
          auto depth = std::min<int64_t>(most_depth, s.c_in - k);
          auto* b = u.data() + p * u_stride + first * s.c_in + k * width * lanes;
          for (int64_t t = 0; t < block.tiles(); t += Tile::rows) {
            strided_tile<C>(width, depth, {v.data() + p * v_stride + t * in + k, in, 1}, b, width * lanes,
                            m.data() + p * m_stride + t * own + first - first_out, own, k > 0);
          }
        }
      }
    }
    auto rows = std::min(4 * block.rows, s.oh - 4 * block.row);  // of results
    block.for_each(0, [&](int64_t tile, int64_t row, int64_t column) {
      auto image = row / (4 * block.rows), top = row % (4 * block.rows);
      auto* to = z.data() + ((image * rows + top) * s.ow + column) * own;
      auto whole = top + 4 <= rows && column + 4 <= s.ow;
      for (int64_t c = 0; c < own; c += lanes) {
        alignas(64) C rest[16 * lanes];
        auto* target = whole ? to + c : rest;
        auto to_row = whole ? s.ow * own : 4 * lanes, to_column = whole ? own : lanes;
        auto* sums = m.data() + tile * own + c;
        winograd_square<C, 6, 4>(
            [&](int i, int j) GRADUS_INLINE_LAMBDA { return ploadu<P>(sums + (6 * i + j) * m_stride); },
            [](const P(&d)[6], P(&t)[4]) GRADUS_INLINE_LAMBDA { winograd_result_line<C>(d, t); },
            [&](int i, int j, P value) GRADUS_INLINE_LAMBDA { pstoreu(target + i * to_row + j * to_column, value); });
        if (whole) continue;
        for (int64_t i = 0; i < std::min<int64_t>(4, rows - top); ++i) {
          for (int64_t j = 0; j < std::min<int64_t>(4, s.ow - column); ++j)
            std::copy_n(rest + (4 * i + j) * lanes, lanes, to + (i * s.ow + j) * own + c);
        }
      }
    });
    for (int64_t i = 0; i < block.images; ++i) {
      from_channels_last(z.data() + i * rows * s.ow * own, rows * s.ow, std::min(own, s.c_out - first_out),
                         bias != nullptr ? bias + first_out : nullptr, rectifier,
                         y + ((block.image + i) * s.c_out + first_out) * s.oh * s.ow + 4 * block.row * s.ow,
                         s.oh * s.ow);
    }
  });
}

/// dw (c_out, c_in, 3, 3) = sum over images and pixels of dy times window. Blocks of tiles are summed in parts, and
/// where there are many weights, rows of positions are chunks of their own.
template <class C, class T>
void winograd_weight_gradient(const WinogradShape& s, const T* x, const T* dy, T* dw) {
  using namespace Eigen::internal;
  using Tile = GemmTile<C>;
  using P = typename Tile::P;
  using W = Winograd;
  constexpr int lanes = Tile::lanes;
  auto in = padded_channels<C>(s.c_in), out = padded_channels<C>(s.c_out);
  auto in_rows = (in + Tile::rows - 1) / Tile::rows * Tile::rows, sum_stride = position_stride<C>(in_rows * out);
  constexpr int64_t cache = 768 * 1024 / sizeof(C);
  WinogradBlocks blocks(s, std::clamp<int64_t>(cache / ((22 + 6) * (in + out)), 32, 128));
  auto groups = in * out > 128 * 192 ? 6 : 1;  // of rows of positions
  auto parts = groups > 1 ? s.n * s.tiles() / 512 : 8;
  parts = std::clamp<int64_t>(parts, 1, std::max<int64_t>(1, int64_t{4} * 1024 * 1024 / (36 * sum_stride)));
  parts = std::min(parts, blocks.count());
  Scratch<C> sums(parts * 36 * sum_stride);
  ColumnPanels panels(out / lanes);
  parallel_chunks(parts * groups, [&](int64_t chunk) {
    auto part_index = chunk % parts;
    auto first_row = static_cast<int>(chunk / parts), last_row = groups > 1 ? first_row + 1 : 6;
    auto begin = blocks.count() * part_index / parts, end = blocks.count() * (part_index + 1) / parts;
    auto most = blocks.tiles();
    auto v_stride = position_stride<C>(most * in), g_stride = position_stride<C>(most * out);
    auto x_columns = 4 * s.tile_columns() + 2, dy_columns = 4 * s.tile_columns();
    Scratch<C> z(blocks.images * (4 * blocks.rows + 2) * x_columns * in), v(6 * v_stride);
    Scratch<C> dz(blocks.images * 4 * blocks.rows * dy_columns * out), g(6 * g_stride);
    for (auto index = begin; index < end; ++index) {
      WinogradBlock block(blocks, index);
      for (int64_t i = 0; i < block.images; ++i) {
        ImagePart of_x{4 * block.row - s.top, 4 * block.rows + 2, -s.left, x_columns};
        ImagePart of_dy{4 * block.row, 4 * block.rows, 0, dy_columns};
        to_channels_last(x + (block.image + i) * s.c_in * s.h * s.w, s.c_in, s.h, s.w, of_x,
                         z.data() + i * of_x.rows * of_x.columns * in);
        to_channels_last(dy + (block.image + i) * s.c_out * s.oh * s.ow, s.c_out, s.oh, s.ow, of_dy,
                         dz.data() + i * of_dy.rows * of_dy.columns * out);
      }
      for (auto row = first_row; row < last_row; ++row) {
        block.for_each(2, [&](int64_t tile, int64_t y, int64_t column) {
          for (int64_t c = 0; c < in; c += lanes) {
            winograd_row<C>(
                z.data() + (y * x_columns + column) * in + c, x_columns * in, in, W::of_input[row],
                [](const P(&d)[6], P(&t)[6]) GRADUS_INLINE_LAMBDA { winograd_input_line<C>(d, t); },
                v.data() + tile * in + c, v_stride);
          }
        });
        block.for_each(0, [&](int64_t tile, int64_t y, int64_t column) {
          for (int64_t c = 0; c < out; c += lanes) {
            winograd_row<C>(
                dz.data() + (y * dy_columns + column) * out + c, dy_columns * out, out, W::of_gradient[row],
                [](const P(&d)[4], P(&t)[6]) GRADUS_INLINE_LAMBDA { winograd_gradient_line<C>(d, t); },
                g.data() + tile * out + c, g_stride);
          }
        });
        for (int64_t p = 0; p < 6; ++p) {
          auto* to = sums.data() + (part_index * 36 + row * 6 + p) * sum_stride;
          for (int64_t panel = 0; panel < panels.count; ++panel) {
            auto first = panels.first(panel) * lanes;
            for (int64_t c = 0; c < in; c += Tile::rows) {
              strided_tile<C>(panels.width(panel), block.tiles(), {v.data() + p * v_stride + c, 1, in},
                              g.data() + p * g_stride + first, out, to + c * out + first, out, index > begin);
            }
          }
        }
      }
    }
  });
  auto registers = out / lanes;
  parallel_for(registers * s.c_in, 64, [&](int64_t first, int64_t last) {
    for (auto task = first; task < last; ++task) {
      auto c = task / registers, to_out = task % registers * lanes;
      auto* from = sums.data() + c * out + to_out;
      alignas(64) C numbers[9 * lanes];
      winograd_square<C, 6, 3>(
          [&](int i, int j) GRADUS_INLINE_LAMBDA {
            auto* part = from + (6 * i + j) * sum_stride;
            auto sum = ploadu<P>(part);
            for (int64_t k = 1; k < parts; ++k) sum = padd(sum, ploadu<P>(part + k * 36 * sum_stride));
            return sum;
          },
          [](const P(&d)[6], P(&t)[3]) GRADUS_INLINE_LAMBDA { winograd_weight_line<C>(d, t); },
          [&](int i, int j, P value) GRADUS_INLINE_LAMBDA { pstoreu(numbers + (3 * i + j) * lanes, value); });
      auto count = std::min<int64_t>(lanes, s.c_out - to_out);
      auto* to = dw + (to_out * s.c_in + c) * 9;
      if constexpr (lanes == simd_lanes) {  // a register holds a kernel
        typename VectorOf<C, lanes>::type block[lanes] = {};
        GRADUS_UNROLL
        for (int k = 0; k < 9; ++k) block[k] = ploadu<P>(numbers + k * lanes);
        transpose_registers<lanes / 2>(block);
        GRADUS_UNROLL
        for (int i = 0; i < lanes; ++i) {
          Simd<C> kernel;
          kernel.p[0] = reinterpret_cast<Packet<C>>(block[i]);
          if (i < count) store_some(kernel, to + i * s.c_in * 9, 9);
        }
      } else {
        for (int64_t i = 0; i < count; ++i) {
          GRADUS_UNROLL
          for (int k = 0; k < 9; ++k) to[i * s.c_in * 9 + k] = static_cast<T>(numbers[k * lanes + i]);
        }
      }
    }
  });
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// Dense layers of bf16 on a GPU whose products are in fp8, by cuBLASLt.
//
// The formats are those of Micikevicius et al., FP8 formats for deep learning, 2022: e4m3 (4 bits of exponent, 3 of
// mantissa, up to 448) for inputs and weights, e5m2 (up to 57344) for gradients. A tensor is divided by a power of two,
// its scale, such that its largest element comes closest below the format's; the scale is found on the card, where it
// stays. What is not finite makes the scale NaN, and so all results, as it should be seen.
#pragma once

#include <optional>

#include "gradus/ops/product/matmul.hpp"
#include "gradus/ops/product/matmul_cuda.hpp"
#include "gradus/ops/reduction/sum.hpp"

namespace gradus::detail::inline GRADUS_BUILD {

inline constexpr std::string_view cuda_fp8_text = R"cuda(
// e4m3 has 3 bits of mantissa, e5m2 2. The first code is that of x, in the low byte. Beyond the largest number comes the
// largest number; NaN stays NaN.
template <int mantissa>
GRADUS_DEVICE unsigned fp8_code(float x) {
  const int bias = mantissa == 3 ? 7 : 15;
  const unsigned largest = mantissa == 3 ? 0x7eu : 0x7bu;
  unsigned word;
  memcpy(&word, &x, sizeof(x));
  const unsigned sign = word >> 24 & 0x80u, size = word & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fu;
  if (size < static_cast<unsigned>(128 - bias) << 23) {  // numbers are evenly spaced there, as floats are near this
    const unsigned even = static_cast<unsigned>(127 + 24 - bias - mantissa) << 23;
    const float shifted = from_bits(size) + from_bits(even);
    memcpy(&word, &shifted, sizeof(word));
    return sign | (word - even);
  }
  const int cut = 23 - mantissa;
  const unsigned code =
      (size - (static_cast<unsigned>(127 - bias) << 23) + (1u << (cut - 1)) - 1 + (size >> cut & 1u)) >> cut;
  return sign | (code < largest ? code : largest);
}
template <int mantissa>
GRADUS_DEVICE unsigned fp8_codes(float x, float y) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  unsigned short both;
  if (mantissa == 3) asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(y), "f"(x));
  else asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(both) : "f"(y), "f"(x));
  return both;
#else
  return fp8_code<mantissa>(x) | fp8_code<mantissa>(y) << 8;
#endif
}
// The power of two times which `largest` comes closest below the format's largest number, 1.75 * 2^8 or 1.75 * 2^15.
template <int mantissa>
GRADUS_DEVICE int fp8_power(float largest) {
  unsigned word;
  memcpy(&word, &largest, sizeof(word));
  const int exponent = static_cast<int>(word >> 23) - 127, top = mantissa == 3 ? 8 : 15;
  const int power = top - exponent - ((word & 0x7fffffu) > 0x600000u ? 1 : 0);
  return maximum(-126, minimum(power, 126));
}
GRADUS_DEVICE float two_to(int power) { return from_bits(static_cast<unsigned>(power + 127) << 23); }

// The largest sizes of what the blocks see: parts (gridDim.x,). NaN is the largest.
GRADUS_WIDE(T, 0)
GRADUS_KERNEL block_largest(int64 packs, float* parts, const T* x) {
  float largest = 0;
  GRADUS_EACH(i, packs) {
    const Pack<float, 8> pack = widen_pack(load_pack<8>(x + 8 * i));
#pragma unroll
    for (int k = 0; k < 8; ++k) largest = maximum(largest, abs(pack.at[k]));
  }
  largest = block_reduce<Largest>(largest, 0.0f);
  if (threadIdx.x == 0) parts[blockIdx.x] = largest;
}

// A block 64 x 64 numbers, a thread 16 that lie side by side, and 16 of a column of codes.
template <int mantissa>
GRADUS_DEVICE void quantize(int64 rows, int64 columns, int count, const float* parts, float* scale,
                            unsigned char* codes, unsigned char* turned, const T* x) {
  __shared__ unsigned words[64][17];
  float factor;
  if (count > 0) {
    const float own = static_cast<int>(threadIdx.x) < count ? parts[threadIdx.x] : 0.0f;
    const float largest = block_reduce<Largest>(own, 0.0f);
    const int power = fp8_power<mantissa>(largest);
    factor = two_to(power);
    if (blockIdx.x == 0 && threadIdx.x == 0) *scale = largest - largest == 0 ? two_to(-power) : largest - largest;
  } else {
    factor = 1 / *scale;
  }
  const int64 across = (columns + 63) / 64, tiles = (rows + 63) / 64 * across;
  const int line = threadIdx.x / 4, piece = threadIdx.x % 4;
  for (int64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64 top = tile / across * 64, left = tile % across * 64;
    if (top + line < rows && left + 16 * piece < columns) {
      const int64 at = (top + line) * columns + left + 16 * piece;
      Pack<unsigned, 4> own;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Pack<float, 8> scaled = widen_pack(load_pack<8>(x + at + 8 * half));
#pragma unroll
        for (int k = 0; k < 8; ++k) scaled.at[k] *= factor;
#pragma unroll
        for (int k = 0; k < 2; ++k)
          own.at[2 * half + k] = fp8_codes<mantissa>(scaled.at[4 * k], scaled.at[4 * k + 1]) |
                                 fp8_codes<mantissa>(scaled.at[4 * k + 2], scaled.at[4 * k + 3]) << 16;
      }
      if (codes != 0) store_words<16>(codes + at, &own);
      if (turned != 0) {
#pragma unroll
        for (int k = 0; k < 4; ++k) words[line][4 * piece + k] = own.at[k];
      }
    }
    if (turned == 0) continue;
    __syncthreads();
    if (left + line < columns && top + 16 * piece < rows) {
      Pack<unsigned, 4> column;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        unsigned word = 0;
#pragma unroll
        for (int b = 0; b < 4; ++b)
          word |= (words[16 * piece + 4 * k + b][line / 4] >> (8 * (line % 4)) & 0xffu) << (8 * b);
        column.at[k] = word;
      }
      store_words<16>(turned + (left + line) * rows + top + 16 * piece, &column);
    }
    __syncthreads();
  }
}
// x (rows, columns), of multiples of 16, as codes (rows, columns), and turned (columns, rows): either may be null. The
// scale, by which codes are multiplied, comes of `count` parts of the largest, or is given if there are none.
GRADUS_WIDE(T, 16)
GRADUS_KERNEL block_to_e4m3(int64 rows, int64 columns, int count, const float* parts, float* scale,
                            unsigned char* codes, unsigned char* turned, const T* x) {
  quantize<3>(rows, columns, count, parts, scale, codes, turned, x);
}
GRADUS_WIDE(T, 16)
GRADUS_KERNEL block_to_e5m2(int64 rows, int64 columns, int count, const float* parts, float* scale,
                            unsigned char* codes, unsigned char* turned, const T* x) {
  quantize<2>(rows, columns, count, parts, scale, codes, turned, x);
}
)cuda";
inline constexpr cuda::detail::KernelText cuda_fp8{"fp8", cuda_fp8_text};

/// A matrix as codes, in its own order and turned; those that nobody asked for are undefined.
struct Fp8Matrix {
  cuda::detail::CardCode code;
  Tensor<float> scale;            // (1,)
  Tensor<uint8_t> codes, turned;  // (rows, columns), (columns, rows)
};
struct Fp8Wanted {
  bool codes = false, turned = false;
};

/// x (rows, columns), of multiples of 16 and dense. A scale that is given was found before.
inline Fp8Matrix to_fp8(const Tensor<bf16>& x, cuda::detail::CardCode code, const Fp8Wanted& wanted,
                        const Tensor<float>& scale = {}) {
  constexpr int64_t most_parts = 256;  // a thread of a block each
  auto device = x.device();
  auto rows = x.size(0), columns = x.size(1), packs = rows * columns / 8;
  Fp8Matrix made{code, scale, {}, {}};
  Tensor<float> parts;
  int32_t count = 0;
  if (!scale.defined()) {
    made.scale = Tensor<float>::empty({1}, device, "fp8");
    count = static_cast<int32_t>(std::min(most_parts, cuda::detail::Context::of(device).blocks_for(packs, 256)));
    parts = Tensor<float>::empty({count}, device, "fp8");
    cuda::detail::launch("fp8", device, cuda_fp8, {DType::bf16}, "block_largest", {count}, packs, parts.impl()->data(),
                         x.impl()->data());
  }
  if (wanted.codes) made.codes = Tensor<uint8_t>::empty({rows, columns}, device, "fp8");
  if (wanted.turned) made.turned = Tensor<uint8_t>::empty({columns, rows}, device, "fp8");
  auto at = [](const auto& tensor) { return tensor.defined() ? static_cast<void*>(tensor.impl()->data()) : nullptr; };
  cuda::detail::launch_blocks("fp8", device, cuda_fp8, {DType::bf16},
                              code == cuda::detail::CardCode::e4m3 ? "block_to_e4m3" : "block_to_e5m2",
                              (rows + 63) / 64 * ((columns + 63) / 64), rows, columns, count, at(parts), at(made.scale),
                              at(made.codes), at(made.turned), x.impl()->data());
  return made;
}

/// a (m, k) times b (n, k) turned, plus bias (n,) -> (m, n); undefined where cuBLASLt has no way.
inline Tensor<bf16> fp8_product(const Tensor<uint8_t>& a, const Fp8Matrix& of_a, const Tensor<uint8_t>& b,
                                const Fp8Matrix& of_b, const Tensor<bf16>& bias = {}, bool fast_sums = false) {
  auto m = a.size(0), k = a.size(1), n = b.size(0);
  auto d = Tensor<bf16>::empty({m, n}, a.device(), "linear");
  cuda::detail::CardProduct product;
  product.type = DType::bf16;
  product.a = {a.impl()->data(), m, k, k, 1};
  product.b = {b.impl()->data(), k, n, 1, k};
  product.d = d.impl()->data();
  product.d_stack_stride = m * n;
  product.bias = bias.defined() ? bias.impl()->data() : nullptr;
  product.a_code = of_a.code;
  product.b_code = of_b.code;
  product.a_scale = of_a.scale.impl()->data();
  product.b_scale = of_b.scale.impl()->data();
  product.fast_sums = fast_sums;
  if (!cuda::detail::LtProducts::of(a.device()).run(product, "linear")) return {};
  return d;
}

/// linear(x, weight, bias) by products in fp8; nothing when it does not fit.
template <Floating T>
std::optional<Tensor<T>> linear_in_fp8(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&) {
  return std::nullopt;
}
inline std::optional<Tensor<bf16>> linear_in_fp8(const Tensor<bf16>& x, const Tensor<bf16>& weight,
                                                 const Tensor<bf16>& bias) {
  using cuda::detail::CardCode;
  constexpr int first_architecture = 89;
  auto rows = x.size(0), in = weight.size(1), out = weight.size(0);
  if (!cuda::detail::fp8_used() || cuda::detail::Context::of(x.device()).architecture() < first_architecture)
    return std::nullopt;
  if (rows == 0 || in == 0 || out == 0 || rows % 16 != 0 || in % 16 != 0 || out % 16 != 0) return std::nullopt;
  auto dense = [](const Tensor<bf16>& y) {
    auto result = contiguous(y.detach());
    return reinterpret_cast<uintptr_t>(result.impl()->data()) % 16 == 0 ? result : result.clone();
  };
  auto of_x = to_fp8(dense(x), CardCode::e4m3, {.codes = true}),
       of_weight = to_fp8(dense(weight), CardCode::e4m3, {.codes = true});
  auto y = fp8_product(of_x.codes, of_x, of_weight.codes, of_weight,  // (rows, out)
                       bias.defined() ? dense(bias) : bias, cuda::detail::fp8_sums_fast());
  if (!y.defined()) return std::nullopt;
  // Codes are made again for the gradients, with the same scales: the numbers are kept anyway.
  auto gradient = [dense, input = saved(x), matrix = saved(weight), x_scale = of_x.scale,
                   weight_scale = of_weight.scale](const Tensor<bf16>& dy, const std::array<bool, 3>& wanted) {
    std::tuple<Tensor<bf16>, Tensor<bf16>, Tensor<bf16>> to;
    if (wanted[2]) std::get<2>(to) = sum(dy, 0);
    if (!wanted[0] && !wanted[1]) return to;
    if (!grad_enabled()) {
      auto of_dy = to_fp8(dense(dy), CardCode::e5m2, {.codes = wanted[0], .turned = wanted[1]});
      if (wanted[0]) {
        auto turned = to_fp8(dense(matrix()), CardCode::e4m3, {.turned = true}, weight_scale);  // (in, out)
        std::get<0>(to) = fp8_product(of_dy.codes, of_dy, turned.turned, turned);               // (rows, in)
      }
      if (wanted[1]) {
        auto turned = to_fp8(dense(input()), CardCode::e4m3, {.turned = true}, x_scale);  // (in, rows)
        std::get<1>(to) = fp8_product(of_dy.turned, of_dy, turned.turned, turned);        // (out, in)
      }
    }
    if (wanted[0] && !std::get<0>(to).defined()) std::get<0>(to) = matmul(dy, matrix());
    if (wanted[1] && !std::get<1>(to).defined()) std::get<1>(to) = matmul(transpose(dy), input());
    return to;
  };
  return differentiable("linear", y, inputs(x, weight, bias), std::move(gradient));
}

}  // namespace gradus::detail::inline GRADUS_BUILD

// What the two halves of the simulated cuDNN share: its graphs (cudnn.cpp) and its recurrent layers (cudnn_rnn.cpp).
#pragma once

#include <cstring>

#include "tests/cuda/simulated/card.hpp"

namespace simulated {

struct CudnnHandle {
  void* stream = nullptr;
};

constexpr int bad_param = 2000, not_supported = 3000;
/// What cudnnGetLastErrorString tells.
inline thread_local std::string cudnn_error;
inline int refuse(int status, const std::string& why) {
  cudnn_error = why;
  return status;
}

/// Elements of cuDNN's data types, as double.
inline int64_t bytes_of(int data_type) {
  switch (data_type) {
    case 1:
    case 10:
      return 8;
    case 9:
    case 2:
      return 2;
    case 11:
      return 1;
    default:
      return 4;
  }
}
inline double rounded(int data_type, double x) {
  if (data_type == 1) return x;
  auto single = static_cast<float>(x);
  if (data_type == 2) return static_cast<double>(from_half(to_half(single)));
  if (data_type != 9 || std::isnan(single)) return static_cast<double>(single);
  uint32_t bits;
  std::memcpy(&bits, &single, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&single, &bits, 4);
  return static_cast<double>(single);
}
inline double load(const char* from, int data_type, int64_t i) {
  if (data_type == 1) {
    double x;
    return std::memcpy(&x, from + 8 * i, 8), x;
  }
  float x = 0;
  if (data_type == 2) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    x = from_half(half);
  } else if (data_type == 9) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    auto bits = static_cast<uint32_t>(half) << 16;
    std::memcpy(&x, &bits, 4);
  } else {
    std::memcpy(&x, from + 4 * i, 4);
  }
  return static_cast<double>(x);
}
inline void store(char* to, int data_type, int64_t i, double value) {
  if (data_type == 1) return static_cast<void>(std::memcpy(to + 8 * i, &value, 8));
  auto x = static_cast<float>(value);
  if (bytes_of(data_type) == 4) return static_cast<void>(std::memcpy(to + 4 * i, &x, 4));
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  auto half = data_type == 2 ? to_half(x) : static_cast<uint16_t>(bits >> 16);  // rounded before
  std::memcpy(to + 2 * i, &half, 2);
}

}  // namespace simulated

// The descriptors of recurrent layers, by the real cuDNN. Their sizes and the places of their weights need a card.
#include <cstdio>

#include "gradus/device/cuda/cudnn_rnn.hpp"
#include "tests/cuda/plans/plans.hpp"

namespace gradus::test {

int check_recurrent() {
  using namespace cuda::detail;
  const auto* api = Cudnn::find() != nullptr ? CudnnRnn::find() : nullptr;
  if (api == nullptr) return 0;
  int made = 0;
  for (auto cell : {RnnCell::relu, RnnCell::tanh, RnnCell::lstm, RnnCell::gru}) {
    for (auto type : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
      for (auto biases : {true, false}) {
        for (auto fast : {true, false}) {
          try {
            RnnDescriptors(*api, nullptr, {type, cell, 90, 64, 512, 256, biases, fast});
            ++made;
          } catch (const CudaError& error) {
            fail(join("cell ", static_cast<int>(cell), " in ", gradus::detail::cuda_name(type), ": ", error.what()));
          }
        }
      }
    }
  }
  // What cuDNN does not know, it must refuse: else the descriptors above say nothing.
  try {
    RnnDescriptors(*api, nullptr, {DType::f32, static_cast<RnnCell>(9), 90, 64, 512, 256, true, false});
    fail("cuDNN took a recurrent cell that does not exist");
  } catch (const CudaError&) {
  }
  return made;
}

}  // namespace gradus::test

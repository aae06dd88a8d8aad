#include "gradus/nn/summary.hpp"

#include "gradus/models/lenet.hpp"
#include "gradus/models/mlp.hpp"
#include "gradus/models/resnet9.hpp"
#include "gradus/nn/dropout.hpp"
#include "gradus/nn/stateless.hpp"
#include "tests/support/catch.hpp"

using namespace gradus;

namespace {

struct Mixed {
  Parameter<bf16> scale{ones<bf16>({3})};
  nn::Dropout drop{0.25};
  nn::Sequential<float> body{nn::Linear<float>(3, 4, {.bias = false}), nn::Relu{},
                             [](const Tensor<float>& x) { return x; }, nn::Sequential<float>(nn::Linear<float>(4, 2))};
  GRADUS_FIELDS(scale, drop, body)
};

}  // namespace

TEST_CASE("summary of a convolutional network") {
  CHECK('\n' + summary(models::LeNet<float>()) == R"(
LeNet
-------------------------------------------------------------
layer   type    tensors                            parameters
-------------------------------------------------------------
conv1   Conv2d  weight (32, 1, 3, 3), bias (32,)          320
conv2   Conv2d  weight (64, 32, 3, 3), bias (64,)      18,496
hidden  Linear  weight (128, 3136), bias (128,)       401,536
output  Linear  weight (10, 128), bias (10,)            1,290
-------------------------------------------------------------
total           1648 KiB                              421,642
)");
}

TEST_CASE("summary of layers within layers, with buffers") {
  CHECK('\n' + summary(models::ResNet9<float>(3, 10, 64)) == R"(
ResNet9
-------------------------------------------------------------------------------------------------------------------
layer                  type         tensors                                                              parameters
-------------------------------------------------------------------------------------------------------------------
prepare.conv           Conv2d       weight (64, 3, 3, 3)                                                      1,728
prepare.norm           BatchNorm2d  weight (64,), bias (64,), running_mean (64,), running_var (64,)             128
layer1.conv            Conv2d       weight (128, 64, 3, 3)                                                   73,728
layer1.norm            BatchNorm2d  weight (128,), bias (128,), running_mean (128,), running_var (128,)         256
residual1.first.conv   Conv2d       weight (128, 128, 3, 3)                                                 147,456
residual1.first.norm   BatchNorm2d  weight (128,), bias (128,), running_mean (128,), running_var (128,)         256
residual1.second.conv  Conv2d       weight (128, 128, 3, 3)                                                 147,456
residual1.second.norm  BatchNorm2d  weight (128,), bias (128,), running_mean (128,), running_var (128,)         256
layer2.conv            Conv2d       weight (256, 128, 3, 3)                                                 294,912
layer2.norm            BatchNorm2d  weight (256,), bias (256,), running_mean (256,), running_var (256,)         512
layer3.conv            Conv2d       weight (512, 256, 3, 3)                                               1,179,648
layer3.norm            BatchNorm2d  weight (512,), bias (512,), running_mean (512,), running_var (512,)       1,024
residual3.first.conv   Conv2d       weight (512, 512, 3, 3)                                               2,359,296
residual3.first.norm   BatchNorm2d  weight (512,), bias (512,), running_mean (512,), running_var (512,)       1,024
residual3.second.conv  Conv2d       weight (512, 512, 3, 3)                                               2,359,296
residual3.second.norm  BatchNorm2d  weight (512,), bias (512,), running_mean (512,), running_var (512,)       1,024
output                 Linear       weight (10, 512), bias (10,)                                              5,130
-------------------------------------------------------------------------------------------------------------------
total                               25694 KiB                                                             6,573,130
)");
}

TEST_CASE("summary of lists, erased layers and a model's own tensors") {
  CHECK('\n' + summary(models::Mlp<double>({4, 8, 1})) == R"(
Mlp
------------------------------------------------------
layer     type    tensors                   parameters
------------------------------------------------------
layers.0  Linear  weight (8, 4), bias (8,)          40
layers.1  Linear  weight (1, 8), bias (1,)           9
------------------------------------------------------
total             1 KiB                             49
)");
  CHECK('\n' + summary(Mixed()) == R"(
Mixed
--------------------------------------------------------
layer     type      tensors                   parameters
--------------------------------------------------------
          Mixed     scale (3,)                         3
drop      Dropout                                      0
body.0    Linear    weight (4, 3)                     12
body.1    Relu                                         0
body.2    function                                     0
body.3.0  Linear    weight (2, 4), bias (2,)          10
--------------------------------------------------------
total               1 KiB                             25
)");
  CHECK('\n' + summary(nn::Linear<float>(3, 2)) == R"(
Linear
---------------------------------------------------
layer  type    tensors                   parameters
---------------------------------------------------
       Linear  weight (2, 3), bias (2,)           8
---------------------------------------------------
total          1 KiB                              8
)");
}

// Tensors, the smallest header to include: creation, views, arithmetic, gradients, printing.
// Layers, optimizers and everything else come with gradus/gradus.hpp.
#pragma once

#include "gradus/autograd/autograd.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/view/cast.hpp"
#include "gradus/ops/view/expand.hpp"
#include "gradus/ops/view/permute.hpp"
#include "gradus/ops/view/reshape.hpp"
#include "gradus/ops/view/slice.hpp"
#include "gradus/tensor/creation.hpp"
#include "gradus/tensor/print.hpp"
#include "gradus/tensor/tensor.hpp"

// The pointwise machinery together with the vocabulary of formulas as operators on tensors. Every pointwise
// operator includes this file: its gradient of a gradient is made of these.
#pragma once

#include "gradus/ops/formula/pointwise.hpp"

// The vocabulary. These files include this one in turn, so that each of them compiles alone.
#include "gradus/ops/pointwise/abs.hpp"
#include "gradus/ops/pointwise/arithmetic.hpp"
#include "gradus/ops/pointwise/comparison.hpp"
#include "gradus/ops/pointwise/erf.hpp"
#include "gradus/ops/pointwise/exp.hpp"
#include "gradus/ops/pointwise/floor.hpp"
#include "gradus/ops/pointwise/log.hpp"
#include "gradus/ops/pointwise/maximum.hpp"
#include "gradus/ops/pointwise/pow.hpp"
#include "gradus/ops/pointwise/sigmoid.hpp"
#include "gradus/ops/pointwise/sqrt.hpp"
#include "gradus/ops/pointwise/tanh.hpp"
#include "gradus/ops/pointwise/trigonometric.hpp"
#include "gradus/ops/pointwise/where.hpp"

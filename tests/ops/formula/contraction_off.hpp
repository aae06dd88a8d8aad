// Included first by tests that compare bits: GCC may otherwise make one fused multiply-add of a product in one
// operation of a formula and a sum in the next, where the code around them differs.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif

// -ffast-math breaks NaN handling and the promise of equal bits; it is not accepted by accident.
#ifdef GRADUS_FAIL_fast_math  // expect: -ffast-math breaks NaN handling
#define __FAST_MATH__ 1
#else
#define GRADUS_ALLOW_FAST_MATH
#define __FAST_MATH__ 1
#endif
#include "gradus/core/config.hpp"

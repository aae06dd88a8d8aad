#pragma once

#include "gradus/ops/reduction/sum.hpp"
#include "gradus/tensor.hpp"

#define GRADUS_TEXT2(x) #x
#define GRADUS_TEXT(x) GRADUS_TEXT2(x)

struct PluginView {
  const char* isa;
  const char* mode;
  const void* pool;
  int threads;
  float sum;
};

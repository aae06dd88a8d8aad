// cuBLASLt, opened while a program runs: a table of the functions that are used.
#pragma once

#include <cstdint>

#include "gradus/device/cuda/driver.hpp"

namespace gradus::cuda::detail::inline GRADUS_STABLE {

/// What cuBLASLt answers when it is asked how it would do a product.
struct LtHeuristic {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

#define GRADUS_CUBLASLT(F)                                                                                         \
  F(create, "cublasLtCreate", Handle* handle)                                                                      \
  F(product_create, "cublasLtMatmulDescCreate", Handle* product, int compute, int scale)                           \
  F(product_set, "cublasLtMatmulDescSetAttribute", Handle product, int attribute, const void* value, size_t bytes) \
  F(product_destroy, "cublasLtMatmulDescDestroy", Handle product)                                                  \
  F(layout_create, "cublasLtMatrixLayoutCreate", Handle* layout, int type, uint64_t rows, uint64_t columns,        \
    int64_t ld)                                                                                                    \
  F(layout_set, "cublasLtMatrixLayoutSetAttribute", Handle layout, int attribute, const void* value, size_t bytes) \
  F(layout_destroy, "cublasLtMatrixLayoutDestroy", Handle layout)                                                  \
  F(preference_create, "cublasLtMatmulPreferenceCreate", Handle* preference)                                       \
  F(preference_set, "cublasLtMatmulPreferenceSetAttribute", Handle preference, int attribute, const void* value,   \
    size_t bytes)                                                                                                  \
  F(preference_destroy, "cublasLtMatmulPreferenceDestroy", Handle preference)                                      \
  F(heuristic, "cublasLtMatmulAlgoGetHeuristic", Handle handle, Handle product, Handle a, Handle b, Handle c,      \
    Handle d, Handle preference, int wanted, LtHeuristic* results, int* count)                                     \
  F(matmul, "cublasLtMatmul", Handle handle, Handle product, const void* alpha, const void* a, Handle a_layout,    \
    const void* b, Handle b_layout, const void* beta, const void* c, Handle c_layout, void* d, Handle d_layout,    \
    const uint64_t* algorithm, void* workspace, size_t workspace_bytes, Handle stream)

struct CublasLt {
#define GRADUS_DETAIL_MEMBER(member, symbol, ...) int (*member)(__VA_ARGS__) = nullptr;
  GRADUS_CUBLASLT(GRADUS_DETAIL_MEMBER)
#undef GRADUS_DETAIL_MEMBER

  static CublasLt from(const Library& library) {
    CublasLt api;
#define GRADUS_DETAIL_FIND(member, symbol, ...) library.find(api.member, symbol);
    GRADUS_CUBLASLT(GRADUS_DETAIL_FIND)
#undef GRADUS_DETAIL_FIND
    return api;
  }
  /// This machine's. CudaError when there is none.
  GRADUS_SHARED static const CublasLt& get() {
    static const CublasLt api = [] {
      auto library = Library::open({"libcublasLt.so.13", "libcublasLt.so.12"}, toolkit_folders());
      require<CudaError>(static_cast<bool>(library),
                         "NVIDIA's library of matrix products (libcublasLt) was not found: ", library.reason(),
                         "; install the CUDA toolkit, or set CUDA_PATH to its folder");
      return from(library);
    }();
    return api;
  }
  static void check(int result, const char* call, const char* op) {
    constexpr const char* names[] = {"success",       "not initialized",      "", "allocation failed", "", "", "",
                                     "invalid value", "architecture mismatch"};
    auto name = result == 11                 ? "mapping error"
                : result == 13               ? "execution failed"
                : result == 14               ? "internal error"
                : result == 15               ? "not supported"
                : result >= 0 && result <= 8 ? names[result]
                                             : "";
    require<CudaError>(result == 0, call, " for ", op, ": error ", result, " (", name, ")");
  }
};

}  // namespace gradus::cuda::detail::inline GRADUS_STABLE

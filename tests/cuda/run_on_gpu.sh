#!/bin/sh
# Builds the library's GPU side on a machine with an NVIDIA GPU, checks it against the CPU and PyTorch, and writes a report
# in Markdown: tests/cuda/run_on_gpu.sh [folder for the build and the report, build/gpu by default].
# It fetches nothing. What it needs: a C++20 compiler, CMake, Ninja, NVIDIA's driver and toolkit (or their Python
# packages; CUDA_PATH names another place); and, where the system has them not, Eigen in the folder that
# GRADUS_EIGEN_INCLUDE_DIR names and Catch2's headers and CMake files in one that CMAKE_PREFIX_PATH names.
set -u
cd "$(dirname "$0")/../.."
out=${1:-build/gpu}
mkdir -p "$out"
report=$out/report.md
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
[ -z "${GRADUS_EIGEN_INCLUDE_DIR:-}" ] || set -- "-DGRADUS_EIGEN_INCLUDE_DIR=$GRADUS_EIGEN_INCLUDE_DIR"
[ -n "${GRADUS_EIGEN_INCLUDE_DIR:-}" ] || set --

{
  echo "# Gradus on a GPU, $(date +%Y-%m-%d)"
  echo
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | sed 's/^/Card: /'
  echo "Commit: $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  echo
} >"$report"

if ! cmake --preset release -B "$out/build" -DGRADUS_CUDA=ON -DGRADUS_FETCH=OFF -DGRADUS_BUILD_EXAMPLES=OFF \
  -DGRADUS_BUILD_BENCHMARKS=OFF -DGRADUS_BATCH=4 -DGRADUS_ZLIB=OFF -DGRADUS_WERROR=OFF \
  "-DGRADUS_TEST_FOLDERS=ops;models;cuda" "$@" >"$out/build.log" 2>&1 ||
  ! cmake --build "$out/build" --parallel "$jobs" --target test_ops test_models test_cuda >>"$out/build.log" 2>&1; then
  tail -40 "$out/build.log"
  echo "The build failed: see $out/build.log" | tee -a "$report"
  exit 1
fi

export GRADUS_TEST_ONLY_GPU=1 GRADUS_KERNEL_CACHE="$out/kernels"
failed=0
check() { # NAME PROGRAM [what to run]
  name=$1
  shift
  begin=$(date +%s)
  if "$@" >"$out/$name.log" 2>&1; then answer=passed; else answer=FAILED failed=1; fi
  printf -- '- %s: %s, %s s: %s\n' "$name" "$answer" "$(($(date +%s) - begin))" "$(tail -3 "$out/$name.log" | tr '\n' ' ')" |
    tee -a "$report"
}
check cuda "$out/build/tests/test_cuda"
check operators "$out/build/tests/test_ops"
check models "$out/build/tests/test_models" "*losses*"
exit $failed

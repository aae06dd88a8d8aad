#!/bin/sh
# Builds the library's GPU side on a machine with an NVIDIA GPU, checks it against the CPU and PyTorch, times it, and
# writes a report in Markdown: tests/cuda/run_on_gpu.sh [folder for the build and the report, build/gpu by default].
#
# It fetches nothing. To carry to a bare machine: this tree; Eigen's headers (GRADUS_EIGEN_INCLUDE_DIR names their
# folder); Catch2's headers, library and CMake files (CMAKE_PREFIX_PATH names theirs). To be there: a C++20 compiler,
# CMake, Ninja, Python, NVIDIA's driver, and its toolkit or the Python packages that hold its libraries (CUDA_PATH and
# GRADUS_CUDA_LIBRARIES name other places). PyTorch is timed beside it where `python3 -c 'import torch'` works, and
# compute-sanitizer checks the kernels where it is installed.
#
# GRADUS_GPU_PARTS chooses what is done, in this order: "tests sanitizer examples benchmarks" (all of them). A part that
# takes longer than GRADUS_GPU_LIMIT seconds (600) is ended, and the report says so.
set -u
cd "$(dirname "$0")/../.."
out=${1:-build/gpu}
parts=" ${GRADUS_GPU_PARTS:-tests sanitizer examples benchmarks} "
limit=${GRADUS_GPU_LIMIT:-600}
mkdir -p "$out"
out=$(cd "$out" && pwd)
report=$out/report.md
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
set --
[ -z "${GRADUS_EIGEN_INCLUDE_DIR:-}" ] || set -- "-DGRADUS_EIGEN_INCLUDE_DIR=$GRADUS_EIGEN_INCLUDE_DIR"

wanted() { case $parts in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
has() { command -v "$1" >/dev/null 2>&1; }

{
  echo "# Gradus on a GPU, $(date +%Y-%m-%d)"
  echo
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | sed 's/^/Card: /'
  echo
  echo "Commit: $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  echo
} >"$report"

targets="test_cuda test_ops test_models test_train"
wanted tests || targets=
! wanted sanitizer || targets="$targets test_cuda test_ops"
! wanted examples || targets="$targets examples/all"
begin=$(date +%s)
if ! cmake --preset release -B "$out/build" -DGRADUS_CUDA=ON -DGRADUS_FETCH=OFF -DGRADUS_BUILD_TESTS=ON \
  -DGRADUS_BUILD_EXAMPLES=ON -DGRADUS_BUILD_BENCHMARKS=OFF -DGRADUS_BATCH=4 -DGRADUS_ZLIB=OFF -DGRADUS_WERROR=OFF \
  "-DGRADUS_TEST_FOLDERS=ops;models;train;cuda" "$@" >"$out/build.log" 2>&1 ||
  { [ -n "$targets" ] && ! cmake --build "$out/build" --parallel "$jobs" --target $targets >>"$out/build.log" 2>&1; }; then
  tail -40 "$out/build.log"
  echo "The build failed: see $out/build.log" | tee -a "$report"
  exit 1
fi
echo "Built in $(($(date +%s) - begin)) s." >>"$report"

export GRADUS_KERNEL_CACHE="$out/kernels"
failed=0
# check NAME PROGRAM...: its last lines go into the report.
check() {
  name=$1 begin=$(date +%s) answer=passed
  shift
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || { answer="FAILED ($?)" failed=1; }
  printf -- '- %s: %s, %s s: %s\n' "$name" "$answer" "$(($(date +%s) - begin))" "$(tail -3 "$out/$name.log" | tr '\n' ' ')" |
    tee -a "$report"
}
part() { printf '\n## %s\n\n' "$1" >>"$report"; }

if wanted tests; then
  part "Against the CPU and PyTorch's losses"
  export GRADUS_TEST_ONLY_GPU=1
  check cuda "$out/build/tests/test_cuda"
  check operators "$out/build/tests/test_ops"
  check models "$out/build/tests/test_models" "*losses*"
  check train "$out/build/tests/test_train" "[gpu]"
  unset GRADUS_TEST_ONLY_GPU
fi
if wanted sanitizer; then
  part "compute-sanitizer"
  if has compute-sanitizer; then
    export GRADUS_TEST_ONLY_GPU=1
    for tool in memcheck racecheck synccheck; do
      check "$tool" compute-sanitizer --tool $tool --error-exitcode 9 --target-processes all "$out/build/tests/test_ops" \
        "*softmax*,*norm*,*cross_entropy*,*pool*,*index*,*scatter*,*dropout*,*sum*"
    done
    unset GRADUS_TEST_ONLY_GPU
  else
    echo "It is not installed." >>"$report"
  fi
fi
if wanted examples; then
  part "Examples"
  printf 'To be, or not to be: that is the question. %.0s' $(seq 400) >"$out/text.txt"
  for name in fashion_mnist breast_cancer auto_mpg gpt_train retail_forecast transfer_image finetune_text; do
    set -- --quick --out "$out/runs/$name"
    [ $name != fashion_mnist ] || set -- "$@" --small
    [ $name != gpt_train ] || set -- "$@" --text "$out/text.txt" --prompt "To be"
    mkdir -p "$out/runs"
    GRADUS_DEVICE=cuda check $name "$out/build/examples/$name" "$@"
  done
fi
if wanted benchmarks; then
  part "Training steps"
  include=${GRADUS_EIGEN_INCLUDE_DIR:-/usr/include/eigen3}
  if ${CXX:-c++} -std=c++20 -O2 -march=native -DNDEBUG -DGRADUS_CUDA -Iinclude -isystem "$include" benchmarks/gpu_steps.cpp \
    -o "$out/gpu_steps" -pthread -ldl >"$out/gpu_steps.log" 2>&1; then
    for choice in "" "--capture --autotune" "--capture --autotune --fuse-tails GPT" "--capture --cudnn-rnn LSTM"; do
      printf '\n`gpu_steps %s`\n\n' "$choice" >>"$report"
      timeout "$limit" "$out/gpu_steps" $choice 2>&1 | tee -a "$report"
    done
    if python3 -c 'import torch' 2>/dev/null; then
      for choice in "" "--compile"; do
        printf '\n`gpu_steps.py %s`\n\n' "$choice" >>"$report"
        timeout "$limit" python3 benchmarks/gpu_steps.py $choice 2>"$out/pytorch.log" | tee -a "$report"
      done
    fi
  else
    echo "benchmarks/gpu_steps.cpp did not compile: see $out/gpu_steps.log" | tee -a "$report"
    failed=1
  fi
fi
exit $failed

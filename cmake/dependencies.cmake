# What Gradus builds on. An installed package comes first; then, with GRADUS_FETCH, a download pinned by its hash.
find_package(Threads REQUIRED)
if(POLICY CMP0135)
  cmake_policy(SET CMP0135 NEW)  # unpacked files are as old as the unpacking
endif()

# Sets <name>_SOURCE_DIR in the caller's scope. Explains itself, because a download is where builds fail.
macro(gradus_fetch name url sha256 install_hint)
  if(NOT GRADUS_FETCH)
    message(FATAL_ERROR "Gradus needs ${name} and did not find it. ${install_hint}")
  endif()
  set(gradus_archive "${PROJECT_BINARY_DIR}/downloads/${name}.tar.gz")
  set(gradus_hash "")
  if(EXISTS "${gradus_archive}")
    file(SHA256 "${gradus_archive}" gradus_hash)
  endif()
  if(NOT gradus_hash STREQUAL "${sha256}")
    message(STATUS "${name} is not installed; downloading ${url}")
    file(DOWNLOAD "${url}" "${gradus_archive}" INACTIVITY_TIMEOUT 30 STATUS gradus_status)
    list(GET gradus_status 0 gradus_code)
    if(gradus_code EQUAL 0)
      file(SHA256 "${gradus_archive}" gradus_hash)
    endif()
    if(NOT gradus_hash STREQUAL "${sha256}")
      file(REMOVE "${gradus_archive}")
      message(FATAL_ERROR "Gradus needs ${name}, did not find it, and could not download it from\n  ${url}\n"
                          "  (${gradus_status}; SHA-256 '${gradus_hash}', wanted '${sha256}')\n${install_hint}")
    endif()
  endif()
  include(FetchContent)
  FetchContent_Declare(${name} URL "${gradus_archive}" URL_HASH SHA256=${sha256} ${ARGN})
  FetchContent_MakeAvailable(${name})
endmacro()

# Eigen3::Eigen: the CPU kernels' registers, and the interop. 5 is preferred, 3.4 will do.
function(gradus_find_eigen)
  if(NOT TARGET Eigen3::Eigen AND NOT GRADUS_EIGEN_INCLUDE_DIR)
    find_package(Eigen3 5 CONFIG QUIET)
    if(NOT Eigen3_FOUND)
      find_package(Eigen3 3.4 CONFIG QUIET)
    endif()
    if(TARGET Eigen3::Eigen)  # made for this folder alone; who links Gradus stands elsewhere
      set_target_properties(Eigen3::Eigen PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
  if(NOT TARGET Eigen3::Eigen)
    set(folder "${GRADUS_EIGEN_INCLUDE_DIR}")
    if(NOT folder)
      # A subfolder that does not exist: only the headers are wanted, not Eigen's own targets.
      gradus_fetch(eigen "https://gitlab.com/libeigen/eigen/-/archive/5.0.1/eigen-5.0.1.tar.gz"
                   e9c326dc8c05cd1e044c71f30f1b2e34a6161a3b6ecf445d56b53ff1669e3dec
                   "Install Eigen 3.4 or later (Debian, Ubuntu: libeigen3-dev; Fedora: eigen3-devel; Homebrew: eigen), \
or give -DGRADUS_EIGEN_INCLUDE_DIR=<folder that holds Eigen/Core>." SOURCE_SUBDIR no-targets)
      set(folder "${eigen_SOURCE_DIR}")
    endif()
    if(NOT EXISTS "${folder}/Eigen/Core")
      message(FATAL_ERROR "There is no Eigen/Core in '${folder}' (GRADUS_EIGEN_INCLUDE_DIR)")
    endif()
    add_library(Eigen3::Eigen INTERFACE IMPORTED GLOBAL)
    set_target_properties(Eigen3::Eigen PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folder}")
  endif()
  get_target_property(folder Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
  set(gradus_eigen_dir "${folder}" PARENT_SCOPE)
  message(STATUS "Gradus ${PROJECT_VERSION}: Eigen in ${folder}")
endfunction()

# zlib reads .gz files. It is optional and on every system, so it is never downloaded.
function(gradus_find_zlib)
  set(found_before FALSE)
  if(TARGET ZLIB::ZLIB)
    set(found_before TRUE)
  endif()
  if(GRADUS_ZLIB STREQUAL "AUTO")
    find_package(ZLIB QUIET)
    if(NOT ZLIB_FOUND)
      message(STATUS "Gradus ${PROJECT_VERSION}: no zlib, so .gz files cannot be read (Debian, Ubuntu: zlib1g-dev)")
    endif()
  elseif(GRADUS_ZLIB)
    find_package(ZLIB REQUIRED)
  else()
    set(ZLIB_FOUND FALSE)
  endif()
  set(ZLIB_FOUND "${ZLIB_FOUND}" PARENT_SCOPE)
  if(ZLIB_FOUND AND NOT found_before)
    set_target_properties(ZLIB::ZLIB PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endfunction()

# Catch2 3, or 2.13. Sets gradus_catch to the libraries of a test program, and gradus_catch_skip to the property by which
# ctest knows a skipped case. (Debian's 2.13 has a library with a main function, too; tests/main.cpp serves there.)
macro(gradus_find_catch)
  set(gradus_catch Catch2::Catch2WithMain)
  set(gradus_catch_skip SKIP_RETURN_CODE 4)
  find_package(Catch2 3 CONFIG QUIET)
  if(NOT Catch2_FOUND)
    find_package(Catch2 2.13 CONFIG QUIET)
    if(Catch2_FOUND)
      set(gradus_catch Catch2::Catch2)
      set(gradus_catch_skip SKIP_REGULAR_EXPRESSION "SKIPPED: ")  # its return code counts failures
    else()
      gradus_fetch(Catch2 "https://github.com/catchorg/Catch2/archive/refs/tags/v3.8.1.tar.gz"
                   18b3f70ac80fccc340d8c6ff0f339b2ae64944782f8d2fca2bd705cf47cadb79
                   "Install it (Debian, Ubuntu: catch2; Fedora: catch-devel; Homebrew: catch2) or leave the tests out \
with -DGRADUS_BUILD_TESTS=OFF.")
      list(APPEND CMAKE_MODULE_PATH "${Catch2_SOURCE_DIR}/extras")
    endif()
  endif()
  include(Catch)
endmacro()

# benchmark::benchmark_main, Google Benchmark.
macro(gradus_find_benchmark)
  if(NOT TARGET benchmark::benchmark_main)
    find_package(benchmark 1.6 CONFIG QUIET)
    if(NOT benchmark_FOUND)
      set(BENCHMARK_ENABLE_TESTING OFF)
      set(BENCHMARK_ENABLE_INSTALL OFF)
      set(BENCHMARK_ENABLE_WERROR OFF)
      gradus_fetch(benchmark "https://github.com/google/benchmark/archive/refs/tags/v1.9.5.tar.gz"
                   9631341c82bac4a288bef951f8b26b41f69021794184ece969f8473977eaa340
                   "Install it (Debian, Ubuntu: libbenchmark-dev; Fedora: google-benchmark-devel; Homebrew: \
google-benchmark) or leave the benchmarks out with -DGRADUS_BUILD_BENCHMARKS=OFF.")
    endif()
  endif()
endmacro()

# The compiler's name for "this machine's instruction set".
function(gradus_native_flag result)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=native GRADUS_MARCH_NATIVE)
  if(GRADUS_MARCH_NATIVE)
    set(${result} -march=native PARENT_SCOPE)
  else()
    set(${result} -mcpu=native PARENT_SCOPE)
  endif()
endfunction()

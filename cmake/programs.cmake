# Gradus's own programs: tests, examples, benchmarks. All are found by their place in the tree; nothing is listed.
add_library(gradus_program INTERFACE)
target_link_libraries(gradus_program INTERFACE gradus::gradus)
target_compile_options(gradus_program INTERFACE -Wall -Wextra -Wconversion -Wshadow)
# A compiler that we do not use every day may warn of more, and the sanitizers' code confuses the warnings.
set(werror ${GRADUS_WERROR})
if(werror STREQUAL "AUTO")
  set(werror OFF)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\." AND NOT GRADUS_SANITIZE)
    set(werror ON)
  endif()
endif()
if(werror)
  target_compile_options(gradus_program INTERFACE -Werror)
endif()
# Wrong about "text" + std::string in g++ 12: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105651
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
  target_compile_options(gradus_program INTERFACE -Wno-restrict)
endif()

# gradus_compile_in_batches(<target>): files that include the same headers cost less together. What they define in
# unnamed namespaces must therefore have different names within a program.
function(gradus_compile_in_batches target)
  if(GRADUS_BATCH GREATER 1)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${GRADUS_BATCH})
  endif()
endfunction()

# gradus_add_tests(<folder>): the program <folder> of every <folder>/**/*_test.cpp; each test case is one of ctest's.
# Files named *_serial_test.cpp measure time or load, and become <folder>_serial, which runs with nothing beside it.
function(gradus_add_tests folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${folder}/*_test.cpp")
  if(GRADUS_TEST_FILES)
    list(FILTER sources INCLUDE REGEX "/tests/(${GRADUS_TEST_FILES})_test\\.cpp$")
  endif()
  set(serial_sources ${sources})
  list(FILTER sources EXCLUDE REGEX "_serial_test\\.cpp$")
  list(FILTER serial_sources INCLUDE REGEX "_serial_test\\.cpp$")
  gradus_add_test_program(${folder} "${folder}/" FALSE ${sources})
  gradus_add_test_program(${folder}_serial "${folder}/" TRUE ${serial_sources})
endfunction()

function(gradus_add_test_program name prefix serial)
  if(NOT ARGN)
    return()
  endif()
  add_executable(test_${name} ${ARGN})
  target_link_libraries(test_${name} PRIVATE gradus_test_support)
  gradus_compile_in_batches(test_${name})
  set(environment "")
  if(GRADUS_SANITIZE MATCHES "thread")
    set(environment ENVIRONMENT TSAN_OPTIONS=die_after_fork=0)  # children start threads of their own
  endif()
  # The names of cases start with their folder, so that `ctest -R '^ops/'` runs one folder's. Those of tests/cuda need a
  # card.
  if(NOT name STREQUAL "cuda")
    catch_discover_tests(test_${name} TEST_PREFIX "${prefix}" WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
                         PROPERTIES TIMEOUT 600 RUN_SERIAL ${serial} ${environment} ${gradus_catch_skip})
  endif()
  # Once more, about the GPU only, on the simulated card. It has its own checks under the name of the thread sanitizer.
  set(simulated "^(cuda|ops|models|train|optim)$")
  if(GRADUS_SANITIZE MATCHES "thread")
    set(simulated "^$")
  elseif(GRADUS_SANITIZE)
    set(simulated "^cuda$")
  endif()
  if(GRADUS_CUDA AND CMAKE_SYSTEM_NAME STREQUAL "Linux" AND name MATCHES "${simulated}")
    set(cases "~[nvrtc]")  # those are about the real compiler
    if(name STREQUAL "models")
      set(cases "*losses*")
    elseif(name MATCHES "^(train|optim)$")
      set(cases "[gpu]")
    endif()
    catch_discover_tests(test_${name} TEST_PREFIX "simulated card: ${prefix}" TEST_SPEC "${cases}"
                         WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
                         PROPERTIES TIMEOUT 900 LABELS simulated ${gradus_catch_skip}
                                    ENVIRONMENT GRADUS_TEST_SIMULATED_CARD=${CMAKE_CURRENT_BINARY_DIR}/cuda/simulated)
    gradus_add_address_checks(${name})
  endif()
endfunction()

# Kernels of the operators once more, compiled with the address sanitizer, whose library is loaded before the program. So
# are wrong kernels, which it must find.
function(gradus_add_address_checks name)
  if(GRADUS_SANITIZE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR NOT name MATCHES "^(cuda|ops)$")
    return()
  endif()
  execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -print-file-name=libasan.so OUTPUT_VARIABLE library
                  OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT EXISTS "${library}")
    return()
  endif()
  set(cases "~[nvrtc]")
  if(name STREQUAL "cuda")
    set(cases "the address sanitizer*,fp8*")
  endif()
  # One process for all, since every start and every kernel that is loaded costs; begun before other tests.
  add_test(NAME "simulated card: ${name} with the address sanitizer" WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
           COMMAND $<TARGET_FILE:test_${name}> "${cases}")
  set_tests_properties("simulated card: ${name} with the address sanitizer" PROPERTIES
    TIMEOUT 1500 COST 1000 LABELS simulated ENVIRONMENT
    "GRADUS_TEST_SIMULATED_CARD=${CMAKE_CURRENT_BINARY_DIR}/cuda/simulated;GRADUS_SIMULATED_CHECKS=address;LD_PRELOAD=${library};ASAN_OPTIONS=detect_leaks=0")
endfunction()

# gradus_add_check(<name> <command>...): a test that is not a case of a test program. It is skipped when it ends with 77.
function(gradus_add_check name)
  add_test(NAME "checks: ${name}" COMMAND ${ARGN})
  set_tests_properties("checks: ${name}" PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1500)
endfunction()

# gradus_add_examples(): one program a file.
function(gradus_add_examples)
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE gradus_program)
  endforeach()
endfunction()

# gradus_add_benchmarks(<target> <glob>...): one program of all files, with the libraries in GRADUS_BENCHMARK_LIBRARIES.
function(gradus_add_benchmarks target)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${ARGN})
  if(NOT sources)
    return()
  endif()
  add_executable(${target} ${sources})
  target_link_libraries(${target} PRIVATE gradus_program ${GRADUS_BENCHMARK_LIBRARIES})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
  gradus_compile_in_batches(${target})
endfunction()

# gradus_add_header_check(): the target header_check compiles every header alone, twice included, into nothing.
function(gradus_add_header_check)
  file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}/include" CONFIGURE_DEPENDS
       "${PROJECT_SOURCE_DIR}/include/gradus/*.hpp")
  foreach(header IN LISTS headers)
    string(REGEX REPLACE "[/.]" "_" unit "${header}")
    set(unit "${CMAKE_CURRENT_BINARY_DIR}/headers/${unit}.cpp")
    file(CONFIGURE OUTPUT "${unit}" CONTENT "#include \"@header@\"\n#include \"@header@\"\n" @ONLY)
    list(APPEND units "${unit}")
  endforeach()
  add_library(header_check OBJECT EXCLUDE_FROM_ALL ${units})
  target_link_libraries(header_check PRIVATE gradus_program)
  target_compile_options(header_check PRIVATE -O0)
endfunction()

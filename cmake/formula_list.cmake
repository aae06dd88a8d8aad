# gradus_list_formulas(<file>): writes what tests/ops/formula/formulas.hpp and compiled/kernels.cpp include, from the
# headers of the operators, so that an operator's formula is named nowhere but where it is defined.
function(gradus_list_formulas file)
  file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}/include" CONFIGURE_DEPENDS
       "${PROJECT_SOURCE_DIR}/include/gradus/ops/*.hpp")
  set(includes "")
  set(formulas "")
  foreach(header IN LISTS headers)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/${header}")
    file(READ "${PROJECT_SOURCE_DIR}/include/${header}" text)
    string(REGEX REPLACE "[][;]" "@" text "${text}")  # which CMake's lists take apart
    string(REGEX MATCHALL "auto [a-z0-9_]+_formula[ \n]*=[ \n]*pointwise\\([ \n]*\"[a-z0-9_]+\",[ \n]*@@\\([^)]*\\)" found "${text}")
    if(found)
      string(APPEND includes "#include \"${header}\"\n")
    endif()
    foreach(formula IN LISTS found)
      string(REGEX REPLACE "^auto ([a-z0-9_]+)_formula.*" "\\1" name "${formula}")
      string(REGEX REPLACE ".*@@" "" operands "${formula}")
      string(REGEX MATCHALL "auto" operands "${operands}")
      list(LENGTH operands count)
      string(APPEND formulas "GRADUS_FORMULA(${name}, ${count})\n")
    endforeach()
  endforeach()
  file(CONFIGURE OUTPUT "${file}"
       CONTENT "#if defined(GRADUS_FORMULA_HEADERS)\n${includes}#else\n${formulas}#endif\n" @ONLY)
endfunction()

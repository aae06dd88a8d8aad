# find_package(gradus) for other projects.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(gradus_package "${CMAKE_INSTALL_DATADIR}/cmake/gradus")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/gradus" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/gradus")
install(TARGETS gradus EXPORT gradus)
if(GRADUS_BUILD_COMPILED AND TARGET gradus_compiled)
  install(TARGETS gradus_compiled EXPORT gradus ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
install(EXPORT gradus NAMESPACE gradus:: FILE gradusTargets.cmake DESTINATION "${gradus_package}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/gradusConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/gradusConfig.cmake" INSTALL_DESTINATION "${gradus_package}")
# Headers only is the same on every architecture. Before 1.0 a minor version may change what users wrote.
set(any_architecture ARCH_INDEPENDENT)
if(GRADUS_BUILD_COMPILED AND TARGET gradus_compiled)
  set(any_architecture "")
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/gradusConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion ${any_architecture})
install(FILES "${PROJECT_BINARY_DIR}/gradusConfig.cmake" "${PROJECT_BINARY_DIR}/gradusConfigVersion.cmake"
        DESTINATION "${gradus_package}")

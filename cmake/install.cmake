# find_package(gradus) for other projects.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(gradus_package "${CMAKE_INSTALL_DATADIR}/cmake/gradus")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/gradus" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/gradus")
install(TARGETS gradus EXPORT gradus)
install(EXPORT gradus NAMESPACE gradus:: FILE gradusTargets.cmake DESTINATION "${gradus_package}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/gradusConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/gradusConfig.cmake" INSTALL_DESTINATION "${gradus_package}")
# Headers only: the same on every architecture. Before 1.0 a minor version may change what users wrote.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/gradusConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/gradusConfig.cmake" "${PROJECT_BINARY_DIR}/gradusConfigVersion.cmake"
        DESTINATION "${gradus_package}")

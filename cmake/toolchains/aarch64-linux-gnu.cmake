# For 64-bit Arm on Debian and its kin: g++-aarch64-linux-gnu compiles, and qemu-user runs what it made.
#   cmake --preset aarch64
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Eigen and Catch2 2 are headers alone, which serve every processor; no library of this machine does.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)

find_program(GRADUS_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(GRADUS_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${GRADUS_QEMU};-L;/usr/aarch64-linux-gnu")
endif()

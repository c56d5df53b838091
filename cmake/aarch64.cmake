# Cross-building for 64-bit ARM on Debian and its like; tests and the program run under QEMU. Programs
# are linked statically, so that the emulator needs no ARM system around them.
#   BP_AARCH64_SYSROOT  a folder with the ARM libraries (usr/lib, usr/include), where they are not
#                       installed beside the compiler's own
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
find_program(BP_QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
set(CMAKE_CROSSCOMPILING_EMULATOR ${BP_QEMU_AARCH64})
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)

# What `cmake --install` puts where: program, manual page, completions, libraries, header, and the
# files by which pkg-config and find_package find them. Paths inside these are relative, so the whole
# prefix may be moved.
include(CMakePackageConfigHelpers)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bitprop)
install(TARGETS bitprop_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(bp_printed)
  install(FILES ${bp_printed}/bitprop.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${bp_printed}/bitprop DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${bp_printed}/_bitprop DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
install(FILES include/bitprop.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# Two export sets: users of the shared library need none of the development packages that the static
# one is linked with.
install(TARGETS bitprop EXPORT bitprop-shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS bitprop_static EXPORT bitprop-static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(kind shared static)
  install(EXPORT bitprop-${kind} NAMESPACE bitprop:: FILE bitprop-${kind}.cmake
    DESTINATION ${config_dir})
endforeach()
configure_package_config_file(cmake/bitpropConfig.cmake.in bitpropConfig.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(bitpropConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bitpropConfig.cmake
  ${PROJECT_BINARY_DIR}/bitpropConfigVersion.cmake cmake/FindOneDNN.cmake DESTINATION ${config_dir})

file(RELATIVE_PATH BP_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
set(BP_PC_LIBS_PRIVATE "-lm ${CMAKE_THREAD_LIBS_INIT}")
if(BP_HAVE_ONEDNN)
  string(APPEND BP_PC_LIBS_PRIVATE " -ldnnl ${OpenMP_C_FLAGS}")
endif()
configure_file(cmake/bitprop.pc.in bitprop.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/bitprop.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

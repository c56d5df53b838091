# Run at every build (cmake -P): writes the header OUT from IN with the commit of the work tree SOURCE.
# The file is touched only if its text changes, so that nothing is compiled again otherwise. The commit
# is empty without git (GIT) and where SOURCE is no work tree of its own, as in a release archive.
set(BP_COMMIT "")
if(GIT AND EXISTS ${SOURCE}/.git)
  # Without the lock of the index: a build must not make a commit fail that runs at the same time.
  set(git ${GIT} --no-optional-locks)
  execute_process(COMMAND ${git} describe --always --abbrev=12 WORKING_DIRECTORY ${SOURCE}
    OUTPUT_VARIABLE BP_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  execute_process(COMMAND ${git} status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE}
    OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    string(APPEND BP_COMMIT -dirty)
  endif()
endif()
configure_file(${IN} ${OUT} @ONLY)

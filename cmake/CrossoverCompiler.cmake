# Compiler settings that every target of this project shares.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(crossover-warnings INTERFACE)
target_compile_options(crossover-warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
  -Wnull-dereference -Wextra-semi -Werror)

if(CROSSOVER_SANITIZE)
  add_compile_options(-fsanitize=${CROSSOVER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CROSSOVER_SANITIZE})
  # The sanitizers' instrumentation makes GCC see null dereferences in the standard library's headers.
  target_compile_options(crossover-warnings INTERFACE -Wno-null-dereference -Wno-maybe-uninitialized)
endif()

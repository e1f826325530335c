# Compiler settings that every target of this project shares.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(crossover-warnings INTERFACE)
target_compile_options(crossover-warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
  -Wextra-semi
  # Members left out of a designated initialiser have their defaults; that is what it is used for.
  -Wno-missing-field-initializers)

if(CROSSOVER_SANITIZE)
  add_compile_options(-fsanitize=${CROSSOVER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CROSSOVER_SANITIZE})
endif()

# crossover_unity(target FILES...): where CROSSOVER_UNITY_BUILD asks for it, the target's units are compiled several at a
# time, all but the files named, whose own names would meet others'.
function(crossover_unity target)
  if(CROSSOVER_UNITY_BUILD)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    foreach(file ${ARGN})
      set_property(SOURCE ${file} TARGET_DIRECTORY ${target} PROPERTY SKIP_UNITY_BUILD_INCLUSION ON)
    endforeach()
  endif()
endfunction()

# Finds librbd and librados, which ship no package files of their own.
# Defines the targets Rbd::rbd and Rbd::rados.

find_path(RBD_INCLUDE_DIR rbd/librbd.h)
find_library(RBD_LIBRARY rbd)
find_library(RADOS_LIBRARY rados)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Rbd REQUIRED_VARS RBD_LIBRARY RADOS_LIBRARY RBD_INCLUDE_DIR)

if(Rbd_FOUND AND NOT TARGET Rbd::rbd)
  add_library(Rbd::rados UNKNOWN IMPORTED)
  set_target_properties(Rbd::rados PROPERTIES IMPORTED_LOCATION "${RADOS_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${RBD_INCLUDE_DIR}")
  add_library(Rbd::rbd UNKNOWN IMPORTED)
  set_target_properties(Rbd::rbd PROPERTIES IMPORTED_LOCATION "${RBD_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${RBD_INCLUDE_DIR}" INTERFACE_LINK_LIBRARIES Rbd::rados)
endif()
mark_as_advanced(RBD_INCLUDE_DIR RBD_LIBRARY RADOS_LIBRARY)

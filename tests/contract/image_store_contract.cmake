# One program for all stores. Without a cluster it tests the one in memory; with-ceph gives it a throw-away cluster.
crossover_test(NAME image-store-contract
  SOURCES image_store_contract.cpp fast_diff_test.cpp five_findings_test.cpp head_lock_test.cpp leases_test.cpp rbd_crossed_test.cpp rbd_parts_test.cpp resume_contract.cpp harnesses.cpp memory_harness.cpp ceph_harness.cpp
    agent_harness.cpp agent_process_test.cpp ${PROJECT_SOURCE_DIR}/tests/support/socket_shell.cpp
    ${PROJECT_SOURCE_DIR}/tests/support/memory_image_store.cpp
  LIBRARIES crossover Rbd::rbd PkgConfig::XXHASH Threads::Threads LABELS contract)
add_test(NAME image-store-contract-ceph
  COMMAND ${CMAKE_CURRENT_LIST_DIR}/with-ceph $<TARGET_FILE:test-image-store-contract>)
set_tests_properties(image-store-contract-ceph PROPERTIES LABELS "contract;ceph" SKIP_RETURN_CODE 77 TIMEOUT 1800)
if(TARGET crossover-cli)
  set_tests_properties(image-store-contract-ceph PROPERTIES
    ENVIRONMENT "CROSSOVER_TEST_COMMAND=$<TARGET_FILE_DIR:crossover-cli>")
endif()
# What Ceph keeps from being used, by both of its stores; nothing without a cluster.
crossover_test(NAME unusable-images SOURCES unusable_images_test.cpp ceph_harness.cpp
  LIBRARIES crossover Rbd::rbd Threads::Threads LABELS "contract;ceph" THROUGH ${CMAKE_CURRENT_LIST_DIR}/with-ceph)
set_tests_properties(unusable-images PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
# The same connections where librados does not know an option any more.
add_library(newer-librados MODULE ${CMAKE_CURRENT_LIST_DIR}/newer_librados.cpp)
target_link_libraries(newer-librados PRIVATE ${CMAKE_DL_LIBS} crossover-warnings)
add_test(NAME newer-librados COMMAND ${CMAKE_CURRENT_LIST_DIR}/with-ceph env LD_PRELOAD=$<TARGET_FILE:newer-librados>
  CROSSOVER_NEWER_LIBRADOS=1 $<TARGET_FILE:test-unusable-images> --test-case=*newer*,*trash*)
set_tests_properties(newer-librados PROPERTIES LABELS "contract;ceph" SKIP_RETURN_CODE 77 TIMEOUT 300)

# Always on a throw-away cluster: without one there is nothing to test.
crossover_test(NAME random-sequences
  SOURCES random_sequences.cpp memory_harness.cpp ceph_harness.cpp agent_harness.cpp
    ${PROJECT_SOURCE_DIR}/tests/support/socket_shell.cpp ${PROJECT_SOURCE_DIR}/tests/support/memory_image_store.cpp
  LIBRARIES crossover Rbd::rbd PkgConfig::XXHASH Threads::Threads LABELS "contract;ceph"
  THROUGH ${CMAKE_CURRENT_LIST_DIR}/with-ceph)
set_tests_properties(random-sequences PROPERTIES PROCESSORS 2 SKIP_RETURN_CODE 77 TIMEOUT 1800
  ENVIRONMENT CROSSOVER_SEQUENCES=150)
add_test(NAME random-sequences-whole COMMAND ${CMAKE_CURRENT_LIST_DIR}/with-ceph $<TARGET_FILE:test-random-sequences>)
set_tests_properties(random-sequences-whole PROPERTIES LABELS "contract;ceph;long" PROCESSORS 2 TIMEOUT 3600)

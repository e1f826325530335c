# The commands themselves, against the stock `rbd` on a throw-away cluster.
if(CROSSOVER_BUILD_CLI)
  add_test(NAME diff-commands-ceph COMMAND ${CMAKE_CURRENT_LIST_DIR}/with-ceph
    ${CMAKE_CURRENT_LIST_DIR}/diff_commands $<TARGET_FILE:crossover-cli>)
  set_tests_properties(diff-commands-ceph PROPERTIES LABELS "contract;ceph" SKIP_RETURN_CODE 77 TIMEOUT 600)
  add_test(NAME diff-words-ceph COMMAND ${CMAKE_CURRENT_LIST_DIR}/with-ceph
    ${CMAKE_CURRENT_LIST_DIR}/diff_words $<TARGET_FILE:crossover-cli>)
  set_tests_properties(diff-words-ceph PROPERTIES LABELS "contract;ceph" SKIP_RETURN_CODE 77 TIMEOUT 600)
endif()

add_executable(test-shell-contract
  ${CMAKE_CURRENT_LIST_DIR}/shell_contract.cpp ${PROJECT_SOURCE_DIR}/tests/doctest_main.cpp)
target_include_directories(test-shell-contract PRIVATE
  ${PROJECT_SOURCE_DIR}/libcrossover/src ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(test-shell-contract PRIVATE crossover::crossover Threads::Threads doctest::doctest
  crossover-warnings)
add_test(NAME shell-contract COMMAND test-shell-contract)
set_tests_properties(shell-contract PROPERTIES LABELS contract TIMEOUT 300)

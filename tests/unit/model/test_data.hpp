// Reading files below tests/data.
#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace crossover::test {

inline std::string read_data(const std::string& name) {
  std::ifstream file(std::string(CROSSOVER_TEST_DATA) + "/" + name, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), name);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

}  // namespace crossover::test

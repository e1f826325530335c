/// \file
/// Comparing with files below tests/golden. With CROSSOVER_UPDATE_GOLDEN set they are written instead: look at what
/// changed before you commit it.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace crossover::test {

inline void check_golden(const std::string& name, const std::string& bytes) {
  const std::filesystem::path path = std::filesystem::path(CROSSOVER_SOURCE_DIR) / "tests/golden" / name;
  if (std::getenv("CROSSOVER_UPDATE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path.string());
  std::ostringstream expected;
  expected << file.rdbuf();
  CAPTURE(name);
  CHECK(bytes == expected.str());
}

}  // namespace crossover::test

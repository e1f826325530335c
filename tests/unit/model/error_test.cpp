#include "crossover/error.hpp"

#include <doctest/doctest.h>

TEST_CASE("an error reads as one line and keeps its parts") {
  const crossover::Error error(crossover::ErrorCode::already_exists, "snapshot create", "data/vm-100-disk-0",
                               "it exists");
  CHECK(std::string(error.what()) == "snapshot create data/vm-100-disk-0: it exists");
  CHECK(crossover::to_string(error.code()) == "already_exists");
  CHECK_FALSE(error.retryable());
}

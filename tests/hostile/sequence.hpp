/// \file
/// Sequences of requests over several connections.
#pragma once

#include <string>
#include <vector>

#include "client.hpp"
#include "offers.hpp"
#include "stage.hpp"

namespace crossover::test {

/// What a sequence came to.
struct Course {
  std::vector<std::string> told;  ///< what was done, in order
  int commits = 0;                ///< of the hostile client
  int after_changes = 0;          ///< those of them whose offer or order was not an honest run's
  std::string wrong;
};

/// One sequence, from where the stage is, and all that it leaves behind.
Course run_sequence(Stage& stage, Tally& tally);

}  // namespace crossover::test

/// \file
/// The commands that can meet on one guest.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "world.hpp"

namespace crossover::test {

struct Command {
  std::string name;
  std::vector<Begin> begins;  ///< where it makes sense
  std::function<Done(World&)> run;
  bool removes = false;  ///< recovery points, by retention
  bool reseeds = false;
  bool recovers = false;
};

/// All of them.
std::vector<Command> commands();

}  // namespace crossover::test

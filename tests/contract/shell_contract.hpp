/// \file
/// The hosts the shell contract is run on.
#pragma once

#include <memory>

#include "engine/shell.hpp"
#include "ssh/local_shell.hpp"

namespace crossover::test {

struct LocalHost {
  static std::unique_ptr<Shell> make() { return std::make_unique<LocalShell>(); }
};

}  // namespace crossover::test

#define CROSSOVER_SHELLS crossover::test::LocalHost

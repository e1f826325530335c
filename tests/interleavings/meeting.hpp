/// \file
/// Commands that meet on one guest: who stands still where, who goes on meanwhile, and what else happens to them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"

namespace crossover::test {

/// What becomes of whoever stands still.
enum class Standing {
  keeps_lease,
  loses_lease,  ///< and Ceph takes it for dead, too: others get the images that it held, and it none of them
  is_killed,    ///< it never goes on
};

std::string_view to_string(Standing standing);

struct Trouble {
  std::size_t call = 0;
  Fault fault = Fault::fails;
};

/// Calls are numbers of a command's own, from 0.
struct Course {
  Begin begin = Begin::mirrored;
  const Command* first = nullptr;
  const Command* second = nullptr;  ///< runs while the first stands still
  std::size_t stop = 0;             ///< where the first stands still
  Standing standing = Standing::keeps_lease;
  std::size_t told_after = 0;       ///< that many calls after it went on it notices that its lease is lost
  std::optional<Trouble> of_first;  ///< after its stop
  std::optional<Trouble> of_second;
  std::optional<std::size_t> stop_of_second;
  /// Runs whole while the second stands still. If there is none, the first goes on meanwhile, to its end.
  const Command* third = nullptr;
};

struct Meeting {
  Done first;
  Done second;
  std::optional<Done> third;
  std::vector<std::string> wrong;
  std::string stopped_at;        ///< empty: it has no call of that number
  std::string second_stopped_at;
  bool troubled = false;         ///< the calls that were to go wrong came
};

/// All commands of the course, and afterwards one more run of each.
Meeting meet(const Course& course);

/// How many calls a command makes that meets nobody.
std::size_t calls_of(Begin begin, const Command& command);

}  // namespace crossover::test

/// \file
/// Carrying out a plan's removals.
#pragma once

#include <set>
#include <string>

#include "engine/guest_work.hpp"

namespace crossover {

/// What cannot be removed now can be removed by the next run: it costs space, not the recovery point.
class RemovalRun {
 public:
  explicit RemovalRun(GuestWork& work) : work_(work) {}

  void remove();

 private:
  /// Images side by side, the snapshots of each in their order.
  void remove_those(bool (*wanted)(const Removal&));
  void remove_one(const Removal& removal);

  GuestWork& work_;
  std::set<std::string> kept_;  // points of which something could not be removed: the rest stays, as far as it can
};

}  // namespace crossover

/// \file
/// Whether the target VMID on the destination is free, or this guest's. Pure.
#pragma once

#include <optional>
#include <string>

#include "plan/guest_facts.hpp"

namespace crossover {

/// Where the replica's configuration is to be.
struct Target {
  std::string node;
  std::optional<std::string> config;  ///< bytes that are there; nothing: there is none yet
};

/// A configuration is replaced if the images that it names say that it is the guest's replica, or if --overwrite,
/// --adopt or --reseed allow it and its vmgenid is the guest's; and only on a node that can be asked, while it is
/// stopped and nobody else has locked it. Throws Stop for every other one, for a container, for a destination that
/// is the guest's own cluster and VMID, and for one that has no quorum; Error for a record that cannot be read.
Target choose_target(const GuestFacts& facts);

}  // namespace crossover

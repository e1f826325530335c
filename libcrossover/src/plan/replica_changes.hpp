/// \file
/// What a replica's configuration has that no run wrote: Proxmox VE's own snapshots, and what people changed. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "plan/guest_facts.hpp"

namespace crossover {

/// Proxmox VE's snapshots in a replica's configuration.
struct ReplicaSnapshots {
  std::string sections;              ///< those that stay, byte for byte, in the order of the file; empty: none
  std::string parent;                ///< that of these which the main section names as its parent; empty: none
  std::vector<std::string> dropped;  ///< why others do not stay, one line each

  bool operator==(const ReplicaSnapshots&) const = default;
};

/// An image of the replica, by its volume id; null if it is none, or is not there.
using ReplicaImageOf = std::function<const ImageState*(const std::string& volume)>;

/// A snapshot stays if every disk in its section is an image of the replica that has the RBD snapshot of that name.
ReplicaSnapshots replica_snapshots(const VmConfig& present, const ReplicaImageOf& image_of);

/// The configuration with these snapshots, which it has none of yet.
std::string with_snapshots(const std::string& config, const std::string& sections, const std::string& parent);

/// What was changed in a configuration since crossover wrote it, as far as `next` takes it back; one entry each. What
/// counts is what the lines say, not how they are written: Proxmox VE sorts them. It is no change if `present` says
/// what any of `written` (oldest first) says, for a run may have been cut before it wrote the last one. Locks,
/// snapshots, and `cipassword`, which no record has, are not compared.
std::vector<std::string> undone_changes(const VmConfig& present, const std::vector<VmConfig>& written,
                                        const VmConfig& next);

/// Keeps the replica's snapshots, and warns of everything else in its configuration that this run drops. Once the
/// configuration is planned.
void plan_replica_changes(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover

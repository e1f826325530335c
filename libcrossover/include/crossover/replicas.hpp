/// \file
/// The library's door for replicas, on the cluster they are on.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "crossover/events.hpp"
#include "crossover/options.hpp"
#include "crossover/replica_report.hpp"

namespace crossover {

/// What can be done with replicas where they are, with their source out of reach or gone. This host has to be a
/// Proxmox VE node of that cluster.
///
/// An object is for one thread at a time; different objects are independent of each other. Nothing is printed, no
/// signal handler is installed. Calls tell what they do through an EventSink, whose events have the replica's VMID
/// as `vmid`, and end with Cancelled soon after their stop token is triggered. Each throws Error if the cluster
/// cannot be asked, or has no replica of a VMID that is named (ErrorCode::not_found).
class Replicas {
 public:
  /// What there is of a replica: its recovery points, newest first, and what its head is. Changes nothing.
  ReplicaReport points(std::uint32_t vmid, std::stop_token stop = {});

  /// Makes a replica a guest of its own: takes its newest recovery point that is complete and was not found to
  /// differ from the source (or the one in `options`), rolls all disks back to it, and writes the configuration of
  /// that moment with the guest's own `onboot` and its firewall rules, unlocked. Before anything else all images
  /// are marked as promoted: a source that comes back is refused by mirror runs until a human decides.
  ///
  /// Refused, as Outcome::conflict or failed in the report and with nothing changed, if the replica runs, is locked
  /// by somebody else, or has an image open elsewhere; a writer that was cut off is waited for, up to 90 s. After a
  /// crash or a failure at any moment the same call ends well. A replica that was recovered already is not rolled
  /// back again. Throws Error (usage) if the options make no sense.
  RecoverReport recover(std::uint32_t vmid, const RecoverOptions& options, EventSink& events,
                        std::stop_token stop = {});

  /// Removes recovery points that the policy does not keep, of the replicas named ("99100,99101") or of "all". Only
  /// snapshots of images whose record says that they are a replica's, and never the newest complete point, the
  /// newest good one (where the next transfer starts), or what an unfinished transfer needs. Replicas that were
  /// promoted are left alone. A replica's failure is in its report. Throws Error (usage) if the options make no
  /// sense.
  PruneReport prune(const std::string& vmids, const PruneOptions& options, EventSink& events,
                    std::stop_token stop = {});
};

}  // namespace crossover

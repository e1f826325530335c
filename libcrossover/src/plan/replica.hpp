/// \file
/// What the cluster a replica is on knows of it, without its source. Pure.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crossover/replica_report.hpp"
#include "plan/mirror_plan.hpp"
#include "plan/record.hpp"

namespace crossover {

/// One image of a replica.
struct ReplicaImage {
  ImageRef ref;
  ImageState state;
  ReplicaRecord record;
  bool configured = false;  ///< the VM's configuration names it; else it is of a disk that it has no more
};

/// One point of a replica.
struct ReplicaPoint {
  std::string name;
  std::chrono::sys_seconds time{};
  std::string incomplete;  ///< why nothing can be recovered from it; empty: it is complete
  bool bad = false;        ///< found to differ from the source's, on any disk
  std::optional<PointConfig> config;
  std::vector<std::pair<ImageRef, Snapshot>> disks;  ///< those that were found
};

struct Replica {
  std::uint32_t vmid = 0;
  GuestState guest;
  std::vector<ReplicaImage> images;  ///< with a record that says they are this replica's, configured ones first
  std::vector<ReplicaPoint> points;  ///< newest first
  std::optional<Problem> problem;    ///< why it cannot be told what it is
  /// Why an image that the configuration does not name could not be looked at: points that need it are not complete.
  std::optional<Problem> former_problem;

  /// A transfer that was begun is not finished: the head may be anything.
  [[nodiscard]] bool unfinished() const;
  /// It was recovered, or that was begun.
  [[nodiscard]] std::optional<Promotion> promotion() const;
  /// Images that the VM's configuration does not name, and how many points, besides those of these names, need each.
  [[nodiscard]] std::vector<std::pair<ReplicaImage, FormerImage>> former(
      const std::set<std::string>& without = {}) const;
  /// The newest point that a recovery can start from; null if there is none.
  [[nodiscard]] const ReplicaPoint* newest_good() const;
};

/// What was looked at: the images a configuration names, and those its points name.
struct ReplicaLook {
  ClusterInventory cluster;
  ImageStates images;
  ImageProblems problems;
};

/// Images that belong to a VM as far as is known: those its configuration names, and of those that were looked at
/// already, the others that their points name.
std::set<ImageRef> images_to_look_at(std::uint32_t vmid, const ReplicaLook& look);

/// Puts together what the images say of a VM; nothing if no record says that it is a replica.
std::optional<Replica> read_replica(std::uint32_t vmid, const ReplicaLook& look);

/// The same for people, `now` being what ages are counted to.
ReplicaReport report_of(const Replica& replica, std::chrono::sys_seconds now);

}  // namespace crossover

/// \file
/// What a recovery will do, as plain data. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "crossover/options.hpp"
#include "plan/replica.hpp"

namespace crossover {

/// The options of a recovery after they were checked.
struct RecoverRequest {
  std::uint32_t vmid = 0;
  std::string point;  ///< empty: the newest that is complete and good
  bool start = false;
  bool dry_run = false;
};

/// ErrorCode::usage names what is wrong, its value, and what is expected.
RecoverRequest parse_options(std::uint32_t vmid, const RecoverOptions& options);

/// What is done, in this order. After a crash at any of them the same recovery begins anew and ends well: until the
/// last but one step the replica is locked or as it was, and no mirror run writes into one that is marked.
enum class RecoverStepKind {
  promote,    ///< keep all images from everybody else until they are settled, and write on them that the replica is
              ///< promoted: no mirror run touches them any more
  lock,       ///< lock the replica's configuration (migrate): it is not startable while it is rolled back
  check,      ///< look again that it is stopped, nobody has the images open, and the records are ours
  roll_back,  ///< disk: make the head the point
  settle,     ///< write on all images that the head is the point
  write_config,  ///< the point's firewall rules, then its configuration with the guest's own onboot and without
                 ///< lock
  start,
};

struct RecoverStep {
  RecoverStepKind kind{};
  std::size_t disk = 0;  ///< index into disks, where the kind says so

  bool operator==(const RecoverStep&) const = default;
};

struct RecoverPlan {
  std::uint32_t vmid = 0;
  std::string node;
  std::string name;
  std::string point;
  bool was_recovered = false;  ///< it had been before: the disks stay as they are
  bool running = false;
  Promotion promotion;
  std::vector<ReplicaImage> images;                  ///< all that are marked
  std::vector<std::pair<ImageRef, Snapshot>> disks;  ///< what is rolled back
  std::string config_before;                         ///< bytes the survey saw
  std::string locked_config;                         ///< meanwhile
  std::string config;                                ///< in the end
  std::optional<std::string> firewall;
  bool write_firewall = false;
  std::vector<RecoverStep> steps;
  std::optional<Problem> problem;  ///< then there are no steps
};

/// Plans the recovery of a replica that begins at `now`. Whatever stands in the way is in the plan's `problem`.
RecoverPlan plan_recover(const RecoverRequest& request, const ClusterInventory& cluster, const Replica& replica,
                         std::chrono::sys_seconds now);

/// A step in one line, for people.
std::string describe(const RecoverPlan& plan, const RecoverStep& step);

}  // namespace crossover

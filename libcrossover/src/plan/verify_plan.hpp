/// \file
/// Which recovery points are compared, as plain data. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "crossover/options.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// The options of a comparison after they were checked.
struct VerifyRequest {
  MirrorRequest mirror;
  std::string point;   ///< empty: the newest
  std::string sample;  ///< the share as given, such as "5%"; empty: everything
  std::uint32_t sample_per_million = 0;
  std::optional<std::uint64_t> seed;
  bool repair = false;
};

/// Checks all options. ErrorCode::usage names the first option that is wrong, its value, and what is expected.
VerifyRequest parse_options(const MirrorOptions& mirror, const VerifyOptions& options);

/// One disk of a point, on both sides.
struct VerifyDisk {
  GuestDisk disk;
  ImageRef replica;
  Snapshot source_snapshot;
  Snapshot replica_snapshot;
};

struct VerifyPlan {
  std::string point;
  std::vector<VerifyDisk> disks;  ///< every disk of the guest that has the point
  std::vector<std::string> warnings;
  std::optional<Problem> problem;  ///< then there is nothing to compare
};

/// Finds the point to compare: the one that was asked for, or the newest that both sides have; one that was found
/// to differ before only if there is no other.
VerifyPlan plan_verify(const VerifyRequest& request, const Inventory& inventory, const GuestScope& scope);

}  // namespace crossover

/// \file
/// What the images say of a guest's recovery points. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "plan/inventory.hpp"
#include "plan/record.hpp"

namespace crossover {

/// The image's snapshot of that name and id; null if it has none.
const Snapshot* find_snapshot(const ImageState& image, const std::string& name, std::uint64_t id);

/// Points of a replica's disk, the last one included if its commit was cut between snapshot and record.
std::vector<PointIds> known_points(const ReplicaRecord& record, const ImageState& image);

/// Names of a guest's points.
struct PointNames {
  std::set<std::string> committed;  ///< complete; adopted ones are none
  std::set<std::string> bad;        ///< found to differ from the source's, on any disk
};

/// A point counts once its configuration is recorded, which happens after every disk has its snapshot and before
/// any disk's record knows it. The disk that has the configuration may not be the guest's any more.
PointNames point_names(const ImageStates& images, const std::vector<ImageRef>& replicas);

}  // namespace crossover

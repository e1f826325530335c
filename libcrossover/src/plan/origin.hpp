/// \file
/// The way back. A replica that was promoted is a guest of its own, and what it was once copied from may still be
/// there: it becomes the guest's replica, from a snapshot that both have. Pure.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plan/inventory.hpp"
#include "plan/record.hpp"

namespace crossover {

struct GuestScope;
struct Inventory;

/// The image on the destination that a disk was once copied from.
struct Origin {
  ImageRef image;
  std::string volume;  ///< as the configuration that has the target VMID names it
  bool taken = false;  ///< its own record says already that it is the disk's replica
};

/// Of each of the guest's disks; nothing for one that has none. A disk's origin is the image whose identity stands
/// in the record of the disk's promotion, if the configuration that has the target VMID names it and it was not
/// itself promoted since: of two sides that were each other's replica, the guest is where it was promoted last.
/// None at all if one was, or if that configuration is not this guest's (its vmgenid).
std::vector<std::optional<Origin>> find_origins(const GuestScope& scope, const Inventory& inventory);

/// A snapshot as both sides have it.
struct CommonSnapshot {
  Snapshot source;
  Snapshot origin;
};

/// The newest point of a promoted replica (whose image `source` is) that its origin still has, but none of `bad`.
std::optional<CommonSnapshot> newest_common(const ReplicaRecord& promoted, const ImageState& source,
                                            const ImageState& origin, const std::set<std::string>& bad);

/// What the configuration that the origins' guest has now names, and the replica's, with these volumes, will not: a
/// sentence each.
std::vector<std::string> lost_on_way_back(const VmConfig& present, std::uint32_t vmid,
                                          const std::vector<std::string>& volumes);

}  // namespace crossover

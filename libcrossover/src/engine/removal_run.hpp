/// \file
/// Carrying out planned removals.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "crossover/events.hpp"
#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"
#include "plan/record.hpp"

namespace crossover {

/// Where removals go, and who hears of them.
struct RemovalSide {
  ImageStores* images = nullptr;
  std::string node;      ///< for events
  std::string policy;    ///< as the user wrote it, for events
  bool running = false;  ///< whether a running guest has the images
};

/// Looks at the replica's images as they are now, and says why nothing more of it may be removed; empty: it may.
using WhyKept = std::function<std::string()>;

/// Of a replica that runs write into: it may have been promoted.
WhyKept kept_if_promoted(ImageStores& images, std::vector<ImageRef> replicas);
/// Of a replica that was looked at: what is recorded of it may have changed since, in whichever way.
WhyKept kept_if_changed(ImageStores& images, std::map<ImageRef, ReplicaRecord> known);

struct RemovalWork {
  RemovalSide source;  ///< without images if no removal is on the source
  RemovalSide destination;
  std::size_t parallel = 1;  ///< images at once, on each side; with more than one both sides at once
  WhyKept why_kept;          ///< asked on the destination right before and right after points stop being ones
  // Both are called from several threads at once.
  std::function<void(Event event)> tell;
  std::function<void(const std::string& warning)> note;
};

/// Removes what is listed, and before any snapshot, on the destination, what makes a point one: the source's
/// snapshots of a point that stays one stay, too. A recovery marks the replica first and looks for its point then, and
/// here the points stop being ones first and the marks are looked at then: whatever the order, one of the two gives way,
/// and what stopped being a point is one again. What cannot be removed is noted, and left with what else there is
/// of its point, as far as that is there still: a later run can remove it, and it costs space, not a recovery
/// point. Returns what was removed, in the order of `removals`, "side pool/image@snapshot".
std::vector<std::string> carry_out(const std::vector<Removal>& removals, const RemovalWork& work);

}  // namespace crossover

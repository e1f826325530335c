/// \file
/// Carrying out planned removals.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "crossover/events.hpp"
#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// Where removals go, and who hears of them.
struct RemovalSide {
  ImageStores* images = nullptr;
  std::string node;      ///< for events
  std::string policy;    ///< as the user wrote it, for events
  bool running = false;  ///< whether a running guest has the images
};

struct RemovalWork {
  RemovalSide source;  ///< without images if no removal is on the source
  RemovalSide destination;
  std::size_t parallel = 1;  ///< images at once, on each side; with more than one both sides at once
  // Both are called from several threads at once.
  std::function<void(Event event)> tell;
  std::function<void(const std::string& warning)> note;
};

/// Removes what is listed, and before any snapshot, on the destination, what makes a point one: the source's
/// snapshots of a point that stays one stay, too. What cannot be removed is noted, and left with what else there is
/// of its point, as far as that is there still: a later run can remove it, and it costs space, not a recovery
/// point. Returns what was removed, in the order of `removals`, "side pool/image@snapshot".
std::vector<std::string> carry_out(const std::vector<Removal>& removals, const RemovalWork& work);

}  // namespace crossover

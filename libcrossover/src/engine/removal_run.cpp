#include "engine/removal_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "crossover/error.hpp"
#include "engine/in_parallel.hpp"

namespace crossover {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

void RemovalRun::remove() {
  const auto is_first = [](const Removal& removal) { return removal.point_config; };
  const auto is_other = [](const Removal& removal) { return !removal.point_config && !removal.on_source; };
  const auto is_source = [](const Removal& removal) { return removal.on_source; };
  // A point stops being one before its first snapshot goes; the source follows the destination.
  remove_those(is_first);
  remove_those(is_other);
  remove_those(is_source);
}

void RemovalRun::remove_those(bool (*wanted)(const Removal&)) {
  std::vector<std::vector<const Removal*>> images;
  for (const Removal& removal : work_.plan.removals) {
    if (!wanted(removal)) continue;
    const auto same = std::find_if(images.begin(), images.end(), [&removal](const auto& of_image) {
      return of_image.front()->image == removal.image;
    });
    if (same == images.end()) {
      images.push_back({&removal});
    } else {
      same->push_back(&removal);
    }
  }
  in_parallel(images.size(), work_.request.parallel, [&](std::size_t i) {
    const Removal& first = *images[i].front();
    work_.tell({.kind = EventKind::housekeeping,
                .subject = to_string(first.image.spec),
                .host = first.on_source ? work_.plan.source_node : work_.plan.target_node,
                .text = first.on_source ? work_.request.options.keep_local : work_.request.options.keep_remote});
    for (const Removal* removal : images[i]) remove_one(*removal);
  });
}

void RemovalRun::remove_one(const Removal& removal) {
  {
    const std::scoped_lock lock(work_.mutex);
    if (!removal.on_source && kept_.contains(removal.snapshot.name)) return;
  }
  ImageStores& stores = removal.on_source ? work_.ports.source.images : work_.ports.destination.images;
  const std::string name = to_string(removal.image.spec) + "@" + removal.snapshot.name;
  try {
    ImageStore& store = stores.open(removal.image.access);
    if (removal.point_config) {
      store.remove_metadata(removal.image.spec, std::string(point_key_prefix) + removal.snapshot.name);
    }
    store.remove_snapshot(removal.image.spec, removal.snapshot);
    {
      const std::scoped_lock lock(work_.mutex);
      work_.report.removed.push_back((removal.on_source ? "source " : "destination ") + name);
    }
    work_.tell({.kind = EventKind::snapshot_removed,
                .subject = name,
                .host = removal.on_source ? work_.plan.source_node : work_.plan.target_node,
                .elapsed = duration_cast<milliseconds>(removal.age)});
  } catch (const Error& error) {
    {
      const std::scoped_lock lock(work_.mutex);
      if (!removal.on_source) kept_.insert(removal.snapshot.name);
    }
    work_.note(fmt::format("{} could not be removed: {}", name, error.what()));
  }
}

}  // namespace crossover

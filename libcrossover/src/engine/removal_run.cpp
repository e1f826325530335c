#include "engine/removal_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "crossover/error.hpp"
#include "engine/in_parallel.hpp"
#include "engine/live_lock.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

class RemovalRun {
 public:
  RemovalRun(const std::vector<Removal>& removals, const RemovalWork& work) : removals_(removals), work_(work) {}

  std::vector<std::string> run() {
    // A point stops being one before its first snapshot goes, on either side.
    end_points();
    still_points_ = kept_;
    in_parallel(2, work_.parallel, [this](std::size_t side) { remove_on(side == 1); });
    std::vector<std::string> removed;
    for (const Removal& removal : removals_) {
      if (!removed_.contains(&removal)) continue;
      removed.push_back((removal.on_source ? "source " : "destination ") + name_of(removal));
    }
    return removed;
  }

 private:
  [[nodiscard]] const RemovalSide& side(const Removal& removal) const {
    return removal.on_source ? work_.source : work_.destination;
  }

  void end_points() {
    for (const Removal& removal : removals_) {
      if (!removal.point_config) continue;
      carefully(removal, [&](ImageStore& store) {
        store.remove_metadata(removal.image.spec, std::string(point_key_prefix) + removal.snapshot.name);
      });
    }
  }

  /// Images of one side at once, the snapshots of each in their order.
  void remove_on(bool source) {
    std::vector<std::vector<const Removal*>> images;
    for (const Removal& removal : removals_) {
      if (removal.on_source != source) continue;
      const auto same = std::find_if(images.begin(), images.end(), [&removal](const auto& of_image) {
        return of_image.front()->image == removal.image;
      });
      if (same == images.end()) {
        images.push_back({&removal});
      } else {
        same->push_back(&removal);
      }
    }
    in_parallel(images.size(), work_.parallel, [&](std::size_t i) {
      const Removal& first = *images[i].front();
      work_.tell({.kind = EventKind::housekeeping,
                  .subject = to_string(first.image.spec),
                  .host = side(first).node,
                  .text = side(first).policy});
      for (const Removal* removal : images[i]) remove_one(*removal);
    });
  }

  void remove_one(const Removal& removal) {
    {
      const std::scoped_lock lock(mutex_);
      if ((removal.on_source ? still_points_ : kept_).contains(removal.snapshot.name)) return;
    }
    const auto remove = [&](ImageStore& store) {
      store.remove_snapshot(removal.image.spec, removal.snapshot);
      {
        const std::scoped_lock lock(mutex_);
        removed_.insert(&removal);
      }
      work_.tell({.kind = EventKind::snapshot_removed,
                  .subject = name_of(removal),
                  .host = side(removal).node,
                  .elapsed = duration_cast<milliseconds>(removal.age)});
    };
    carefully(removal, remove);
  }

  /// A part of a removal. What goes wrong is noted, and on the destination nothing more of the point is removed.
  template <typename Part>
  void carefully(const Removal& removal, const Part& part) {
    try {
      ImageStore& store = side(removal).images->open(removal.image.access);
      if (side(removal).running) require_live_lock(store, removal.image.spec);
      part(store);
    } catch (const Error& error) {
      {
        const std::scoped_lock lock(mutex_);
        if (!removal.on_source) kept_.insert(removal.snapshot.name);
      }
      work_.note(fmt::format("{} could not be removed: {}", name_of(removal), error.what()));
    }
  }

  static std::string name_of(const Removal& removal) {
    return to_string(removal.image.spec) + "@" + removal.snapshot.name;
  }

  const std::vector<Removal>& removals_;
  const RemovalWork& work_;
  std::mutex mutex_;                    // guards what follows
  std::set<std::string> kept_;          // points of which something could not be removed from the destination
  std::set<std::string> still_points_;  // those of them that the destination did not confirm to be none any more
  std::set<const Removal*> removed_;
};

}  // namespace

std::vector<std::string> carry_out(const std::vector<Removal>& removals, const RemovalWork& work) {
  return RemovalRun(removals, work).run();
}

}  // namespace crossover

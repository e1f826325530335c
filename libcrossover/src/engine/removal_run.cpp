#include "engine/removal_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "crossover/error.hpp"
#include "engine/in_parallel.hpp"
#include "engine/live_lock.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/points.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

class RemovalRun {
 public:
  RemovalRun(const std::vector<Removal>& removals, const RemovalWork& work) : removals_(removals), work_(work) {}

  std::vector<std::string> run() {
    // A point stops being one before its first snapshot goes, on either side.
    if (may_go_on()) end_points();
    if (!may_go_on()) restore_points();
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

  /// Whether the points on the destination may still be removed. If not, all of them stay what they are.
  bool may_go_on() {
    if (stays_ || !has_points()) return !stays_;
    std::string why;
    try {
      why = work_.why_kept();
    } catch (...) {
      why = error_at_hand().what();
    }
    if (why.empty()) return true;
    stays_ = true;
    work_.note(fmt::format("no recovery point was removed: {}", why));
    return false;
  }

  [[nodiscard]] bool has_points() const {
    return std::any_of(removals_.begin(), removals_.end(), [](const Removal& one) { return !one.on_source; });
  }

  void end_points() {
    for (const Removal& removal : removals_) {
      if (!removal.point_config) continue;
      const std::string key = std::string(point_key_prefix) + removal.snapshot.name;
      carefully(removal, [&](ImageStore& store) {
        const auto state = store.find(removal.image.spec);
        if (!state || !state->metadata.contains(key)) return;
        ended_.emplace_back(&removal, state->metadata.at(key));
        store.remove_metadata(removal.image.spec, key);
      });
    }
  }

  void restore_points() {
    for (const Removal& removal : removals_) {
      if (!removal.on_source) kept_.insert(removal.snapshot.name);
    }
    for (const auto& [removal, config] : ended_) {
      try {
        ImageStore& store = work_.destination.images->open(removal->image.access);
        // Whoever else removes it may be through with it.
        const auto now = store.find(removal->image.spec);
        if (!now || find_snapshot(*now, removal->snapshot.name, removal->snapshot.id) == nullptr) continue;
        store.set_metadata(removal->image.spec, std::string(point_key_prefix) + removal->snapshot.name, config);
      } catch (...) {
        work_.note(fmt::format("{} has its snapshot, but is no recovery point any more: {}", name_of(*removal),
                               error_at_hand().what()));
      }
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
    } catch (...) {
      {
        const std::scoped_lock lock(mutex_);
        if (!removal.on_source) kept_.insert(removal.snapshot.name);
      }
      work_.note(fmt::format("{} could not be removed: {}", name_of(removal), error_at_hand().what()));
    }
  }

  static std::string name_of(const Removal& removal) {
    return to_string(removal.image.spec) + "@" + removal.snapshot.name;
  }

  const std::vector<Removal>& removals_;
  const RemovalWork& work_;
  bool stays_ = false;                                         // the replica is not to lose a point
  std::vector<std::pair<const Removal*, std::string>> ended_;  // what is no point any more, and its configuration
  std::mutex mutex_;                    // guards what follows
  std::set<std::string> kept_;          // points of which something could not be removed from the destination
  std::set<std::string> still_points_;  // those of them that the destination did not confirm to be none any more
  std::set<const Removal*> removed_;
};

/// What is recorded of replicas at this moment.
std::map<ImageRef, std::optional<ReplicaRecord>> records_now(ImageStores& images, const std::vector<ImageRef>& refs) {
  std::map<CephAccess, std::vector<ImageSpec>> specs;
  for (const ImageRef& ref : refs) specs[ref.access].push_back(ref.spec);
  std::map<ImageRef, std::optional<ReplicaRecord>> records;
  for (const auto& [access, of_store] : specs) {
    const std::vector<std::optional<ImageState>> states = images.open(access).find_all(of_store);
    for (std::size_t i = 0; i < of_store.size(); ++i) {
      records[{access, of_store[i]}] = states[i] ? image_record(*states[i]).replica : std::nullopt;
    }
  }
  return records;
}

}  // namespace

WhyKept kept_if_promoted(ImageStores& images, std::vector<ImageRef> replicas) {
  return [&images, replicas = std::move(replicas)]() -> std::string {
    for (const auto& [ref, record] : records_now(images, replicas)) {
      if (!record || !record->promoted) continue;
      return fmt::format("{} was made a guest of its own meanwhile, at {}", to_string(ref.spec),
                         record->promoted->point);
    }
    return "";
  };
}

WhyKept kept_if_changed(ImageStores& images, std::map<ImageRef, ReplicaRecord> known) {
  return [&images, known = std::move(known)]() -> std::string {
    std::vector<ImageRef> refs;
    for (const auto& [ref, record] : known) refs.push_back(ref);
    for (const auto& [ref, record] : records_now(images, refs)) {
      if (record == known.at(ref)) continue;
      return fmt::format("another command is at it, and changed what is recorded of {}; run again once that is through",
                         to_string(ref.spec));
    }
    return "";
  };
}

std::vector<std::string> carry_out(const std::vector<Removal>& removals, const RemovalWork& work) {
  return RemovalRun(removals, work).run();
}

}  // namespace crossover

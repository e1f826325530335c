#include "plan/first_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace crossover {

namespace {

constexpr std::size_t max_targets = 200;
constexpr std::size_t max_witnesses = 6;

bool exists(ObjectState state) {
  return state == ObjectState::written || state == ObjectState::clean;
}

/// Whether an object may have changed between two snapshots that follow each other.
bool may_differ(ObjectState before, ObjectState after) {
  return after == ObjectState::written || after == ObjectState::pending || before == ObjectState::pending ||
         exists(before) != exists(after);
}

std::uint64_t objects_of(std::span<const MappedSnapshot> snapshots) {
  std::uint64_t objects = 0;
  for (const MappedSnapshot& one : snapshots) objects = std::max(objects, one.map->size());
  return objects;
}

/// Objects that may differ between the first of the snapshots and the last.
std::vector<bool> changed_objects(std::span<const MappedSnapshot> snapshots) {
  std::vector<bool> changed(objects_of(snapshots));
  for (std::size_t i = 1; i < snapshots.size(); ++i) {
    const ObjectMap& before = *snapshots[i - 1].map;
    const ObjectMap& after = *snapshots[i].map;
    for (std::uint64_t object = 0; object < changed.size(); ++object) {
      if (may_differ(before[object], after[object])) changed[object] = true;
    }
  }
  return changed;
}

class Pass {
 public:
  Pass(const ObjectLayout& layout, std::span<const MappedSnapshot> snapshots, const Snapshot& from,
       const Snapshot& to)
      : period_objects_(std::max<std::uint64_t>(1, layout.stripe_count)),
        period_bytes_(period_objects_ * layout.object_bytes) {
    const auto is = [](const Snapshot& wanted) {
      return [&wanted](const MappedSnapshot& one) { return one.snapshot.id == wanted.id; };
    };
    const auto first = std::find_if(snapshots.begin(), snapshots.end(), is(from));
    const auto last = std::find_if(first, snapshots.end(), is(to));
    older_ = {snapshots.begin(), first};
    if (last != snapshots.end()) between_ = {first, last + 1};
  }

  FirstPass run(const std::optional<RollbackTargets>& older) {
    refuse_what_is_blind();
    if (!refused_.empty()) return {{}, refused_};
    changed_ = changed_objects(between_);
    clear_of_rollbacks(older);
    if (!refused_.empty()) return {{}, refused_};
    // A snapshot that nobody kept a witness of, made and removed right beside the base: what was written between
    // them stands in the base's own map.
    for (std::uint64_t object = 0; object < changed_.size(); ++object) {
      const ObjectState in_base = (*between_.front().map)[object];
      if (in_base == ObjectState::written || in_base == ObjectState::pending) changed_[object] = true;
    }
    add_changed();
    join(ranges_);
    return {std::move(ranges_), ""};
  }

 private:
  void refuse_what_is_blind() {
    if (between_.size() < 2) {
      refused_ = "a snapshot is missing";
      return;
    }
    const std::uint64_t smaller =
        std::min(between_.front().snapshot.size_bytes, between_.back().snapshot.size_bytes);
    for (const MappedSnapshot& one : between_) {
      if (!one.map) refused_ = fmt::format("its snapshot {} has no valid object map", one.snapshot.name);
      if (one.snapshot.size_bytes < smaller) {
        refused_ = fmt::format("its snapshot {} is smaller than both", one.snapshot.name);
      }
      if (!refused_.empty()) return;
    }
  }

  void clear_of_rollbacks(const std::optional<RollbackTargets>& older) {
    const MappedSnapshot& base = between_.front();
    if (!older || older->base_id != base.snapshot.id) {
      refused_ = fmt::format("what was there to roll back to when {} was made is not known", base.snapshot.name);
      return;
    }
    for (const MappedSnapshot& one : older_) {
      const bool known =
          std::any_of(older->targets.begin(), older->targets.end(),
                      [&](const RollbackTarget& target) { return target.snapshot_id == one.snapshot.id; });
      if (!known) refused_ = cannot_rule_out(one.snapshot.name);
    }
    for (const RollbackTarget& target : older->targets) {
      if (target.changed) {
        ranges_.insert(ranges_.end(), target.changed->begin(), target.changed->end());
      } else if (!has_witness(target)) {
        refused_ = cannot_rule_out(target.name);
      }
    }
  }

  static std::string cannot_rule_out(const std::string& snapshot) {
    return fmt::format("a rollback to {} cannot be ruled out", snapshot);
  }

  [[nodiscard]] bool has_witness(const RollbackTarget& target) const {
    const auto there = std::find_if(older_.begin(), older_.end(), [&](const MappedSnapshot& one) {
      return one.snapshot.id == target.snapshot_id;
    });
    return std::any_of(target.witnesses.begin(), target.witnesses.end(), [&](std::uint64_t object) {
      // A map can be made anew.
      if (there != older_.end() && (!there->map || (*there->map)[object] != ObjectState::written)) return false;
      return object < changed_.size() && exists((*between_.front().map)[object]) && !changed_[object];
    });
  }

  void add_changed() {
    for (std::uint64_t object = 0; object < changed_.size(); ++object) {
      // Inside a stripe period the objects interleave.
      if (changed_[object]) ranges_.push_back({object / period_objects_ * period_bytes_, period_bytes_});
    }
  }

  std::uint64_t period_objects_;
  std::uint64_t period_bytes_;
  std::span<const MappedSnapshot> older_;
  std::span<const MappedSnapshot> between_;  // both of them included
  std::vector<bool> changed_;
  std::vector<ByteRange> ranges_;
  std::string refused_;
};

}  // namespace

FirstPass first_pass(const ObjectLayout& layout, std::span<const MappedSnapshot> snapshots, const Snapshot& from,
                     const Snapshot& to, const std::optional<RollbackTargets>& older) {
  return Pass(layout, snapshots, from, to).run(older);
}

void join(std::vector<ByteRange>& ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<ByteRange> joined;
  for (const ByteRange& range : ranges) {
    const std::uint64_t end = range.offset + range.length_bytes;
    if (!joined.empty() && range.offset <= joined.back().offset + joined.back().length_bytes) {
      ByteRange& last = joined.back();
      last.length_bytes = std::max(last.offset + last.length_bytes, end) - last.offset;
    } else {
      joined.push_back(range);
    }
  }
  ranges = std::move(joined);
}

std::optional<std::vector<RollbackTarget>> find_rollback_targets(std::span<const MappedSnapshot> snapshots) {
  if (snapshots.size() > max_targets) return std::nullopt;
  std::vector<RollbackTarget> targets;
  // What was written after a snapshot is likely to be written again, and then tells nothing of it.
  std::vector<bool> written_later;
  for (std::size_t i = snapshots.size(); i-- > 0;) {
    RollbackTarget target{snapshots[i].snapshot.id, snapshots[i].snapshot.name, {}, {}};
    if (const auto& map = snapshots[i].map) {
      written_later.resize(std::max<std::size_t>(written_later.size(), map->size()));
      std::vector<std::uint64_t> better;
      std::vector<std::uint64_t> others;
      bool is_empty = true;
      for (std::uint64_t object = 0; object < map->size(); ++object) {
        const ObjectState state = (*map)[object];
        if (state != ObjectState::absent) is_empty = false;
        if (state != ObjectState::written) continue;
        (written_later[object] ? others : better).push_back(object);
        written_later[object] = true;
      }
      // What a rollback to it takes away is missing in the head's map.
      if (is_empty) target.changed.emplace();
      for (const std::vector<std::uint64_t>* from : {&better, &others}) {
        const std::size_t step = from->size() / max_witnesses + 1;
        for (std::size_t at = 0; at < from->size() && target.witnesses.size() < max_witnesses; at += step) {
          target.witnesses.push_back((*from)[at]);
        }
      }
    }
    targets.push_back(std::move(target));
  }
  std::reverse(targets.begin(), targets.end());
  return targets;
}

void note_changes(std::vector<RollbackTarget>& targets, const KnownChanges& known) {
  const auto changes_since = [&](std::uint64_t snapshot_id) -> std::optional<std::vector<ByteRange>> {
    if (snapshot_id > known.base.id) return known.touched;
    if (snapshot_id == known.base.id || !known.diff) return known.diff;
    if (!known.older || known.older->base_id != known.base.id) return std::nullopt;
    const auto& before = known.older->targets;
    const auto target = std::find_if(before.begin(), before.end(),
                                     [&](const RollbackTarget& one) { return one.snapshot_id == snapshot_id; });
    if (target == before.end() || !target->changed) return std::nullopt;
    std::vector<ByteRange> all = *target->changed;
    all.insert(all.end(), known.diff->begin(), known.diff->end());
    join(all);
    return all;
  };
  for (RollbackTarget& target : targets) {
    std::optional<std::vector<ByteRange>> changes = changes_since(target.snapshot_id);
    if (changes && changes->size() <= max_noted_ranges) target.changed = std::move(changes);
  }
}

}  // namespace crossover

/// \file
/// What of an image may differ between two of its snapshots, by the object maps. Pure.
///
/// The maps lose changes in two ways (found on real clusters, 16.2.15 and 18.2.7, with maps that are valid): after
/// a rollback of the head, and where a snapshot between the two is smaller than both. Here the first of these is
/// found out, and the second refused.
///
/// A rollback to the snapshot R replaces the head's map by R's. If R is the base or newer, what the rollback
/// changed stands in the maps from the base on. If R is older, an object that was written between R and the base
/// reads as before that again, and its state in R's map tells of a write only if it was written right before R,
/// too. So each snapshot that was older than the base when the base was made has to be cleared of the suspicion: by
/// a witness (rollback_target.hpp), or because all that a rollback to it could have changed is listed anyway.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "crossover/image.hpp"
#include "plan/object_map.hpp"
#include "plan/rollback_target.hpp"

namespace crossover {

/// How the objects of an image lie in it.
struct ObjectLayout {
  std::uint64_t object_bytes = 0;
  std::uint64_t stripe_count = 0;  ///< 0 or 1: one after the other
};

/// A snapshot of whatever kind, a group's too, with its map.
struct MappedSnapshot {
  Snapshot snapshot;
  std::optional<ObjectMap> map;  ///< nothing: there is none, or it does not count
};

/// The ranges outside of which nothing differs, or why that cannot be told.
struct FirstPass {
  std::vector<ByteRange> ranges;  ///< ascending, without overlaps; may reach past the image's end
  std::string refused;            ///< empty: it can
};

/// `snapshots` are all of the image, oldest first. `older` is what find_rollback_targets() said right before `from`
/// was made; of no use if it is of another base.
FirstPass first_pass(const ObjectLayout& layout, std::span<const MappedSnapshot> snapshots, const Snapshot& from,
                     const Snapshot& to, const std::optional<RollbackTargets>& older);

/// Sorts ranges, and makes one of those that touch or overlap.
void join(std::vector<ByteRange>& ranges);

/// What a base that is made now could be rolled back past. Nothing if there is too much to be kept.
std::optional<std::vector<RollbackTarget>> find_rollback_targets(std::span<const MappedSnapshot> snapshots);

/// More than that is not kept of one target: a disk of which so much was written has witnesses.
inline constexpr std::size_t max_noted_ranges = 32;

/// What is known once the diff from a base to a new snapshot was given.
struct KnownChanges {
  Snapshot base;
  std::optional<RollbackTargets> older;           ///< what was kept with that
  std::optional<std::vector<ByteRange>> diff;     ///< all that differs between the two; nothing: not known, or much
  std::optional<std::vector<ByteRange>> touched;  ///< the ranges of the first pass, if it was not refused
};

/// Adds to the targets of the new snapshot what is known to differ between them and it. From the base that is the
/// diff; from an older snapshot also what differed between that and the base. From one between the two it is in the
/// first pass: where no rollback has gone past the base, the maps have all that was touched since.
void note_changes(std::vector<RollbackTarget>& targets, const KnownChanges& known);

}  // namespace crossover

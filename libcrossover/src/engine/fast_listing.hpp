/// \file
/// The port to an image's object maps, where a store can read them.
#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/image_store.hpp"
#include "plan/first_pass.hpp"

namespace crossover {

/// Finds by an image's object maps where its snapshots can differ, and looks byte by byte only there. Thread-safe
/// as ImageStore is; every call throws Error.
class FastListing {
 public:
  virtual ~FastListing() = default;

  /// To be asked for right before the snapshot of a later base is made, and to be kept with it. Nothing for an
  /// image without object maps, with a parent, or with too many snapshots.
  virtual std::optional<std::vector<RollbackTarget>> rollback_targets(const ImageSpec& image) = 0;

  /// The ranges outside of which nothing differs, or why the maps do not tell. `older` is what was kept with
  /// `from`.
  virtual FirstPass first_pass(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                               const std::optional<RollbackTargets>& older) = 0;

  /// As ImageStore::read_diff(), of what lies in `ranges`, which are ascending and do not overlap.
  virtual void read_diff_in(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                            std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) = 0;
};

}  // namespace crossover

#include "crossover/events.hpp"

namespace crossover {

std::string_view to_string(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::run_started:
      return "run_started";
    case EventKind::guest_started:
      return "guest_started";
    case EventKind::target_checked:
      return "target_checked";
    case EventKind::source_locked:
      return "source_locked";
    case EventKind::source_unlocked:
      return "source_unlocked";
    case EventKind::replica_locked:
      return "replica_locked";
    case EventKind::replica_unlocked:
      return "replica_unlocked";
    case EventKind::frozen:
      return "frozen";
    case EventKind::thawed:
      return "thawed";
    case EventKind::not_frozen:
      return "not_frozen";
    case EventKind::paused:
      return "paused";
    case EventKind::resumed:
      return "resumed";
    case EventKind::snapshot_created:
      return "snapshot_created";
    case EventKind::transfer_started:
      return "transfer_started";
    case EventKind::point_resumed:
      return "point_resumed";
    case EventKind::fast_diff_refused:
      return "fast_diff_refused";
    case EventKind::transfer_resumed:
      return "transfer_resumed";
    case EventKind::transfer_progress:
      return "transfer_progress";
    case EventKind::transfer_finished:
      return "transfer_finished";
    case EventKind::config_written:
      return "config_written";
    case EventKind::left_out:
      return "left_out";
    case EventKind::former_image:
      return "former_image";
    case EventKind::housekeeping:
      return "housekeeping";
    case EventKind::snapshot_removed:
      return "snapshot_removed";
    case EventKind::verify_started:
      return "verify_started";
    case EventKind::verify_progress:
      return "verify_progress";
    case EventKind::verify_finished:
      return "verify_finished";
    case EventKind::step:
      return "step";
    case EventKind::migration:
      return "migration";
    case EventKind::retrying:
      return "retrying";
    case EventKind::guest_finished:
      return "guest_finished";
    case EventKind::run_finished:
      return "run_finished";
    case EventKind::warning:
      return "warning";
    case EventKind::debug:
      return "debug";
  }
  return "unknown";
}

}  // namespace crossover

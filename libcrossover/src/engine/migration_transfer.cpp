#include "engine/migration_transfer.hpp"

#include <array>
#include <cstddef>

#include "crossover/error.hpp"
#include "engine/guest_mirror.hpp"
#include "engine/guest_report.hpp"
#include "engine/in_parallel.hpp"
#include "engine/migration_memory.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

void send_disks(MigrationWork& work, std::vector<Removal>& removals, const std::stop_token& stop) {
  MirrorRequest request = work.alone();
  // The fence is its lock.
  request.options.no_lock = true;
  request.onboot = work.record->onboot.value_or("");
  work.found.inventory.source.guests.at(work.vmid).power = Power::stopped;
  work.keep(mirror_leased_guest(request, work.found.inventory, work.scope, work.ports, work.slots, work.totals,
                                removals, stop));
  if (work.report.outcome == Outcome::ok) work.migration.switch_bytes = sent(work.report).bytes;
}

/// What fails ends the other one, which is then no failure of its own.
void send_both(MigrationWork& work, const SavedState& saved, std::vector<Removal>& removals,
               const std::stop_token& stop) {
  std::stop_source ending;
  const std::stop_callback forward(stop, [&ending] { ending.request_stop(); });
  std::array<std::optional<Error>, 2> failed;
  std::array<bool, 2> cancelled{};
  in_parallel(cancelled.size(), work.request.mirror.parallel, [&](std::size_t which) {
    try {
      if (ending.stop_requested()) throw Cancelled{};
      if (which == 0) return send_memory(work, saved, ending.get_token());
      send_disks(work, removals, ending.get_token());
      if (work.report.outcome != Outcome::ok) ending.request_stop();
    } catch (const Cancelled&) {
      cancelled.at(which) = true;
    } catch (...) {
      failed.at(which) = error_at_hand();
      ending.request_stop();
    }
  });
  if (stop.stop_requested()) throw Cancelled{};
  for (const std::optional<Error>& one : failed) {
    if (one) throw Error(*one);
  }
  // Only the disks' failure is left to have ended anything.
  if (cancelled[0] && work.report.outcome == Outcome::ok) throw Cancelled{};
}

}  // namespace

std::vector<Removal> send_rest(MigrationWork& work, const std::optional<SavedState>& saved,
                               const std::stop_token& stop) {
  std::vector<Removal> removals;
  if (saved) {
    send_both(work, *saved, removals, stop);
  } else {
    send_disks(work, removals, stop);
  }
  return removals;
}

}  // namespace crossover

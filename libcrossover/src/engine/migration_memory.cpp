#include "engine/migration_memory.hpp"

#include <fmt/format.h>

#include <chrono>
#include <string>

#include "engine/retry.hpp"
#include "engine/state_copy.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// A volume of the destination that is not there yet: `wanted`, or that with a number behind it.
std::string free_volume(const MigrationWork& work, const std::string& wanted) {
  std::string volume = wanted;
  for (int number = 1;; ++number) {
    const ImageRef image = image_of_volume(volume, work.found.inventory.destination);
    if (!work.ports.destination.images.open(image.access).find(image.spec)) return volume;
    volume = fmt::format("{}-{}", wanted, number);
  }
}

}  // namespace

bool choose_volumes(MigrationWork& work, const SavedState& saved) {
  MigrationRecord& record = *work.record;
  if (record.source_state == saved.volume && !record.target_state.empty()) return false;
  record.source_state = saved.volume;
  if (record.target_state.empty()) {
    record.target_state = free_volume(
        work, fmt::format("{}:{}", work.request.mirror.pool, state_image_name(saved.volume, work.target_vmid)));
  }
  return true;
}

void send_memory(MigrationWork& work, const SavedState& saved, const std::stop_token& stop) {
  const TransferSlots::Slot slot = work.slots.enter(stop);
  const auto begin = steady_clock::now();
  const ClusterInventory& there = work.found.inventory.destination;
  const StateVolume to = work.state_there().value();
  StateCopy what{.from = image_of_volume(saved.volume, work.found.inventory.source),
                 .to = to.image,
                 .snapshot = "crossover-migration",
                 .storage = there.storages.rbd(to.volume.substr(0, to.volume.find(':'))).value(),
                 .stall_timeout = work.request.mirror.stall_timeout,
                 .progress = {}};
  const auto tell = [&work, begin, subject = to_string(what.from.spec)](EventKind kind, std::uint64_t bytes) {
    work.tell({.kind = kind,
               .subject = subject,
               .full = true,
               .bytes = bytes,
               .elapsed = duration_cast<milliseconds>(steady_clock::now() - begin)});
  };
  what.progress = [&tell](std::uint64_t bytes) { tell(EventKind::transfer_progress, bytes); };
  tell(EventKind::transfer_started, 0);
  work.migration.state_bytes = with_retries(work.request.mirror.retries, work.ports.clock, stop, [&] {
    work.target().remove_state(stop);
    return copy_state(what, work.ports, stop);
  });
  tell(EventKind::transfer_finished, work.migration.state_bytes);
}

}  // namespace crossover

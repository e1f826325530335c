#include "engine/migration_source.hpp"

#include <fmt/format.h>

#include <utility>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/wait_until_running.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

constexpr const char* ignored = "ignored";

}  // namespace

std::string MigrationSource::subject() const {
  return fmt::format("VM {} on {}", vmid_, node_);
}

void MigrationSource::save(MigrationRecord& record) {
  MigrationRecord next = record;
  ledger_.write(record, next);
  record = std::move(next);
}

ConfigVersion MigrationSource::read(const std::stop_token& stop) {
  auto version = ports_.source.hypervisor.read_config(node_, vmid_, stop);
  if (!version) {
    throw Error(ErrorCode::not_found, "migrate", subject(), "it is not there any more; look where it has gone",
                true);
  }
  return std::move(*version);
}

void MigrationSource::take_out_of_ha(const MigrationRecord& record, const std::stop_token& stop) {
  if (!record.ha_state.empty() && record.ha_state != ignored) {
    still_ours_();
    ports_.source.power.set_ha_state(vmid_, ignored, stop);
  }
}

void MigrationSource::shut_down(std::chrono::seconds timeout, bool force, const std::stop_token& stop) {
  still_ours_();
  ports_.source.power.shut_down(node_, vmid_, timeout, force, stop);
}

void MigrationSource::suspend(const std::string& storage, const std::stop_token& stop) {
  still_ours_();
  ports_.source.power.suspend(node_, vmid_, storage, stop);
  const ConfigVersion now = read(stop);
  if (parse_vm_config(now.bytes).get("lock") == suspended_lock && saved_state(now.bytes)) return;
  throw Error(ErrorCode::command, "suspend", subject(),
              "its configuration does not say so, though 'qm suspend' ended without an error", true);
}

Suspension MigrationSource::settle(MigrationRecord& record, const std::stop_token& stop) {
  // Only PVE knows how far it is; one that is at it for longer is waited for by the next run.
  constexpr std::chrono::hours longest{1};
  constexpr std::chrono::seconds interval{1};
  bool told = false;
  for (const auto deadline = ports_.clock.steady() + longest; ports_.clock.steady() < deadline;
       ports_.clock.wait(interval, stop)) {
    const ConfigVersion now = read(stop);
    const std::string lock = parse_vm_config(now.bytes).get("lock").value_or("");
    if (is_fenced(now.bytes)) return saved_state(now.bytes) ? Suspension::saved : Suspension::none;
    if (lock != suspending_lock && lock != suspended_lock) return Suspension::none;
    const bool runs = ports_.source.power.power(node_, vmid_, stop) != Power::stopped;
    if (runs && !std::exchange(told, true)) {
      ports_.events.on_event({.kind = EventKind::warning,
                              .vmid = vmid_,
                              .host = node_,
                              .text = fmt::format("it is {}; waiting until PVE has come to an end", lock)});
    }
    // Its node may be resuming it.
    if (lock == suspended_lock && !runs) return Suspension::saved;
    if (lock == suspended_lock) continue;
    still_ours_();
    try {
      if (!runs) {
        forget_state(record, now, without_lock(without_saved_state(now.bytes)), stop);
        return Suspension::lost;
      }
      if (!saved_state(now.bytes)) {
        // PVE takes back all but the lock.
        ports_.source.hypervisor.write_config(node_, vmid_, now, without_lock(now.bytes), stop);
        return Suspension::none;
      }
    } catch (const Error& error) {
      // PVE has come to its end meanwhile.
      if (error.code() != ErrorCode::conflict) throw;
    }
  }
  throw Error(ErrorCode::timeout, "suspend", subject(),
              fmt::format("it is still being suspended after {} h", longest.count()), true);
}

FencedGuest MigrationSource::fence(MigrationRecord& record, const std::stop_token& stop) {
  const ConfigVersion now = read(stop);
  const std::optional<SavedState> state = saved_state(now.bytes);
  if (is_fenced(now.bytes)) {
    // An earlier run that is about to take the fence away writes only over what it has read: its time is another
    // one.
    still_ours_();
    ports_.source.hypervisor.write_config(node_, vmid_, now, now.bytes, stop);
    return {without_fence(without_saved_state(now.bytes), record.onboot), state};
  }
  const auto lock = parse_vm_config(now.bytes).get("lock");
  if (lock && !(record.suspends && state && *lock == suspended_lock)) {
    throw Error(ErrorCode::locked, "fence", subject(), fmt::format("somebody else locked it meanwhile ({})", *lock),
                true);
  }
  // Somebody may have changed it since the migration began.
  if (const auto onboot = parse_vm_config(now.bytes).get("onboot"); onboot != record.onboot) {
    record.onboot = onboot;
    save(record);
  }
  still_ours_();
  ports_.source.hypervisor.write_config(node_, vmid_, now, with_fence(now.bytes), stop);
  return {without_lock(without_saved_state(now.bytes)), state};
}

void MigrationSource::forget_state(MigrationRecord& record, const ConfigVersion& now, const std::string& wanted,
                                   const std::stop_token& stop) {
  const auto state = saved_state(now.bytes);
  if (state && record.source_state != state->volume) {
    record.source_state = state->volume;
    save(record);
  }
  if (wanted != now.bytes) ports_.source.hypervisor.write_config(node_, vmid_, now, wanted, stop);
  remove_volume(record, stop);
}

void MigrationSource::remove_volume(const MigrationRecord& record, const std::stop_token& stop) {
  if (record.source_state.empty()) return;
  const ImageRef image = image_of_volume(record.source_state, cluster_);
  if (!ports_.source.images.open(image.access).find(image.spec)) return;
  // PVE made it, and the user that mirrors may have no right to remove it.
  ports_.source.power.free_volume(node_, record.source_state, stop);
}

void MigrationSource::drop_state(MigrationRecord& record, const std::stop_token& stop) {
  const ConfigVersion now = read(stop);
  still_ours_();
  forget_state(record, now, without_saved_state(now.bytes), stop);
}

void MigrationSource::require_fenced(const std::stop_token& stop) {
  if (!is_fenced(read(stop).bytes)) {
    throw Error(ErrorCode::conflict, "migrate", subject(), "somebody took its lock away meanwhile", true);
  }
}

void MigrationSource::require_stopped(const std::stop_token& stop) {
  if (ports_.source.power.power(node_, vmid_, stop) != Power::stopped) {
    throw Error(ErrorCode::conflict, "migrate", subject(), "somebody started it meanwhile", true);
  }
}

Suspension MigrationSource::bring_back(MigrationRecord& record) {
  const Suspension suspension = record.suspends ? settle(record, {}) : Suspension::none;
  const ConfigVersion now = read({});
  if (is_fenced(now.bytes)) {
    std::string wanted = without_fence(now.bytes, record.onboot);
    if (const auto state = saved_state(now.bytes)) wanted = with_lock(wanted, suspended_lock);
    still_ours_();
    ports_.source.hypervisor.write_config(node_, vmid_, now, wanted, {});
  }
  if (record.was_running && ports_.source.power.power(node_, vmid_, {}) == Power::stopped) {
    still_ours_();
    ports_.source.power.start(node_, vmid_, {});
    wait_until_running(ports_.source.power, ports_.clock, node_, vmid_, {});
  }
  // Whoever goes on from it removes it.
  if (!saved_state(read({}).bytes)) remove_volume(record, {});
  if (!record.ha_state.empty() && record.ha_state != ignored) {
    still_ours_();
    ports_.source.power.set_ha_state(vmid_, record.ha_state, {});
  }
  return suspension;
}

}  // namespace crossover

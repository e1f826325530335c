#include "engine/migration_source.hpp"

#include <fmt/format.h>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/wait_until_running.hpp"

namespace crossover {

namespace {

constexpr const char* ignored = "ignored";

}  // namespace

std::string MigrationSource::subject() const {
  return fmt::format("VM {} on {}", vmid_, node_);
}

void MigrationSource::save(const MigrationRecord& record) {
  ports_.source.images.open(record_image_.access)
      .set_metadata(record_image_.spec, std::string(migration_key), render_migration(record));
}

void MigrationSource::forget() {
  ports_.source.images.open(record_image_.access).remove_metadata(record_image_.spec, std::string(migration_key));
}

ConfigVersion MigrationSource::read(const std::stop_token& stop) {
  auto version = ports_.source.hypervisor.read_config(node_, vmid_, stop);
  if (!version) {
    throw Error(ErrorCode::not_found, "migrate", subject(), "it is not there any more; look where it has gone",
                true);
  }
  return std::move(*version);
}

void MigrationSource::shut_down(const MigrationRecord& record, bool running, std::chrono::seconds timeout,
                                bool force, const std::stop_token& stop) {
  if (!record.ha_state.empty() && record.ha_state != ignored) {
    ports_.source.power.set_ha_state(vmid_, ignored, stop);
  }
  if (running) ports_.source.power.shut_down(node_, vmid_, timeout, force, stop);
}

void MigrationSource::fence(const std::stop_token& stop) {
  const ConfigVersion now = read(stop);
  if (is_fenced(now.bytes)) return;
  if (const auto lock = parse_vm_config(now.bytes).get("lock")) {
    throw Error(ErrorCode::locked, "fence", subject(), fmt::format("somebody else locked it meanwhile ({})", *lock),
                true);
  }
  ports_.source.hypervisor.write_config(node_, vmid_, now, with_fence(now.bytes), stop);
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

void MigrationSource::bring_back(const MigrationRecord& record) {
  const ConfigVersion now = read({});
  if (is_fenced(now.bytes)) {
    ports_.source.hypervisor.write_config(node_, vmid_, now, without_fence(now.bytes, record.onboot), {});
  }
  if (record.was_running && ports_.source.power.power(node_, vmid_, {}) == Power::stopped) {
    ports_.source.power.start(node_, vmid_, {});
    wait_until_running(ports_.source.power, ports_.clock, node_, vmid_, {});
  }
  if (!record.ha_state.empty() && record.ha_state != ignored) {
    ports_.source.power.set_ha_state(vmid_, record.ha_state, {});
  }
}

}  // namespace crossover

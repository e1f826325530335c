#include "engine/migration_work.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/guest_report.hpp"
#include "engine/migration_begun.hpp"

namespace crossover {

void MigrationWork::look(const std::stop_token& ending) {
  found = settled_survey(alone(), ports, ending);
  scope = found.guests.at(0);
  plan = plan_guest(request.mirror, found.inventory, scope, ports.clock.now());
  find_record(*this);
  if (report.vmid == 0) report = report_of(plan);
}

MirrorRequest MigrationWork::alone() const {
  MirrorRequest one = request.mirror;
  one.vmids = {.all = false, .guests = {{vmid, target_vmid}}};
  return one;
}

MigrationSource MigrationWork::source() const {
  return {ports, found.inventory.source, vmid, plan.source_node, ledger(), [this] { require_ours(); }};
}

MigrationTarget MigrationWork::target() const {
  return {ports, target_vmid, target_node(), scope.replicas, state_there()};
}

std::string MigrationWork::target_node() const {
  const auto present = found.inventory.destination.guests.find(target_vmid);
  return present == found.inventory.destination.guests.end() ? plan.target_node : present->second.node;
}

std::string MigrationWork::why_not_taken_back(const std::stop_token& ending) const {
  return target().why_not_taken_back(record->point, request.mirror.retries, ending);
}

std::optional<StateVolume> MigrationWork::state_there() const {
  if (!record || record->target_state.empty()) return std::nullopt;
  return StateVolume{record->target_state, image_of_volume(record->target_state, found.inventory.destination)};
}

const std::string& MigrationWork::state_storage() const {
  return scope.disks.replicated.front().storage;
}

void MigrationWork::advance(MigrationStep step, const std::string& point) {
  MigrationRecord next = *record;
  next.step = step;
  next.point = point;
  ledger().write(record, next);
  record = std::move(next);
}

void MigrationWork::claim(MigrationRecord wanted) {
  // What fails may have been done.
  has_it = true;
  ledger().write(record, wanted);
  record = std::move(wanted);
}

void MigrationWork::begin(MigrationRecord wanted) {
  if (lease != nullptr && lease->lost()) throw failure(ErrorCode::locked, "the lease on its disks was lost", true);
  has_it = true;
  ledger().begin(wanted, [this] { return is_fenced_now(); });
  record = std::move(wanted);
}

bool MigrationWork::is_fenced_now() const {
  const auto now = ports.source.hypervisor.read_config(found.inventory.source.guests.at(vmid).node, vmid, stop);
  return !now || is_fenced(now->bytes);
}

MigrationLedger MigrationWork::ledger() const {
  return {ports.source.images, disks, run};
}

void MigrationWork::require_ours() const {
  if (lease != nullptr && lease->lost()) {
    throw failure(ErrorCode::locked, "the lease on its disks was lost", true);
  }
  ledger().require_ours();
}

void MigrationWork::tell(Event event) const {
  event.vmid = vmid;
  event.target_vmid = target_vmid;
  ports.events.on_event(event);
}

void MigrationWork::say(std::string text) const {
  tell({.kind = EventKind::migration, .text = std::move(text)});
}

void MigrationWork::warn(std::string text) const {
  tell({.kind = EventKind::warning, .text = std::move(text)});
}

void MigrationWork::note(const std::string& warning) {
  const std::scoped_lock lock(mutex);
  report.warnings.push_back(warning);
  warn(warning);
}

Error MigrationWork::failure(ErrorCode code, const std::string& cause, bool retryable) const {
  return {code, "migrate", fmt::format("VM {}", vmid), cause, retryable};
}

void MigrationWork::fail(const Error& error) {
  set_error(report, error);
  tell({.kind = EventKind::guest_finished, .text = report.error});
}

void MigrationWork::fail_as_planned() {
  report = report_of(plan);
  tell({.kind = EventKind::guest_finished, .text = report.error});
}

void MigrationWork::succeed(Outcome outcome) {
  report.outcome = outcome;
  report.error.clear();
  report.error_code.reset();
  report.conflict.reset();
}

void MigrationWork::keep(GuestReport mirrored) {
  std::vector<std::string> warnings = std::move(report.warnings);
  report = std::move(mirrored);
  for (const std::string& warning : report.warnings) {
    if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end()) warnings.push_back(warning);
  }
  report.warnings = std::move(warnings);
}

}  // namespace crossover

#include "engine/cleanup_source.hpp"

#include <fmt/format.h>

#include "crossover/vm_config.hpp"
#include "engine/guest_report.hpp"
#include "plan/guest_disks.hpp"
#include "plan/migration_record.hpp"
#include "plan/record.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

[[noreturn]] void refuse(std::uint32_t vmid, const std::string& cause) {
  throw Error(ErrorCode::conflict, "clean up", fmt::format("VM {}", vmid), cause + "; nothing was removed");
}

/// Everything that shows that nobody needs what is here.
void check(const GuestState& guest, const std::vector<ImageRef>& images, const ReplicaPorts& ports,
           CleanupReport& report) {
  if (images.empty()) refuse(guest.vmid, "it has no disk that could tell of a migration");
  std::vector<ImageState> states;
  std::optional<MigrationRecord> migration;
  for (const ImageRef& image : images) {
    const auto state = ports.images.open(image.access).find(image.spec);
    if (!state) continue;
    report.images.push_back(to_string(image.spec));
    states.push_back(*state);
    if (!migration) migration = migration_record(*state);
  }
  if (!migration) refuse(guest.vmid, "its disks tell of no migration");
  if (migration->step != MigrationStep::done) {
    refuse(guest.vmid, fmt::format("its migration to VM {} is not through; end that first, with 'crossover mirror "
                                   "--migrate' and the same options",
                                   migration->target_vmid));
  }
  for (std::size_t i = 0; i < states.size(); ++i) {
    const auto replica = image_record(states[i]).replica;
    if (replica && !replica->promoted) {
      refuse(guest.vmid, fmt::format("{} is the replica of {} now", report.images[i], replica->source_image));
    }
    if (!states[i].watchers.empty()) {
      refuse(guest.vmid, fmt::format("{} is open, by {}", report.images[i], fmt::join(states[i].watchers, ", ")));
    }
  }
  report.target_vmid = migration->target_vmid;
  report.point = migration->point;
  if (guest.power != Power::stopped) refuse(guest.vmid, "it runs, or its node does not say that it does not");
  // PVE puts its own lock there when it begins to destroy a guest.
  const VmConfig config = parse_vm_config(guest.config);
  if (!is_fenced(guest.config) && !(config.get("lock") == "destroyed" && config.get("onboot") == "0")) {
    refuse(guest.vmid,
           "its fence (lock: migrate, onboot: 0) was taken away, so that it may be in use again. If it is not, put "
           "that back, or remove it with 'qm destroy'");
  }
}

void fail(CleanupReport& report, const Error& error) {
  report.outcome = is_conflict(error.code()) && !error.retryable() ? Outcome::conflict : Outcome::failed;
  report.error_code = error.code();
  report.error = error.what();
}

/// What there is, and in `error` why it is not removed.
CleanupReport look(std::uint32_t vmid, const ReplicaPorts& ports, const std::stop_token& stop) {
  const ClusterInventory cluster = ports.hypervisor.survey({.guests = {{vmid}}}, stop);
  const auto guest = cluster.guests.find(vmid);
  if (guest == cluster.guests.end()) {
    throw Error(ErrorCode::not_found, "clean up", fmt::format("VM {}", vmid), "this cluster has no such VM");
  }
  const VmConfig config = parse_vm_config(guest->second.config);
  CleanupReport report;
  report.vmid = vmid;
  report.node = guest->second.node;
  report.name = config.display_name(vmid);
  try {
    check(guest->second, images_of(config, cluster), ports, report);
  } catch (const Error& error) {
    fail(report, error);
  }
  return report;
}

}  // namespace

CleanupReport cleanup_source(std::uint32_t vmid, bool dry_run, const ConfirmCleanup& confirm,
                             const ReplicaPorts& ports, const std::stop_token& stop) {
  const auto begin = steady_clock::now();
  CleanupReport report = look(vmid, ports, stop);
  report.dry_run = dry_run;
  if (report.error.empty()) {
    try {
      if (dry_run) {
        report.outcome = Outcome::planned;
      } else if (!confirm(report)) {
        throw Error(ErrorCode::usage, "clean up", fmt::format("VM {}", vmid),
                    "it was not confirmed; nothing was removed");
      } else {
        // Whoever was asked may have taken a day.
        report = look(vmid, ports, stop);
        if (report.error.empty()) {
          ports.events.on_event({.kind = EventKind::step,
                                 .vmid = vmid,
                                 .host = report.node,
                                 .text = fmt::format("destroy it, with {}", fmt::join(report.images, ", "))});
          ports.power.destroy(report.node, vmid, stop);
          report.outcome = Outcome::ok;
        }
      }
    } catch (const Error& error) {
      fail(report, error);
    }
  }
  report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
  return report;
}

}  // namespace crossover

#include "crossover/report.hpp"

#include <nlohmann/json.hpp>

#include "crossover/sources.hpp"
#include "crossover/verify_report.hpp"
#include "report/json.hpp"

namespace crossover {

namespace {

using nlohmann::ordered_json;

ordered_json to_value(const DiskReport& disk) {
  return {{"key", disk.key},
          {"source_image", disk.source_image},
          {"replica_image", disk.replica_image},
          {"full", disk.full},
          {"base", disk.base},
          {"fast_diff", disk.fast_diff},
          {"fast_diff_refused", disk.fast_diff_refused},
          {"transferred", disk.transferred},
          {"committed", disk.committed},
          {"stream_bytes", disk.stream_bytes},
          {"size_bytes", disk.size_bytes},
          {"duration_ms", disk.duration.count()}};
}

ordered_json to_value(const LeftOut& left_out) {
  return {
      {"key", left_out.key},         {"value", left_out.value},       {"reason", left_out.reason},
      {"is_disk", left_out.is_disk}, {"excluded", left_out.excluded}};
}

ordered_json to_value(const ResumedPoint& resumed) {
  ordered_json value{
      {"recovery_point", resumed.recovery_point}, {"complete", resumed.complete}, {"disks", ordered_json::array()}};
  for (const ResumedDisk& disk : resumed.disks) {
    value["disks"].push_back(
        {{"key", disk.key}, {"from_bytes", disk.from_bytes}, {"stream_bytes", disk.stream_bytes}});
  }
  return value;
}

ordered_json to_value(const MigrationReport& migration) {
  return {{"outcome", to_string(migration.outcome)},
          {"findings", migration.findings},
          {"rounds", migration.rounds},
          {"precopy_bytes", migration.precopy_bytes},
          {"switch_bytes", migration.switch_bytes},
          {"suspended", migration.suspended},
          {"state_bytes", migration.state_bytes},
          {"was_running", migration.was_running},
          {"downtime_ms", migration.downtime().count()},
          {"shutdown_ms", migration.shutdown.count()},
          {"transfer_ms", migration.transfer.count()},
          {"start_ms", migration.start.count()},
          {"left_to_do", migration.left_to_do}};
}

ordered_json to_value(const GuestReport& guest) {
  ordered_json value{{"vmid", guest.vmid},
                     {"target_vmid", guest.target_vmid},
                     {"name", guest.name},
                     {"source_node", guest.source_node},
                     {"target_node", guest.target_node},
                     {"outcome", to_string(guest.outcome)},
                     {"error_code", nullptr},
                     {"conflict", nullptr},
                     {"error", guest.error},
                     {"retryable", guest.retryable},
                     {"recovery_point", guest.recovery_point},
                     {"resumed", nullptr},
                     {"running", guest.running},
                     {"frozen", guest.frozen},
                     {"paused", guest.paused},
                     {"consistency", guest.consistency},
                     {"frozen_for_ms", guest.frozen_for.count()},
                     {"disks", ordered_json::array()},
                     {"left_out", ordered_json::array()},
                     {"former_images", to_value(guest.former_images)},
                     {"removed", guest.removed},
                     {"warnings", guest.warnings},
                     {"steps", guest.steps}};
  if (guest.error_code) value["error_code"] = to_string(*guest.error_code);
  if (guest.conflict) value["conflict"] = to_string(*guest.conflict);
  if (guest.resumed) value["resumed"] = to_value(*guest.resumed);
  if (guest.migration) value["migration"] = to_value(*guest.migration);
  for (const DiskReport& disk : guest.disks) value["disks"].push_back(to_value(disk));
  for (const LeftOut& left_out : guest.left_out) value["left_out"].push_back(to_value(left_out));
  return value;
}

ordered_json to_value(const MirrorTotals& totals) {
  return {{"full_bytes", totals.full_bytes},
          {"incremental_bytes", totals.incremental_bytes},
          {"full_ok", totals.full_ok},
          {"full_failed", totals.full_failed},
          {"incremental_ok", totals.incremental_ok},
          {"incremental_failed", totals.incremental_failed},
          {"freeze_ok", totals.freeze_ok},
          {"freeze_failed", totals.freeze_failed},
          {"snapshot_ok", totals.snapshot_ok},
          {"snapshot_failed", totals.snapshot_failed},
          {"guests_ok", totals.guests_ok},
          {"guests_incomplete", totals.guests_incomplete},
          {"guests_failed", totals.guests_failed},
          {"guests_running", totals.guests_running},
          {"guests_stopped", totals.guests_stopped}};
}

ordered_json to_value(const VerifiedDisk& disk) {
  ordered_json value{{"key", disk.key},
                     {"source_image", disk.source_image},
                     {"replica_image", disk.replica_image},
                     {"source_size_bytes", disk.source_size_bytes},
                     {"replica_size_bytes", disk.replica_size_bytes},
                     {"compared_bytes", disk.compared_bytes},
                     {"differing", ordered_json::array()},
                     {"duration_ms", disk.duration.count()}};
  for (const ByteRange& range : disk.differing) {
    value["differing"].push_back({{"offset", range.offset}, {"length_bytes", range.length_bytes}});
  }
  return value;
}

ordered_json to_value(const VerifiedGuest& guest) {
  ordered_json value{{"vmid", guest.vmid},         {"target_vmid", guest.target_vmid},
                     {"name", guest.name},         {"outcome", to_string(guest.outcome)},
                     {"error_code", nullptr},      {"error", guest.error},
                     {"point", guest.point},       {"disks", ordered_json::array()},
                     {"warnings", guest.warnings}, {"repair", nullptr}};
  if (guest.error_code) value["error_code"] = to_string(*guest.error_code);
  for (const VerifiedDisk& disk : guest.disks) value["disks"].push_back(to_value(disk));
  if (guest.repair) value["repair"] = to_value(*guest.repair);
  return value;
}

}  // namespace

std::string describe(const FormerImage& former) {
  if (former.points == 0) {
    return "it is no disk of the replica any more, and no recovery point needs it; 'crossover prune' on the destination "
           "removes it, with --former-images";
  }
  return fmt::format("it is no disk of the replica any more; {} recovery {} it", former.points,
                     former.points == 1 ? "point needs" : "points need");
}

std::string_view to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::ok:
      return "ok";
    case Outcome::planned:
      return "planned";
    case Outcome::incomplete:
      return "incomplete";
    case Outcome::conflict:
      return "conflict";
    case Outcome::failed:
      return "failed";
  }
  return "failed";
}

std::string_view to_string(MigrationOutcome outcome) noexcept {
  switch (outcome) {
    case MigrationOutcome::not_begun:
      return "not begun";
    case MigrationOutcome::done:
      return "done";
    case MigrationOutcome::undone:
      return "undone";
    case MigrationOutcome::left:
      return "left";
  }
  return "left";
}

std::chrono::milliseconds MigrationReport::downtime() const {
  return was_running ? shutdown + transfer + start : std::chrono::milliseconds{};
}

MirrorTotals& MirrorTotals::operator+=(const MirrorTotals& more) noexcept {
  full_bytes += more.full_bytes;
  incremental_bytes += more.incremental_bytes;
  full_ok += more.full_ok;
  full_failed += more.full_failed;
  incremental_ok += more.incremental_ok;
  incremental_failed += more.incremental_failed;
  freeze_ok += more.freeze_ok;
  freeze_failed += more.freeze_failed;
  snapshot_ok += more.snapshot_ok;
  snapshot_failed += more.snapshot_failed;
  guests_ok += more.guests_ok;
  guests_incomplete += more.guests_incomplete;
  guests_failed += more.guests_failed;
  guests_running += more.guests_running;
  guests_stopped += more.guests_stopped;
  return *this;
}

std::string to_json(const MirrorReport& report) {
  ordered_json value{{"version", 1},
                     {"job", report.job},
                     {"destination", report.destination},
                     {"dry_run", report.dry_run},
                     {"started", render_time(report.started)},
                     {"duration_ms", report.duration.count()},
                     {"guests", ordered_json::array()},
                     {"containers", ordered_json::array()},
                     {"totals", to_value(report.totals)}};
  for (const GuestReport& guest : report.guests) value["guests"].push_back(to_value(guest));
  for (const LeftOutContainer& container : report.containers) {
    value["containers"].push_back(
        {{"vmid", container.vmid}, {"node", container.node}, {"reason", container.reason}});
  }
  return render_json(value);
}

std::string to_json(const CleanupReport& report) {
  ordered_json value{{"version", 1},
                     {"vmid", report.vmid},
                     {"node", report.node},
                     {"name", report.name},
                     {"target_vmid", report.target_vmid},
                     {"point", report.point},
                     {"images", report.images},
                     {"kept", report.kept},
                     {"dry_run", report.dry_run},
                     {"outcome", to_string(report.outcome)},
                     {"error_code", nullptr},
                     {"error", report.error},
                     {"duration_ms", report.duration.count()}};
  if (report.error_code) value["error_code"] = to_string(*report.error_code);
  return render_json(value);
}

std::string_view to_string(VerifyOutcome outcome) noexcept {
  switch (outcome) {
    case VerifyOutcome::equal:
      return "equal";
    case VerifyOutcome::differs:
      return "differs";
    case VerifyOutcome::repaired:
      return "repaired";
    case VerifyOutcome::conflict:
      return "conflict";
    case VerifyOutcome::failed:
      return "failed";
  }
  return "failed";
}

bool VerifiedDisk::is_equal() const {
  return differing.empty() && source_size_bytes == replica_size_bytes;
}

std::string to_json(const VerifyReport& report) {
  ordered_json value{{"version", 1},
                     {"job", report.job},
                     {"destination", report.destination},
                     {"sample", report.sample},
                     {"seed", report.seed},
                     {"started", render_time(report.started)},
                     {"duration_ms", report.duration.count()},
                     {"guests", ordered_json::array()}};
  for (const VerifiedGuest& guest : report.guests) value["guests"].push_back(to_value(guest));
  return render_json(value);
}

}  // namespace crossover

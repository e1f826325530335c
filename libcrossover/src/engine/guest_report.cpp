#include "engine/guest_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/conflict_error.hpp"

namespace crossover {

bool is_conflict(ErrorCode code) {
  return code == ErrorCode::conflict || code == ErrorCode::in_use || code == ErrorCode::already_exists;
}

void set_error(GuestReport& report, const Error& error) {
  const auto* conflict = dynamic_cast<const ConflictError*>(&error);
  report.conflict = conflict != nullptr ? std::optional(conflict->conflict()) : std::nullopt;
  report.outcome = is_conflict(error.code()) && !error.retryable() ? Outcome::conflict : Outcome::failed;
  report.error_code = error.code();
  report.error = error.what();
  report.retryable = error.retryable();
}

GuestReport report_of(const GuestPlan& plan) {
  GuestReport report;
  report.vmid = plan.vmid;
  report.target_vmid = plan.target_vmid;
  report.name = plan.name;
  report.source_node = plan.source_node;
  report.target_node = plan.target_node;
  report.running = plan.running;
  report.consistency = plan.consistency;
  report.left_out = plan.left_out;
  report.former_images = former_images(plan);
  report.warnings = plan.warnings;
  for (const DiskPlan& disk : plan.disks) {
    DiskReport one;
    one.key = disk.disk.key;
    one.source_image = to_string(disk.disk.image.spec);
    one.replica_image = to_string(disk.replica.spec);
    one.full = disk.full;
    one.base = disk.source_base ? disk.source_base->name : "";
    one.size_bytes = disk.layout.size_bytes;
    report.disks.push_back(std::move(one));
  }
  for (const Step& step : plan.steps) report.steps.push_back(describe(plan, step));
  if (plan.resumes) {
    report.steps.push_back(fmt::format("then make a new recovery point of VM {}", plan.vmid));
    report.resumed.emplace().recovery_point = plan.snapshot;
    for (const DiskPlan& disk : plan.disks) {
      report.resumed->disks.push_back({disk.disk.key, disk.applied ? disk.source_end->size_bytes : disk.offset, 0});
    }
  }
  report.outcome = Outcome::planned;
  if (plan.problem) {
    report.outcome = is_conflict(plan.problem->code) ? Outcome::conflict : Outcome::failed;
    report.error_code = plan.problem->code;
    report.error = plan.problem->text;
    report.conflict = plan.problem->conflict;
  }
  return report;
}

void require_complete(GuestReport& report) {
  if (report.outcome != Outcome::ok && report.outcome != Outcome::planned) return;
  std::string missing;
  for (const LeftOut& left_out : report.left_out) {
    if (!left_out.is_disk || left_out.excluded) continue;
    missing += fmt::format("{}{}{}: {}", missing.empty() ? "" : "; ", left_out.key,
                           left_out.value.empty() ? "" : fmt::format(" ({})", left_out.value), left_out.reason);
  }
  if (missing.empty()) return;
  report.outcome = Outcome::incomplete;
  report.error_code = ErrorCode::unsupported;
  report.error = fmt::format(
      "VM {}: incomplete: its recovery point lacks {}. Move that to RBD, exclude it with backup=0, or give "
      "--allow-left-out",
      report.vmid, missing);
}

SentBytes sent(const GuestReport& report) {
  SentBytes sent;
  for (const DiskReport& disk : report.disks) {
    sent.bytes += disk.stream_bytes;
    sent.took = std::max(sent.took, disk.duration);
  }
  if (report.resumed) {
    for (const ResumedDisk& disk : report.resumed->disks) sent.bytes += disk.stream_bytes;
  }
  return sent;
}

}  // namespace crossover

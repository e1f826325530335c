#include <fmt/format.h>

#include "crossover/snapshot_name.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

namespace {

/// Appends to a list that is read as a sentence.
void add_to(std::string& list, const std::string& item) {
  list += (list.empty() ? "" : ", ") + item;
}

std::string describe_creation(const DiskPlan& disk) {
  return fmt::format("{} {} ({} bytes) on the destination{}", disk.replace ? "replace" : "create",
                     to_string(disk.replica.spec), disk.layout.size_bytes,
                     disk.replace && !disk.replica_record.replica ? ", if the one that is there is empty" : "");
}

std::string describe_freeze(const GuestPlan& plan) {
  return fmt::format("freeze the file systems of VM {}; if that cannot be done, {}", plan.vmid,
                     plan.no_agent == NoAgent::pause   ? "pause it"
                     : plan.no_agent == NoAgent::crash ? "go on without"
                                                       : "fail");
}

std::string describe_snapshot(const GuestPlan& plan) {
  std::string images;
  for (const DiskPlan& disk : plan.disks) add_to(images, to_string(disk.disk.image.spec));
  return fmt::format("make the snapshot {} of {}", plan.snapshot, images);
}

std::string describe_transfer(const GuestPlan& plan, const DiskPlan& disk) {
  std::uint64_t repair_bytes = 0;
  for (const ByteRange& range : disk.repair) repair_bytes += range.length_bytes;
  return fmt::format(
      "send {} to {} ({}{}{})", to_string(disk.disk.image.spec), to_string(disk.replica.spec),
      disk.full ? "full" : "what changed since " + disk.source_base->name,
      repair_bytes == 0 ? "" : fmt::format(", and {} bytes that differ at {}", repair_bytes, plan.repaired),
      plan.resumes ? fmt::format(", from {} on", disk.offset) : "");
}

std::string describe_removals(const GuestPlan& plan) {
  std::string names;
  for (const Removal& removal : plan.removals) {
    add_to(names, fmt::format("{} {}@{}", removal.on_source ? "source" : "destination",
                              to_string(removal.image.spec), removal.snapshot.name));
  }
  return "remove " + names;
}

std::string describe_retirement(const GuestPlan& plan) {
  std::string names;
  for (const DiskPlan& disk : plan.disks) {
    if (disk.replaces) add_to(names, to_string(disk.replaces->image));
  }
  return fmt::format("move {} to the trash for {} days", names, trash_days.count());
}

}  // namespace

std::string describe(const GuestPlan& plan, const Step& step) {
  const auto disk = [&]() -> const DiskPlan& { return plan.disks[step.disk]; };
  const auto source = [&] { return to_string(disk().disk.image.spec); };
  const auto replica = [&] { return to_string(disk().replica.spec); };
  switch (step.kind) {
    case StepKind::lock_replica:
      return fmt::format("lock VM {} on {} (migrate){}", plan.target_vmid, plan.target_node,
                         plan.replica_config_before ? "" : ", creating its configuration");
    case StepKind::create_image:
      return describe_creation(disk());
    case StepKind::verify_content:
      return fmt::format("check that {}@{} is {}@{}, byte for byte, and {} unchanged since", replica(),
                         disk().replica_base->name, source(), disk().source_base->name, replica());
    case StepKind::check_origin:
      return fmt::format("check that {}, which {} was copied from, is unchanged since {}", replica(), source(),
                         disk().replica_base->name);
    case StepKind::adopt:
      return fmt::format("record that {} is the replica of {}", replica(), source());
    case StepKind::check_head:
      return fmt::format("check that {} is unchanged since {}{}", replica(), disk().replica_newest->name,
                         plan.discards ? ", and roll it back to that if it is not" : "");
    case StepKind::check_cut:
      return fmt::format("check that {} is as the run left it that began {}", replica(), plan.snapshot);
    case StepKind::roll_back:
      return fmt::format("roll {} back to {}", replica(), disk().replica_base->name);
    case StepKind::record_source:
      return fmt::format("record the {} on the images of VM {}", describe_job(plan.job_name), plan.vmid);
    case StepKind::lock_source:
      return fmt::format("lock VM {} on {} (backup)", plan.vmid, plan.source_node);
    case StepKind::freeze:
      return describe_freeze(plan);
    case StepKind::pause:
      return fmt::format("pause VM {}", plan.vmid);
    case StepKind::snapshot:
      return describe_snapshot(plan);
    case StepKind::let_go:
      return fmt::format("{} VM {}", plan.not_frozen.empty() ? "thaw" : "resume", plan.vmid);
    case StepKind::unlock_source:
      return fmt::format("unlock VM {}", plan.vmid);
    case StepKind::record_point:
      return fmt::format("record on the replica's images that {} is sent", plan.snapshot);
    case StepKind::transfer:
      return describe_transfer(plan, disk());
    case StepKind::commit:
      return fmt::format("make the recovery point {} on the destination", plan.snapshot);
    case StepKind::write_config:
      return fmt::format("write the configuration of VM {} on {}", plan.target_vmid, plan.target_node);
    case StepKind::retire:
      return describe_retirement(plan);
    case StepKind::remove:
      return describe_removals(plan);
  }
  return "";
}

}  // namespace crossover

#include "plan/reception_check.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"

namespace crossover {

namespace {

void require(bool allowed, const std::string& subject, const std::string& cause) {
  if (!allowed) throw refusal(subject, cause);
}

/// What makes one replica has to be of one guest and one job: points of another would not be found beside it, and
/// nothing could be recovered of images that are of several.
void check_identity(const GuestPlan& plan, const Inventory& inventory, const ReceiveLimits& limits) {
  const std::string subject = fmt::format("VM {}", plan.target_vmid);
  const auto check_length = [&](const char* what, const std::string& name) {
    require(name.size() <= limits.name_bytes, subject,
            fmt::format("{} has {} bytes, and may have {}", what, name.size(), limits.name_bytes));
  };
  check_length("its job's name", plan.job_name);
  for (const DiskPlan& disk : plan.disks) {
    check_length("its cluster's fsid", disk.identity.fsid);
    check_length("an image's id", disk.identity.image_id);
    check_length("an image's name", to_string(disk.disk.image.spec));
    check_length("an image's name", disk.replica.spec.name);
    require(disk.identity.fsid == plan.disks.front().identity.fsid, subject,
            "its disks are of several Ceph clusters");
  }
  for (const auto& [ref, image] : inventory.replica_images) {
    const auto record = image ? readable_record(*image).replica : std::nullopt;
    if (!record || record->promoted || record->target_vmid != plan.target_vmid) continue;
    require(record->source.fsid == plan.disks.front().identity.fsid && record->source.guest == plan.vmid &&
                record->job == plan.job_name,
            subject,
            fmt::format("{} is a replica of VM {} in the cluster {} by the {}, and would be beside one of "
                        "another",
                        to_string(ref.spec), record->source.guest, record->source.fsid, describe_job(record->job)));
  }
}

void check_counts(const GuestPlan& plan, const Inventory& inventory, const ReceiveLimits& limits) {
  const std::string subject = fmt::format("VM {}", plan.target_vmid);
  const std::size_t images = plan.disks.size() + plan.former.size();
  require(images <= limits.images, subject,
          fmt::format("its replica would have {} images, and may have {}; 'crossover prune --former-images' on the "
                      "destination removes those that are not needed any more",
                      images, limits.images));
  for (const DiskPlan& disk : plan.disks) {
    const ImageState* const image = find_image(inventory.replica_images, disk.replica);
    const std::size_t points = image == nullptr ? 0 : image->snapshots.size();
    require(points < limits.points, to_string(disk.replica.spec),
            fmt::format("it has {} snapshots, and may have {}; 'crossover prune' on the destination removes old ones",
                        points, limits.points));
  }
}

void check_files(const GuestPlan& plan, const ReceiveLimits& limits) {
  const auto check = [&plan](const std::string& what, const std::string& bytes, std::size_t most) {
    const std::string subject = fmt::format("{} of VM {}", what, plan.target_vmid);
    require(bytes.size() <= most, subject,
            fmt::format("it has {} bytes, and a replica's {} at most", bytes.size(), most));
    require(has_no_control_bytes(bytes), subject, "it has control characters");
  };
  check("configuration", plan.replica_config, limits.config_bytes);
  if (plan.firewall) check("firewall file", *plan.firewall, limits.firewall_bytes);
  require(plan.onboot.empty() || plan.onboot == "0" || plan.onboot == "1", fmt::format("VM {}", plan.target_vmid),
          "onboot is neither 0 nor 1");
}

}  // namespace

Error refusal(const std::string& subject, const std::string& cause) {
  return Error(ErrorCode::permission, "receive", subject,
               cause + "; the destination's agent is restricted to receiving replicas");
}

bool has_no_control_bytes(const std::string& file) {
  return std::all_of(file.begin(), file.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return c == '\n' || c == '\r' || c == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

void check_image_bytes(const std::string& image, std::uint64_t bytes, const ImageLayout& layout,
                       const ReceiveLimits& limits) {
  require(bytes <= limits.image_bytes, image,
          fmt::format("it would have {} bytes, and a replica's image {} at most", bytes, limits.image_bytes));
  const std::uint64_t objects = layout.order < 64 ? bytes >> layout.order : 0;
  require(objects <= limits.objects, image,
          fmt::format("it would have {} objects, and a replica's image {} at most", objects, limits.objects));
}

void check_newest(const GuestPlan& plan, const ImageStates& images, const ReceiveLimits& limits,
                  std::chrono::sys_seconds now) {
  const auto name = parse_snapshot_name(plan.snapshot);
  const std::string subject = fmt::format("VM {}", plan.target_vmid);
  require(name.has_value(), subject, "its recovery point has no name of a recovery point");
  require(name->time <= now + limits.clock_skew, subject,
          fmt::format("{} lies more than a day ahead; set the clocks of both clusters", plan.snapshot));
  for (const auto& [ref, image] : images) {
    if (!image) continue;
    for (const Snapshot& snapshot : image->snapshots) {
      const auto other = parse_snapshot_name(snapshot.name);
      // What is resumed may have it on some of its disks.
      const bool may_be = plan.resumes && snapshot.name == plan.snapshot;
      require(!other || other->job != name->job || other->time < name->time || may_be, subject,
              fmt::format("{} would not be newer than {}", plan.snapshot, snapshot.name));
    }
  }
}

void check_reception(const GuestPlan& plan, const Inventory& inventory, const ReceiveLimits& limits,
                     std::chrono::sys_seconds now) {
  check_newest(plan, inventory.replica_images, limits, now);
  check_identity(plan, inventory, limits);
  check_counts(plan, inventory, limits);
  check_files(plan, limits);
  for (const DiskPlan& disk : plan.disks) {
    const std::string image = to_string(disk.replica.spec);
    check_image_bytes(image, disk.layout.size_bytes, disk.layout, limits);
    if (disk.source_end) check_image_bytes(image, disk.source_end->size_bytes, disk.layout, limits);
  }
}

}  // namespace crossover

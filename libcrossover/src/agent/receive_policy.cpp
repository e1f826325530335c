#include "agent/receive_policy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "crossover/vm_config.hpp"
#include "plan/points.hpp"
#include "plan/restricted_config.hpp"

namespace crossover::agent {

namespace {

constexpr std::chrono::hours allowed_clock_skew{24};

void require(bool allowed, const std::string& subject, const std::string& cause) {
  if (!allowed) throw refusal(subject, cause);
}

bool is_image_of_storages(const std::string& text, Vmid vmid, const std::vector<RbdStorage>& storages) {
  const std::string name = text.substr(text.rfind('/') + 1);
  return is_image_of(name, vmid) && std::any_of(storages.begin(), storages.end(), [&](const RbdStorage& storage) {
           return to_string(ImageSpec{storage.pool, storage.rados_namespace, name}) == text;
         });
}

void check_end(const ImageState& image, const ReplicaRecord& record, std::chrono::sys_seconds now,
               const std::string& subject) {
  const auto end = parse_snapshot_name(record.end_snapshot);
  require(end && end->job == normalize_job(record.job), subject,
          fmt::format("'{}' is no recovery point of the job '{}'", record.end_snapshot, record.job));
  require(end->time <= now + allowed_clock_skew, subject,
          fmt::format("{} lies more than a day ahead; set the clocks of both clusters", record.end_snapshot));
  for (const Snapshot& snapshot : image.snapshots) {
    const auto name = parse_snapshot_name(snapshot.name);
    require(!name || name->job != end->job || name->time < end->time, subject,
            fmt::format("{} would not be newer than {}", record.end_snapshot, snapshot.name));
  }
}

void check_points(const ImageState& image, const ReplicaRecord& before, const ReplicaRecord& after,
                  const std::string& subject) {
  const auto has = [](const std::vector<PointIds>& points, const PointIds& wanted) {
    return std::find(points.begin(), points.end(), wanted) != points.end();
  };
  for (const PointIds& point : before.points) {
    require(has(after.points, point) || find_snapshot(image, point.name, point.replica_id) == nullptr, subject,
            fmt::format("the recovery point {} would be forgotten or marked as bad", point.name));
  }
  for (const PointIds& point : after.points) {
    if (has(before.points, point)) continue;
    require(!point.bad && !point.adopted && point.name == before.end_snapshot &&
                find_snapshot(image, point.name, point.replica_id) != nullptr,
            subject, fmt::format("{} is not the recovery point that was sent", point.name));
  }
}

}  // namespace

Error refusal(const std::string& subject, const std::string& cause) {
  return Error(ErrorCode::permission, "receive", subject,
               cause + "; the destination's agent is restricted to receiving replicas");
}

Vmid own_vmid(const ImageSpec& image, const std::vector<RbdStorage>& storages, const Restriction& restriction) {
  const auto vmid = owner_of_image(image.name);
  require(vmid && restriction.allows(*vmid) && is_image_of_storages(to_string(image), *vmid, storages),
          to_string(image), fmt::format("it is no image of the {}", to_string(restriction)));
  return *vmid;
}

bool has_no_control_bytes(const std::string& file) {
  return std::all_of(file.begin(), file.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return c == '\n' || c == '\r' || c == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

void check_firewall(Vmid vmid, const std::string& bytes) {
  const std::string subject = fmt::format("firewall rules of VM {}", vmid);
  require(bytes.size() <= max_firewall_bytes, subject,
          fmt::format("they have {} bytes, and a replica's {} at most", bytes.size(), max_firewall_bytes));
  require(has_no_control_bytes(bytes), subject, "they have control characters");
}

bool is_unfinished_copy(const ImageState& image) {
  const auto record = image_record(image).replica;
  return record && !record->promoted && record->points.empty() && record->state != ReplicaState::complete &&
         std::none_of(image.metadata.begin(), image.metadata.end(),
                      [](const auto& entry) { return entry.first.starts_with(point_key_prefix); });
}

bool is_unclaimed(const ImageState& image) {
  return image.metadata.empty();
}

void require_not_promoted(const std::optional<ReplicaRecord>& record, const std::string& subject) {
  require(!record || !record->promoted, subject, "it was recovered and is no replica any more");
}

std::string ReceivePolicy::subject(const ImageState& image) const {
  return fmt::format("VM {}, image id {}", vmid_, image.id);
}

void ReceivePolicy::check_record(const ImageState& image, const std::string& value,
                                 std::chrono::sys_seconds now) const {
  const std::string about = subject(image);
  ImageState changed = image;
  changed.metadata[std::string(replica_key)] = value;
  const ImageRecord before = image_record(image);
  const ImageRecord after = image_record(changed);
  require_not_promoted(before.replica, about);
  require(after.replica && after.replica->target_vmid == vmid_, about, "its record would not be that of a replica");
  const auto replaces = [](const ImageRecord& record) {
    return record.replica ? record.replica->replaces : std::nullopt;
  };
  // What it names there goes to the trash.
  require(!replaces(after) || replaces(after) == replaces(before), about, "it takes no other image's place");
  const std::vector<ImageIdentity> known = before.replica ? before.replica->former : std::vector<ImageIdentity>();
  for (const ImageIdentity& former : after.replica->former) {
    const bool is_known = std::find(known.begin(), known.end(), former) != known.end();
    require(is_known || is_image_of_storages(to_string(former.image), vmid_, storages_), about,
            fmt::format("{} is none of its images", to_string(former.image)));
  }
  // It would end a promotion, be it one that is yet to come.
  require(after.replica->taken_back == (before.replica ? before.replica->taken_back : std::nullopt), about,
          "no promotion is for the client to take back");
  require(before.replica || (is_unclaimed(image) && image.snapshots.empty() && image.watchers.empty()), about,
          "it is there already and no record says that it is a replica");
  const ReplicaRecord none;
  const ReplicaRecord& old = before.replica ? *before.replica : none;
  if (before.replica) {
    require(after.replica->source == old.source && after.replica->job == old.job, about,
            "it is a replica of another source or job");
  }
  check_points(image, old, *after.replica, about);
  if (!after.replica->end_snapshot.empty() && after.replica->end_snapshot != old.end_snapshot) {
    check_end(image, *after.replica, now, about);
  }
  require(value.size() <= max_record_bytes, about, fmt::format("its record would be longer than {}", max_record_bytes));
  if (after.replica->point) check_point(*after.replica->point);
}

void ReceivePolicy::check_completion(const ImageState& image, const std::string& point,
                                     const std::string& value) const {
  const std::string about = subject(image) + ", " + point;
  const auto record = image_record(image).replica;
  require_not_promoted(record, about);
  const auto present = image.metadata.find(std::string(point_key_prefix) + point);
  if (present != image.metadata.end()) {
    require(present->second == value, about, "the recovery point is complete");
    return;
  }
  require(record && record->state == ReplicaState::applied && record->end_snapshot == point, about,
          "it is not the recovery point that was sent");
  require(std::any_of(image.snapshots.begin(), image.snapshots.end(),
                      [&point](const Snapshot& snapshot) { return snapshot.name == point; }),
          about, "it has no snapshot");
  check_point(parse_point(value));
}

void ReceivePolicy::check_point(const PointConfig& point) const {
  const std::string about = fmt::format("VM {}", vmid_);
  require(point.target_vmid == vmid_, about, "the recovery point is another VM's");
  require(point.onboot.empty() || point.onboot == "0" || point.onboot == "1", about, "onboot is neither 0 nor 1");
  for (const std::string& image : point.images) {
    require(is_image_of_storages(image, vmid_, storages_), about, fmt::format("{} is none of its images", image));
  }
  if (point.firewall) check_firewall(vmid_, *point.firewall);
  check_config(point.config, "");
}

void ReceivePolicy::check_config(const std::string& bytes, const std::string& present) const {
  const std::string subject = fmt::format("configuration of VM {}", vmid_);
  require(bytes.size() <= max_config_bytes, subject,
          fmt::format("it has {} bytes, and a replica's {} at most", bytes.size(), max_config_bytes));
  require(has_no_control_bytes(bytes), subject, "it has control characters");
  const std::vector<RefusedSetting> known = refused_settings(parse_vm_config(present), vmid_, restriction_);
  for (const RefusedSetting& setting : refused_settings(parse_vm_config(bytes), vmid_, restriction_)) {
    // The destination's own administrator may have given it to the replica. Sections are told by what is in them.
    if (!setting.value.empty() && std::find(known.begin(), known.end(), setting) != known.end()) continue;
    throw refusal(subject, fmt::format("{} is refused, {}", setting.key, setting.reason));
  }
}

}  // namespace crossover::agent

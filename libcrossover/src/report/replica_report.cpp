#include "crossover/replica_report.hpp"

#include <nlohmann/json.hpp>

#include "report/json.hpp"

namespace crossover {

namespace {

using nlohmann::ordered_json;

ordered_json to_value(const RecoveryPoint& point) {
  ordered_json value{{"name", point.name},
                     {"time", render_time(point.time)},
                     {"age_ms", point.age.count()},
                     {"complete", point.complete},
                     {"incomplete", point.incomplete},
                     {"bad", point.bad},
                     {"disks", ordered_json::array()}};
  for (const PointDisk& disk : point.disks) {
    value["disks"].push_back({{"image", disk.image}, {"size_bytes", disk.size_bytes}});
  }
  return value;
}

ordered_json to_value(const PrunedReplica& replica) {
  ordered_json value{{"vmid", replica.vmid},
                     {"node", replica.node},
                     {"name", replica.name},
                     {"job", replica.job},
                     {"outcome", to_string(replica.outcome)},
                     {"error_code", nullptr},
                     {"error", replica.error},
                     {"untouched", replica.untouched},
                     {"removed", replica.removed},
                     {"trashed", replica.trashed},
                     {"former_images", to_value(replica.former_images)},
                     {"warnings", replica.warnings}};
  if (replica.error_code) value["error_code"] = to_string(*replica.error_code);
  return value;
}

}  // namespace

std::string to_json(const ReplicaReport& report) {
  ordered_json value{{"version", 1},
                     {"vmid", report.vmid},
                     {"node", report.node},
                     {"name", report.name},
                     {"running", report.running},
                     {"lock", report.lock},
                     {"job", report.job},
                     {"source_fsid", report.source_fsid},
                     {"source_vmid", report.source_vmid},
                     {"unfinished", report.unfinished},
                     {"applying", report.applying},
                     {"promoted", nullptr},
                     {"points", ordered_json::array()},
                     {"former_images", to_value(report.former_images)}};
  if (report.promoted) {
    value["promoted"] = {{"point", report.promoted->point},
                         {"time", render_time(report.promoted->time)},
                         {"done", report.promoted->done}};
  }
  for (const RecoveryPoint& point : report.points) value["points"].push_back(to_value(point));
  return render_json(value);
}

std::string to_json(const RecoverReport& report) {
  ordered_json value{{"version", 1},
                     {"vmid", report.vmid},
                     {"node", report.node},
                     {"name", report.name},
                     {"dry_run", report.dry_run},
                     {"outcome", to_string(report.outcome)},
                     {"error_code", nullptr},
                     {"error", report.error},
                     {"point", report.point},
                     {"was_recovered", report.was_recovered},
                     {"started", report.started},
                     {"warnings", report.warnings},
                     {"steps", report.steps},
                     {"duration_ms", report.duration.count()}};
  if (report.error_code) value["error_code"] = to_string(*report.error_code);
  return render_json(value);
}

std::string to_json(const PruneReport& report) {
  ordered_json value{{"version", 1},
                     {"keep_remote", report.keep_remote},
                     {"job", report.job},
                     {"dry_run", report.dry_run},
                     {"started", render_time(report.started)},
                     {"duration_ms", report.duration.count()},
                     {"replicas", ordered_json::array()}};
  for (const PrunedReplica& replica : report.replicas) value["replicas"].push_back(to_value(replica));
  return render_json(value);
}

}  // namespace crossover

#include "plan/verify_plan.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "crossover/snapshot_name.hpp"
#include "plan/image_check.hpp"
#include "plan/points.hpp"
#include "plan/stop.hpp"

namespace crossover {

namespace {

constexpr double millionths_in_percent = 10'000;

[[noreturn]] void refuse(const char* option, const std::string& cause) {
  throw Error(ErrorCode::usage, "option", option, cause);
}

/// "5%", "0.5%:17"
void parse_sample(const std::string& text, VerifyRequest& request) {
  const auto wrong = [&text] {
    refuse("--sample", fmt::format("'{}' is no share such as 5% or 0.5%:17, with a seed behind it", text));
  };
  const std::size_t sign = text.find('%');
  if (sign == std::string::npos) wrong();
  const char* begin = text.data();
  double percent = 0;
  const auto share = std::from_chars(begin, begin + sign, percent, std::chars_format::fixed);
  if (share.ec != std::errc{} || share.ptr != begin + sign || !(percent > 0) || percent > 100) wrong();
  request.sample = text.substr(0, sign + 1);
  request.sample_per_million =
      static_cast<std::uint32_t>(std::max<long long>(1, std::llround(percent * millionths_in_percent)));
  if (sign + 1 == text.size()) return;
  const char* end = begin + text.size();
  std::uint64_t seed = 0;
  if (text[sign + 1] != ':') wrong();
  const auto number = std::from_chars(begin + sign + 2, end, seed);
  if (number.ec != std::errc{} || number.ptr != end) wrong();
  request.seed = seed;
}

class VerifyPlanner {
 public:
  VerifyPlanner(const VerifyRequest& request, const Inventory& inventory, const GuestScope& scope)
      : request_(request), inventory_(inventory), scope_(scope) {}

  VerifyPlan run() {
    try {
      if (scope_.problem) throw Stop{*scope_.problem};
      const PointNames names = point_names(inventory_.replica_images, scope_.replicas);
      for (std::size_t i = 0; i < scope_.disks.replicated.size(); ++i) look_at_disk(i, names);
      choose(names);
      for (Disk& disk : disks_) take(disk);
    } catch (const Stop& stopped) {
      plan_.problem = stopped.problem;
    } catch (const Error& error) {
      plan_.problem = Problem{error.code(), error.what()};
    }
    return std::move(plan_);
  }

 private:
  /// A disk and the points its record knows; nothing for a point of which a snapshot is gone.
  struct Disk {
    GuestDisk disk;
    ImageRef replica;
    std::map<std::string, std::optional<VerifyDisk>> points;
  };

  const ImageState* look(const ImageStates& images, const ImageProblems& problems, const ImageRef& ref) const {
    require_looked_at(scope_.vmid, problems, ref);
    return find_image(images, ref);
  }

  void look_at_disk(std::size_t index, const PointNames& names) {
    Disk disk{scope_.disks.replicated[index], scope_.replicas[index], {}};
    const ImageState* source = look(inventory_.source_images, inventory_.source_problems, disk.disk.image);
    const ImageState* replica = look(inventory_.replica_images, inventory_.replica_problems, disk.replica);
    if (source == nullptr) {
      stop(ErrorCode::not_found, "VM {}: {} names the image {}, which does not exist", scope_.vmid, disk.disk.key,
           to_string(disk.disk.image.spec));
    }
    if (replica != nullptr) {
      const auto record = image_record(*replica).replica;
      const SourceIdentity identity{inventory_.source_fsids.at(disk.disk.image.access), source->pool_id, source->id,
                                    scope_.vmid};
      if (!record || record->source != identity || record->job != request_.mirror.job_name ||
          record->target_vmid != scope_.target_vmid) {
        stop(ErrorCode::conflict, "VM {}: no record says that {} on the destination is this job's replica of {}",
             scope_.vmid, to_string(disk.replica.spec), to_string(disk.disk.image.spec));
      }
      for (const PointIds& point : known_points(*record, *replica)) {
        if (!names.committed.contains(point.name)) continue;
        const Snapshot* here = find_snapshot(*source, point.name, point.source_id);
        const Snapshot* there = find_snapshot(*replica, point.name, point.replica_id);
        auto& known = disk.points[point.name];
        if (here != nullptr && there != nullptr) known = VerifyDisk{disk.disk, disk.replica, *here, *there};
      }
    }
    disks_.push_back(std::move(disk));
  }

  /// A point that a disk's record knows but has no snapshots of is not one any more.
  [[nodiscard]] bool is_whole(const std::string& name) const {
    bool any = false;
    for (const Disk& disk : disks_) {
      const auto point = disk.points.find(name);
      if (point == disk.points.end()) continue;
      if (!point->second) return false;
      any = true;
    }
    return any;
  }

  void choose(const PointNames& names) {
    std::string newest;
    std::string newest_bad;
    bool any = false;
    for (const Disk& disk : disks_) {
      for (const auto& [name, point] : disk.points) {
        any = true;
        if (!is_whole(name)) continue;
        // Names of one job sort by time.
        std::string& best = names.bad.contains(name) ? newest_bad : newest;
        best = std::max(best, name);
      }
    }
    plan_.point = !request_.point.empty() ? request_.point : newest.empty() ? newest_bad : newest;
    if (!plan_.point.empty() && is_whole(plan_.point)) return;
    if (!request_.point.empty()) {
      stop(ErrorCode::not_found, "VM {}: the two sides do not both have all of the recovery point {}", scope_.vmid,
           request_.point);
    }
    if (any) stop(ErrorCode::conflict, "VM {}: the two sides have no recovery point in common", scope_.vmid);
    stop(ErrorCode::not_found, "VM {}: it has no recovery point on the destination yet", scope_.vmid);
  }

  void take(Disk& disk) {
    const auto point = disk.points.find(plan_.point);
    if (point != disk.points.end()) {
      plan_.disks.push_back(*point->second);
    } else {
      plan_.warnings.push_back(fmt::format("{} is not part of {}", disk.disk.key, plan_.point));
    }
  }

  const VerifyRequest& request_;
  const Inventory& inventory_;
  const GuestScope& scope_;
  std::vector<Disk> disks_;
  VerifyPlan plan_;
};

}  // namespace

VerifyRequest parse_options(const MirrorOptions& mirror, const VerifyOptions& options) {
  VerifyRequest request;
  request.mirror = parse_options(mirror);
  request.point = options.point;
  if (!options.point.empty()) {
    const auto name = parse_snapshot_name(options.point);
    if (!name || name->job != request.mirror.job_label) {
      refuse("--point", fmt::format("'{}' is no recovery point of this job; they are named crossover-{}-<UTC time>",
                                    options.point, request.mirror.job_label));
    }
  }
  if (!options.sample.empty()) parse_sample(options.sample, request);
  request.repair = options.repair;
  if (options.repair && !options.sample.empty()) {
    refuse("--repair", "it needs the whole comparison: leave --sample out");
  }
  return request;
}

VerifyPlan plan_verify(const VerifyRequest& request, const Inventory& inventory, const GuestScope& scope) {
  return VerifyPlanner(request, inventory, scope).run();
}

}  // namespace crossover

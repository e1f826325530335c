#include "plan/replica.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/snapshot_name.hpp"
#include "plan/former_images.hpp"
#include "plan/points.hpp"

namespace crossover {

namespace {

std::optional<ReplicaRecord> record_of(std::uint32_t vmid, const ImageState& image) {
  auto record = image_record(image).replica;
  if (record && record->target_vmid != vmid) record.reset();
  return record;
}

/// What the image had before it was taken over at a point that is no recovery point of its job.
bool is_from_before(const ReplicaRecord& record, const SnapshotName& name) {
  return std::any_of(record.points.begin(), record.points.end(), [&](const PointIds& point) {
    const auto adopted = point.adopted ? parse_snapshot_name(point.name) : std::nullopt;
    return adopted && name.time <= adopted->time;
  });
}

class ReplicaReader {
 public:
  ReplicaReader(std::uint32_t vmid, const ReplicaLook& look) : look_(look) {
    replica_.vmid = vmid;
    replica_.guest = look.cluster.guests.at(vmid);
  }

  std::optional<Replica> run() {
    const std::set<ImageRef> refs = images_to_look_at(replica_.vmid, look_);
    const std::vector<ImageRef> configured = images_of(parse_vm_config(replica_.guest.config), look_.cluster);
    for (const ImageRef& ref : refs) {
      const auto problem = look_.problems.find(ref);
      if (problem == look_.problems.end()) continue;
      const bool is_former = std::find(configured.begin(), configured.end(), ref) == configured.end();
      fail(is_former ? replica_.former_problem : replica_.problem, problem->second.code, ref, problem->second.text);
    }
    for (const ImageRef& ref : configured) add(ref, true);
    const bool promoted = replica_.promotion().has_value();
    for (const ImageRef& ref : refs) {
      if (std::find(configured.begin(), configured.end(), ref) != configured.end()) continue;
      add(ref, false);
      if (!promoted) forget_old_promotion(ref);
    }
    if (replica_.images.empty()) return replica_.problem ? std::optional(std::move(replica_)) : std::nullopt;
    check_one_source();
    for (const std::string& name : names()) replica_.points.push_back(point(name));
    std::sort(replica_.points.begin(), replica_.points.end(),
              [](const ReplicaPoint& a, const ReplicaPoint& b) { return a.time > b.time; });
    return std::move(replica_);
  }

 private:
  void fail(std::optional<Problem>& problem, ErrorCode code, const ImageRef& ref, const std::string& text) const {
    if (!problem) problem = {code, fmt::format("VM {}: {}: {}", replica_.vmid, to_string(ref.spec), text)};
  }
  void fail(ErrorCode code, const ImageRef& ref, const std::string& text) { fail(replica_.problem, code, ref, text); }

  void add(const ImageRef& ref, bool configured) {
    const ImageState* image = find_image(look_.images, ref);
    if (image == nullptr) return;
    try {
      if (earlier_replica(*image) == EarlierReplica::replica) {
        fail(ErrorCode::unsupported, ref,
             "an earlier build of crossover made this replica, and this one does not read its records; the next run "
             "of its job, with --reseed, makes a new one beside it");
      }
      if (auto record = record_of(replica_.vmid, *image)) {
        replica_.images.push_back({ref, *image, *record, configured});
      }
    } catch (const Error& error) {
      fail(error.code(), ref, error.what());
    }
  }

  /// An image that is not configured any more may have missed that the VM became a replica again: a recovery is
  /// finished on one image only once it was begun on all.
  void forget_old_promotion(const ImageRef& ref) {
    if (replica_.images.size() < 2 || replica_.images.back().ref != ref) return;
    ReplicaRecord& record = replica_.images.back().record;
    if (!record.promoted || record.state != ReplicaState::complete) return;
    record.promoted.reset();
    // Of another job's points nothing is needed.
    if (record.job != replica_.images.front().record.job) replica_.images.pop_back();
  }

  /// What is put together has to be of one guest and one job.
  void check_one_source() {
    const ReplicaRecord& first = replica_.images.front().record;
    for (const ReplicaImage& image : replica_.images) {
      if (image.record.source.fsid == first.source.fsid && image.record.source.guest == first.source.guest &&
          image.record.job == first.job) {
        continue;
      }
      fail(ErrorCode::conflict, image.ref,
           fmt::format(
               "it is a replica of VM {} in the cluster {} by the {}, and {} one of VM {} in {} by the {}",
               image.record.source.guest, image.record.source.fsid, describe_job(image.record.job),
               to_string(replica_.images.front().ref.spec), first.source.guest, first.source.fsid,
               describe_job(first.job)));
    }
  }

  /// Everything that is, was or was to be a point of the job.
  [[nodiscard]] std::set<std::string> names() const {
    std::set<std::string> names;
    for (const ReplicaImage& image : replica_.images) {
      const std::string label = normalize_job(image.record.job);
      for (const Snapshot& snapshot : image.state.snapshots) {
        const auto name = parse_snapshot_name(snapshot.name);
        if (name && name->job == label && !is_from_before(image.record, *name)) names.insert(snapshot.name);
      }
      for (const auto& [key, value] : image.state.metadata) {
        if (!key.starts_with(point_key_prefix)) continue;
        const std::string text = key.substr(point_key_prefix.size());
        if (parse_snapshot_name(text)) names.insert(text);
      }
      if (image.configured && !image.record.transfer.empty() && parse_snapshot_name(image.record.end_snapshot)) {
        names.insert(image.record.end_snapshot);
      }
    }
    return names;
  }

  [[nodiscard]] ReplicaPoint point(const std::string& name) const {
    ReplicaPoint point;
    point.name = name;
    point.time = parse_snapshot_name(name)->time;
    for (const ReplicaImage& image : replica_.images) {
      for (const PointIds& known : image.record.points) point.bad = point.bad || (known.name == name && known.bad);
    }
    point.incomplete = fill(point);
    return point;
  }

  /// Finds the point's configuration and its disks; says what is missing.
  [[nodiscard]] std::string fill(ReplicaPoint& point) const {
    const ImageRef* holder = nullptr;
    for (const ReplicaImage& image : replica_.images) {
      const auto found = image.state.metadata.find(std::string(point_key_prefix) + point.name);
      if (found == image.state.metadata.end()) continue;
      try {
        point.config = parse_point(found->second);
      } catch (const Error& error) {
        return error.what();
      }
      holder = &image.ref;
    }
    if (holder == nullptr) {
      for (const ReplicaImage& image : replica_.images) add_snapshot(point, image);
      const bool begun =
          std::any_of(replica_.images.begin(), replica_.images.end(), [&](const ReplicaImage& image) {
            return image.record.end_snapshot == point.name && image.record.state != ReplicaState::complete;
          });
      return begun ? "its transfer is not finished"
                   : "it has no configuration: it was not committed, or is being removed";
    }
    if (point.config->target_vmid != replica_.vmid) {
      return fmt::format("its configuration is of VM {}", point.config->target_vmid);
    }
    for (const std::string& name : point.config->images) {
      const auto image = std::find_if(replica_.images.begin(), replica_.images.end(), [&](const ReplicaImage& one) {
        return is_same_cluster(one.ref.access, holder->access) && to_string(one.ref.spec) == name;
      });
      if (image == replica_.images.end()) return fmt::format("there is no image {} of this replica", name);
      if (add_snapshot(point, *image)) continue;
      const bool has_one = std::any_of(image->state.snapshots.begin(), image->state.snapshots.end(),
                                       [&point](const Snapshot& snapshot) { return snapshot.name == point.name; });
      return has_one ? fmt::format("{} has a snapshot of its name that is not its own, or is being removed", name)
                     : fmt::format("{} does not have its snapshot", name);
    }
    if (point.disks.empty()) return "it has no disks";
    return "";
  }

  /// A snapshot counts only with the id that is recorded.
  static bool add_snapshot(ReplicaPoint& point, const ReplicaImage& image) {
    for (const PointIds& known : known_points(image.record, image.state)) {
      if (known.name != point.name) continue;
      const Snapshot* snapshot = find_snapshot(image.state, known.name, known.replica_id);
      if (snapshot == nullptr) continue;
      point.disks.emplace_back(image.ref, *snapshot);
      return true;
    }
    return false;
  }

  const ReplicaLook& look_;
  Replica replica_;
};

}  // namespace

bool Replica::unfinished() const {
  return std::any_of(images.begin(), images.end(), [this](const ReplicaImage& image) {
    // Of a disk that the guest does not have any more nothing is to come.
    if (!image.configured || image.record.state == ReplicaState::complete) return false;
    const auto point = std::find_if(points.begin(), points.end(), [&](const ReplicaPoint& one) {
      return one.name == image.record.end_snapshot && one.incomplete.empty();
    });
    // Cut between the commit and the record of it.
    return image.record.state != ReplicaState::applied || point == points.end();
  });
}

std::optional<Promotion> Replica::promotion() const {
  for (const ReplicaImage& image : images) {
    if (image.record.promoted) return image.record.promoted;
  }
  return std::nullopt;
}

std::vector<std::pair<ReplicaImage, FormerImage>> Replica::former(
    const std::set<std::string>& without) const {
  std::vector<const ImageState*> states;
  for (const ReplicaImage& image : images) states.push_back(&image.state);
  std::vector<std::pair<ReplicaImage, FormerImage>> former;
  for (const ReplicaImage& image : images) {
    if (image.configured) continue;
    std::set<std::string> names = points_that_name(image.ref, image.state, states);
    std::erase_if(names, [&without](const std::string& name) { return without.contains(name); });
    former.push_back({image, {to_string(image.ref.spec), static_cast<std::uint32_t>(names.size())}});
  }
  return former;
}

const ReplicaPoint* Replica::newest_good() const {
  const auto found = std::find_if(points.begin(), points.end(),
                                  [](const ReplicaPoint& point) { return point.incomplete.empty() && !point.bad; });
  return found == points.end() ? nullptr : &*found;
}

std::set<ImageRef> images_to_look_at(std::uint32_t vmid, const ReplicaLook& look) {
  const std::vector<ImageRef> configured =
      images_of(parse_vm_config(look.cluster.guests.at(vmid).config), look.cluster);
  std::set<ImageRef> images(configured.begin(), configured.end());
  for (const ImageRef& ref : configured) {
    const ImageState* image = find_image(look.images, ref);
    if (image == nullptr) continue;
    for (const ImageRef& named : images_named_by(ref, *image, vmid)) add_named(images, named);
  }
  return images;
}

std::optional<Replica> read_replica(std::uint32_t vmid, const ReplicaLook& look) {
  return ReplicaReader(vmid, look).run();
}

ReplicaReport report_of(const Replica& replica, std::chrono::sys_seconds now) {
  ReplicaReport report;
  const VmConfig config = parse_vm_config(replica.guest.config);
  report.vmid = replica.vmid;
  report.node = replica.guest.node;
  report.name = config.display_name(replica.vmid);
  report.running = replica.guest.power == Power::running;
  report.lock = config.get("lock").value_or("");
  if (!replica.images.empty()) {
    const ReplicaRecord& record = replica.images.front().record;
    report.job = record.job;
    report.source_fsid = record.source.fsid;
    report.source_vmid = record.source.guest;
  }
  report.unfinished = replica.unfinished();
  for (const ReplicaImage& image : replica.images) {
    if (!report.unfinished || !image.configured || image.record.transfer.empty()) continue;
    report.applying = image.record.end_snapshot;
  }
  if (const auto promotion = replica.promotion()) {
    report.promoted = PromotedReplica{promotion->point, promotion->time, !report.unfinished};
  }
  for (const ReplicaPoint& point : replica.points) {
    RecoveryPoint one{point.name, point.time, now - point.time, point.incomplete.empty(), point.incomplete,
                      point.bad,  {}};
    for (const auto& [ref, snapshot] : point.disks) one.disks.push_back({to_string(ref.spec), snapshot.size_bytes});
    report.points.push_back(std::move(one));
  }
  for (const auto& [image, former] : replica.former()) report.former_images.push_back(former);
  return report;
}

}  // namespace crossover

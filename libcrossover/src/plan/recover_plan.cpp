#include "plan/recover_plan.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "crossover/snapshot_name.hpp"
#include "crossover/vmid.hpp"
#include "plan/foreign_lock.hpp"
#include "plan/migration_record.hpp"
#include "plan/points.hpp"
#include "plan/replica_changes.hpp"
#include "plan/replica_config.hpp"
#include "plan/stop.hpp"

namespace crossover {

namespace {

constexpr const char* our_lock = "migrate";

std::string with_onboot(const std::string& bytes, const std::string& value) {
  VmConfig config = parse_vm_config(bytes);
  if (value.empty()) {
    config.remove("onboot");
  } else {
    config.set("onboot", value);
  }
  return config.to_bytes();
}

class RecoverPlanner {
 public:
  RecoverPlanner(const RecoverRequest& request, const ClusterInventory& cluster, const Replica& replica,
                 std::chrono::sys_seconds now)
      : request_(request), cluster_(cluster), replica_(replica), now_(now) {}

  RecoverPlan run() {
    plan_.vmid = replica_.vmid;
    plan_.node = replica_.guest.node;
    plan_.config_before = replica_.guest.config;
    plan_.images = replica_.images;
    plan_.running = replica_.guest.power == Power::running;
    try {
      const VmConfig present = parse_vm_config(replica_.guest.config);
      plan_.name = present.display_name(replica_.vmid);
      check_cluster();
      if (replica_.problem) throw Stop{*replica_.problem};
      if (was_recovered()) {
        plan_finished(present);
      } else {
        plan_whole(present);
      }
    } catch (const Stop& stopped) {
      plan_.problem = stopped.problem;
      plan_.steps.clear();
    } catch (const Error& error) {
      plan_.problem = Problem{error.code(), error.what()};
      plan_.steps.clear();
    }
    return std::move(plan_);
  }

 private:
  void add(RecoverStepKind kind, std::size_t disk = 0) { plan_.steps.push_back({kind, disk}); }

  void check_cluster() {
    const auto node = cluster_.nodes.find(plan_.node);
    if (node == cluster_.nodes.end()) {
      stop(ErrorCode::unreachable, "VM {} is on {}, which is not a node of the cluster any more", plan_.vmid,
           plan_.node);
    }
    if (!node->second.unreachable.empty()) {
      stop(ErrorCode::unreachable, "VM {} is on {}, which cannot be asked: {}", plan_.vmid, plan_.node,
           node->second.unreachable);
    }
    if (!cluster_.writable) {
      stop(ErrorCode::unsupported, "VM {}: the cluster has no quorum, so nothing can be configured", plan_.vmid);
    }
    if (replica_.guest.power == Power::unknown) {
      stop(ErrorCode::command, "VM {}: 'qm list' on {} does not say whether it runs", plan_.vmid, plan_.node);
    }
  }

  /// All images say that the head is the point: from then on it may have been started. One whose disk had left the
  /// guest by then has no part in it, for a migration promotes those alone that move.
  [[nodiscard]] bool was_recovered() const {
    const auto promotion = replica_.promotion();
    return promotion && std::all_of(replica_.images.begin(), replica_.images.end(), [&](const ReplicaImage& image) {
      if (image.record.promoted) return image.record.state == ReplicaState::complete;
      const std::vector<PointIds> points = known_points(image.record, image.state);
      return std::none_of(points.begin(), points.end(),
                          [&](const PointIds& point) { return point.name == promotion->point; });
    });
  }

  /// What it wrote since is not to be lost: nothing is rolled back any more.
  void plan_finished(const VmConfig& present) {
    plan_.was_recovered = true;
    plan_.promotion = *replica_.promotion();
    plan_.point = plan_.promotion.point;
    if (!request_.point.empty() && request_.point != plan_.point) {
      stop(
          ErrorCode::conflict,
          "VM {} was recovered at {} already, on {:%Y-%m-%dT%H:%M:%SZ}; what was written since would be lost. 'rbd "
          "snap rollback' of each disk takes it to another point",
          plan_.vmid, plan_.point, plan_.promotion.time);
    }
    require_not_migrated();
    const std::string lock = present.get("lock").value_or("");
    if (!lock.empty()) {
      // The last recovery was cut right before it unlocked, if this is what it had written.
      find_point(plan_.point);
      choose_config(present);
      if (lock != our_lock || replica_.guest.config != plan_.locked_config) stop_locked(lock);
      add(RecoverStepKind::write_config);
    }
    if (request_.start && !plan_.running) add(RecoverStepKind::start);
  }

  /// The fence of a migration looks like the lock of a recovery that was cut.
  void require_not_migrated() const {
    if (!is_fenced(replica_.guest.config)) return;
    for (const ReplicaImage& image : replica_.images) {
      const auto migration = migration_record(image.state);
      if (!migration) continue;
      if (migration->step != MigrationStep::done) {
        stop(ErrorCode::conflict,
             "VM {} is in the middle of its migration to VM {} on the cluster {}, and was not touched; the same "
             "migration, run again, ends it",
             plan_.vmid, migration->target_vmid, migration->destination_fsid);
      }
      stop(ErrorCode::conflict,
           "VM {} was migrated to VM {} on the cluster {}, and is fenced (lock: migrate, onboot: 0); it was not touched. "
           "Only if that guest is lost: 'qm unlock {}' takes the fence off, and it can be started as it was then",
           plan_.vmid, migration->target_vmid, migration->destination_fsid, plan_.vmid);
    }
  }

  void plan_whole(const VmConfig& present) {
    if (plan_.running) {
      stop(ErrorCode::conflict,
           "VM {} is running on {}; it was not touched. Shut it down if what it wrote is not wanted", plan_.vmid,
           plan_.node);
    }
    const std::string lock = present.get("lock").value_or("");
    if (!lock.empty() && lock != our_lock) stop_locked(lock);
    const auto begun = replica_.promotion();
    if (!request_.point.empty()) {
      find_point(request_.point);
    } else if (begun) {
      find_point(begun->point);
    } else if (const ReplicaPoint* newest = replica_.newest_good()) {
      point_ = newest;
    } else {
      stop(ErrorCode::conflict,
           "VM {} has no recovery point that is complete and good; 'crossover points {}' lists what there is",
           plan_.vmid, plan_.vmid);
    }
    plan_.point = point_->name;
    plan_.promotion = {plan_.point, now_};
    plan_.disks = point_->disks;
    for (const ReplicaImage& image : replica_.images) {
      if (image.state.watchers.empty()) continue;
      stop(ErrorCode::in_use, "VM {}: {} is open elsewhere, by {}; nothing was changed", plan_.vmid,
           to_string(image.ref.spec), fmt::join(image.state.watchers, ", "));
    }
    choose_config(present);
    add(RecoverStepKind::promote);
    add(RecoverStepKind::lock);
    add(RecoverStepKind::check);
    for (std::size_t i = 0; i < plan_.disks.size(); ++i) add(RecoverStepKind::roll_back, i);
    add(RecoverStepKind::settle);
    add(RecoverStepKind::write_config);
    if (request_.start) add(RecoverStepKind::start);
  }

  void find_point(const std::string& name) {
    const auto found = std::find_if(replica_.points.begin(), replica_.points.end(),
                                    [&](const ReplicaPoint& point) { return point.name == name; });
    if (found == replica_.points.end()) {
      stop(ErrorCode::not_found, "VM {} has no recovery point {}; 'crossover points {}' lists what there is",
           plan_.vmid, name, plan_.vmid);
    }
    if (!found->incomplete.empty()) {
      stop(ErrorCode::conflict, "VM {}: the recovery point {} is not complete: {}", plan_.vmid, name,
           found->incomplete);
    }
    if (found->bad) {
      stop(ErrorCode::conflict, "VM {}: the recovery point {} was found to differ from the source", plan_.vmid,
           name);
    }
    point_ = &*found;
  }

  [[noreturn]] void stop_locked(const std::string& lock) const {
    stop(ErrorCode::locked, "VM {} on {} is {}", plan_.vmid, plan_.node,
         foreign_lock_of_replica(lock, plan_.vmid, plan_.node));
  }

  void choose_config(const VmConfig& present) {
    VmConfig config = parse_vm_config(point_->config->config);
    // Records do not hold it.
    if (const auto password = present.get("cipassword")) config.set("cipassword", *password);
    config.remove("lock");
    const std::string bytes = config.to_bytes();
    // A roll-back leaves RBD's snapshots where they are.
    const ReplicaSnapshots kept = replica_snapshots(present, [this](const std::string& volume) -> const ImageState* {
      const auto named = rbd_image_of(volume, cluster_);
      const auto found = std::find_if(replica_.images.begin(), replica_.images.end(),
                                      [&named](const ReplicaImage& image) { return named == image.ref; });
      return found == replica_.images.end() ? nullptr : &found->state;
    });
    plan_.config = with_snapshots(with_onboot(bytes, point_->config->onboot), kept.sections, kept.parent);
    plan_.locked_config = with_snapshots(with_lock(with_onboot(bytes, "0"), our_lock), kept.sections, kept.parent);
    plan_.firewall = point_->config->firewall;
    plan_.write_firewall = plan_.firewall != replica_.guest.firewall;
  }

  const RecoverRequest& request_;
  const ClusterInventory& cluster_;
  const Replica& replica_;
  std::chrono::sys_seconds now_;
  const ReplicaPoint* point_ = nullptr;
  RecoverPlan plan_;
};

}  // namespace

RecoverRequest parse_options(std::uint32_t vmid, const RecoverOptions& options) {
  if (!options.point.empty() && !parse_snapshot_name(options.point)) {
    throw Error(ErrorCode::usage, "read option", "--point=" + options.point,
                "it is no recovery point; they are named crossover-<job>-<UTC time>");
  }
  return {vmid, options.point, options.start, options.dry_run};
}

RecoverPlan plan_recover(const RecoverRequest& request, const ClusterInventory& cluster, const Replica& replica,
                         std::chrono::sys_seconds now) {
  return RecoverPlanner(request, cluster, replica, now).run();
}

std::string describe(const RecoverPlan& plan, const RecoverStep& step) {
  switch (step.kind) {
    case RecoverStepKind::promote: {
      std::string images;
      for (const ReplicaImage& image : plan.images)
        images += (images.empty() ? "" : ", ") + to_string(image.ref.spec);
      return fmt::format("record on {} that VM {} is promoted: no run mirrors into it any more", images, plan.vmid);
    }
    case RecoverStepKind::lock:
      return fmt::format("lock VM {} on {} (migrate)", plan.vmid, plan.node);
    case RecoverStepKind::check:
      return fmt::format("check that VM {} is stopped and nobody has its images open", plan.vmid);
    case RecoverStepKind::roll_back:
      return fmt::format("roll {} back to {}", to_string(plan.disks[step.disk].first.spec), plan.point);
    case RecoverStepKind::settle:
      return fmt::format("record that it is at {}", plan.point);
    case RecoverStepKind::write_config:
      return fmt::format("write the configuration that VM {} had at {}{}, and unlock it", plan.vmid, plan.point,
                         plan.write_firewall ? ", and its firewall rules" : "");
    case RecoverStepKind::start:
      return fmt::format("start VM {} on {}", plan.vmid, plan.node);
  }
  return "";
}

}  // namespace crossover

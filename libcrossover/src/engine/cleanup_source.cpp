#include "engine/cleanup_source.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "crossover/vm_config.hpp"
#include "engine/guest_lease.hpp"
#include "engine/guest_report.hpp"
#include "engine/migration_ledger.hpp"
#include "engine/survey.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/cleanup_plan.hpp"
#include "plan/guest_disks.hpp"
#include "plan/migration_record.hpp"
#include "plan/record.hpp"
#include "plan/replica_config.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// PVE's lock on a guest that it has begun to destroy.
constexpr const char* destroyed_lock = "destroyed";

[[noreturn]] void refuse(std::uint32_t vmid, const std::string& cause) {
  throw Error(ErrorCode::conflict, "clean up", fmt::format("VM {}", vmid), cause + "; nothing was removed");
}

/// A guest that was looked at: what there is to say of it, and unless `report.error` says why not, what to do.
struct Look {
  CleanupReport report;
  MigrationRecord migration;
  CleanupPlan plan;
  ImageStates images;  ///< those that go
  std::string config;
};

void fail(CleanupReport& report, const Error& error) {
  report.outcome = is_conflict(error.code()) && !error.retryable() ? Outcome::conflict : Outcome::failed;
  report.error_code = error.code();
  report.error = error.what();
}

class Cleanup {
 public:
  Cleanup(std::uint32_t vmid, const std::vector<std::string>& asked, const ReplicaPorts& ports, Leases& leases,
          const std::stop_token& stop)
      : vmid_(vmid), asked_(asked), ports_(ports), leases_(leases), stop_(stop) {}

  CleanupReport run(bool dry_run, const ConfirmCleanup& confirm) {
    Look found = look();
    found.report.dry_run = dry_run;
    if (!found.report.error.empty()) return std::move(found.report);
    try {
      if (dry_run) {
        found.report.outcome = Outcome::planned;
      } else if (!confirm(found.report)) {
        throw Error(ErrorCode::usage, "clean up", fmt::format("VM {}", vmid_),
                    "it was not confirmed; nothing was removed");
      } else {
        remove(found);
      }
    } catch (...) {
      fail(found.report, failure_at_hand());
    }
    return std::move(found.report);
  }

 private:
  /// What there is, and in its report's `error` why it is not removed.
  Look look() {
    const ClusterInventory cluster = ports_.hypervisor.survey({.guests = {{vmid_}}}, stop_);
    const auto guest = cluster.guests.find(vmid_);
    if (guest == cluster.guests.end()) {
      throw Error(ErrorCode::not_found, "clean up", fmt::format("VM {}", vmid_), "this cluster has no such VM");
    }
    Look found;
    found.config = guest->second.config;
    found.report.vmid = vmid_;
    found.report.node = guest->second.node;
    found.report.name = parse_vm_config(guest->second.config).display_name(vmid_);
    try {
      check(guest->second, cluster, found);
    } catch (...) {
      fail(found.report, failure_at_hand());
    }
    return found;
  }

  /// Everything that shows that nobody needs what is here.
  void check(const GuestState& guest, const ClusterInventory& cluster, Look& found) {
    const VmConfig config = parse_vm_config(guest.config);
    if (images_of(config, cluster).empty()) refuse(vmid_, "it has no disk that could tell of a migration");
    const ImageStates images = look_at_images(config, cluster);
    const bool fenced =
        is_fenced(guest.config) || (config.get("lock") == destroyed_lock && config.get("onboot") == "0");
    found.migration = migration_of(config, cluster, images);
    found.report.target_vmid = found.migration.target_vmid;
    found.report.point = found.migration.point;
    found.plan = plan_cleanup(vmid_, config, cluster, images, found.migration, asked_);
    for (const NamedVolume& volume : found.plan.gone) {
      const ImageState* state = volume.image ? find_image(images, *volume.image) : nullptr;
      // What was removed already, and a cloud-init image that was never made.
      if (volume.image && state == nullptr) continue;
      found.report.images.push_back(volume.name());
      if (state == nullptr) continue;
      check_image(volume, *state, cluster);
      found.images[*volume.image] = *state;
    }
    for (const NamedVolume& volume : found.plan.kept) {
      const bool gone = volume.image && find_image(images, *volume.image) == nullptr;
      if (!gone) found.report.kept.push_back(volume.name());
    }
    if (guest.power != Power::stopped) refuse(vmid_, "it runs, or its node does not say that it does not");
    if (!fenced) {
      refuse(
          vmid_,
          "its fence (lock: migrate, onboot: 0) was taken away, so that it may be in use again. If it is not, put "
          "that back");
    }
  }

  ImageStates look_at_images(const VmConfig& config, const ClusterInventory& cluster) {
    std::vector<NamedVolume> volumes = named_volumes(config, cluster);
    for (const std::string& name : asked_) {
      const auto more = volumes_of_image(name, cluster);
      volumes.insert(volumes.end(), more.begin(), more.end());
    }
    std::set<ImageRef> images;
    for (const NamedVolume& volume : volumes) {
      if (volume.image) images.insert(*volume.image);
    }
    ImageStates states;
    ImageProblems problems;
    std::map<CephAccess, std::string> fsids;
    look_at(images, ports_.images, states, problems, fsids);
    if (!problems.empty()) {
      const auto& [image, problem] = *problems.begin();
      throw Error(problem.code, "clean up", to_string(image.spec), problem.text + "; nothing was removed");
    }
    return states;
  }

  MigrationRecord migration_of(const VmConfig& config, const ClusterInventory& cluster, const ImageStates& images) {
    std::vector<FoundMigration> told;
    for (const ImageRef& image : images_of(config, cluster)) {
      const ImageState* state = find_image(images, image);
      if (state == nullptr) continue;
      if (auto one = found_migration(image.spec, *state)) told.push_back(std::move(*one));
    }
    auto migration = agreed_migration(told, true);
    if (!migration) refuse(vmid_, "its disks tell of no migration");
    if (migration->step != MigrationStep::done) {
      refuse(vmid_, fmt::format("its migration to VM {} is not through; end that first, with 'crossover mirror "
                                "--migrate' and the same options",
                                migration->target_vmid));
    }
    return std::move(*migration);
  }

  void check_image(const NamedVolume& volume, const ImageState& state, const ClusterInventory& cluster) const {
    const auto replica = image_record(state).replica;
    if (replica && !replica->promoted) {
      refuse(vmid_, fmt::format("{} is the replica of {} now", volume.name(), replica->source_image));
    }
    if (!state.watchers.empty()) {
      refuse(vmid_, fmt::format("{} is open, by {}", volume.name(), fmt::join(state.watchers, ", ")));
    }
    for (const auto& [other, guest] : cluster.guests) {
      if (other == vmid_) continue;
      for (const NamedVolume& theirs : named_volumes(parse_vm_config(guest.config), cluster)) {
        if (theirs.image == volume.image) {
          refuse(vmid_, fmt::format("{} is {} of VM {}, too", volume.name(), theirs.key, other));
        }
      }
    }
  }

  /// Whoever was asked may have taken a day: all of it is looked at again, once no other run can be at it.
  void remove(Look& found) {
    std::atomic<bool> lost = false;
    const std::unique_ptr<Lease> lease = take_lease(found.images, lost);
    Look now = look();
    if (now.report.error.empty() &&
        (now.migration.id != found.migration.id || now.report.images != found.report.images ||
         now.report.kept != found.report.kept)) {
      refuse(vmid_, "it was changed since it was looked at; run the same command again");
    }
    found = std::move(now);
    if (!found.report.error.empty()) return;
    const std::string& node = found.report.node;
    ports_.events.on_event({.kind = EventKind::step,
                            .vmid = vmid_,
                            .host = node,
                            .text = fmt::format("destroy it, with {}", fmt::join(found.report.images, ", "))});
    if (ports_.power.power(node, vmid_, stop_) != Power::stopped) refuse(vmid_, "somebody started it meanwhile");
    if (lost) refuse(vmid_, "the lease on its disks was lost; run the same command again");
    try {
      // PVE removes what the configuration names, and nothing else. With its own lock for that nobody takes the guest
      // up again, and who has done so meanwhile, such as one that comes back, has changed what is compared here.
      const std::string wanted = with_lock(found.plan.config, destroyed_lock);
      if (wanted != found.config) {
        ports_.hypervisor.write_config(node, vmid_, ConfigVersion{found.config, {}}, wanted, stop_);
      }
      ports_.power.destroy(node, vmid_, stop_);
    } catch (const Cancelled&) {
      // There is no report then.
      if (!found.report.kept.empty()) {
        ports_.events.on_event({.kind = EventKind::warning, .vmid = vmid_, .text = left(found)});
      }
      throw;
    } catch (...) {
      const Error error = error_at_hand();
      if (found.report.kept.empty()) throw Error(error);
      throw Error(error.code(), error.operation(), error.subject(),
                  fmt::format("{}; {}", error.cause(), left(found)), error.retryable());
    }
    found.report.outcome = Outcome::ok;
  }

  /// Nothing else says so once the configuration is written, which it may be though that failed.
  static std::string left(const Look& found) {
    return fmt::format("what stays may not be named by its configuration any more: {}",
                       fmt::join(found.report.kept, ", "));
  }

  std::unique_ptr<Lease> take_lease(const ImageStates& images, std::atomic<bool>& lost) {
    try {
      return leases_.take(leased_images(images), [&lost] { lost = true; });
    } catch (const Error& error) {
      if (error.code() != ErrorCode::locked) throw;
      refuse(vmid_, fmt::format("another run is at it: {}", error.cause()));
    }
  }

  std::uint32_t vmid_;
  const std::vector<std::string>& asked_;
  const ReplicaPorts& ports_;
  Leases& leases_;
  const std::stop_token& stop_;
};

}  // namespace

CleanupReport cleanup_source(std::uint32_t vmid, const std::vector<std::string>& images, bool dry_run,
                             const ConfirmCleanup& confirm, const ReplicaPorts& ports, Leases& leases,
                             const std::stop_token& stop) {
  const auto begin = steady_clock::now();
  CleanupReport report = Cleanup(vmid, images, ports, leases, stop).run(dry_run, confirm);
  report.dry_run = dry_run;
  report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
  return report;
}

}  // namespace crossover

#include "engine/migrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <utility>

#include "crossover/byte_size.hpp"
#include "crossover/error.hpp"
#include "engine/guest_lease.hpp"
#include "engine/guest_mirror.hpp"
#include "engine/guest_report.hpp"
#include "engine/in_parallel.hpp"
#include "engine/migration_source.hpp"
#include "engine/migration_target.hpp"
#include "engine/removal_run.hpp"
#include "engine/retry.hpp"
#include "engine/state_copy.hpp"
#include "engine/survey.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/guest_disks.hpp"
#include "plan/migration_check.hpp"
#include "plan/migration_steps.hpp"
#include "plan/saved_state.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds since(steady_clock::time_point begin) {
  return duration_cast<milliseconds>(steady_clock::now() - begin);
}

/// One guest's way from one cluster to the other.
class GuestMigration {
 public:
  GuestMigration(const MigrateRequest& request, VmidPair guest, const Ports& ports, TransferSlots& slots,
                 const ConfirmMigration& confirm, MirrorTotals& totals, std::stop_token stop)
      : request_(request),
        vmid_(guest.source),
        target_vmid_(guest.target.value()),
        ports_(ports),
        slots_(slots),
        confirm_(confirm),
        totals_(totals),
        stop_(std::move(stop)) {}

  GuestReport run() {
    try {
      look(stop_);
      if (record_) {
        go_on();
      } else {
        begin();
      }
    } catch (const Error& error) {
      fail(error);
    }
    report_.migration = migration_;
    return std::move(report_);
  }

 private:
  void tell(std::string text) const {
    ports_.events.on_event(
        {.kind = EventKind::migration, .vmid = vmid_, .target_vmid = target_vmid_, .text = std::move(text)});
  }

  /// Removals note side by side.
  void note(const std::string& warning) {
    const std::scoped_lock lock(mutex_);
    report_.warnings.push_back(warning);
    ports_.events.on_event(
        {.kind = EventKind::warning, .vmid = vmid_, .target_vmid = target_vmid_, .text = warning});
  }

  /// The mirror runs tell of what fails in them.
  void fail(const Error& error) {
    set_error(report_, error);
    tell_of_failure();
  }

  void tell_of_failure() const {
    ports_.events.on_event(
        {.kind = EventKind::guest_finished, .vmid = vmid_, .target_vmid = target_vmid_, .text = report_.error});
  }

  /// The mirror run of this guest.
  [[nodiscard]] MirrorRequest alone() const {
    MirrorRequest one = request_.mirror;
    one.vmids = {.all = false, .guests = {{vmid_, target_vmid_}}};
    return one;
  }

  void look(const std::stop_token& stop) {
    found_ = settled_survey(alone(), ports_, stop);
    scope_ = found_.guests.at(0);
    plan_ = plan_guest(request_.mirror, found_.inventory, scope_, ports_.clock.now());
    look_for_record();
    if (report_.vmid == 0) report_ = report_of(plan_);
  }

  /// On whichever disk it stands: which disks are mirrored, and so which is the first, depends on the options.
  void look_for_record() {
    record_.reset();
    if (scope_.disks.replicated.empty()) return;
    record_image_ = scope_.disks.replicated.front().image;
    for (const ImageRef& image : images_of(scope_.config, found_.inventory.source)) {
      const auto known = found_.inventory.source_images.find(image);
      const std::optional<ImageState> state = known != found_.inventory.source_images.end()
                                                  ? known->second
                                                  : ports_.source.images.open(image.access).find(image.spec);
      if (state) record_ = migration_record(*state);
      if (!record_) continue;
      record_image_ = image;
      break;
    }
    const GuestState& guest = found_.inventory.source.guests.at(vmid_);
    // One that is through and was taken back by hand, or by a recovery, says nothing any more.
    if (record_ && record_->step == MigrationStep::done && !is_fenced(guest.config)) record_.reset();
  }

  // --- before the switch

  void begin() {
    migration_.findings = findings();
    if (!migration_.findings.empty()) {
      const GuestReport planned = report_of(plan_);
      fail(Error(planned.error_code.value_or(ErrorCode::unsupported), "migrate", fmt::format("VM {}", vmid_),
                 fmt::format("{}", fmt::join(migration_.findings, "; "))));
      report_.conflict = planned.conflict;
      return;
    }
    if (request_.mirror.options.dry_run) return plan_steps();
    if (request_.suspend && !plan_.running) {
      note("it does not run, so that there is nothing to suspend: it is moved as it is, and boots there");
    }
    if (plan_.running && !pre_copy()) return;
    report_.migration = migration_;
    if (!confirm_(report_)) {
      throw Error(ErrorCode::usage, "migrate", fmt::format("VM {}", vmid_),
                  "it was not confirmed; the guest was not touched");
    }
    switch_over();
  }

  std::vector<std::string> findings() {
    FreeSpace free;
    if (!scope_.replicas.empty()) {
      free.target = free_bytes(ports_.destination, found_.inventory.destination, request_.mirror.pool,
                               scope_.replicas.front());
    }
    // What QEMU is there is nothing that the runs ask.
    found_.inventory.destination.nodes = ports_.destination.hypervisor.survey(SurveyDetail::versions, stop_).nodes;
    if (is_suspended(request_, plan_) && !scope_.disks.replicated.empty()) {
      const std::string storage = state_storage();
      free.source = free_bytes(ports_.source, found_.inventory.source, storage, record_image_);
      found_.inventory.source.nodes = ports_.source.hypervisor.survey(SurveyDetail::versions, stop_).nodes;
    }
    return migration_findings(request_, found_.inventory, scope_, plan_, free);
  }

  /// What a storage has left, by the access to an image on it; nothing if that is not known.
  std::optional<std::uint64_t> free_bytes(const Side& side, const ClusterInventory& cluster,
                                          const std::string& storage_id, const ImageRef& image) {
    const auto storage = cluster.storages.rbd(storage_id);
    const std::string& pool = storage && !storage->data_pool.empty() ? storage->data_pool : image.spec.pool;
    try {
      return side.images.open(image.access).available_bytes(pool);
    } catch (const Error& error) {
      if (is_connectivity(error)) throw;
      note(fmt::format("the free space of {} on the {} is unknown: {}", storage_id,
                       &side == &ports_.source ? "source" : "destination", error.what()));
      return std::nullopt;
    }
  }

  /// The storage of the disk that carries the record: there is a way into its Ceph.
  [[nodiscard]] const std::string& state_storage() const {
    const std::vector<GuestDisk>& disks = scope_.disks.replicated;
    const auto found = std::find_if(disks.begin(), disks.end(),
                                    [this](const GuestDisk& disk) { return disk.image == record_image_; });
    return (found == disks.end() ? disks.front() : *found).storage;
  }

  void plan_steps() {
    const bool suspended = is_suspended(request_, plan_);
    const std::string& ha_state = found_.inventory.source.guests.at(vmid_).ha_state;
    const std::vector<std::string> more =
        migration_steps(request_, plan_, ha_state, suspended ? state_storage() : "");
    report_.steps.insert(report_.steps.end(), more.begin(), more.end());
  }

  /// Mirrors the running guest until the next round would be short. False if one failed.
  bool pre_copy() {
    for (std::size_t round = 1; round <= request_.precopy_rounds; ++round) {
      if (round > 1) look(stop_);
      tell(fmt::format("round {} before the switch", round));
      keep(mirror_guest(request_.mirror, found_.inventory, scope_, ports_, slots_, totals_, stop_));
      if (report_.outcome != Outcome::ok) return false;
      ++migration_.rounds;
      const auto [bytes, took] = sent();
      migration_.precopy_bytes += bytes;
      if (request_.precopy_threshold ? bytes <= *request_.precopy_threshold : took <= precopy_time) break;
    }
    return true;
  }

  /// What a round sent, its resumed point included, and how long its longest transfer took.
  [[nodiscard]] std::pair<std::uint64_t, milliseconds> sent() const {
    std::uint64_t bytes = 0;
    milliseconds longest{0};
    for (const DiskReport& disk : report_.disks) {
      bytes += disk.stream_bytes;
      longest = std::max(longest, disk.duration);
    }
    if (report_.resumed) {
      for (const ResumedDisk& disk : report_.resumed->disks) bytes += disk.stream_bytes;
    }
    return {bytes, longest};
  }

  void keep(GuestReport report) {
    std::vector<std::string> warnings = std::move(report_.warnings);
    report_ = std::move(report);
    for (const std::string& warning : report_.warnings) {
      if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end()) warnings.push_back(warning);
    }
    report_.warnings = std::move(warnings);
  }

  // --- one that an earlier run began

  /// What was begun is gone on with only as it was begun.
  void check_record() const {
    const std::string subject = fmt::format("VM {}", vmid_);
    const auto fsid = found_.inventory.replica_fsids.find(scope_.replicas.front().access);
    if (record_->step == MigrationStep::done) {
      throw Error(
          ErrorCode::conflict, "migrate", subject,
          fmt::format("it was migrated to VM {} already, at {}; 'crossover cleanup-source {}' removes what is "
                      "left of it here",
                      record_->target_vmid, record_->point, vmid_));
    }
    if (record_->job != request_.mirror.job_name || record_->target_vmid != target_vmid_ ||
        (fsid != found_.inventory.replica_fsids.end() && fsid->second != record_->destination_fsid)) {
      throw Error(
          ErrorCode::conflict, "migrate", subject,
          fmt::format("it is on its way to VM {} on the cluster {} with the job '{}' already; end that first, "
                      "with the same options",
                      record_->target_vmid, record_->destination_fsid, record_->job));
    }
  }

  void go_on() {
    check_record();
    if (request_.mirror.options.dry_run) {
      report_.outcome = Outcome::planned;
      report_.error.clear();
      report_.error_code.reset();
      report_.conflict.reset();
      report_.steps = {fmt::format("go on with the migration to VM {} that an earlier run began", target_vmid_)};
      return;
    }
    tell("going on with the migration that an earlier run began");
    // What is there is its own doing.
    report_.conflict.reset();
    switch_over();
  }

  // --- the switch

  void switch_over() {
    GuestLease lease(ports_, vmid_, leased_images(surveyed_disks(scope_, found_.inventory.source_images)),
                     request_.mirror.lock_wait, stop_);
    try {
      try {
        switch_leased(lease.stop());
      } catch (const Error& error) {
        fail(error);
      }
    } catch (const Cancelled&) {
      undo(lease);
      if (stop_.stop_requested() || !lease.lost()) throw;
      fail(Error(ErrorCode::locked, "migrate", fmt::format("VM {}", vmid_),
                 "the lease on its disks could not be renewed in time, so the run was ended; run it again", true));
      return;
    }
    if (report_.outcome != Outcome::ok) undo(lease);
  }

  MigrationSource source() const {
    return {ports_, found_.inventory.source, vmid_, plan_.source_node, record_image_};
  }

  MigrationTarget target() const {
    const auto present = found_.inventory.destination.guests.find(target_vmid_);
    return {ports_, target_vmid_,
            present == found_.inventory.destination.guests.end() ? plan_.target_node : present->second.node,
            scope_.replicas, state_there()};
  }

  [[nodiscard]] std::optional<StateVolume> state_there() const {
    if (!record_ || record_->target_state.empty()) return std::nullopt;
    return StateVolume{record_->target_state, image_of_volume(record_->target_state, found_.inventory.destination)};
  }

  void switch_leased(const std::stop_token& stop) {
    look(stop);
    if (record_) check_record();
    if (record_ && record_->step == MigrationStep::starting) return hand_over(stop);
    if (record_ && !record_->point.empty()) {
      // It was on its way back.
      const std::string why = why_not_taken_back(stop);
      if (!why.empty()) throw Error(ErrorCode::conflict, "migrate", fmt::format("VM {}", vmid_), why);
      target().demote(stop);
      look(stop);
    }
    if (plan_.problem) {
      report_ = report_of(plan_);
      return tell_of_failure();
    }
    if (!record_) record_before();
    take_down(stop);
    bring_up_to_date(stop);
    if (report_.outcome != Outcome::ok) return;
    report_.outcome = Outcome::failed;
    hand_over(stop);
  }

  void record_before() {
    const GuestState& guest = found_.inventory.source.guests.at(vmid_);
    const ImageState& image = *found_.inventory.source_images.at(record_image_);
    MigrationRecord record;
    record.image_id = image.id;
    record.pool_id = image.pool_id;
    record.job = request_.mirror.job_name;
    record.destination_fsid = found_.inventory.replica_fsids.at(scope_.replicas.front().access);
    record.target_vmid = target_vmid_;
    record.was_running = plan_.running;
    record.onboot = scope_.config.get("onboot");
    record.ha_state = guest.ha_state;
    record.suspends = is_suspended(request_, plan_);
    record_ = record;
    source().save(*record_);
  }

  /// Nothing is taken for recorded before it is.
  void advance(MigrationStep step, const std::string& point = {}) {
    MigrationRecord next = *record_;
    next.step = step;
    next.point = point;
    source().save(next);
    record_ = next;
  }

  void take_down(const std::stop_token& stop) {
    source().take_out_of_ha(*record_, stop);
    const Suspension before = record_->suspends ? source().settle(*record_, stop) : Suspension::none;
    const bool runs = plan_.running && before == Suspension::none;
    if (runs) end_it(stop);
    down_since_ = steady_clock::now();
    saved_ = source().fence(*record_, stop);
    source().require_stopped(stop);
    if (record_->suspends && !saved_) {
      note(fmt::format("it went down on {} before its memory was saved, which is lost: it boots anew",
                       plan_.source_node));
    }
    const bool chosen = choose_volumes();
    if (record_->step == MigrationStep::switching) {
      advance(MigrationStep::fenced);
    } else if (chosen) {
      source().save(*record_);
    }
    tell(fmt::format("it is down and fenced on {}", plan_.source_node));
  }

  /// Takes down a guest that runs.
  void end_it(const std::stop_token& stop) {
    // An earlier run may have been asked for it in another way.
    if (record_->suspends != request_.suspend) {
      record_->suspends = request_.suspend;
      source().save(*record_);
    }
    const auto begin = steady_clock::now();
    if (record_->suspends) {
      tell(fmt::format("suspending it on {}", plan_.source_node));
      source().suspend(state_storage(), stop);
    } else {
      tell(fmt::format("shutting it down on {}", plan_.source_node));
      shut_down(stop);
    }
    migration_.shutdown = since(begin);
  }

  void shut_down(const std::stop_token& stop) {
    asked_ = true;
    try {
      source().shut_down(request_.shutdown_timeout, request_.options.force_stop, stop);
    } catch (const Error& error) {
      // Who did not heed it for so long may do so yet, and is not waited for any more.
      if (error.code() == ErrorCode::timeout) {
        asked_ = false;
        note(may_go_down);
      }
      throw;
    }
    asked_ = false;
  }

  /// Which volumes its memory is in, and comes to: to be recorded before there is anything there. Returns whether
  /// they were not chosen before.
  bool choose_volumes() {
    if (!saved_ || (record_->source_state == saved_->volume && !record_->target_state.empty())) return false;
    record_->source_state = saved_->volume;
    if (!record_->target_state.empty()) return true;
    const ClusterInventory& there = found_.inventory.destination;
    const std::string first =
        fmt::format("{}:{}", request_.mirror.pool, state_image_name(saved_->volume, target_vmid_));
    std::string volume = first;
    for (int number = 1;; ++number) {
      const ImageRef image = image_of_volume(volume, there);
      if (!ports_.destination.images.open(image.access).find(image.spec)) break;
      volume = fmt::format("{}-{}", first, number);
    }
    record_->target_state = volume;
    return true;
  }

  /// Its disks and its memory, side by side.
  void bring_up_to_date(const std::stop_token& stop) {
    if (!saved_) return mirror_disks(stop);
    std::stop_source ending;
    const std::stop_callback forward(stop, [&ending] { ending.request_stop(); });
    std::optional<Error> failed;
    std::array<bool, 2> cancelled{};
    // What fails ends the other one, which is then no failure of its own.
    in_parallel(cancelled.size(), request_.mirror.parallel, [&](std::size_t which) {
      try {
        if (ending.stop_requested()) throw Cancelled{};
        if (which == 0) return send_state(ending.get_token());
        mirror_disks(ending.get_token());
        if (report_.outcome != Outcome::ok) ending.request_stop();
      } catch (const Error& error) {
        failed = error;
        ending.request_stop();
      } catch (const Cancelled&) {
        cancelled.at(which) = true;
      }
    });
    if (stop.stop_requested()) throw Cancelled{};
    if (failed) throw Error(*failed);
    // Only the disks' failure is left to have ended anything.
    if (cancelled[0] && report_.outcome == Outcome::ok) throw Cancelled{};
  }

  void send_state(const std::stop_token& stop) {
    const TransferSlots::Slot slot = slots_.enter(stop);
    const auto begin = steady_clock::now();
    const StateVolume to = state_there().value();
    const auto storage =
        found_.inventory.destination.storages.rbd(record_->target_state.substr(0, record_->target_state.find(':')));
    StateCopy what{.from = image_of_volume(saved_->volume, found_.inventory.source),
                   .to = to.image,
                   .snapshot = "crossover-migration",
                   .storage = storage.value(),
                   .stall_timeout = request_.mirror.stall_timeout,
                   .progress = {}};
    const std::string subject = to_string(what.from.spec);
    const auto tell_of = [&](EventKind kind, std::uint64_t bytes) {
      ports_.events.on_event({.kind = kind,
                              .vmid = vmid_,
                              .target_vmid = target_vmid_,
                              .subject = subject,
                              .full = true,
                              .bytes = bytes,
                              .elapsed = since(begin)});
    };
    what.progress = [&](std::uint64_t bytes) { tell_of(EventKind::transfer_progress, bytes); };
    tell_of(EventKind::transfer_started, 0);
    migration_.state_bytes = with_retries(request_.mirror.retries, ports_.clock, stop, [&] {
      target().remove_state(stop);
      return copy_state(what, ports_, stop);
    });
    tell_of(EventKind::transfer_finished, migration_.state_bytes);
  }

  void mirror_disks(const std::stop_token& stop) {
    MirrorRequest request = alone();
    // The fence is its lock.
    request.options.no_lock = true;
    request.onboot = record_->onboot.value_or("");
    found_.inventory.source.guests.at(vmid_).power = Power::stopped;
    keep(mirror_leased_guest(request, found_.inventory, scope_, ports_, slots_, totals_, removals_, stop));
    if (report_.outcome == Outcome::ok) migration_.switch_bytes = sent().first;
  }

  /// From here on the target may run.
  void hand_over(const std::stop_token& stop) {
    MigrationTarget there = target();
    const bool fresh = record_->step != MigrationStep::starting;
    if (fresh) {
      source().require_fenced(stop);
      advance(MigrationStep::starting, report_.recovery_point);
    } else {
      // Somebody may have been at it since.
      source().require_stopped(stop);
      saved_ = source().fence(*record_, stop);
      source().require_stopped(stop);
    }
    report_.recovery_point = record_->point;
    if (down_since_) migration_.transfer = since(*down_since_);
    const auto begin = steady_clock::now();
    // What this run sent is closed until it is started.
    if (fresh || there.power(request_.mirror.retries, stop) != Power::running) {
      if (saved_ && !fresh && !is_resumable(there, stop)) saved_.reset();
      there.promote(record_->point, stop);
      there.configure(record_->onboot, saved_, stop);
      if (!request_.options.no_start) {
        tell(fmt::format("starting VM {} on {}", target_vmid_, there.node()));
        if (!there.start(stop)) {
          note(fmt::format("VM {} runs on {}, and its guest agent does not answer there", target_vmid_,
                           there.node()));
        }
      }
    }
    if (!request_.options.no_start) there.wait_until_resumed(stop);
    if (down_since_) migration_.start = since(begin);
    migration_.suspended = saved_.has_value();
    // It goes on there: nothing may go on from the same here.
    if (!record_->source_state.empty()) source().drop_state(*record_, stop);
    there.remove_state(stop);
    if (request_.options.ha) ports_.destination.power.set_ha_state(target_vmid_, "started", stop);
    advance(MigrationStep::done, record_->point);
    remove_old_points();
    migration_.outcome = MigrationOutcome::done;
    report_.outcome = Outcome::ok;
    report_.error.clear();
    report_.error_code.reset();
    report_.conflict.reset();
    tell(fmt::format("it is VM {} on {} now; 'crossover cleanup-source {}' removes what is left of it here",
                     target_vmid_, there.node(), vmid_));
  }

  /// A memory is of the moment its disks are of.
  bool is_resumable(MigrationTarget& there, const std::stop_token& stop) {
    if (there.has_state() && there.is_untouched(record_->point, stop)) return true;
    note(fmt::format("VM {} on {} had gone on already, and ended: it boots anew", target_vmid_, there.node()));
    return false;
  }

  /// The guest runs meanwhile.
  void remove_old_points() {
    const MirrorOptions& options = request_.mirror.options;
    report_.removed =
        carry_out(removals_, {.source = {&ports_.source.images, plan_.source_node, options.keep_local},
                              .destination = {&ports_.destination.images, plan_.target_node, options.keep_remote},
                              .parallel = request_.mirror.parallel,
                              .tell =
                                  [this](Event event) {
                                    event.vmid = vmid_;
                                    event.target_vmid = target_vmid_;
                                    ports_.events.on_event(event);
                                  },
                              .note = [this](const std::string& warning) { note(warning); }});
  }

  // --- and back

  void undo(const GuestLease& lease) {
    if (!record_) return;
    try {
      if (is_theirs() || (!record_->point.empty() && !take_back())) return;
      if (asked_) wait_until_decided();
      // Another run that has it by now has other plans.
      if (lease.lost()) return leave("the lease on its disks was lost", run_again);
      // Whoever finds it half back does not take it for one that may run there.
      advance(MigrationStep::switching, record_->point);
      tell(fmt::format("bringing it back on {}", plan_.source_node));
      if (source().bring_back(*record_) == Suspension::lost) {
        note(fmt::format("it went down on {} before its memory was saved, which is lost: it booted anew",
                         plan_.source_node));
      }
      if (!record_->point.empty()) target().demote({});
      target().remove_state({});
      source().forget();
      migration_.outcome = MigrationOutcome::undone;
      tell(fmt::format("it is on {} again, as it was", plan_.source_node));
    } catch (const Error& error) {
      leave(error.what(), run_again);
    }
  }

  /// A guest that goes down because it was asked to is started again; one that does not is left running.
  void wait_until_decided() {
    constexpr std::chrono::seconds interval{1};
    const auto deadline = ports_.clock.now() + request_.shutdown_timeout;
    while (ports_.source.power.power(plan_.source_node, vmid_, {}) != Power::stopped) {
      if (ports_.clock.now() >= deadline) {
        return note(may_go_down);
      }
      ports_.clock.wait(interval, {});
    }
  }

  /// Somebody made the replica a guest while this one was down: it is not for us to have two.
  bool is_theirs() {
    if (report_.conflict != Conflict::replica_running && report_.conflict != Conflict::replica_promoted)
      return false;
    leave(fmt::format("VM {} was started or recovered by somebody else", target_vmid_),
          "decide which of the two it is to be");
    return true;
  }

  bool take_back() {
    std::string why = why_not_taken_back({});
    if (why.empty()) {
      target().keep_down({});
      // It cannot be started from here on; it was not between the two looks either.
      why = why_not_taken_back({});
    }
    if (!why.empty()) leave(why, run_again);
    return why.empty();
  }

  std::string why_not_taken_back(const std::stop_token& stop) const {
    return target().why_not_taken_back(record_->point, request_.mirror.retries, stop);
  }

  void leave(const std::string& why, const std::string& advice) {
    migration_.outcome = MigrationOutcome::left;
    migration_.left_to_do.push_back(
        fmt::format("{}; VM {} is left on {} as it is now: {}", why, vmid_, plan_.source_node, advice));
    ports_.events.on_event({.kind = EventKind::warning,
                            .vmid = vmid_,
                            .target_vmid = target_vmid_,
                            .text = migration_.left_to_do.back()});
  }

  static constexpr const char* may_go_down = "it was asked to shut down, and may do so yet; look after it";
  static constexpr const char* run_again = "run the same command again to end the migration";

  const MigrateRequest& request_;
  Vmid vmid_;
  Vmid target_vmid_;
  const Ports& ports_;
  TransferSlots& slots_;
  const ConfirmMigration& confirm_;
  MirrorTotals& totals_;
  std::stop_token stop_;
  Survey found_;
  GuestScope scope_;
  GuestPlan plan_;
  std::optional<MigrationRecord> record_;
  std::optional<SavedState> saved_;  // what the guest goes on from
  ImageRef record_image_;
  std::optional<steady_clock::time_point> down_since_;  // by this run
  bool asked_ = false;  // the guest was asked to shut down, and nobody knows how that ended
  std::mutex mutex_;    // guards the report's warnings
  GuestReport report_;
  MigrationReport migration_;
  std::vector<Removal> removals_;  // what retention lets go, once there is time for that
};

}  // namespace

MirrorReport migrate(const MigrateRequest& request, const Ports& ports, const ConfirmMigration& confirm,
                     std::stop_token stop) {
  const auto begin = steady_clock::now();
  MirrorReport report;
  report.job = request.mirror.job_name;
  report.destination = request.mirror.destination;
  report.dry_run = request.mirror.options.dry_run;
  report.started = ports.clock.now();
  ports.events.on_event({.kind = EventKind::run_started});
  TransferSlots slots(request.mirror.parallel);
  const Survey found = survey_often(request.mirror, ports, stop);
  for (const GuestScope& guest : found.guests) {
    if (stop.stop_requested()) throw Cancelled{};
    report.guests.push_back(
        GuestMigration(request, {guest.vmid, guest.target_vmid}, ports, slots, confirm, report.totals, stop).run());
  }
  report.duration = since(begin);
  ports.events.on_event({.kind = EventKind::run_finished, .elapsed = report.duration});
  return report;
}

}  // namespace crossover

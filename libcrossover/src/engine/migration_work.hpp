/// \file
/// What the parts of one guest's migration share.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/report.hpp"
#include "engine/guest_lease.hpp"
#include "engine/migration_ledger.hpp"
#include "engine/migration_source.hpp"
#include "engine/migration_target.hpp"
#include "engine/ports.hpp"
#include "engine/survey.hpp"
#include "engine/transfer_slots.hpp"
#include "plan/migrate_request.hpp"
#include "plan/migration_record.hpp"

namespace crossover {

/// One guest's way from one cluster to the other: what was asked for and through what it is done, what was found
/// when the guest was looked at last, how far it is, and what there is to tell. Thread-safe where it says so.
struct MigrationWork {
  const MigrateRequest& request;
  Vmid vmid;
  Vmid target_vmid;
  const Ports& ports;
  TransferSlots& slots;
  MirrorTotals& totals;
  std::stop_token stop;  ///< of the whole run; what is done under the lease on the guest's disks has its own

  Survey found = {};
  GuestScope scope = {};
  GuestPlan plan = {};
  std::optional<MigrationRecord> record = {};  ///< how far it is; nothing: none is under way
  std::vector<ImageRef> disks = {};            ///< those that the record stands on, or is to
  std::string run = random_id();               ///< this run's name in it
  bool has_it = false;   ///< this run may have written its name there: only then has it anything to undo
  bool goes_on = false;  ///< it is to end what an earlier run began, and nothing else
  std::string checked;   ///< the configuration that was looked at for what stands in its way
  const GuestLease* lease = nullptr;  ///< on its disks, once there is one

  bool asked = false;  ///< the guest was asked to shut down, and nobody knows how that ended

  std::mutex mutex = {};  ///< guards the report's warnings
  GuestReport report = {};
  MigrationReport migration = {};

  /// Looks at both sides anew, plans the guest, and reads how far its migration is.
  void look(const std::stop_token& ending);

  /// The mirror run of this guest.
  [[nodiscard]] MirrorRequest alone() const;
  [[nodiscard]] MigrationSource source() const;
  [[nodiscard]] MigrationTarget target() const;
  [[nodiscard]] std::string target_node() const;
  /// MigrationTarget::why_not_taken_back() of the recovery point that the record says it has.
  [[nodiscard]] std::string why_not_taken_back(const std::stop_token& ending) const;
  /// What its memory is copied to, once that was chosen.
  [[nodiscard]] std::optional<StateVolume> state_there() const;
  /// The storage that its memory is saved on: that of its first disk, for there is a way into its Ceph.
  [[nodiscard]] const std::string& state_storage() const;

  /// Writes down how far it is. Nothing is taken for recorded before it is.
  void advance(MigrationStep step, const std::string& point = {});
  /// Makes this run the one that has the migration: a new one, or one that an earlier run began.
  void begin(MigrationRecord wanted);
  void claim(MigrationRecord wanted);
  /// Whether the guest's configuration has a migration's fence at this moment, or is gone.
  [[nodiscard]] bool is_fenced_now() const;
  /// The records of the migration; `disks` are those of the last look.
  [[nodiscard]] MigrationLedger ledger() const;
  /// What everything that starts a guest, ends it or changes a fence comes right after: that the lease is held, and
  /// that the records, read now, say that this run has the migration. Otherwise ErrorCode::locked or conflict.
  void require_ours() const;

  /// Gives an event with the guest's names in it. Thread-safe.
  void tell(Event event) const;
  /// The phase that begins, or what was done. Thread-safe.
  void say(std::string text) const;
  void warn(std::string text) const;
  /// A warning that is in the report, too. Thread-safe.
  void note(const std::string& warning);

  /// What keeps this guest from being moved.
  [[nodiscard]] Error failure(ErrorCode code, const std::string& cause, bool retryable = false) const;
  /// Reports what went wrong, and tells of it: the mirror runs do so of what fails in them.
  void fail(const Error& error);
  /// The same of what stands in the plan's way.
  void fail_as_planned();
  /// Reports that nothing went wrong.
  void succeed(Outcome outcome);
  /// Takes a mirror run's report for the guest's; warnings stay.
  void keep(GuestReport mirrored);
};

}  // namespace crossover

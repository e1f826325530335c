/// \file
/// What the parts of one guest's migration share.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "crossover/report.hpp"
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
  ImageRef record_image = {};                  ///< the disk that the record stands on, or is to

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
  /// The storage that its memory is saved on: that of the disk that carries the record, for there is a way into its
  /// Ceph.
  [[nodiscard]] const std::string& state_storage() const;

  /// Writes down how far it is. Nothing is taken for recorded before it is.
  void advance(MigrationStep step, const std::string& point = {});

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

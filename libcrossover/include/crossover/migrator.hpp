/// \file
/// The library's front door.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "crossover/events.hpp"
#include "crossover/options.hpp"
#include "crossover/report.hpp"
#include "crossover/verify_report.hpp"

namespace crossover {

/// One thing a preflight looked at.
struct CheckItem {
  enum class Result { ok, warning, failed };

  Result result = Result::ok;
  std::string subject;  ///< "node pve02", "VM 100"
  std::string text;     ///< what was found, in one line

  bool operator==(const CheckItem&) const = default;
};

/// Everything a preflight looked at, in the order a person would ask.
struct CheckReport {
  std::vector<CheckItem> items;

  /// True if nothing failed; warnings do not count.
  [[nodiscard]] bool ok() const;
};

/// The check's report as one JSON object.
std::string to_json(const CheckReport& report);

/// Asked, on the thread that called migrate(), right before a guest is shut down: its report so far says which, and
/// how much was sent. False leaves it where it is.
using ConfirmMigration = std::function<bool(const GuestReport& guest)>;

/// Mirrors guests from the cluster of this host, which has to be a Proxmox VE node, to another one.
///
/// An object is for one thread at a time; different objects are independent of each other. Nothing is printed, no
/// signal handler is installed. Calls can take hours: they tell what they do through an EventSink, and end with
/// Cancelled soon after their stop token is triggered, with guests thawed and unlocked.
class Migrator {
 public:
  /// Checks the options and does nothing else. Throws Error (usage) that names the first one that is wrong.
  explicit Migrator(const MirrorOptions& options);
  ~Migrator();
  Migrator(Migrator&&) noexcept;
  Migrator& operator=(Migrator&&) noexcept;

  /// Surveys both clusters, plans, and mirrors each guest that is meant; with `dry_run` it stops after planning and
  /// has changed nothing. One guest's failure is in its report and does not keep the others from their run. Throws
  /// Error if nothing could be done at all.
  MirrorReport mirror(EventSink& events, std::stop_token stop = {});

  /// Moves the guests that are named, one after the other: see MigrationReport and migrate_option_list(). A guest
  /// that goes wrong before it may run on the target runs on the source again. A call that was killed is gone on
  /// with by the next one with the same options. Throws Error (usage) if the options make no sense, another Error
  /// if nothing could be done at all.
  MirrorReport migrate(const MigrateOptions& options, const ConfirmMigration& confirm, EventSink& events,
                       std::stop_token stop = {});

  /// Compares each guest's newest recovery point that both sides have with the source's snapshots, by hashes that
  /// each side makes of its own images; what is given on the way of events is those of the comparison, and of the
  /// runs that repair. Only `repair` changes anything. A guest's failure is in its report. Throws Error (usage) if
  /// the options make no sense, another Error if nothing could be done at all.
  VerifyReport verify(const VerifyOptions& options, EventSink& events, std::stop_token stop = {});

  /// Looks at everything a mirror run would need: nodes, host keys, rights, storages, free space, versions. Changes
  /// nothing and throws only Cancelled: what fails is an item.
  CheckReport check(std::stop_token stop = {});

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The library's version, such as "0.1.0".
std::string version();

}  // namespace crossover

/// \file
/// What a run prints while it goes on, and the summary at its end. The lines say what the shell tool's lines say.
#pragma once

#include <cstdio>
#include <string>

#include "crossover/events.hpp"
#include "crossover/migrator.hpp"
#include "crossover/options.hpp"
#include "crossover/replica_report.hpp"
#include "crossover/report.hpp"
#include "crossover/sources.hpp"

namespace crossover::cli {

/// Prints each event as a line on `out`; warnings go to standard error. On a terminal a transfer shows its
/// progress.
class Renderer final : public EventSink {
 public:
  Renderer(std::FILE* out, const MirrorOptions& options, bool debug);

  void on_event(const Event& event) override;

  /// The summary of a run.
  void summary(const MirrorReport& report);
  /// The summary of a comparison, with what differs.
  void summary(const VerifyReport& report);

 private:
  void line(const std::string& text);
  void migration_summary(const GuestReport& guest, const MigrationReport& migration);

  std::FILE* out_;
  MirrorOptions options_;
  bool debug_;
  bool terminal_;
  bool progress_shown_ = false;
};

/// A plan that was not carried out, for people.
std::string render_plan(const MirrorReport& report);

/// What a guest's comparison found, for people; empty if all is well.
std::string render_problem(const VerifiedGuest& guest);

/// What was removed of a guest that was migrated, for people; without what went wrong.
std::string render_cleanup(const CleanupReport& report);

/// What a preflight found, for people.
std::string render_check(const CheckReport& report);

/// What there is of a replica, for people.
std::string render_points(const ReplicaReport& report);

/// How a recovery ended, for people; without what went wrong, which is its error.
std::string render_recovery(const RecoverReport& report);

/// What retention did where the replicas are, for people; without what went wrong.
std::string render_pruned(const PruneReport& report);

}  // namespace crossover::cli

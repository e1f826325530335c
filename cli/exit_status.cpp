#include "exit_status.hpp"

#include <algorithm>
#include <vector>

namespace crossover::cli {

namespace {

template <typename Guest, typename Ended>
bool any(const std::vector<Guest>& guests, Ended outcome) {
  return std::any_of(guests.begin(), guests.end(),
                     [outcome](const Guest& guest) { return guest.outcome == outcome; });
}

/// What waits for a human is told first: what failed may pass by itself.
int of(bool conflict, bool failed) {
  return conflict ? exit_conflict : failed ? exit_failed : exit_ok;
}

int of(Outcome outcome) {
  return of(outcome == Outcome::conflict, outcome == Outcome::failed || outcome == Outcome::incomplete);
}

template <typename Guest>
int of(const std::vector<Guest>& guests) {
  return of(any(guests, Outcome::conflict), any(guests, Outcome::failed) || any(guests, Outcome::incomplete));
}

}  // namespace

int exit_status(const MirrorReport& report) {
  return of(report.guests);
}

int exit_status(const VerifyReport& report) {
  return of(any(report.guests, VerifyOutcome::differs) || any(report.guests, VerifyOutcome::conflict),
            any(report.guests, VerifyOutcome::failed));
}

int exit_status(const RecoverReport& report) {
  return of(report.outcome);
}

int exit_status(const PruneReport& report) {
  return of(report.replicas);
}

int exit_status(const CleanupReport& report) {
  return of(report.outcome);
}

int exit_status(const CheckReport& report) {
  return of(false, !report.ok());
}

int exit_status(const AllowSourceReport& report) {
  return of(report.outcome);
}

int exit_status(const Error& error) {
  return error.code() == ErrorCode::usage ? exit_usage : exit_nothing_done;
}

}  // namespace crossover::cli

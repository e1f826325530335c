// What the command ends with, for each way guests can end side by side.
#include "cli/exit_status.hpp"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

using namespace crossover;
using namespace crossover::cli;

namespace {

template <typename Report>
Report of(const std::vector<Outcome>& outcomes) {
  Report report;
  for (const Outcome outcome : outcomes) {
    if constexpr (requires { report.guests; }) {
      report.guests.emplace_back().outcome = outcome;
    } else {
      report.replicas.emplace_back().outcome = outcome;
    }
  }
  return report;
}

VerifyReport of(const std::vector<VerifyOutcome>& outcomes) {
  VerifyReport report;
  for (const VerifyOutcome outcome : outcomes) report.guests.emplace_back().outcome = outcome;
  return report;
}

}  // namespace

TEST_CASE("what a human has to decide comes before what failed, whichever guest is the first") {
  using enum Outcome;
  struct Case {
    std::vector<Outcome> outcomes;
    int status;
  };
  const std::vector<Case> cases{
      {{}, 0},
      {{ok}, 0},
      {{planned, planned}, 0},
      {{failed}, 1},
      {{ok, failed, ok}, 1},
      {{conflict}, 3},
      {{incomplete}, 1},
      {{ok, incomplete, planned}, 1},
      {{incomplete, conflict}, 3},
      {{ok, conflict}, 3},
      {{failed, conflict}, 3},
      {{conflict, failed}, 3},
      {{planned, failed, conflict, ok}, 3},
  };
  for (const auto& [outcomes, status] : cases) {
    CHECK(exit_status(of<MirrorReport>(outcomes)) == status);
    CHECK(exit_status(of<PruneReport>(outcomes)) == status);
    if (outcomes.size() != 1) continue;
    RecoverReport recovered;
    recovered.outcome = outcomes.front();
    CHECK(exit_status(recovered) == status);
    CleanupReport cleaned;
    cleaned.outcome = outcomes.front();
    CHECK(exit_status(cleaned) == status);
  }
}

TEST_CASE("a point that differs is for a human as well") {
  using enum VerifyOutcome;
  CHECK(exit_status(of({})) == 0);
  CHECK(exit_status(of({equal, repaired})) == 0);
  CHECK(exit_status(of({equal, failed})) == 1);
  CHECK(exit_status(of({failed, differs})) == 3);
  CHECK(exit_status(of({conflict, failed})) == 3);
}

TEST_CASE("a check ends with 1 if something in it failed, not for a warning") {
  using enum CheckItem::Result;
  const auto check = [](std::vector<CheckItem> items) { return exit_status(CheckReport{std::move(items)}); };
  CHECK(check({}) == 0);
  CHECK(check({{ok, "node pve02", "answers"}, {warning, "VM 100", "has no agent"}}) == 0);
  CHECK(check({{failed, "node pve02", "does not answer"}, {ok, "VM 100", "can be mirrored"}}) == 1);
}

TEST_CASE("what ended before it began is a usage error, or nothing could be done") {
  CHECK(exit_status(Error(ErrorCode::usage, "option", "--pool", "there is none of that name")) == 2);
  for (const ErrorCode code : {ErrorCode::unreachable, ErrorCode::timeout, ErrorCode::conflict, ErrorCode::locked,
                               ErrorCode::not_found, ErrorCode::command}) {
    CHECK(exit_status(Error(code, "connect", "pve04", "no route to host", true)) == 4);
  }
}

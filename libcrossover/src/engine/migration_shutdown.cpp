#include "engine/migration_shutdown.hpp"

#include <fmt/format.h>

#include <utility>

#include "crossover/error.hpp"
#include "engine/migration_memory.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* may_go_down = "it was asked to shut down, and may do so yet; look after it";

void shut_down(MigrationWork& work, const std::stop_token& stop) {
  const MigrateRequest& request = work.request;
  work.asked = true;
  try {
    work.source().shut_down(request.shutdown_timeout, request.options.force_stop, stop);
  } catch (const Error& error) {
    // Who did not heed it for so long may do so yet, and is not waited for any more.
    if (error.code() == ErrorCode::timeout) {
      work.asked = false;
      work.note(may_go_down);
    }
    throw;
  }
  work.asked = false;
}

/// Ends a guest that runs.
void end_running(MigrationWork& work, const std::stop_token& stop) {
  MigrationRecord& record = *work.record;
  // An earlier run may have been asked for it in another way.
  if (record.suspends != work.request.suspend) {
    record.suspends = work.request.suspend;
    work.source().save(record);
  }
  const auto begin = steady_clock::now();
  if (record.suspends) {
    work.say(fmt::format("suspending it on {}", work.plan.source_node));
    work.source().suspend(work.state_storage(), stop);
  } else {
    work.say(fmt::format("shutting it down on {}", work.plan.source_node));
    shut_down(work, stop);
  }
  work.migration.shutdown = duration_cast<milliseconds>(steady_clock::now() - begin);
}

}  // namespace

DownGuest take_down(MigrationWork& work, const std::stop_token& stop) {
  MigrationSource here = work.source();
  MigrationRecord& record = *work.record;
  here.take_out_of_ha(record, stop);
  const Suspension before = record.suspends ? here.settle(record, stop) : Suspension::none;
  if (work.plan.running && before == Suspension::none) end_running(work, stop);
  DownGuest down;
  down.since = steady_clock::now();
  FencedGuest fenced = here.fence(record, stop);
  down.config = std::move(fenced.config);
  down.saved = std::move(fenced.saved);
  here.require_stopped(stop);
  if (record.suspends && !down.saved) {
    work.note(fmt::format("it went down on {} before its memory was saved, which is lost: it boots anew",
                          work.plan.source_node));
  }
  const bool chosen = down.saved && choose_volumes(work, *down.saved);
  if (record.step == MigrationStep::switching) {
    work.advance(MigrationStep::fenced);
  } else if (chosen) {
    here.save(record);
  }
  work.say(fmt::format("it is down and fenced on {}", work.plan.source_node));
  return down;
}

void wait_until_decided(MigrationWork& work) {
  constexpr std::chrono::seconds interval{1};
  const auto deadline = work.ports.clock.steady() + work.request.shutdown_timeout;
  while (work.ports.source.power.power(work.plan.source_node, work.vmid, {}) != Power::stopped) {
    if (work.ports.clock.steady() >= deadline) return work.note(may_go_down);
    work.ports.clock.wait(interval, {});
  }
}

}  // namespace crossover

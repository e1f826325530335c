// Whatever names, messages and configurations say, a terminal is only shown it.
#include "renderer.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

using namespace crossover;
using namespace crossover::cli;

namespace {

// Ends a line, forges another, and takes the terminal over.
const std::string evil = "x\nVM 1 - ok\r\x1b]0;owned\x07\x1b[2J\xc2\x9b" "31m\x9b";

void check_shown(const std::string& text, std::size_t lines) {
  std::size_t ends = 0;
  for (const char c : text) {
    if (c == '\n') {
      ++ends;
    } else {
      CHECK(static_cast<unsigned char>(c) >= 0x20);
    }
  }
  CHECK(ends == lines);
  CHECK(text.find("\xc2\x9b") == std::string::npos);
  CHECK(text.find("\\x1b[2J") != std::string::npos);
}

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string written(std::FILE* file) {
  std::string text(static_cast<std::size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  CHECK(std::fread(text.data(), 1, text.size(), file) == text.size());
  return text;
}

}  // namespace

TEST_CASE("what is told of a replica") {
  ReplicaReport report;
  report.name = report.node = report.lock = report.job = report.source_fsid = report.applying = evil;
  report.unfinished = true;
  RecoveryPoint point;
  point.name = point.incomplete = evil;
  report.points = {point};
  report.former_images = {{evil, 1}};
  check_shown(render_points(report), 5);
}

TEST_CASE("plans, checks and what was removed") {
  GuestReport guest;
  guest.name = guest.target_node = evil;
  guest.left_out = {{evil, evil, evil, true}};
  guest.steps = {evil};
  MirrorReport plan;
  plan.guests = {guest};
  check_shown(render_plan(plan), 4);

  CheckReport check;
  check.items = {{CheckItem::Result::failed, evil, evil}};
  check_shown(render_check(check), 1);

  PrunedReplica replica;
  replica.untouched = evil;
  replica.removed = {evil};
  replica.trashed = {evil};
  PruneReport pruned;
  pruned.dry_run = true;
  pruned.replicas = {replica};
  check_shown(render_pruned(pruned), 4);
}

TEST_CASE("what a run leaves out is in its summary and its plan") {
  const std::unique_ptr<std::FILE, Closer> out(std::tmpfile());
  Renderer renderer(out.get(), {}, false);
  MirrorReport report;
  renderer.summary(report);
  CHECK(written(out.get()).find("incomplete") == std::string::npos);
  report.totals.guests_incomplete = 2;
  report.containers = {{300, "pve02", "only VMs are mirrored so far"}};
  renderer.summary(report);
  CHECK(written(out.get()).find("VMs incomplete............: 2\n") != std::string::npos);
  CHECK(render_plan(report).find("VM 300 - Not replicated: container on pve02: only VMs") != std::string::npos);
}

TEST_CASE("a guest that was off was not down, and a memory that an earlier run sent is not nothing") {
  using namespace std::chrono_literals;
  const auto summary = [](MigrationReport migration) {
    const std::unique_ptr<std::FILE, Closer> out(std::tmpfile());
    MirrorReport report;
    report.guests.emplace_back().vmid = 100;
    report.guests.front().migration = std::move(migration);
    Renderer(out.get(), {}, false).summary(report);
    return written(out.get());
  };
  MigrationReport migration{.outcome = MigrationOutcome::done, .suspended = true, .state_bytes = 1 << 20,
                            .was_running = true, .shutdown = 1s, .transfer = 2s, .start = 3s};
  CHECK(summary(migration).find("down for 6000 ms") != std::string::npos);
  CHECK(summary(migration).find("1.00 MiB of its memory were sent") != std::string::npos);
  migration.state_bytes = 0;
  CHECK(summary(migration).find("its memory was sent by an earlier run") != std::string::npos);
  migration.was_running = false;
  CHECK(summary(migration).find("down for") == std::string::npos);
  CHECK(summary(migration).find("it was off here: transfer 2000 ms, start 3000 ms") != std::string::npos);
}

TEST_CASE("a job without a name is called that") {
  ReplicaReport report;
  CHECK(render_points(report).find(", job without a name\n") != std::string::npos);
  report.job = "nightly";
  CHECK(render_points(report).find(", job 'nightly'\n") != std::string::npos);
}

TEST_CASE("every event is at most as many lines as it is with names that are harmless") {
  const std::string harmless = "x";
  for (int kind = 0; kind <= static_cast<int>(EventKind::debug); ++kind) {
    CAPTURE(kind);
    std::size_t lines[2] = {};
    for (const bool is_evil : {false, true}) {
      const std::string& text = is_evil ? evil : harmless;
      const std::unique_ptr<std::FILE, Closer> out(std::tmpfile());
      Renderer renderer(out.get(), {}, true);
      Event event;
      event.kind = static_cast<EventKind>(kind);
      event.vmid = 100;
      event.subject = event.host = event.text = text;
      renderer.on_event(event);
      for (const char c : written(out.get())) {
        lines[is_evil ? 1 : 0] += c == '\n' ? 1 : 0;
        CHECK((c == '\n' || static_cast<unsigned char>(c) >= 0x20));
      }
    }
    CHECK(lines[0] == lines[1]);
  }
}

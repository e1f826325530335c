// Whatever names, messages and configurations say, a terminal is only shown it.
#include "renderer.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <memory>
#include <string>

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

// What `crossover allow-source` prints.
#include <doctest/doctest.h>

#include "cli/allow_source_command.hpp"

using namespace crossover;
using namespace crossover::cli;

namespace {

AllowSourceReport report() {
  AllowSourceReport made;
  made.name = "siteA";
  made.file = "/etc/pve/priv/authorized_keys";
  made.shared = true;
  made.line = "command=\"crossover agent\",restrict ssh-ed25519 AAAA crossover:siteA";
  made.changed = true;
  made.steps = {"try storage data as client.crossover: make, write and remove an image"};
  made.outcome = Outcome::ok;
  return made;
}

}  // namespace

TEST_CASE("what was done for a source") {
  AllowSourceReport made = report();
  CHECK(render_allowed(made, SourceAction::allow) ==
        "source siteA - done: try storage data as client.crossover: make, write and remove an image\n"
        "source siteA - done: write this line to /etc/pve/priv/authorized_keys, which all nodes of the cluster share:\n"
        "command=\"crossover agent\",restrict ssh-ed25519 AAAA crossover:siteA\n");
  CHECK(render_allowed(made, SourceAction::remove).ends_with("goes on until its connection ends\n"));
  made.changed = false;
  made.shared = false;
  CHECK(render_allowed(made, SourceAction::allow)
            .ends_with("source siteA - nothing to do: its line is in /etc/pve/priv/authorized_keys, of this node "
                       "alone\n"));
  made.outcome = Outcome::planned;
  made.dry_run = true;
  made.changed = true;
  const std::string plan = render_allowed(made, SourceAction::remove);
  CHECK(plan.find("siteA - would try storage") != std::string::npos);
  CHECK(plan.find("siteA - would take this line out of /etc") != std::string::npos);
  CHECK(plan.ends_with("Dry run: nothing was changed\n"));
  made.outcome = Outcome::conflict;
  CHECK(render_allowed(made, SourceAction::allow).empty());
  AllowSourceReport half = report();
  half.outcome = Outcome::failed;
  half.left_to_do = {"ceph auth del client.crossover"};
  CHECK(render_allowed(half, SourceAction::remove).ends_with("left to do: ceph auth del client.crossover\n"));
}

TEST_CASE("which sources there are, with nothing of a line that does more at a terminal than show") {
  AllowedSourceList list{"/root/.ssh/authorized_keys", false, {}};
  CHECK(render_sources(list) == "/root/.ssh/authorized_keys, of this node alone:\nno source is let in\n");
  list.sources.push_back(
      {1, "siteA", {"copy", "data"}, "99000-99999", "crossover", "ssh-ed25519", "SHA256:x", true, ""});
  list.sources.push_back({2, "", {"data"}, "500", "", "ssh-rsa\x1b[2J", "SHA256:y", false, ""});
  list.sources.push_back({3, "", {}, "", "", "ssh-rsa", "SHA256:z", true, "it has two commands"});
  CHECK(render_sources(list) ==
        "/root/.ssh/authorized_keys, of this node alone:\n"
        "siteA  copy,data  VMIDs 99000-99999  client.crossover  ssh-ed25519 SHA256:x\n"
        "(line 2, without a name)  data  VMIDs 500  each storage's cephx user  ssh-rsa\\x1b[2J SHA256:y"
        "  without the option restrict: the key can forward ports\n"
        "line 3  what it allows cannot be told: it has two commands\n");
}

#include "plan/allowed_source.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "support/public_keys.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

constexpr const char* file = "/etc/pve/priv/authorized_keys";

const StorageConfig storages = parse_storage_config(
    "rbd: data\n\tpool p1\n\n"
    "rbd: copy\n\tpool p2\n\n"
    "rbd: same\n\tpool p1\n\tkrbd 1\n\n"
    "rbd: apart\n\tpool p1\n\tnamespace n\n\n"
    "rbd: far\n\tpool p1\n\tmonhost 192.0.2.1\n\n");

PublicKey key_of(const KnownKey& known) {
  return {std::string(known.type), std::string(known.base64)};
}

AgentCommand command(const char* name, const char* pools = "data", const char* vmids = "99000-99999",
                     const std::string& user = {}) {
  return {parse_restriction(pools, vmids, name), user, user.empty() ? "" : source_keyring_path(user)};
}

KeysChange allow(const std::string& bytes, const AgentCommand& wanted, const KnownKey& key = ed25519_key,
                 bool replace = false) {
  return plan_allow(bytes, wanted, key_of(key), replace, storages, file);
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A line as somebody writes it by hand.
std::string by_hand(const std::string& agent, const KnownKey& key = rsa_key) {
  return "command=\"" + agent + "\",restrict " + key.line() + " root@source\n";
}

}  // namespace

TEST_CASE("the line that is written") {
  CHECK(render_agent_line(command("siteA", "data,copy", "99000-99999,500", "crossover"), key_of(ed25519_key)) ==
        "command=\"crossover agent --allow receive --name siteA --pool copy,data --vmid 99000-99999,500 --user "
        "crossover "
        "--keyring /etc/pve/priv/ceph.client.crossover.keyring\",restrict " +
            ed25519_key.line() + " crossover:siteA");
  for (const KnownKey& known : known_keys) {
    const std::string line = render_agent_line(command("a"), key_of(known));
    const std::vector<AgentLine> read = agent_lines(line);
    REQUIRE(read.size() == 1);
    CHECK(read.front() == AgentLine{1, command("a"), "", std::string(known.type), std::string(known.base64), true});
  }
}

TEST_CASE("nothing gets into the command by a value") {
  // As no option's grammar lets it through; whoever calls with it is refused all the same.
  for (const char* value : {"x\" y", "x y", "x\n", "x,y\\", "", "$(x)", "x'", "x;y"}) {
    CAPTURE(value);
    AgentCommand name = command("a");
    name.restriction.name = value;
    AgentCommand pool = command("a");
    pool.restriction.pools = {value};
    AgentCommand keyring = command("a", "data", "500", "u");
    keyring.keyring = value;
    std::vector<AgentCommand> commands{name, pool, keyring};
    // Without a user there is none in the line.
    if (*value != '\0') commands.push_back({command("a").restriction, value, source_keyring_path("u")});
    for (const AgentCommand& wrong : commands) {
      CHECK_THROWS_AS(static_cast<void>(render_agent_line(wrong, key_of(ed25519_key))), Error);
    }
  }
  CHECK_THROWS_AS(static_cast<void>(render_agent_line(command("a"), {"ssh-ed25519", "AAAA\" x"})), Error);
}

TEST_CASE("agents of lines that people wrote are read, however they quote") {
  const std::pair<const char*, AgentCommand> rows[] = {
      {"crossover agent --allow receive --pool data --vmid 99000-99999", command("")},
      {"/usr/local/bin/crossover agent --vmid=99000-99999 --pool=data --allow=receive", command("")},
      {"exec nice -n 5 crossover  agent --allow receive --memory 64M --pool 'data' --vmid \\\"99000-99999\\\"",
       command("")},
      {"crossover agent --allow receive --name b --pool data,copy --vmid 100,200-300 --user u --keyring "
       "/etc/pve/priv/ceph.client.u.keyring",
       command("b", "copy,data", "100,200-300", "u")},
  };
  for (const auto& [agent, expected] : rows) {
    CAPTURE(agent);
    const std::vector<AgentLine> read = agent_lines("\n# x\n" + by_hand(agent));
    REQUIRE(read.size() == 1);
    CHECK(read.front().number == 3);
    CHECK(read.front().unreadable.empty());
    CHECK(read.front().command == expected);
  }
  for (const char* agent :
       {"crossover agent", "crossover agent --memory 1G", "/bin/sh", "rsync --allow receive", ""}) {
    CAPTURE(agent);
    CHECK(agent_lines(by_hand(agent)).empty());
  }
}

TEST_CASE("an agent of which cannot be told what it allows is in nobody's favour") {
  const std::string good = "crossover agent --allow receive --pool data --vmid 100";
  for (const std::string& agent :
       {good + "; sh", good + " $MORE", "sh -c '" + good + "'", good + " --vmid 200", good + " --other x",
        good + " more words", std::string("crossover agent --allow receive --pool data"),
        std::string("crossover agent --allow receive --pool data --vmid all"),
        std::string("crossover agent --allow everything --pool data --vmid 100"), good + " --user",
        std::string("PATH=`x` ") + good, std::string("crossover 'agent --allow receive --pool data --vmid 100")}) {
    CAPTURE(agent);
    const std::string bytes = by_hand(agent);
    const std::vector<AgentLine> read = agent_lines(bytes);
    REQUIRE(read.size() == 1);
    CHECK_FALSE(read.front().unreadable.empty());
    const std::string conflict = allow(bytes, command("a", "copy", "500")).conflict;
    CHECK_MESSAGE(conflict.starts_with("line not understood: line 1 of /etc/pve/priv/authorized_keys"), conflict);
    CHECK(uses_ceph_user(bytes, "anybody"));
  }
}

TEST_CASE("a source's line comes last, and what was there stays byte for byte") {
  const std::string line = render_agent_line(command("siteA"), key_of(ed25519_key));
  const std::pair<std::string, std::string> rows[] = {
      {"", line + "\n"},
      {"# x\n\n  odd \t line\r\n", "# x\n\n  odd \t line\r\n" + line + "\n"},
      {"ssh-rsa AAAA last\nno newline", "ssh-rsa AAAA last\n" + line + "\nno newline"},
      {"no newline", line + "\nno newline"},
      {std::string("a\0b\n", 4), std::string("a\0b\n", 4) + line + "\n"},
  };
  for (const auto& [before, after] : rows) {
    CAPTURE(before);
    const KeysChange change = allow(before, command("siteA"));
    CHECK(change.conflict.empty());
    CHECK(change.changed);
    CHECK(change.bytes == after);
    CHECK(change.line == line);
    const KeysChange again = allow(after, command("siteA"));
    CHECK(again.conflict.empty());
    CHECK_FALSE(again.changed);
    CHECK(again.bytes == after);
    const KeysChange removed = plan_remove(after, "siteA", file);
    CHECK(removed.bytes == before);
    CHECK(removed.line == line);
  }
}

TEST_CASE("the same values in another order, or with an option more, are the same line") {
  const std::string bytes =
      "from=\"192.0.2.0/24\",command=\"crossover agent --allow=receive --vmid 500,400 --pool copy,data "
      "--name=siteA\",restrict " +
      ed25519_key.line() + " anything\n";
  const KeysChange change = allow(bytes, command("siteA", "data,copy", "400,500"));
  CHECK(change.conflict.empty());
  CHECK_FALSE(change.changed);
  CHECK(change.bytes == bytes);
}

TEST_CASE("a name is one source's, once") {
  const std::string bytes = "# first\n" + allow("", command("siteA", "data", "100-200", "u")).bytes + "last";
  struct Row {
    AgentCommand wanted;
    KnownKey key;
    const char* said;
  };
  const Row rows[] = {
      {command("siteA", "data", "100-201", "u"), ed25519_key, "with VMIDs 100-200 on data as client.u, this key;"},
      {command("siteA", "copy", "100-200", "u"), ed25519_key, "this key;"},
      {command("siteA", "data", "100-200"), ed25519_key, "this key;"},
      {command("siteA", "data", "100-200", "u"), rsa_key, "another key;"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.said);
    const KeysChange change = allow(bytes, row.wanted, row.key);
    CHECK(change.conflict.starts_with("source name taken: source siteA (line 2)"));
    CHECK_MESSAGE(has(change.conflict, row.said), change.conflict);
    CHECK(has(change.conflict, "--remove --name siteA"));
    const KeysChange replaced = allow(bytes, row.wanted, row.key, true);
    CHECK(replaced.conflict.empty());
    CHECK(replaced.changed);
    CHECK(replaced.bytes == "# first\n" + replaced.line + "\nlast");
    REQUIRE(replaced.before);
    CHECK(replaced.before->command.user == "u");
  }
  std::string open = bytes;
  open.erase(open.find(",restrict"), std::string(",restrict").size());
  CHECK(has(allow(open, command("siteA", "data", "100-200", "u")).conflict, "without the option restrict"));
  const std::string twice = allow("", command("b", "data", "1000")).bytes + allow("", command("b"), rsa_key).bytes;
  CHECK(has(allow(twice, command("b")).conflict, "several lines"));
  CHECK(has(plan_remove(twice, "b", file).conflict, "lines 1 and 2"));
}

TEST_CASE("a key is one source's, and nothing else's") {
  const std::string bytes = "# " + ed25519_key.line() + "\n" + allow("", command("siteA", "data", "100")).bytes;
  const std::string conflict = allow(bytes, command("b", "data", "200")).conflict;
  CHECK_MESSAGE(conflict.starts_with("key taken: it is the key of source siteA (line 2) in /etc/"), conflict);
  CHECK(has(conflict, "--remove --name siteA"));
  // Also where it is a whole administrator's, or what a line has that sshd does not read.
  for (const std::string& line : {ed25519_key.line() + " root@pve01", "from=\"x\" " + ed25519_key.line(),
                                  "no-such=option " + ed25519_key.line(), "\"" + ed25519_key.line()}) {
    CAPTURE(line);
    const std::string said = allow("\n" + line + "\n", command("b")).conflict;
    CHECK_MESSAGE(said.starts_with("key taken: line 2 of "), said);
  }
  CHECK(has(
      allow(by_hand("crossover agent --allow receive --pool data --vmid 100", ed25519_key), command("b")).conflict,
      "the agent without --name in line 1"));
  // With --replace a source may take over its own key, not another's.
  const std::string two = bytes + allow("", command("c", "data", "300"), rsa_key).bytes;
  CHECK(allow(two, command("c", "data", "300"), ed25519_key, true).conflict.starts_with("key taken"));
}

TEST_CASE("two sources reach nothing in common") {
  struct Row {
    const char* pools;
    const char* vmids;
    const char* said;  ///< nullptr: it goes
  };
  const Row rows[] = {
      {"data", "300", nullptr},
      {"data", "1000-99999999", nullptr},
      {"data", "100-150,201-250", "VMIDs 201-250 on data"},
      {"data", "199,300", "VMID 199 on data"},
      {"data", "100-179,251-399", nullptr},
      {"data", "180", "VMID 180 on data"},
      {"data", "250-260", "VMID 250 on data"},
      {"data", "100-500", "VMIDs 180-250 on data"},
      {"copy,data", "300,199-201", "VMIDs 199-201 on data"},
      {"copy", "199-201", nullptr},
      {"apart", "199", nullptr},
      {"far", "199", nullptr},
      {"unknown", "199", nullptr},
      {"same", "199", "VMID 199 on same, whose images are those of data, already"},
  };
  for (const bool named : {true, false}) {
    const std::string agent = "crossover agent --allow receive --pool data --vmid 180-250,400";
    const std::string bytes = by_hand(named ? agent + " --name old" : agent);
    for (const Row& row : rows) {
      CAPTURE(row.pools);
      CAPTURE(row.vmids);
      const KeysChange change = allow(bytes, command("new", row.pools, row.vmids));
      if (row.said == nullptr) {
        CHECK_MESSAGE(change.conflict.empty(), change.conflict);
        continue;
      }
      CHECK_MESSAGE(change.conflict.starts_with("sources overlap: "), change.conflict);
      CHECK_MESSAGE(has(change.conflict, row.said), change.conflict);
      CHECK(has(change.conflict, named ? "source old (line 1) has" : "the agent without --name in line 1 has"));
    }
  }
}

TEST_CASE("only a line of its own is taken away") {
  const std::string other = allow("", command("siteAB", "data", "100"), rsa_key).bytes;
  const std::string hand = by_hand("crossover agent --allow receive --pool data --vmid 200", ecdsa256_key);
  // A comment that says so makes nothing a source's.
  const std::string comment = sk_ecdsa_key.line() + " crossover:siteA\n";
  const std::string bytes = other + hand + comment + allow("", command("siteA", "data", "300")).bytes + "# end";
  CHECK(plan_remove(bytes, "siteA", file).bytes == other + hand + comment + "# end");
  for (const std::string& none : {other, hand, comment, std::string()}) {
    try {
      plan_remove(none, "siteA", file);
      FAIL("there is nothing to remove");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::not_found);
      CHECK(has(error.what(), none == other ? "it has siteAB" : "no source that has a name"));
    }
  }
}

TEST_CASE("keyrings tell whether the user was made here") {
  const std::string ours = render_source_keyring("u", "AQB=", true);
  CHECK(ours.starts_with("# "));
  CHECK(parse_source_keyring(ours, "u") == SourceKeyring{"AQB=", true});
  CHECK(parse_source_keyring(render_source_keyring("u", "AQB=", false), "u") == SourceKeyring{"AQB=", false});
  CHECK(parse_source_keyring(ours, "v") == SourceKeyring{"", true});
  CHECK(parse_source_keyring("[client.v]\nkey=X\n[client.u]\n  key=Y\n\tcaps mon = \"key\"\n[client.w]\nkey = Z\n",
                             "u") == SourceKeyring{"Y", false});
  CHECK(parse_source_keyring("", "u") == SourceKeyring{});
}

TEST_CASE("whatever a file has: with a source added and removed it is the same") {
  const std::vector<std::string> pieces = {
      "",
      " ",
      "\t",
      "\r",
      "# comment",
      "\"",
      "\\\"",
      "command=\"",
      "restrict",
      ",",
      "ssh-rsa AAAA x",
      rsa_key.line(),
      "\xff\xfe",
      std::string(1, '\0'),
      "crossover:siteA",
      "command=\"crossover agent --allow receive --name x --pool data --vmid 100\",restrict " + ecdsa256_key.line(),
      "command=\"crossover agent --allow receive --pool copy --vmid 200\" " + ecdsa384_key.line(),
      "command=\"crossover agent\" " + ecdsa521_key.line()};
  std::mt19937 random(20260101);
  int planned = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (std::uint32_t count = random() % 8; count > 0; --count) {
      bytes += pieces[random() % pieces.size()];
      if (random() % 2 == 0) bytes += '\n';
    }
    CAPTURE(bytes);
    const KeysChange added = allow(bytes, command("siteA", "data", "99000-99999"));
    if (!added.conflict.empty()) {
      // All that can stand in the way of a name, a key and VMIDs that nobody has.
      REQUIRE(added.conflict.starts_with("line not understood"));
      continue;
    }
    ++planned;
    REQUIRE(added.changed);
    REQUIRE(added.bytes.size() == bytes.size() + added.line.size() + 1);
    REQUIRE_FALSE(allow(added.bytes, command("siteA", "data", "99000-99999")).changed);
    REQUIRE(plan_remove(added.bytes, "siteA", file).bytes == bytes);
  }
  CHECK(planned > 10000);
}

#include "cli/command_line.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "cli/exit_status.hpp"

using namespace crossover;
using namespace crossover::cli;

namespace {

std::variant<Invocation, Answer> parse(std::vector<std::string> arguments) {
  std::vector<const char*> argv{"crossover"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

/// The option as a user writes it, with a value that no default has.
std::string written(const OptionDescription& option) {
  return option.value.empty() ? fmt::format("--{}", option.name) : fmt::format("--{}=s/,/-x/", option.name);
}

}  // namespace

TEST_CASE("the option list has every member of MirrorOptions, each once") {
  MirrorOptions options;
  // Does not compile when a member comes or goes: then the list has to change as well.
  const auto& [vmid, exclude_vmids, tag, prefix_id, destination, pool, keep_local, keep_remote, rewrite, job_name,
               ssh_cipher, ssh, transport, destination_conf, source_user, source_keyring, destination_user,
               destination_keyring, parallel, memory, bandwidth_limit, compress, lock_wait, freeze_timeout, retries,
               stall_timeout, no_agent, online, require_freeze, overwrite, adopt, discard_changes, fast_diff,
               reseed, all_disks, allow_left_out, keep_host_devices, no_lock, keep_source_lock, keep_destination_lock,
               accept_new_host_keys, dry_run] = options;
  const std::set<const void*> members{&vmid,
                                      &exclude_vmids,
                                      &tag,
                                      &prefix_id,
                                      &destination,
                                      &pool,
                                      &keep_local,
                                      &keep_remote,
                                      &rewrite,
                                      &job_name,
                                      &ssh_cipher,
                                      &ssh,
                                      &transport,
                                      &destination_conf,
                                      &source_user,
                                      &source_keyring,
                                      &destination_user,
                                      &destination_keyring,
                                      &parallel,
                                      &memory,
                                      &bandwidth_limit,
                                      &compress,
                                      &lock_wait,
                                      &freeze_timeout,
                                      &retries,
                                      &stall_timeout,
                                      &no_agent,
                                      &online,
                                      &require_freeze,
                                      &overwrite,
                                      &adopt,
                                      &discard_changes,
                                      &fast_diff,
                                      &reseed,
                                      &all_disks,
                                      &allow_left_out,
                                      &keep_host_devices,
                                      &no_lock,
                                      &keep_source_lock,
                                      &keep_destination_lock,
                                      &accept_new_host_keys,
                                      &dry_run};
  std::set<const void*> listed;
  std::set<std::string_view> names;
  for (const OptionDescription& option : option_list()) {
    CAPTURE(option.name);
    std::visit([&](auto pointer) { CHECK(listed.insert(&(options.*pointer)).second); }, option.pointer);
    CHECK(names.insert(option.name).second);
    CHECK(names.insert(option.member).second == (option.name != option.member));
    CHECK_FALSE(option.help.empty());
    CHECK_MESSAGE(option.help.back() != '.', "help is one sentence without a full stop");
    CHECK(std::holds_alternative<bool MirrorOptions::*>(option.pointer) == option.value.empty());
  }
  CHECK(listed == members);
}

TEST_CASE("a comparison has its own options too, each described once, and a mirror run has them not") {
  VerifyOptions options;
  const auto& [point, sample, repair] = options;
  const std::set<const void*> members{&point, &sample, &repair};
  std::set<const void*> listed;
  for (const VerifyOptionDescription& option : verify_option_list()) {
    CAPTURE(option.name);
    std::visit([&](auto pointer) { CHECK(listed.insert(&(options.*pointer)).second); }, option.pointer);
    CHECK_FALSE(option.help.empty());
    CHECK(option.help.back() != '.');
    CHECK(std::holds_alternative<bool VerifyOptions::*>(option.pointer) == option.value.empty());
    const std::string word = fmt::format("--{}{}", option.name, option.value.empty() ? "" : "=x");
    const auto parsed = parse({"verify", "--vmid=100", word});
    REQUIRE(std::holds_alternative<Invocation>(parsed));
    CHECK(std::get<Invocation>(parsed).command == Command::verify);
    const VerifyOptions& given = std::get<Invocation>(parsed).verify;
    CHECK(given == VerifyOptions{option.name == "point" ? "x" : "", option.name == "sample" ? "x" : "",
                                 option.name == "repair"});
    CHECK(std::holds_alternative<Answer>(parse({"mirror", "--vmid=100", word})));
    CHECK(std::get<Answer>(parse({"verify", "--help"})).text.find(fmt::format("--{} ", option.name)) !=
          std::string::npos);
  }
  CHECK(listed == members);
}

TEST_CASE("each option of the list is one of the command line") {
  for (const char* command : {"mirror", "verify", "check"}) {
    for (const OptionDescription& option : option_list()) {
      CAPTURE(option.name);
      const auto parsed = parse({command, "--vmid=100", written(option)});
      if (option.name == "vmid") {
        CHECK_MESSAGE(std::holds_alternative<Answer>(parsed), "an option that is given twice is refused");
        continue;
      }
      REQUIRE(std::holds_alternative<Invocation>(parsed));
      MirrorOptions expected;
      expected.vmid = "100";
      std::visit(
          [&](auto pointer) {
            auto& member = expected.*pointer;
            using Member = std::decay_t<decltype(member)>;
            if constexpr (std::is_same_v<Member, bool>) {
              member = true;
            } else if constexpr (std::is_same_v<Member, std::string>) {
              member = "s/,/-x/";
            } else {
              member.emplace_back("s/,/-x/");
            }
          },
          option.pointer);
      CHECK(std::get<Invocation>(parsed).options == expected);
    }
  }
}

TEST_CASE("what cannot be meant is refused in one line") {
  const std::vector<std::vector<std::string>> wrong{{},
                                                    {"frob"},
                                                    {"mirror", "--nosuch"},
                                                    {"mirror", "stray"},
                                                    {"mirror", "--vmid"},
                                                    {"mirror", "--online=maybe"}};
  for (const auto& arguments : wrong) {
    CAPTURE(fmt::format("{}", fmt::join(arguments, " ")));
    const auto parsed = parse(arguments);
    REQUIRE(std::holds_alternative<Answer>(parsed));
    const auto& answer = std::get<Answer>(parsed);
    CHECK(answer.exit_status == exit_usage);
    CHECK(answer.to_stderr);
    CHECK(std::count(answer.text.begin(), answer.text.end(), '\n') == 1);
    CHECK(answer.text.starts_with("crossover: "));
  }
}

TEST_CASE("an option with an empty value does not take the next option for it") {
  for (const std::string option : {"--jobname=", "--tag=", "--keeplocal="}) {
    CAPTURE(option);
    const auto parsed = parse({"mirror", "--vmid=100", option, "--dry-run"});
    REQUIRE(std::holds_alternative<Answer>(parsed));
    CHECK(std::get<Answer>(parsed).exit_status == exit_usage);
    CHECK(std::get<Answer>(parsed).text.starts_with("crossover: " + option + " has no value"));
  }
}

TEST_CASE("several rewrite rules keep their order") {
  const auto parsed = parse({"mirror", "--rewrite", "s/a/b/", "--rewrite=s/b,c/d/", "--online"});
  REQUIRE(std::holds_alternative<Invocation>(parsed));
  CHECK(std::get<Invocation>(parsed).options.rewrite == std::vector<std::string>{"s/a/b/", "s/b,c/d/"});
  CHECK(std::get<Invocation>(parsed).options.online);
}

TEST_CASE("help names every command and option, and is no error") {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"help"}, {"mirror", "--help"}, {"verify", "--help"}, {"check", "-h"}}) {
    const auto parsed = parse(arguments);
    REQUIRE(std::holds_alternative<Answer>(parsed));
    const auto& answer = std::get<Answer>(parsed);
    CHECK(answer.exit_status == exit_ok);
    CHECK_FALSE(answer.to_stderr);
    for (const OptionDescription& option : option_list()) {
      CAPTURE(option.name);
      CHECK(answer.text.find(fmt::format("--{} ", option.name)) != std::string::npos);
    }
  }
}

TEST_CASE("a check without guests is about all of them") {
  const auto parsed = parse({"check", "--destination=pve04"});
  REQUIRE(std::holds_alternative<Invocation>(parsed));
  CHECK(std::get<Invocation>(parsed).command == Command::check);
  CHECK(std::get<Invocation>(parsed).options.vmid == "all");
}

TEST_CASE("an agent is restricted as a whole or not at all") {
  const auto open = parse({"agent", "--memory=64M"});
  REQUIRE(std::holds_alternative<Invocation>(open));
  CHECK_FALSE(std::get<Invocation>(open).agent.restriction);
  const auto limited = parse({"agent", "--allow", "receive", "--pool", "data,bb", "--vmid", "99000-99999,500",
                              "--user", "crossover", "--keyring=/k"});
  REQUIRE(std::holds_alternative<Invocation>(limited));
  const AgentOptions& agent = std::get<Invocation>(limited).agent;
  CHECK(agent.restriction == Restriction{{"data", "bb"}, {{99000, 99999}, {500, 500}}});
  CHECK(agent.user == "crossover");
  CHECK(agent.keyring == "/k");
  const auto named = parse({"agent", "--allow=receive", "--name", "siteA", "--pool=data", "--vmid=500"});
  REQUIRE(std::holds_alternative<Invocation>(named));
  CHECK(std::get<Invocation>(named).agent.restriction->name == "siteA");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"agent", "--allow=receive"},
        {"agent", "--allow=receive", "--pool=data"},
        {"agent", "--allow=receive", "--vmid=100"},
        {"agent", "--pool=data", "--vmid=100"},
        {"agent", "--allow=all", "--pool=data", "--vmid=100"},
        {"agent", "--allow=receive", "--pool=data", "--vmid=all"},
        {"agent", "--allow=receive", "--pool=-x", "--vmid=100"},
        {"agent", "--name=siteA"},
        {"agent", "--allow=receive", "--name=a b", "--pool=data", "--vmid=100"},
        {"agent", "--user=crossover"},
        {"agent", "--keyring=/k"}}) {
    CAPTURE(arguments.back());
    const auto parsed = parse(arguments);
    REQUIRE(std::holds_alternative<Answer>(parsed));
    CHECK(std::get<Answer>(parsed).exit_status == exit_usage);
  }
}

TEST_CASE("what is done with replicas where they are names them") {
  const auto points = std::get<Invocation>(parse({"points", "99100", "--json"}));
  CHECK(points.command == Command::points);
  CHECK(points.replica == 99100);
  CHECK(points.json);
  const auto recover = std::get<Invocation>(
      parse({"recover", "99100", "--point=crossover-x-20260101T000000Z", "--start", "--dry-run"}));
  CHECK(recover.command == Command::recover);
  CHECK(recover.replica == 99100);
  CHECK(recover.recover == RecoverOptions{"crossover-x-20260101T000000Z", true, true});
  const auto prune = std::get<Invocation>(parse({"prune", "all", "--keepremote=daily=7", "--jobname=x"}));
  CHECK(prune.command == Command::prune);
  CHECK(prune.replicas == "all");
  CHECK(prune.prune == PruneOptions{"daily=7", "x", false});
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"points"},
                                                {"points", "all"},
                                                {"points", "99100", "99101"},
                                                {"recover", "12"},
                                                {"recover"},
                                                {"recover", "99100", "--point="},
                                                {"recover", "99100", "--keepremote=1d"},
                                                {"prune"}}) {
    CAPTURE(fmt::format("{}", fmt::join(wrong, " ")));
    CHECK(std::get<Answer>(parse(wrong)).exit_status == exit_usage);
  }
}

TEST_CASE("a migration has its own options too, each described once, and nothing else has them") {
  MigrateOptions options;
  const auto& [mode, precopy_threshold, precopy_rounds, shutdown_timeout, force_stop, no_start, ha, drop_cdrom] =
      options;
  const std::set<const void*> members{
      &mode, &precopy_threshold, &precopy_rounds, &shutdown_timeout, &force_stop, &no_start, &ha, &drop_cdrom};
  std::set<const void*> listed;
  for (const MigrateOptionDescription& option : migrate_option_list()) {
    CAPTURE(option.name);
    std::visit([&](auto pointer) { CHECK(listed.insert(&(options.*pointer)).second); }, option.pointer);
    CHECK_FALSE(option.help.empty());
    CHECK(option.help.back() != '.');
    CHECK(std::holds_alternative<bool MigrateOptions::*>(option.pointer) == option.value.empty());
    const std::string word = fmt::format("--{}{}", option.name, option.value.empty() ? "" : "=7");
    const auto parsed = parse({"mirror", "--vmid=100", "--migrate", word});
    REQUIRE(std::holds_alternative<Invocation>(parsed));
    const Invocation& given = std::get<Invocation>(parsed);
    CHECK(given.command == Command::mirror);
    CHECK(given.migrate);
    MigrateOptions expected;
    if (const auto* flag = std::get_if<bool MigrateOptions::*>(&option.pointer)) {
      expected.** flag = true;
    } else {
      expected.*std::get<std::string MigrateOptions::*>(option.pointer) = "7";
    }
    CHECK(given.migration == expected);

    const auto without = parse({"mirror", "--vmid=100", word});
    REQUIRE(std::holds_alternative<Answer>(without));
    CHECK(std::get<Answer>(without).exit_status == exit_usage);
    CHECK(std::get<Answer>(without).to_stderr);
    CHECK(std::get<Answer>(without).text ==
          fmt::format("crossover: --{} goes with --migrate, and only that\n", option.name));
    for (const char* command : {"verify", "check"}) {
      CHECK(std::get<Answer>(parse({command, "--vmid=100", word})).exit_status == exit_usage);
    }
    CHECK(std::get<Answer>(parse({"mirror", "--help"})).text.find(fmt::format("--{} ", option.name)) !=
          std::string::npos);
  }
  CHECK(listed == members);
}

TEST_CASE("a run migrates if it is told to, and asks unless it is told not to") {
  const auto mirror = std::get<Invocation>(parse({"mirror", "--vmid=100"}));
  CHECK_FALSE(mirror.migrate);
  const auto asking = std::get<Invocation>(parse({"mirror", "--vmid=100:200", "--migrate", "--json"}));
  CHECK(asking.command == Command::mirror);
  CHECK(asking.migrate);
  CHECK_FALSE(asking.no_confirm);
  CHECK(asking.json);
  CHECK(asking.migration == MigrateOptions{});
  CHECK(asking.options.vmid == "100:200");
  const auto dry = std::get<Invocation>(parse({"mirror", "--vmid=100", "--migrate", "--noconfirm", "--dry-run"}));
  CHECK(dry.no_confirm);
  CHECK(dry.options.dry_run);
  for (const char* command : {"verify", "check"}) {
    for (const char* word : {"--migrate", "--noconfirm"}) {
      CHECK(std::get<Answer>(parse({command, "--vmid=100", word})).exit_status == exit_usage);
    }
  }
}

TEST_CASE("what a migration left is removed of one guest that is named") {
  const auto asking = std::get<Invocation>(parse({"cleanup-source", "100"}));
  CHECK(asking.command == Command::cleanup_source);
  CHECK(asking.replica == 100);
  CHECK_FALSE(asking.dry_run);
  CHECK_FALSE(asking.no_confirm);
  CHECK_FALSE(asking.json);
  CHECK(std::get<Invocation>(parse({"cleanup-source", "100", "--dry-run"})).dry_run);
  CHECK(std::get<Invocation>(parse({"cleanup-source", "100", "--noconfirm"})).no_confirm);
  CHECK(std::get<Invocation>(parse({"cleanup-source", "100", "--json"})).json);
  CHECK(asking.images.empty());
  CHECK(std::get<Invocation>(parse({"cleanup-source", "100", "--image=ssd/a", "--image", "ssd/b"})).images ==
        std::vector<std::string>{"ssd/a", "ssd/b"});
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"cleanup-source"},
                                                {"cleanup-source", "all"},
                                                {"cleanup-source", "12"},
                                                {"cleanup-source", "100", "101"},
                                                {"cleanup-source", "100,101"},
                                                {"cleanup-source", "100", "--migrate"},
                                                {"recover", "100", "--noconfirm"}}) {
    CAPTURE(fmt::format("{}", fmt::join(wrong, " ")));
    CHECK(std::get<Answer>(parse(wrong)).exit_status == exit_usage);
  }
}

TEST_CASE("a source is let in, taken out, or listed") {
  const auto allow =
      std::get<Invocation>(parse({"allow-source", "--name", "siteA", "--key=/k.pub", "--pool", "data,copy",
                                  "--vmid", "99000-99999", "--user", "crossover", "--dry-run"}));
  CHECK(allow.command == Command::allow_source);
  CHECK(allow.source_action == SourceAction::allow);
  CHECK(allow.allow_source ==
        AllowSourceOptions{"siteA", "/k.pub", "data,copy", "99000-99999", "crossover", false, true});
  const auto remove =
      std::get<Invocation>(parse({"allow-source", "--remove", "--name=siteA", "--dry-run", "--json"}));
  CHECK(remove.source_action == SourceAction::remove);
  CHECK(remove.allow_source.name == "siteA");
  CHECK(remove.allow_source.dry_run);
  CHECK(remove.json);
  CHECK(std::get<Invocation>(parse({"allow-source", "--list", "--json"})).source_action == SourceAction::list);
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"allow-source", "--remove"},
                                                {"allow-source", "--remove", "--list"},
                                                {"allow-source", "--remove", "--name=a", "--pool=data"},
                                                {"allow-source", "--remove", "--name=a", "--replace"},
                                                {"allow-source", "--list", "--name=a"},
                                                {"allow-source", "--list", "--dry-run"},
                                                {"allow-source", "--name"},
                                                {"allow-source", "siteA"}}) {
    CAPTURE(fmt::format("{}", fmt::join(wrong, " ")));
    CHECK(std::get<Answer>(parse(wrong)).exit_status == exit_usage);
  }
}

TEST_CASE("each option of allow-source is described once, and has its member") {
  AllowSourceOptions options;
  for (const AllowSourceOptionDescription& description : allow_source_option_list()) {
    CAPTURE(description.name);
    CHECK(description.help.find('.') != description.help.size() - 1);
    std::visit(
        [&](auto pointer) {
          auto& member = options.*pointer;
          if constexpr (std::is_same_v<std::decay_t<decltype(member)>, bool>) {
            CHECK_FALSE(std::exchange(member, true));
            CHECK(description.value.empty());
          } else if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::string>) {
            CHECK(member.empty());
            member = description.name;
            CHECK_FALSE(description.value.empty());
          }
        },
        description.pointer);
  }
  CHECK(options == AllowSourceOptions{"name", "key", "pool", "vmid", "user", true, true});
}

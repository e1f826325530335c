#include "command_line.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <sstream>
#include <string_view>

#include "crossover/byte_size.hpp"
#include "crossover/error.hpp"
#include "crossover/migrator.hpp"
#include "crossover/vmid.hpp"
#include "diff_command_line.hpp"
#include "exit_status.hpp"

namespace crossover::cli {

namespace {

template <typename Options>
void add_option(CLI::App& command, Options& options, const OptionDescriptionOf<Options>& description) {
  const std::string name = fmt::format("--{}", description.name);
  const std::string help(description.help);
  std::visit(
      [&](auto pointer) {
        auto& member = options.*pointer;
        if constexpr (std::is_same_v<std::decay_t<decltype(member)>, bool>) {
          command.add_flag(name, member, help);
        } else if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::string>) {
          CLI::Option* option = command.add_option(name, member, help);
          option->type_name(std::string(description.value));
          if (!member.empty()) option->capture_default_str();
        } else {
          // Each value is one argument: a rule may hold commas and begin with anything.
          command.add_option(name, member, help)
              ->type_name(std::string(description.value))
              ->expected(1)
              ->allow_extra_args(false)
              ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        }
      },
      description.pointer);
}

/// An agent that is restricted by half would be one that is not.
std::optional<Restriction> agent_restriction(const std::string& allow, const std::string& pools,
                                             const std::string& vmids, const std::string& name) {
  if (allow.empty() && pools.empty() && vmids.empty() && name.empty()) return std::nullopt;
  if (allow != "receive") {
    throw Error(ErrorCode::usage, "option", "--allow", "it is 'receive', with --pool and --vmid");
  }
  if (pools.empty() || vmids.empty()) {
    throw Error(ErrorCode::usage, "option", "--allow=receive", "it needs both --pool and --vmid");
  }
  return parse_restriction(pools, vmids, name);
}

/// Which of the three `allow-source` is to do. Throws Error{usage} for options that do not go with it.
SourceAction source_action(const CLI::App& command, bool remove, bool list) {
  if (!remove && !list) return SourceAction::allow;
  if (remove && list) throw Error(ErrorCode::usage, "option", "--list", "it does not go with --remove");
  const std::string given = list ? "--list" : "--remove";
  for (const AllowSourceOptionDescription& description : allow_source_option_list()) {
    const std::string name = fmt::format("--{}", description.name);
    if (command.count(name) == 0 || (remove && (name == "--name" || name == "--dry-run"))) continue;
    throw Error(ErrorCode::usage, "option", name, fmt::format("it does not go with {}", given));
  }
  if (remove && command.count("--name") == 0) {
    throw Error(ErrorCode::usage, "option", "--remove", "say with --name which source");
  }
  return remove ? SourceAction::remove : SourceAction::list;
}

}  // namespace

std::variant<Invocation, Answer> parse_command_line(int argc, const char* const* argv) {
  Invocation invocation;
  CLI::App app("Replicates Proxmox VE guests on Ceph from this cluster to another one.", "crossover");
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "print this help");

  CLI::App* mirror = app.add_subcommand("mirror", "bring the replicas of guests up to date");
  CLI::App* verify =
      app.add_subcommand("verify", "compare the replicas' recovery points with the source, by hashes");
  CLI::App* check = app.add_subcommand("check", "look at everything a mirror run would need; change nothing");
  CLI::App* points = app.add_subcommand("points", "list the recovery points of a replica, on the cluster it is on");
  CLI::App* recover = app.add_subcommand(
      "recover", "make a replica a guest of its own at its newest recovery point, on the cluster it is on");
  CLI::App* prune =
      app.add_subcommand("prune", "remove old recovery points of replicas, on the cluster they are on");
  CLI::App* cleanup =
      app.add_subcommand("cleanup-source", "destroy what is left of a guest on the cluster it was migrated from");
  std::string vmid;
  for (CLI::App* command : {points, recover}) {
    command->add_option("VMID", vmid, "the replica's VMID")->required();
  }
  cleanup->add_option("VMID", vmid, "the guest's VMID on this cluster")->required();
  cleanup->add_flag("--dry-run", invocation.dry_run, "print what would be removed and change nothing");
  cleanup
      ->add_option("--image", invocation.images,
                   "remove this image of the guest too, though it was not migrated; can be given several times")
      ->type_name("pool/image")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  prune->add_option("VMID", invocation.replicas, "the replicas' VMIDs, with commas between them, or all")
      ->required();
  for (const RecoverOptionDescription& description : recover_option_list())
    add_option(*recover, invocation.recover, description);
  for (const PruneOptionDescription& description : prune_option_list())
    add_option(*prune, invocation.prune, description);
  CLI::App* allow = app.add_subcommand(
      "allow-source", "on a node of the destination: let a source's ssh key send replicas, and do nothing else");
  bool remove_source = false;
  bool list_sources = false;
  for (const AllowSourceOptionDescription& description : allow_source_option_list())
    add_option(*allow, invocation.allow_source, description);
  allow->add_flag("--remove", remove_source, "take the source of this --name out again, with what was made for it");
  allow->add_flag("--list", list_sources, "list the sources that are let in");
  for (CLI::App* command : {points, recover, prune, cleanup, allow}) {
    command->add_flag("--json", invocation.json, "print the report as JSON, and nothing else, on standard output");
  }
  // These are parsed by parse_diff_command(), in the syntax of `rbd`; here they are for the help alone.
  for (const DiffCommand command : {DiffCommand::export_diff, DiffCommand::import_diff, DiffCommand::show_diff}) {
    app.add_subcommand(std::string(to_string(command)),
                       diff_purpose(command) + "\n  crossover " + diff_syntax(command))
        ->set_help_flag();
  }
  CLI::App* agent = app.add_subcommand(
      "agent", "serve a crossover on another host, on standard input and output; it is started through ssh");
  std::string agent_memory;
  agent->add_option("--memory", agent_memory, "how much content may be under way at once")
      ->type_name("bytes[K|M|G]");
  std::string agent_allow;
  std::string agent_pools;
  std::string agent_vmids;
  agent->add_option("--allow", agent_allow, "all that a client may do; for command=\"...\" in authorized_keys")
      ->type_name("receive");
  agent->add_option("--pool", agent_pools, "storages a client may send to, with --allow=receive")
      ->type_name("storage,...");
  agent->add_option("--vmid", agent_vmids, "VMIDs replicas may have, with --allow=receive")
      ->type_name("id[-id],...");
  std::string agent_max_image;
  agent->add_option("--max-image", agent_max_image, "how large an image may be, with --allow=receive; default 16T")
      ->type_name("bytes[K|M|G|T]");
  std::string agent_name;
  agent->add_option("--name", agent_name, "the source that may, for messages, with --allow=receive")
      ->type_name("name");
  agent->add_option("--user", invocation.agent.user, "cephx user for this cluster's own Ceph, without 'client.'")
      ->type_name("name");
  agent->add_option("--keyring", invocation.agent.keyring, "its keyring")->type_name("path");
  CLI::App* version_command = app.add_subcommand("version", "print the version");
  CLI::App* help = app.add_subcommand("help", "print help");
  for (const VerifyOptionDescription& description : verify_option_list())
    add_option(*verify, invocation.verify, description);
  mirror->add_flag("--migrate", invocation.migrate,
                   "move the guests: bring their replicas up to date, take them down here and start them there");
  for (const MigrateOptionDescription& description : migrate_option_list())
    add_option(*mirror, invocation.migration, description);
  for (CLI::App* command : {mirror, cleanup}) {
    command->add_flag("--noconfirm", invocation.no_confirm, "do not ask before a guest is taken down, or removed");
  }
  for (CLI::App* command : {mirror, verify, check}) {
    for (const OptionDescription& description : option_list())
      add_option(*command, invocation.options, description);
    command->add_flag("--json", invocation.json, "print the report as JSON, and nothing else, on standard output");
    command->add_flag("--debug", invocation.debug, "print each step as well");
  }

  // CLI11 would take the next argument as the value, so that `--jobname= --dry-run` were no dry run.
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1) {
      return Answer{fmt::format("crossover: {} has no value; give one, or leave the option out\n", argument), true,
                    exit_usage};
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& call) {
    std::ostringstream out;
    app.exit(call, out, out);
    return Answer{out.str()};
  } catch (const CLI::ParseError& error) {
    return Answer{fmt::format("crossover: {}; 'crossover help' lists commands and options\n", error.what()), true,
                  exit_usage};
  }
  if (*version_command) return Answer{fmt::format("crossover {}\n", version())};
  if (*help) {
    app.clear();  // or CLI11 would print the help of `help`
    return Answer{app.help("", CLI::AppFormatMode::All)};
  }
  if (*agent) {
    invocation.command = Command::agent;
    try {
      if (!agent_memory.empty()) invocation.agent.memory_bytes = parse_bytes("--memory", agent_memory);
      if (!agent_max_image.empty()) {
        invocation.agent.max_image_bytes = parse_bytes("--max-image", agent_max_image);
      }
      if (invocation.agent.user.empty() != invocation.agent.keyring.empty()) {
        throw Error(ErrorCode::usage, "option", "--user", "a cephx user and its --keyring are given together");
      }
      invocation.agent.restriction = agent_restriction(agent_allow, agent_pools, agent_vmids, agent_name);
    } catch (const Error& error) {
      return Answer{fmt::format("crossover: {}\n", error.what()), true, exit_usage};
    }
    return invocation;
  }
  if (*points || *recover || *cleanup) {
    invocation.command = *points ? Command::points : *recover ? Command::recover : Command::cleanup_source;
    try {
      invocation.replica = parse_vmid(*points ? "points" : *recover ? "recover" : "cleanup-source", vmid);
    } catch (const Error& error) {
      return Answer{fmt::format("crossover: {}\n", error.what()), true, exit_usage};
    }
    return invocation;
  }
  if (*allow) {
    invocation.command = Command::allow_source;
    try {
      invocation.source_action = source_action(*allow, remove_source, list_sources);
    } catch (const Error& error) {
      return Answer{fmt::format("crossover: {}\n", error.what()), true, exit_usage};
    }
    return invocation;
  }
  if (*prune) {
    invocation.command = Command::prune;
    return invocation;
  }
  if (!invocation.migrate) {
    for (const MigrateOptionDescription& description : migrate_option_list()) {
      const std::string name = fmt::format("--{}", description.name);
      if (mirror->count(name) == 0) continue;
      return Answer{fmt::format("crossover: {} goes with --migrate, and only that\n", name), true, exit_usage};
    }
  }
  invocation.command = *check ? Command::check : *verify ? Command::verify : Command::mirror;
  // A check without guests is about the two clusters and everything on the first.
  if (*check && invocation.options.vmid.empty() && invocation.options.tag.empty()) invocation.options.vmid = "all";
  return invocation;
}

}  // namespace crossover::cli

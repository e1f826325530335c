/// \file
/// What a user can ask for, and the one list that describes each option.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace crossover {

/// The options of a mirror run, as a user writes them. They are checked, all of them, before anything is touched.
/// Meanings, units and defaults are in option_list(), from which the command line and the Python module are made.
struct MirrorOptions {
  std::string vmid;
  std::string exclude_vmids;
  std::string tag;
  std::string prefix_id;
  std::string destination;
  std::string pool = "rbd";
  std::string keep_local = "0s";
  std::string keep_remote = "0s";
  std::vector<std::string> rewrite;
  std::string job_name;
  std::string ssh_cipher;
  std::string ssh = "auto";
  std::string transport = "auto";
  std::string destination_conf;
  std::string source_user;
  std::string source_keyring;
  std::string destination_user;
  std::string destination_keyring;
  std::string parallel = "4";
  std::string memory = "256M";
  std::string bandwidth_limit;
  std::string compress = "auto";
  std::string lock_wait = "60s";
  std::string freeze_timeout = "10s";
  std::string retries = "3";
  std::string stall_timeout = "5m";
  std::string no_agent = "pause";
  bool online = false;
  bool require_freeze = false;
  bool overwrite = false;
  bool adopt = false;
  bool discard_changes = false;
  bool fast_diff = false;
  bool reseed = false;
  bool all_disks = false;
  bool allow_left_out = false;
  bool keep_host_devices = false;
  bool no_lock = false;
  bool keep_source_lock = false;
  bool keep_destination_lock = false;
  bool accept_new_host_keys = false;
  bool dry_run = false;

  bool operator==(const MirrorOptions&) const = default;
};

/// What a comparison takes besides the options of a mirror run; described in verify_option_list().
struct VerifyOptions {
  std::string point;
  std::string sample;
  bool repair = false;

  bool operator==(const VerifyOptions&) const = default;
};

/// How a replica is recovered; described in recover_option_list().
struct RecoverOptions {
  std::string point;
  bool start = false;
  bool dry_run = false;

  bool operator==(const RecoverOptions&) const = default;
};

/// What stays of replicas where they are; described in prune_option_list().
struct PruneOptions {
  std::string keep_remote;
  std::string job_name;
  bool former_images = false;
  bool dry_run = false;

  bool operator==(const PruneOptions&) const = default;
};

/// How guests are migrated, besides the options of a mirror run; described in migrate_option_list().
struct MigrateOptions {
  std::string mode = "shutdown";
  std::string precopy_threshold;
  std::string precopy_rounds = "5";
  std::string shutdown_timeout = "60s";
  bool force_stop = false;
  bool no_start = false;
  bool ha = false;
  bool drop_cdrom = false;

  bool operator==(const MigrateOptions&) const = default;
};

/// Which source is let in to send replicas, and to where; described in allow_source_option_list().
struct AllowSourceOptions {
  std::string name;
  std::string key;
  std::string pool;
  std::string vmid;
  std::string user;
  bool replace = false;
  bool dry_run = false;

  bool operator==(const AllowSourceOptions&) const = default;
};

/// Where an option's value is kept: its type says how the option is written (a flag, one value, or several).
template <typename Options>
using OptionMember = std::variant<bool Options::*, std::string Options::*, std::vector<std::string> Options::*>;

/// One option, described once for every door of the library.
template <typename Options>
struct OptionDescriptionOf {
  std::string_view name;    ///< on the command line, without "--"; in Python the member's own name is used
  std::string_view member;  ///< the member's name in Options
  OptionMember<Options> pointer;
  std::string_view value;  ///< what stands for the value in help, such as "n[s|m|h|d|w]"; empty for flags
  std::string_view help;   ///< one sentence, without a full stop
};
using OptionDescription = OptionDescriptionOf<MirrorOptions>;
using VerifyOptionDescription = OptionDescriptionOf<VerifyOptions>;
using RecoverOptionDescription = OptionDescriptionOf<RecoverOptions>;
using PruneOptionDescription = OptionDescriptionOf<PruneOptions>;
using MigrateOptionDescription = OptionDescriptionOf<MigrateOptions>;
using AllowSourceOptionDescription = OptionDescriptionOf<AllowSourceOptions>;

/// Every member of MirrorOptions, in the order help shows them.
std::span<const OptionDescription> option_list();

/// Every member of VerifyOptions, in the order help shows them.
std::span<const VerifyOptionDescription> verify_option_list();

/// Every member of RecoverOptions, in the order help shows them.
std::span<const RecoverOptionDescription> recover_option_list();

/// Every member of PruneOptions, in the order help shows them.
std::span<const PruneOptionDescription> prune_option_list();

/// Every member of MigrateOptions, in the order help shows them.
std::span<const MigrateOptionDescription> migrate_option_list();

/// Every member of AllowSourceOptions, in the order help shows them.
std::span<const AllowSourceOptionDescription> allow_source_option_list();

}  // namespace crossover

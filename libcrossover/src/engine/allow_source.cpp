#include "engine/allow_source.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/try_storage.hpp"
#include "engine/unexpected_error.hpp"
#include "plan/guest_disks.hpp"

namespace crossover {

namespace {

/// How often a file that somebody else changes meanwhile is read again.
constexpr int attempts = 5;
/// `pvecm updatecerts` reads no more of it, and a node that joins would stop there.
constexpr std::size_t max_keys_bytes = std::size_t{128} << 10;
constexpr std::string_view shared_folder = "/etc/pve/";

/// What a human has to decide about; the text begins with its name.
struct Refused {
  std::string text;
};

Error usage(const char* option, std::string why) {
  return {ErrorCode::usage, "option", option, std::move(why)};
}

AllowSourceReport begin_report(const std::string& name, bool dry_run, const std::string& authorized_keys,
                               TextFiles& files) {
  AllowSourceReport report;
  report.name = name;
  report.file = files.resolve(authorized_keys);
  report.shared = report.file.starts_with(shared_folder);
  report.dry_run = dry_run;
  return report;
}

void end_report(AllowSourceReport& report) {
  report.outcome = report.dry_run ? Outcome::planned : Outcome::ok;
}

AllowSourceReport refused(AllowSourceReport report, const Refused& refusal) {
  report.outcome = Outcome::conflict;
  report.error_code = ErrorCode::conflict;
  report.error = refusal.text;
  report.changed = false;
  report.line.clear();
  report.steps.clear();
  return report;
}

bool has_line(const std::string& bytes, const std::string& line) {
  return fmt::format("\n{}\n", bytes).find(fmt::format("\n{}\n", line)) != std::string::npos;
}

/// Changes authorized_keys by what `plan` makes of it, or only says what it would be. Nobody else's change is lost
/// to it: what is replaced is what the plan was made from. Afterwards the line `is_wanted` to be there, or not.
template <typename Plan>
KeysChange change_keys(AllowSourceReport& report, TextFiles& files, bool is_wanted, const Plan& plan) {
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const std::optional<std::string> present = files.read(report.file);
    const KeysChange change = plan(present.value_or(std::string()));
    if (!change.conflict.empty()) throw Refused{change.conflict};
    report.line = change.line;
    report.changed = change.changed;
    if (!change.changed) return change;
    if (change.bytes.size() > max_keys_bytes && change.bytes.size() > present.value_or(std::string()).size()) {
      throw Error(
          ErrorCode::unsupported, "write", report.file,
          "it would be longer than the 128 KiB that Proxmox VE reads of it; take lines out that nobody needs");
    }
    if (report.dry_run) return change;
    if (!files.replace(report.file, present, change.bytes)) continue;
    // Whoever read it before and wrote it after has not seen the change.
    if (has_line(files.read(report.file).value_or(std::string()), change.line) == is_wanted) return change;
  }
  throw Error(ErrorCode::conflict, "write", report.file, "somebody else changes it all the time; try again later",
              true);
}

/// The user that sources have, with its keyring, as it is found or made.
class SourceUser {
 public:
  SourceUser(std::string name, const AllowSourcePorts& ports, const std::stop_token& stop)
      : name_(std::move(name)), ports_(ports), stop_(stop), path_(source_keyring_path(name_)) {}

  /// Finds that the user may do what is wanted, or makes it. Throws Refused if somebody has to decide.
  void require(const CephCaps& wanted, AllowSourceReport& report) {
    const std::optional<std::string> file = ports_.files.read(path_);
    const SourceKeyring keyring = parse_source_keyring(file.value_or(std::string()), name_);
    const std::optional<CephUserState> user = ports_.users.find(name_, stop_);
    if (!user) {
      if (file && !keyring.made_here) {
        throw Refused{
            fmt::format("keyring taken: {} is there, but there is no client.{}; move it away, or make the user "
                        "it is of",
                        path_, name_)};
      }
      report.steps.push_back(fmt::format("make cephx user client.{} with mon '{}', osd '{}', and {}", name_,
                                         wanted.at("mon"), wanted.at("osd"), path_));
      if (!report.dry_run) make(wanted, file);
      return;
    }
    if (!missing_caps(user->caps, wanted).empty()) throw Refused{lacking(*user, wanted)};
    if (!file) {
      // Nothing says who made the user: it is not ours to remove.
      report.steps.push_back(fmt::format("write the keyring of client.{}, which is there, to {}", name_, path_));
      if (!report.dry_run) write(std::nullopt, render_source_keyring(name_, user->key, false));
    } else if (keyring.key != user->key) {
      throw Refused{
          fmt::format("keyring taken: {} has another key than client.{} has; 'ceph auth get client.{} -o {}' "
                      "replaces it",
                      path_, name_, name_, path_)};
    }
  }

  /// Undoes what require() made, on the way out of what failed; a run that was cancelled too.
  void undo(const std::string& authorized_keys_path) noexcept {
    if (!std::exchange(made_, false)) return;
    try {
      AllowSourceReport unsaid;
      release(ports_.files.read(authorized_keys_path).value_or(std::string()), unsaid, {});
    } catch (...) {  // NOLINT(bugprone-empty-catch): what is on its way out tells more, and the next run finds both
    }
  }

  /// Removes user and keyring if they were made for sources and no source has them any more, or says why not.
  void release(const std::string& authorized_keys, AllowSourceReport& report, const std::stop_token& stop) {
    if (uses_ceph_user(authorized_keys, name_)) {
      report.steps.push_back(fmt::format("leave cephx user client.{}, which another source has", name_));
      return;
    }
    const std::optional<CephUserState> user = ports_.users.find(name_, stop);
    const std::optional<std::string> file = ports_.files.read(path_);
    const SourceKeyring keyring = parse_source_keyring(file.value_or(std::string()), name_);
    if (!user && !file) return;
    if (!keyring.made_here || (user && keyring.key != user->key)) {
      report.steps.push_back(fmt::format("leave cephx user client.{}, which this command has not made", name_));
      return;
    }
    for (const RbdStorage& storage : ports_.cluster().storages.rbd_storages()) {
      if (storage.username != name_) continue;
      report.steps.push_back(fmt::format("leave cephx user client.{}, which storage {} has", name_, storage.id));
      return;
    }
    report.steps.push_back(fmt::format("remove cephx user client.{} and {}", name_, path_));
    if (report.dry_run) return;
    // The keyring last: with it the next run knows whose the user was.
    if (user) ports_.users.remove(name_, stop);
    ports_.files.remove(path_);
  }

  [[nodiscard]] CephUser as_inventory() const { return {name_, path_}; }

 private:
  void make(const CephCaps& wanted, const std::optional<std::string>& file) {
    const CephUserState user = ports_.users.create(name_, wanted, stop_);
    try {
      write(file, render_source_keyring(name_, user.key, true));
    } catch (...) {
      // Without the keyring nothing tells that it is ours.
      ports_.users.remove(name_, {});
      throw;
    }
    made_ = true;
  }

  void write(const std::optional<std::string>& expected, const std::string& bytes) {
    if (!ports_.files.replace(path_, expected, bytes)) {
      throw Error(ErrorCode::conflict, "write", path_, "somebody else writes it at the same time; try again", true);
    }
  }

  [[nodiscard]] std::string lacking(const CephUserState& user, const CephCaps& wanted) const {
    std::vector<std::string> clauses;
    for (const auto& [service, missing] : missing_caps(user.caps, wanted)) {
      for (const std::string& clause : missing) clauses.push_back(fmt::format("{} '{}'", service, clause));
    }
    return fmt::format("cephx user has less: client.{} is there and lacks {}; {} gives it that besides what it has",
                       name_, fmt::join(clauses, ", "), caps_command(name_, widened_caps(user.caps, wanted)));
  }

  std::string name_;
  const AllowSourcePorts& ports_;
  const std::stop_token& stop_;
  std::string path_;
  bool made_ = false;
};

/// The storages a source is to have. Throws Error{not_found} for one that is not there, or not RBD's.
std::vector<RbdStorage> storages_of(const Restriction& restriction, const ClusterInventory& cluster) {
  std::vector<RbdStorage> storages;
  for (const std::string& id : restriction.pools) {
    const auto storage = cluster.storages.rbd(id);
    if (!storage) {
      throw Error(ErrorCode::not_found, "find storage", id,
                  cluster.storages.find(id) == nullptr ? "/etc/pve/storage.cfg has none of that id"
                                                       : "it is not on Ceph (type rbd)");
    }
    storages.push_back(*storage);
  }
  return storages;
}

/// The pools of the cluster's own Ceph: those that a cephx user of its own is for.
std::set<std::string> own_pools(const std::vector<RbdStorage>& storages) {
  std::set<std::string> pools;
  for (const RbdStorage& storage : storages) {
    if (storage.external) continue;
    pools.insert(storage.pool);
    if (!storage.data_pool.empty()) pools.insert(storage.data_pool);
  }
  return pools;
}

void try_storages(const std::vector<RbdStorage>& storages, const ClusterInventory& cluster,
                  AllowSourceReport& report, const AllowSourcePorts& ports, const std::stop_token& stop) {
  for (const RbdStorage& storage : storages) {
    const CephAccess access = storage_access(cluster, storage);
    report.steps.push_back(
        fmt::format("try storage {} as client.{}: make, write and remove an image", storage.id, access.user));
    if (report.dry_run) continue;
    try {
      try_storage(ports.images.open(access), storage, ports.random(), stop);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("try storage {} as", storage.id), fmt::format("client.{}", access.user),
                  error.what(), error.retryable(), error.error_number());
    }
  }
}

/// Lets go of the user that a line had which is there no more. What fails is in the report: the source is out,
/// which is what counts.
void release_user(AllowSourceReport& report, const KeysChange& change, const AllowSourcePorts& ports,
                  const std::stop_token& stop) {
  const std::string user = change.before->command.user;
  if (user.empty() || change.before->command.keyring != source_keyring_path(user)) return;
  try {
    SourceUser(user, ports, stop).release(change.bytes, report, stop);
  } catch (...) {
    const Error error = failure_at_hand();
    report.outcome = Outcome::failed;
    report.error_code = error.code();
    report.error = fmt::format("{} is written, but what its line had before may be left of client.{}: {}",
                               report.file, user, error.what());
    report.left_to_do.push_back(fmt::format("ceph auth del client.{}; rm {}", user, source_keyring_path(user)));
  }
}

AllowedSource describe(const AgentLine& line) {
  AllowedSource source;
  source.line = line.number;
  source.name = line.command.restriction.name;
  source.storages.assign(line.command.restriction.pools.begin(), line.command.restriction.pools.end());
  source.vmids = to_string(line.command.restriction.vmids);
  source.user = line.command.user;
  source.key_type = line.type;
  if (const auto key = parse_key(line.type, line.base64)) source.fingerprint = fingerprint(*key);
  source.restricted = line.restricted;
  source.unreadable = line.unreadable;
  return source;
}

}  // namespace

AllowSourceRequest parse_options(const AllowSourceOptions& options, TextFiles& files) {
  if (options.name.empty()) throw usage("--name", "give the source a name");
  if (options.key.empty()) throw usage("--key", "give the file with the source's public key");
  if (options.pool.empty()) throw usage("--pool", "give the storages it may send to");
  if (options.vmid.empty()) throw usage("--vmid", "give the VMIDs its replicas may have");
  AllowSourceRequest request;
  request.replace = options.replace;
  request.dry_run = options.dry_run;
  request.command.restriction = parse_restriction(options.pool, options.vmid, options.name);
  if (!options.user.empty()) {
    if (!is_ceph_user_name(options.user)) {
      throw usage("--user", "it is letters, digits, '.', '-' and '_', with a letter or digit first and last");
    }
    if (options.user.starts_with("client.")) throw usage("--user", "give it without 'client.'");
    if (options.user == "admin") throw usage("--user", "client.admin may do everything; give another, or none");
    request.command.user = options.user;
    request.command.keyring = source_keyring_path(options.user);
  }
  const std::optional<std::string> bytes = files.read(options.key);
  if (!bytes) throw usage("--key", fmt::format("there is no file {}", options.key));
  request.key = parse_public_key_file(*bytes, options.key);
  return request;
}

AllowSourceReport allow_source(const AllowSourceRequest& request, const std::string& authorized_keys,
                               const AllowSourcePorts& ports, const std::stop_token& stop) {
  const AgentCommand& command = request.command;
  AllowSourceReport report = begin_report(command.restriction.name, request.dry_run, authorized_keys, ports.files);
  ClusterInventory cluster = ports.cluster();
  const std::vector<RbdStorage> storages = storages_of(command.restriction, cluster);
  const auto plan = [&](const std::string& bytes) {
    return plan_allow(bytes, command, request.key, request.replace, cluster.storages, report.file);
  };
  std::optional<SourceUser> user;
  KeysChange change;
  try {
    // What only authorized_keys can say no to is found before anything is made.
    const std::string conflict = plan(ports.files.read(report.file).value_or(std::string())).conflict;
    if (!conflict.empty()) throw Refused{conflict};
    if (!command.user.empty()) {
      const std::set<std::string> pools = own_pools(storages);
      if (pools.empty()) {
        throw usage("--user", "it is for this cluster's own Ceph, and all of these storages are on another one");
      }
      user.emplace(command.user, ports, stop);
      user->require(destination_caps(pools), report);
      cluster.ceph_user = user->as_inventory();
    }
    try_storages(storages, cluster, report, ports, stop);
    if (stop.stop_requested()) throw Cancelled{};
    change = change_keys(report, ports.files, true, plan);
  } catch (const Refused& refusal) {
    if (user) user->undo(report.file);
    return refused(std::move(report), refusal);
  } catch (...) {
    if (user) user->undo(report.file);
    throw;
  }
  end_report(report);
  if (change.changed && change.before && change.before->command.user != command.user) {
    release_user(report, change, ports, stop);
  }
  return report;
}

AllowSourceReport remove_source(const std::string& name, bool dry_run, const std::string& authorized_keys,
                                const AllowSourcePorts& ports, const std::stop_token& stop) {
  AllowSourceReport report = begin_report(name, dry_run, authorized_keys, ports.files);
  KeysChange change;
  try {
    change = change_keys(report, ports.files, false,
                         [&](const std::string& bytes) { return plan_remove(bytes, name, report.file); });
  } catch (const Refused& refusal) {
    return refused(std::move(report), refusal);
  }
  end_report(report);
  release_user(report, change, ports, stop);
  return report;
}

AllowedSourceList list_sources(const std::string& authorized_keys, TextFiles& files) {
  AllowedSourceList list;
  list.file = files.resolve(authorized_keys);
  list.shared = list.file.starts_with(shared_folder);
  for (const AgentLine& line : agent_lines(files.read(list.file).value_or(std::string()))) {
    list.sources.push_back(describe(line));
  }
  return list;
}

}  // namespace crossover

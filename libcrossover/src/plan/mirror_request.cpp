#include "plan/mirror_request.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "crossover/byte_size.hpp"
#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"
#include "model/text.hpp"

namespace crossover {

namespace {

// A transfer needs some blocks under way on each side to go on at all.
constexpr std::uint64_t min_transfer_bytes = 16U << 20;
// Slower than that, a connection that works cannot be told from one that hangs.
constexpr std::uint64_t min_bandwidth = 16U << 10;
constexpr std::uint64_t block_bytes = 4U << 20;  // what moves at once

/// Storage ids as PVE allows them; anything else cannot exist and would only confuse later messages.
void check_storage_id(const std::string& id) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (id.empty() || id.find_first_not_of(allowed) != std::string::npos) {
    throw Error(ErrorCode::usage, "option", "--pool",
                fmt::format("'{}' is no storage id; give one that 'pvesm status' on the destination lists", id));
  }
}

/// Readers of lists and rules do not know which option they read.
template <typename Read>
auto read_option(const char* option, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(error.code(), "option", option, error.what());
  }
}

void check_word(const char* option, const std::string& word, std::initializer_list<const char*> allowed) {
  if (std::find(allowed.begin(), allowed.end(), word) != allowed.end()) return;
  throw Error(ErrorCode::usage, "option", option,
              fmt::format("'{}' is none of {}", word, fmt::join(allowed, ", ")));
}

/// A key that is searched for somewhere could be another one than was meant, and a path without a user would be
/// tried as everybody.
std::optional<CephUser> ceph_user(const char* side, const std::string& name, const std::string& keyring) {
  if (name.empty() && keyring.empty()) return std::nullopt;
  const std::string option = fmt::format("--{}-{}", side, name.empty() ? "user" : "keyring");
  if (name.empty() || keyring.empty()) {
    throw Error(ErrorCode::usage, "option", option, "a cephx user and its keyring are given together");
  }
  if (name.starts_with("client.")) {
    throw Error(ErrorCode::usage, "option", fmt::format("--{}-user", side),
                fmt::format("'{}' is given without 'client.'", name));
  }
  if (!keyring.starts_with('/')) {
    throw Error(ErrorCode::usage, "option", fmt::format("--{}-keyring", side), "it is no absolute path");
  }
  return CephUser{name, keyring};
}

std::size_t parallel_count(const std::string& text) {
  constexpr std::uint64_t most = 64;
  const auto count = text::all_digits(text) ? text::to_uint64(text) : std::nullopt;
  if (!count || *count < 1 || *count > most) {
    throw Error(ErrorCode::usage, "option", "--parallel",
                fmt::format("'{}' is no number from 1 to {}", text, most));
  }
  return static_cast<std::size_t>(*count);
}

std::size_t retry_count(const std::string& text) {
  constexpr std::uint64_t most = 1000;
  const auto count = text::all_digits(text) ? text::to_uint64(text) : std::nullopt;
  if (!count || *count > most) {
    throw Error(ErrorCode::usage, "option", "--retries", fmt::format("'{}' is no number from 0 to {}", text, most));
  }
  return static_cast<std::size_t>(*count);
}

/// Where --bwlimit makes it slow, a transfer that waits for its turn and then for a block to pass does not stand still.
std::chrono::seconds stall_timeout(const MirrorOptions& options, const MirrorRequest& request) {
  const auto asked = std::chrono::seconds(parse_keep_window("--stall-timeout", options.stall_timeout).length);
  if (asked.count() == 0 || request.bandwidth_limit == 0) return asked;
  return std::max(asked, std::chrono::seconds(2 * request.parallel * block_bytes / request.bandwidth_limit));
}

NoAgent no_agent_policy(const MirrorOptions& options) {
  const std::string& word = options.no_agent;
  check_word("--no-agent", word, {"pause", "crash", "fail"});
  if (options.require_freeze && word == "crash") {
    throw Error(ErrorCode::usage, "option", "--require-freeze",
                "--no-agent=crash says the opposite; give one of them");
  }
  if (options.require_freeze || word == "fail") return NoAgent::fail;
  return word == "crash" ? NoAgent::crash : NoAgent::pause;
}

std::chrono::seconds positive_duration(std::string_view option, const std::string& text) {
  const std::chrono::seconds length = parse_keep_window(option, text).length;
  if (length.count() == 0)
    throw Error(ErrorCode::usage, "option", std::string(option), "it has to be more than 0s");
  return length;
}

}  // namespace

MirrorRequest parse_options(const MirrorOptions& options) {
  MirrorRequest request;
  request.options = options;
  if (options.vmid.empty() && options.tag.empty()) {
    throw Error(ErrorCode::usage, "option", "--vmid", "it is missing: give VMIDs, such as 100,101:201, or 'all'");
  }
  request.vmids = options.vmid.empty() ? VmidSelection{.all = true}
                                       : read_option("--vmid", [&] { return parse_vmid_list(options.vmid); });
  request.excluded = read_option("--excludevmids", [&] { return parse_vmid_exclusions(options.exclude_vmids); });
  request.prefix = options.prefix_id;
  if (!request.prefix.empty())
    (void)read_option("--prefixid", [&] { return prefixed_vmid(request.prefix, min_vmid); });
  request.tag = options.tag;
  if (options.destination.empty()) {
    throw Error(ErrorCode::usage, "option", "--destination",
                "it is missing: name a node of the destination cluster");
  }
  request.destination = options.destination;
  check_storage_id(options.pool);
  request.pool = options.pool;
  check_word("--ssh", options.ssh, {"auto", "libssh", "openssh"});
  check_word("--transport", options.transport, {"auto", "agent", "rbd", "direct"});
  if ((options.transport == "direct") == options.destination_conf.empty()) {
    throw Error(ErrorCode::usage, "option", "--destination-conf", "--transport=direct goes with it, and only that");
  }
  request.source_user = ceph_user("source", options.source_user, options.source_keyring);
  request.destination_user = ceph_user("destination", options.destination_user, options.destination_keyring);
  check_word("--compress", options.compress, {"auto", "zstd", "none"});
  request.keep_local = parse_retention("--keeplocal", options.keep_local);
  request.keep_remote = parse_retention("--keepremote", options.keep_remote);
  for (const std::string& rule : options.rewrite) {
    request.rewrite.push_back(read_option("--rewrite", [&] { return RewriteRule::parse(rule); }));
  }
  request.job_name = options.job_name;
  request.job_label = normalize_job(options.job_name);
  request.lock_wait = parse_keep_window("--lock-wait", options.lock_wait).length;
  request.parallel = parallel_count(options.parallel);
  request.memory_bytes = parse_bytes("--memory", options.memory);
  if (request.memory_bytes / request.parallel < min_transfer_bytes) {
    throw Error(ErrorCode::usage, "option", "--memory",
                fmt::format("{} transfers at once need at least {}", request.parallel,
                            format_bytes(request.parallel * min_transfer_bytes)));
  }
  if (!options.bandwidth_limit.empty()) {
    request.bandwidth_limit = parse_bytes("--bwlimit", options.bandwidth_limit);
    if (request.bandwidth_limit < min_bandwidth) {
      throw Error(ErrorCode::usage, "option", "--bwlimit",
                  fmt::format("it is in bytes a second, at least {}", format_bytes(min_bandwidth)));
    }
  }
  if (options.adopt && options.reseed) {
    throw Error(ErrorCode::usage, "option", "--adopt",
                "it takes the old replica over and --reseed replaces it: give one");
  }
  request.retries = retry_count(options.retries);
  request.stall_timeout = stall_timeout(options, request);
  request.freeze_timeout = positive_duration("--freeze-timeout", options.freeze_timeout);
  request.no_agent = no_agent_policy(options);
  return request;
}

}  // namespace crossover

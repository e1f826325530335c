#include "plan/mirror_request.hpp"

#include <fmt/format.h>

#include "crossover/error.hpp"
#include "crossover/snapshot_name.hpp"

namespace crossover {

namespace {

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
  if (options.transport != "auto" && options.transport != "agent" && options.transport != "rbd") {
    throw Error(ErrorCode::usage, "option", "--transport",
                fmt::format("'{}' is none of auto, agent and rbd", options.transport));
  }
  request.keep_local.window = parse_keep_window("--keeplocal", options.keep_local);
  request.keep_remote.window = parse_keep_window("--keepremote", options.keep_remote);
  for (const std::string& rule : options.rewrite) {
    request.rewrite.push_back(read_option("--rewrite", [&] { return RewriteRule::parse(rule); }));
  }
  request.job_name = options.job_name;
  request.job_label = normalize_job(options.job_name);
  request.lock_wait = parse_keep_window("--lock-wait", options.lock_wait).length;
  request.freeze_timeout = positive_duration("--freeze-timeout", options.freeze_timeout);
  return request;
}

}  // namespace crossover

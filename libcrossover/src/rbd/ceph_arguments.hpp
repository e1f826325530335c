/// \file
/// What of a command line of Ceph's has to be known before librados is asked to read the rest: it takes these when
/// a connection is created.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/image.hpp"

namespace crossover::rbd {

struct EarlyArguments {
  std::optional<std::string> user;  ///< without "client."
  std::optional<std::string> cluster_name;
  std::optional<std::string> conf;
  std::vector<std::string> rest;
};

/// Takes --id, --user, --name (-n), --cluster and --conf (-c) out of some words, up to a "--"; the last of several
/// counts. Throws Error (usage) as Ceph's commands exit: 1 for a value that is missing or no name, EACCES for a
/// name that no client has.
EarlyArguments take_early_arguments(const std::vector<std::string>& words);

/// Fills what is empty of `access.user`, `access.cluster_name` and `access.conf` from the words of CEPH_ARGS.
void apply_early_arguments(CephAccess& access, std::string_view ceph_args);

}  // namespace crossover::rbd

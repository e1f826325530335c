/// \file
/// What of CEPH_ARGS has to be known before librados is asked to read it.
#pragma once

#include <string>
#include <string_view>

#include "crossover/image.hpp"

namespace crossover::rbd {

/// Fills what is empty of `access.user`, `access.cluster_name` and `access.conf` from the words of CEPH_ARGS (--id,
/// -n/--name, --cluster, -c/--conf): librados takes these when a connection is created and skips them afterwards.
void apply_early_arguments(CephAccess& access, std::string_view ceph_args);

}  // namespace crossover::rbd

/// \file
/// How `rbd` and `ceph` are called.
#pragma once

#include <string>
#include <vector>

#include "crossover/image.hpp"

namespace crossover::rbd {

/// Options that lead to the cluster and name the user, as Proxmox VE's storage plugin gives them.
std::vector<std::string> access_options(const CephAccess& access);

/// `rbd` with everything before the operation.
std::vector<std::string> rbd_command(const CephAccess& access, const ImageSpec& image);

/// `ceph` with everything before the operation.
std::vector<std::string> ceph_command(const CephAccess& access);

}  // namespace crossover::rbd

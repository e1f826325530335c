/// \file
/// Words of a command line that are Ceph's configuration, read by librados.
#pragma once

#include <rados/librados.h>

#include <string>
#include <vector>

namespace crossover::rbd {

struct PartedWords {
  std::vector<std::string> taken;
  std::vector<std::string> rest;
};

/// Configures a connection, before it is made, with the options among some words, as far as a "--". Throws Error
/// (usage, EINVAL) for a value that Ceph cannot read; librados has said on standard error which.
PartedWords configure_with(rados_t cluster, const std::vector<std::string>& words);

}  // namespace crossover::rbd

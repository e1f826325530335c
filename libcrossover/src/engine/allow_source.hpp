/// \file
/// Letting a source in to send replicas, and taking that back; see crossover/allowed_sources.hpp.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "crossover/allowed_sources.hpp"
#include "engine/ceph_users.hpp"
#include "engine/ports.hpp"
#include "engine/text_files.hpp"
#include "plan/allowed_source.hpp"
#include "plan/inventory.hpp"

namespace crossover {

/// What options say, read and checked.
struct AllowSourceRequest {
  AgentCommand command;
  PublicKey key;
  bool replace = false;
  bool dry_run = false;
};

/// Throws Error{usage} for options that make no sense, and what the file of the key does not say.
AllowSourceRequest parse_options(const AllowSourceOptions& options, TextFiles& files);

/// What the work needs of the world.
struct AllowSourcePorts {
  TextFiles& files;
  CephUsers& users;
  ImageStores& images;
  std::function<ClusterInventory()> cluster;  ///< its storages and their files
  std::function<std::uint64_t()> random;
};

/// `authorized_keys` is the path by which sshd reads root's.
AllowSourceReport allow_source(const AllowSourceRequest& request, const std::string& authorized_keys,
                               const AllowSourcePorts& ports, const std::stop_token& stop);
AllowSourceReport remove_source(const std::string& name, bool dry_run, const std::string& authorized_keys,
                                const AllowSourcePorts& ports, const std::stop_token& stop);
AllowedSourceList list_sources(const std::string& authorized_keys, TextFiles& files);

}  // namespace crossover

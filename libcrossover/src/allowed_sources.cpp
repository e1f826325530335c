#include "crossover/allowed_sources.hpp"

#include <cstdint>
#include <random>

#include "connect.hpp"
#include "engine/allow_source.hpp"
#include "pve/node_files.hpp"
#include "pve/storage_files.hpp"
#include "rbd/ceph_users.hpp"
#include "ssh/local_shell.hpp"

namespace crossover {

namespace {

/// Proxmox VE links it to /etc/pve/priv/authorized_keys.
constexpr const char* roots_authorized_keys = "/root/.ssh/authorized_keys";

/// Calls `action` with this node's files and users, and the images of its cluster.
template <typename Action>
auto with_node(const Action& action) {
  NodeFiles files;
  LocalShell shell;
  CephCommandUsers users(shell);
  const std::unique_ptr<LocalConnection> here = connect_here();
  return action(AllowSourcePorts{files, users, here->images(), read_storage_files, [] {
                                   std::random_device random;
                                   return std::uint64_t{random()} << 32 | random();
                                 }});
}

}  // namespace

AllowSourceReport AllowedSources::allow(const AllowSourceOptions& options, std::stop_token stop) {
  return with_node([&](const AllowSourcePorts& ports) {
    return allow_source(parse_options(options, ports.files), roots_authorized_keys, ports, stop);
  });
}

AllowSourceReport AllowedSources::remove(const std::string& name, bool dry_run, std::stop_token stop) {
  if (!is_source_name(name)) {
    throw Error(ErrorCode::usage, "option", "--name", "give the name of the source that is to be taken out");
  }
  return with_node(
      [&](const AllowSourcePorts& ports) { return remove_source(name, dry_run, roots_authorized_keys, ports, stop); });
}

AllowedSourceList AllowedSources::list() {
  NodeFiles files;
  return list_sources(roots_authorized_keys, files);
}

}  // namespace crossover

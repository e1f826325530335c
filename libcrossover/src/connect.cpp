// Turns options into real adapters; the only file that knows all of them.
#include "connect.hpp"

#include <map>
#include <mutex>

#include "pve/pve_cluster.hpp"
#include "rbd/librbd_store.hpp"
#include "rbd/rbd_command_store.hpp"
#include "ssh/local_shell.hpp"
#include "ssh/ssh_shell.hpp"

namespace crossover {

namespace {

/// Stores made by `make`, one for each way into a cluster.
class StoreCache final : public ImageStores {
 public:
  using Make = std::function<std::unique_ptr<ImageStore>(const CephAccess&)>;

  explicit StoreCache(Make make) : make_(std::move(make)) {}

  ImageStore& open(const CephAccess& access) override {
    const std::scoped_lock lock(mutex_);
    std::unique_ptr<ImageStore>& store = stores_[access];
    if (!store) store = make_(access);
    return *store;
  }

 private:
  Make make_;
  std::mutex mutex_;
  std::map<CephAccess, std::unique_ptr<ImageStore>> stores_;
};

class SshConnection final : public Connection {
 public:
  explicit SshConnection(const MirrorRequest& request)
      : destination_shell_(std::make_shared<SshShell>(entry_host(request))),
        source_cluster_(source_shell_, [&request](const NodeState& node) { return node_shell(request, node); }),
        destination_cluster_(*destination_shell_,
                             [&request](const NodeState& node) { return node_shell(request, node); }),
        source_stores_([](const CephAccess& access) { return std::make_unique<LibrbdStore>(access); }),
        destination_stores_([this](const CephAccess& access) {
          return std::make_unique<RbdCommandStore>(destination_shell_, access);
        }) {}

  Side source() override { return {source_cluster_, source_stores_}; }
  Side destination() override { return {destination_cluster_, destination_stores_}; }

 private:
  /// The host as the administrator names it, with what their ssh configuration says of it.
  static SshHost entry_host(const MirrorRequest& request) {
    SshHost host;
    host.name = request.destination;
    host.port = 0;
    host.ciphers = request.options.ssh_cipher;
    host.accept_new_host_keys = request.options.accept_new_host_keys;
    return host;
  }

  /// Another node of a cluster: at the address the cluster has for it, with the key the cluster has for its name.
  static std::unique_ptr<Shell> node_shell(const MirrorRequest& request, const NodeState& node) {
    SshHost host;
    host.name = node.name;
    host.address = node.address;
    host.known_hosts_text = node.known_hosts;
    host.ciphers = request.options.ssh_cipher;
    host.accept_new_host_keys = request.options.accept_new_host_keys;
    return std::make_unique<SshShell>(std::move(host));
  }

  LocalShell source_shell_;
  std::shared_ptr<SshShell> destination_shell_;
  PveCluster source_cluster_;
  PveCluster destination_cluster_;
  StoreCache source_stores_;
  StoreCache destination_stores_;
};

}  // namespace

std::unique_ptr<Connection> connect(const MirrorRequest& request) {
  return std::make_unique<SshConnection>(request);
}

}  // namespace crossover

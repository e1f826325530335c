// Turns options into real adapters; the only file that knows all of them.
#include "connect.hpp"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <utility>

#include "agent/agent_hypervisor.hpp"
#include "agent/agent_store.hpp"
#include "agent/connection_pool.hpp"
#include "agent/server.hpp"
#include "crossover/agent.hpp"
#include "crossover/error.hpp"
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

/// Another node of a cluster: at the address the cluster has for it, with the key the cluster has for its name.
SshHost node_host(const NodeState& node) {
  SshHost host;
  host.name = node.name;
  host.address = node.address;
  host.known_hosts_text = node.known_hosts;
  return host;
}

std::unique_ptr<Shell> node_shell(const MirrorRequest& request, const NodeState& node) {
  SshHost host = node_host(node);
  host.ciphers = request.options.ssh_cipher;
  host.accept_new_host_keys = request.options.accept_new_host_keys;
  return std::make_unique<SshShell>(std::move(host));
}

/// The destination node as the administrator names it, with what their ssh configuration says of it.
SshHost entry_host(const MirrorRequest& request) {
  SshHost host;
  host.name = request.destination;
  host.port = 0;
  host.ciphers = request.options.ssh_cipher;
  host.accept_new_host_keys = request.options.accept_new_host_keys;
  host.max_sessions = 8;  // more than the agent's pool takes: a frozen guest has one beside it
  return host;
}

/// A way into the destination.
struct Way {
  virtual ~Way() = default;
  virtual Side side() = 0;
};

class AgentWay final : public Way {
 public:
  explicit AgentWay(const std::shared_ptr<agent::ConnectionPool>& pool)
      : hypervisor_(pool),
        stores_([pool](const CephAccess& access) { return std::make_unique<AgentStore>(pool, access); }) {}

  Side side() override { return {hypervisor_, stores_}; }

 private:
  AgentHypervisor hypervisor_;
  StoreCache stores_;
};

class CommandWay final : public Way {
 public:
  CommandWay(const MirrorRequest& request, const std::shared_ptr<Shell>& shell)
      : shell_(shell),
        cluster_(*shell, [&request](const NodeState& node) { return node_shell(request, node); }),
        stores_([shell](const CephAccess& access) { return std::make_unique<RbdCommandStore>(shell, access); }) {}

  Side side() override { return {cluster_, stores_}; }

 private:
  std::shared_ptr<Shell> shell_;
  PveCluster cluster_;
  StoreCache stores_;
};

/// The destination, by the way its first use finds: the agent where there is one.
class Destination final : public Hypervisor, public ImageStores {
 public:
  Destination(const MirrorRequest& request, EventSink& events)
      : request_(request), events_(events), shell_(std::make_shared<SshShell>(entry_host(request))) {}

  ImageStore& open(const CephAccess& access) override { return side({}).images.open(access); }

  ClusterInventory survey(std::stop_token stop) override { return side(stop).hypervisor.survey(stop); }
  std::optional<ConfigVersion> read_config(const std::string& node, std::uint32_t vmid,
                                           std::stop_token stop) override {
    return side(stop).hypervisor.read_config(node, vmid, stop);
  }
  ConfigVersion write_config(const std::string& node, std::uint32_t vmid,
                             const std::optional<ConfigVersion>& expected, const std::string& bytes,
                             std::stop_token stop) override {
    return side(stop).hypervisor.write_config(node, vmid, expected, bytes, stop);
  }
  std::unique_ptr<ConfigHold> hold_config(const std::string& node, std::uint32_t vmid,
                                          const ConfigVersion& expected, const std::string& bytes) override {
    return side({}).hypervisor.hold_config(node, vmid, expected, bytes);
  }
  void write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes, std::stop_token stop) override {
    side(stop).hypervisor.write_firewall(vmid, bytes, stop);
  }
  std::unique_ptr<Freeze> freeze(const std::string& node, std::uint32_t vmid, std::chrono::milliseconds deadline,
                                 std::stop_token stop) override {
    return side(stop).hypervisor.freeze(node, vmid, deadline, stop);
  }

 private:
  Side side(const std::stop_token& stop) {
    const std::scoped_lock lock(mutex_);
    if (!way_) way_ = find_way(stop);
    return way_->side();
  }

  std::unique_ptr<Way> find_way(const std::stop_token& stop) {
    if (request_.options.transport != "rbd") {
      auto pool = std::make_shared<agent::ConnectionPool>(shell_);
      try {
        // Kept by the pool for the first request.
        (void)pool->acquire(stop);
        return std::make_unique<AgentWay>(pool);
      } catch (const Error& error) {
        if (request_.options.transport == "agent" || error.code() != ErrorCode::unsupported) throw;
        events_.on_event(
            {.kind = EventKind::warning,
             .host = shell_->host(),
             .text = fmt::format("no agent on {}: {}; its stock rbd command is used instead: slower, and "
                                 "without compression, checksums and the image's lock",
                                 shell_->host(), error.cause())});
      }
    }
    return std::make_unique<CommandWay>(request_, shell_);
  }

  const MirrorRequest& request_;
  EventSink& events_;
  std::shared_ptr<Shell> shell_;
  std::mutex mutex_;
  std::unique_ptr<Way> way_;
};

class BothSides final : public Connection {
 public:
  BothSides(const MirrorRequest& request, EventSink& events)
      : cluster_(shell_, [&request](const NodeState& node) { return node_shell(request, node); }),
        stores_([](const CephAccess& access) { return std::make_unique<LibrbdStore>(access); }),
        destination_(request, events) {}

  Side source() override { return {cluster_, stores_}; }
  Side destination() override { return {destination_, destination_}; }

 private:
  LocalShell shell_;
  PveCluster cluster_;
  StoreCache stores_;
  Destination destination_;
};

}  // namespace

std::unique_ptr<Connection> connect(const MirrorRequest& request, EventSink& events) {
  return std::make_unique<BothSides>(request, events);
}

void serve_agent(int in, int out, std::stop_token stop) {
  LocalShell shell;
  PveCluster cluster(shell, [](const NodeState& node) { return std::make_unique<SshShell>(node_host(node)); });
  StoreCache stores([](const CephAccess& access) { return std::make_unique<LibrbdStore>(access); });
  agent::Server(in, out, {cluster, stores}).serve(std::move(stop));
}

}  // namespace crossover

// Turns options into real adapters; the only file that knows all of them.
#include "connect.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "agent/agent_hypervisor.hpp"
#include "agent/agent_receivers.hpp"
#include "agent/agent_store.hpp"
#include "agent/connection_pool.hpp"
#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "agent/server.hpp"
#include "crossover/agent.hpp"
#include "crossover/error.hpp"
#include "engine/port_receivers.hpp"
#include "engine/rate_limiter.hpp"
#include "engine/reception.hpp"
#include "engine/throttled_hold.hpp"
#include "engine/throttled_shell.hpp"
#include "plan/guest_disks.hpp"
#include "pve/pve_cluster.hpp"
#include "pve/storage_files.hpp"
#include "rbd/librbd_leases.hpp"
#include "rbd/librbd_store.hpp"
#include "rbd/rbd_command_store.hpp"
#include "ssh/local_shell.hpp"
#include "ssh/ssh_options.hpp"
#include "ssh/ssh_route.hpp"
#include "ssh/ssh_shell.hpp"

namespace crossover {

namespace {

// Proxmox VE has room for less in a guest: 31 SCSI, 16 VirtIO, 6 SATA and 4 IDE drives, EFI variables and a TPM.
constexpr std::size_t max_disks = 64;
constexpr std::uint64_t min_agent_bytes = std::uint64_t{16} << 20;

/// How a transfer's share of the memory is divided among what it passes on one side: half is being read or written,
/// half waits on the way to or from there.
struct MemoryShare {
  explicit MemoryShare(std::uint64_t transfer_bytes) : disk(transfer_bytes / 2), way(transfer_bytes / 2) {}
  std::uint64_t disk;
  std::uint64_t way;

  [[nodiscard]] std::uint64_t total() const { return disk + way; }
  [[nodiscard]] rbd::ReadWindow reads() const { return {.max_bytes = disk}; }
  [[nodiscard]] rbd::WriteWindow writes() const { return {.max_bytes = disk}; }
};

/// Stores made by `make`, one for each way into a cluster.
template <typename Store = ImageStore>
class StoreCache final : public ImageStores {
 public:
  using Make = std::function<std::unique_ptr<Store>(const CephAccess&)>;

  explicit StoreCache(Make make) : make_(std::move(make)) {}

  Store& store(const CephAccess& access) {
    const std::scoped_lock lock(mutex_);
    std::unique_ptr<Store>& store = stores_[access];
    if (!store) {
      store = make_(access);
      apply(*store);
    }
    return *store;
  }

  ImageStore& open(const CephAccess& access) override { return store(access); }

  void set_transfer_memory(std::uint64_t bytes) override {
    const std::scoped_lock lock(mutex_);
    transfer_memory_ = bytes;
    for (const auto& [access, store] : stores_) apply(*store);
  }

 private:
  /// Stores that keep nothing under way by themselves know of no memory.
  void apply(Store& store) {
    if (transfer_memory_ == 0) return;
    if constexpr (requires { store.set_far_memory(transfer_memory_); }) store.set_far_memory(transfer_memory_);
    if constexpr (requires { store.set_write_bytes(transfer_memory_); }) {
      store.set_write_bytes(MemoryShare(transfer_memory_).writes().max_bytes);
    }
  }

  Make make_;
  std::mutex mutex_;                   // guards what follows
  std::uint64_t transfer_memory_ = 0;  // 0: not told
  std::map<CephAccess, std::unique_ptr<Store>> stores_;
};

/// Another node of a cluster, as Proxmox asks for it: `ssh root@ADDRESS`, with the key that the cluster has for the
/// node's name. The other cluster may have a node of the same name.
SshHost node_host(const NodeState& node) {
  SshHost host;
  host.name = node.name;
  host.address = node.address;
  host.host_key_alias = node.name;
  host.known_hosts_text = node.known_hosts;
  return host;
}

/// What was found of how hosts are reached. Thread-safe.
class SshUses {
 public:
  void add(const SshRoute& route) {
    const std::scoped_lock lock(mutex_);
    found_.emplace(route.host.name, fmt::format("ssh {} is carried by {}, {}", ssh_target(route.host),
                                                route.openssh ? "the ssh program" : "libssh", route.why));
  }
  [[nodiscard]] std::vector<SshUse> list() const {
    const std::scoped_lock lock(mutex_);
    std::vector<SshUse> uses;
    for (const auto& [host, text] : found_) uses.push_back({host, text});
    return uses;
  }

 private:
  mutable std::mutex mutex_;
  std::multimap<std::string, std::string> found_;  // both clusters may have a node of one name
};

SshTransport transport_in(const MirrorOptions& options) {
  if (options.ssh == "libssh") return SshTransport::libssh;
  return options.ssh == "openssh" ? SshTransport::openssh : SshTransport::automatic;
}

/// A shell on `host` with what the request says of ssh; `uses` hears how it is reached, and has to outlive it.
std::unique_ptr<SshShell> request_shell(SshHost host, const MirrorRequest& request, SshUses& uses) {
  host.ciphers = request.options.ssh_cipher;
  host.accept_new_host_keys = request.options.accept_new_host_keys;
  host.transport = transport_in(request.options);
  return std::make_unique<SshShell>(std::move(host), [&uses](const SshRoute& route) { uses.add(route); });
}

PveCluster::OpenShell open_node_shells(const MirrorRequest& request, SshUses& uses) {
  return [&request, &uses](const NodeState& node) { return request_shell(node_host(node), request, uses); };
}

/// To the agent: every transfer has one while it lasts, and there are questions meanwhile.
std::size_t connections(const MirrorRequest& request) {
  return request.parallel + 2;
}

std::uint64_t transfer_bytes(const MirrorRequest& request) {
  return request.memory_bytes / request.parallel;
}

agent::SendWindow send_window(const MirrorRequest& request) {
  agent::SendWindow window;
  window.max_bytes = MemoryShare(transfer_bytes(request)).way;
  if (request.options.compress == "zstd") window.compression = agent::Compression::always;
  if (request.options.compress == "none") window.compression = agent::Compression::never;
  return window;
}

/// The destination node as the administrator names it, with what their ssh configuration says of it.
SshHost entry_host(const MirrorRequest& request) {
  SshHost host;
  host.name = request.destination;
  // What is held has one beside them: the configuration and every disk of the guests at hand. With fewer, guests
  // that hold some of theirs could wait for each other's.
  host.max_sessions = connections(request) + request.parallel * (max_disks + 1);
  return host;
}

/// A way into the destination.
struct Way {
  virtual ~Way() = default;
  virtual Side side() = 0;
  virtual Receivers& receivers() = 0;
};

class AgentWay final : public Way {
 public:
  AgentWay(const std::shared_ptr<agent::ConnectionPool>& pool, const agent::SendWindow& window)
      : hypervisor_(pool),
        stores_([pool, window](const CephAccess& access) {
          return std::make_unique<AgentStore>(pool, access, window);
        }),
        receivers_(pool, window) {}

  Side side() override { return {hypervisor_, hypervisor_, stores_}; }
  AgentReceivers& receivers() override { return receivers_; }

 private:
  AgentHypervisor hypervisor_;
  StoreCache<AgentStore> stores_;
  AgentReceivers receivers_;
};

class CommandWay final : public Way {
 public:
  CommandWay(const MirrorRequest& request, const std::shared_ptr<Shell>& shell, SshUses& uses)
      : shell_(shell),
        cluster_(*shell, open_node_shells(request, uses)),
        stores_([shell](const CephAccess& access) { return std::make_unique<RbdCommandStore>(shell, access); }) {}

  Side side() override { return {cluster_, cluster_, stores_}; }
  Receivers& receivers() override { return receivers_; }

 private:
  std::shared_ptr<Shell> shell_;
  PveCluster cluster_;
  StoreCache<> stores_;
  PortReceivers receivers_{side()};
};

/// A store of the destination that is reached from here.
class DirectStore final : public LibrbdStore {
 public:
  DirectStore(const CephAccess& access, const MemoryShare& share, std::shared_ptr<RateLimiter> limiter)
      : LibrbdStore(access, share.reads(), share.writes()), limiter_(std::move(limiter)) {}

  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) override {
    std::unique_ptr<ImageHold> hold = LibrbdStore::hold(image, std::move(stop));
    if (!limiter_) return hold;
    return std::make_unique<ThrottledHold>(std::move(hold), limiter_);
  }

 private:
  std::shared_ptr<RateLimiter> limiter_;
};

/// Ceph directly, Proxmox VE through commands on its nodes.
class DirectWay final : public Way {
 public:
  DirectWay(const MirrorRequest& request, const std::shared_ptr<Shell>& shell,
            const std::shared_ptr<RateLimiter>& limiter, SshUses& uses)
      : shell_(shell),
        cluster_(*shell, open_node_shells(request, uses)),
        stores_([&request, limiter](const CephAccess& there) {
          // What the storage says of paths is true over there. The user is the same, with the key that is here.
          const CephAccess access{.conf = request.options.destination_conf,
                                  .user = there.user,
                                  .keyring = request.destination_user ? request.destination_user->keyring : "",
                                  .with_defaults = true};
          return std::make_unique<DirectStore>(access, MemoryShare(transfer_bytes(request)), limiter);
        }) {}

  Side side() override { return {cluster_, cluster_, stores_}; }
  Receivers& receivers() override { return receivers_; }

 private:
  std::shared_ptr<Shell> shell_;
  PveCluster cluster_;
  StoreCache<DirectStore> stores_;
  PortReceivers receivers_{side()};
};

/// The destination, by the way its first use finds: the agent where there is one.
class Destination final : public Hypervisor, public GuestPower, public ImageStores, public Receivers {
 public:
  Destination(const MirrorRequest& request, EventSink& events, SshUses& uses)
      : request_(request),
        events_(events),
        uses_(uses),
        shell_(request_shell(entry_host(request), request, uses)) {
    if (request.bandwidth_limit == 0) return;
    limiter_ = std::make_shared<RateLimiter>(request.bandwidth_limit);
    shell_ = std::make_shared<ThrottledShell>(shell_, limiter_);
  }

  ImageStore& open(const CephAccess& access) override { return side({}).images.open(access); }
  void set_transfer_memory(std::uint64_t bytes) override { side({}).images.set_transfer_memory(bytes); }

  std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                       std::stop_token stop) override {
    return way(stop).receivers().begin(offer, plan, std::move(note), stop);
  }

  ClusterInventory survey(const SurveyScope& scope, std::stop_token stop) override {
    return side(stop).hypervisor.survey(scope, stop);
  }
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
  std::unique_ptr<GuestHold> hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                        std::chrono::milliseconds deadline, std::stop_token stop) override {
    return side(stop).hypervisor.hold_guest(way, node, vmid, deadline, stop);
  }

  Power power(const std::string& node, std::uint32_t vmid, std::stop_token stop) override {
    return side(stop).power.power(node, vmid, stop);
  }
  void start(const std::string& node, std::uint32_t vmid, std::stop_token stop) override {
    side(stop).power.start(node, vmid, stop);
  }
  void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                 std::stop_token stop) override {
    side(stop).power.shut_down(node, vmid, timeout, force, stop);
  }
  void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
               std::stop_token stop) override {
    side(stop).power.suspend(node, vmid, storage, stop);
  }
  void free_volume(const std::string& node, const std::string& volume, std::stop_token stop) override {
    side(stop).power.free_volume(node, volume, stop);
  }
  bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) override {
    return side(stop).power.agent_answers(node, vmid, stop);
  }
  void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) override {
    side(stop).power.set_ha_state(vmid, state, stop);
  }
  void destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) override {
    side(stop).power.destroy(node, vmid, stop);
  }

 private:
  Side side(const std::stop_token& stop) { return way(stop).side(); }

  Way& way(const std::stop_token& stop) {
    const std::scoped_lock lock(mutex_);
    if (!way_) way_ = find_way(stop);
    return *way_;
  }

  std::unique_ptr<Way> find_way(const std::stop_token& stop) {
    if (request_.options.transport == "direct") {
      return std::make_unique<DirectWay>(request_, shell_, limiter_, uses_);
    }
    if (request_.options.transport != "rbd") {
      const std::string memory = std::to_string(request_.memory_bytes);
      auto pool = std::make_shared<agent::ConnectionPool>(
          shell_, connections(request_), std::vector<std::string>{"crossover", "agent", "--memory=" + memory},
          [this](agent::Connection& connection, const std::stop_token& stopped) { prepare(connection, stopped); });
      try {
        // Kept by the pool for the first request.
        (void)pool->acquire(stop);
        // A guest with disks needs a second one, and logging in takes as long as the survey.
        if (!request_.options.dry_run) pool->open_ahead();
        auto way = std::make_unique<AgentWay>(pool, send_window(request_));
        way->side().images.set_transfer_memory(transfer_bytes(request_));
        way->receivers().set_far_memory(transfer_bytes(request_));
        return way;
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
    return std::make_unique<CommandWay>(request_, shell_, uses_);
  }

  /// Connecting to Ceph takes the agent as long as the survey; it is to do both at once.
  void prepare(agent::Connection& connection, const std::stop_token& stop) const {
    agent::Json storage{{"storage", request_.pool}};
    storage["user"] = request_.destination_user;
    try {
      connection.call("prepare", std::move(storage), stop);
    } catch (const Error&) {
      // Whoever cannot get ready is asked all the same.
      if (!connection.usable()) throw;
    }
  }

  const MirrorRequest& request_;
  EventSink& events_;
  SshUses& uses_;
  std::shared_ptr<RateLimiter> limiter_;
  std::shared_ptr<Shell> shell_;
  std::mutex mutex_;
  std::unique_ptr<Way> way_;
};

class BothSides final : public Connection {
 public:
  BothSides(const MirrorRequest& request, EventSink& events)
      : cluster_(shell_, open_node_shells(request, uses_)),
        stores_([share = MemoryShare(transfer_bytes(request))](const CephAccess& access) {
          return std::make_unique<LibrbdStore>(access, share.reads(), share.writes());
        }),
        leases_([this](const CephAccess& access) -> LibrbdStore& { return stores_.store(access); }),
        destination_(request, events, uses_) {}

  Leases& leases() override { return leases_; }
  Side source() override { return {cluster_, cluster_, stores_}; }
  Side destination() override { return {destination_, destination_, destination_}; }
  Receivers& receivers() override { return destination_; }
  [[nodiscard]] std::vector<SshUse> ssh_uses() const override { return uses_.list(); }

 private:
  SshUses uses_;
  LocalShell shell_;
  PveCluster cluster_;
  StoreCache<LibrbdStore> stores_;
  LibrbdLeases leases_;
  Destination destination_;
};

class ThisCluster final : public LocalConnection {
 public:
  Hypervisor& hypervisor() override { return cluster_; }
  GuestPower& power() override { return cluster_; }
  ImageStores& images() override { return stores_; }
  Leases& leases() override { return leases_; }

 private:
  LocalShell shell_;
  PveCluster cluster_{shell_, [](const NodeState& node) { return std::make_unique<SshShell>(node_host(node)); }};
  StoreCache<LibrbdStore> stores_{[](const CephAccess& access) { return std::make_unique<LibrbdStore>(access); }};
  LibrbdLeases leases_{[this](const CephAccess& access) -> LibrbdStore& { return stores_.store(access); }};
};

}  // namespace

std::unique_ptr<LocalConnection> connect_here() {
  return std::make_unique<ThisCluster>();
}

std::unique_ptr<Connection> connect(const MirrorRequest& request, EventSink& events) {
  return std::make_unique<BothSides>(request, events);
}

namespace {

/// What a client that may only receive has of a cluster.
class ReceiveOnly {
 public:
  ReceiveOnly(const Restriction& restriction, PveCluster& cluster, StoreCache<LibrbdStore>& stores)
      : context_{restriction, stores, read_storage_files},
        hypervisor_(cluster, context_),
        power_(cluster, context_),
        images_(context_) {}

  Side side() { return {hypervisor_, power_, images_}; }

 private:
  agent::ReceiveContext context_;
  agent::RestrictedHypervisor hypervisor_;
  agent::RestrictedPower power_;
  agent::RestrictedStores images_;
};

/// All that serves one client.
class AgentProcess {
 public:
  AgentProcess(int in, int out, const AgentOptions& options)
      : share_(std::max(options.memory_bytes, min_agent_bytes)),
        cluster_(shell_, [](const NodeState& node) { return std::make_unique<SshShell>(node_host(node)); }),
        stores_([share = share_, user = options.user, keyring = options.keyring](CephAccess access) {
          // Monitors of its own make a cluster another one.
          if (!user.empty() && access.monitors.empty()) {
            access.user = user;
            access.keyring = keyring;
          }
          return std::make_unique<LibrbdStore>(std::move(access), share.reads(), share.writes());
        }) {
    if (options.restriction) receive_only_.emplace(*options.restriction, cluster_, stores_);
    reception_.emplace(side(), Side{cluster_, cluster_, stores_},
                       options.restriction ? std::optional(ReceiveLimits{.image_bytes = options.max_image_bytes})
                                           : std::nullopt,
                       [] { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); },
                       [this] { server_->end(); });
    server_.emplace(
        in, out, agent::Service{side(), &*reception_, options.restriction.has_value(), options.on_refusal}, share_.total(),
        [this](const std::string& storage, const std::optional<CephUser>& user) { prepare(storage, user); });
  }

  void serve(std::stop_token stop) {
    std::exception_ptr failure;
    try {
      server_->serve(std::move(stop));
    } catch (...) {
      failure = std::current_exception();
    }
    // Lets go of what is held, which can hang as well.
    server_.reset();
    if (preparing_.valid()) preparing_.wait();
    if (failure) std::rethrow_exception(failure);
  }
  [[nodiscard]] std::stop_token ending() const { return server_->ending(); }

 private:
  Side side() { return receive_only_ ? receive_only_->side() : Side{cluster_, cluster_, stores_}; }

  /// Connects to a storage's Ceph, which stays connected.
  void prepare(const std::string& storage, const std::optional<CephUser>& user) {
    if (preparing_.valid()) return;
    preparing_ = std::async(std::launch::async, [this, storage, user] {
      try {
        ClusterInventory cluster = read_storage_files();
        cluster.ceph_user = user;
        const auto rbd = cluster.storages.rbd(storage);
        if (rbd) (void)side().images.open(storage_access(cluster, *rbd)).fsid();
      } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the request that needs it meets the same
      }
    });
  }

  MemoryShare share_;
  LocalShell shell_;
  PveCluster cluster_;
  StoreCache<LibrbdStore> stores_;
  std::optional<ReceiveOnly> receive_only_;
  std::optional<PortReception> reception_;
  std::optional<agent::Server> server_;
  std::future<void> preparing_;
};

}  // namespace

void serve_agent(int in, int out, const AgentOptions& options, std::stop_token stop) {
  constexpr std::chrono::seconds patience{10};
  const auto process = std::make_shared<AgentProcess>(in, out, options);
  const std::stop_token ending = process->ending();
  std::packaged_task<void()> serve([process, stop] { process->serve(stop); });
  std::future<void> served = serve.get_future();
  std::thread serving(std::move(serve));
  while (served.wait_for(std::chrono::milliseconds(200)) != std::future_status::ready) {
    if (!ending.stop_requested()) continue;
    if (served.wait_for(patience) == std::future_status::ready) break;
    serving.detach();
    throw Error(ErrorCode::timeout, "serve", "client",
                "it is gone, and a call to Ceph that was begun for it hangs");
  }
  serving.join();
  served.get();
}

}  // namespace crossover

#include "agent/agent_hypervisor.hpp"

#include <utility>

#include "crossover/error.hpp"

namespace crossover {

using agent::Json;
using agent::value_of;

namespace {

class AgentGuestHold final : public GuestHold {
 public:
  AgentGuestHold(agent::ConnectionPool::Lease connection, std::string already)
      : connection_(std::move(connection)), already_(std::move(already)) {}
  ~AgentGuestHold() override {
    if (released_) return;
    // Waiting keeps the guest from being held longer than this object lives.
    try {
      (void)release();
    } catch (...) {  // NOLINT(bugprone-empty-catch): without the connection the agent lets it go on by itself
      connection_->give_up();
    }
  }

  [[nodiscard]] const std::string& already() const override { return already_; }

  std::chrono::milliseconds release() override {
    released_ = true;
    const Json answer = connection_->call("release_guest", Json::object(), {});
    return std::chrono::milliseconds(value_of<std::int64_t>(answer, "release guest"));
  }

 private:
  agent::ConnectionPool::Lease connection_;
  std::string already_;
  bool released_ = false;
};

class AgentConfigHold final : public ConfigHold {
 public:
  explicit AgentConfigHold(agent::ConnectionPool::Lease connection) : connection_(std::move(connection)) {}
  ~AgentConfigHold() override {
    if (released_) return;
    try {
      release();
    } catch (...) {  // NOLINT(bugprone-empty-catch): without the connection the agent puts it back by itself
      connection_->give_up();
    }
  }

  void release() override {
    released_ = true;
    connection_->call("release_config", Json::object(), {});
  }

 private:
  agent::ConnectionPool::Lease connection_;
  bool released_ = false;
};

}  // namespace

AgentHypervisor::AgentHypervisor(std::shared_ptr<agent::ConnectionPool> pool) : pool_(std::move(pool)) {}

Json AgentHypervisor::call(const std::string& operation, Json request, const std::stop_token& stop) {
  return pool_->acquire(stop)->call(operation, std::move(request), stop);
}

ClusterInventory AgentHypervisor::survey(const SurveyScope& scope, std::stop_token stop) {
  return value_of<ClusterInventory>(call("survey", Json(scope), stop), "survey");
}

std::optional<ConfigVersion> AgentHypervisor::read_config(const std::string& node, std::uint32_t vmid,
                                                          std::stop_token stop) {
  return value_of<std::optional<ConfigVersion>>(call("read_config", {{"node", node}, {"vmid", vmid}}, stop),
                                                "read configuration");
}

ConfigVersion AgentHypervisor::write_config(const std::string& node, std::uint32_t vmid,
                                            const std::optional<ConfigVersion>& expected, const std::string& bytes,
                                            std::stop_token stop) {
  Json request{{"node", node}, {"vmid", vmid}, {"bytes", bytes}};
  request["expected"] = expected;
  return value_of<ConfigVersion>(call("write_config", std::move(request), stop), "write configuration");
}

std::unique_ptr<ConfigHold> AgentHypervisor::hold_config(const std::string& node, std::uint32_t vmid,
                                                         const ConfigVersion& expected, const std::string& bytes) {
  agent::ConnectionPool::Lease connection = pool_->acquire_extra({});
  Json request{{"node", node}, {"vmid", vmid}, {"bytes", bytes}};
  request["expected"] = expected;
  connection->call("hold_config", std::move(request), {});
  return std::make_unique<AgentConfigHold>(std::move(connection));
}

void AgentHypervisor::write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes,
                                     std::stop_token stop) {
  Json request{{"vmid", vmid}};
  request["bytes"] = bytes;
  call("write_firewall", std::move(request), stop);
}

std::unique_ptr<GuestHold> AgentHypervisor::hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                                       std::chrono::milliseconds deadline, std::stop_token stop) {
  agent::ConnectionPool::Lease connection = pool_->acquire_extra(stop);
  // Whoever is cancelled while the guest freezes still has to hear that it goes on; the deadline bounds the wait.
  const Json already = connection->call(
      "hold_guest",
      {{"pause", way == HoldWay::pause}, {"node", node}, {"vmid", vmid}, {"deadline_ms", deadline.count()}}, {});
  return std::make_unique<AgentGuestHold>(std::move(connection), value_of<std::string>(already, "hold guest"));
}

Power AgentHypervisor::power(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  return value_of<Power>(call("power", {{"node", node}, {"vmid", vmid}}, stop), "ask for the status");
}

void AgentHypervisor::start(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  call("start", {{"node", node}, {"vmid", vmid}}, stop);
}

void AgentHypervisor::shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout,
                                bool force, std::stop_token stop) {
  call("shut_down", {{"node", node}, {"vmid", vmid}, {"timeout_seconds", timeout.count()}, {"force", force}}, stop);
}

void AgentHypervisor::suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
                              std::stop_token stop) {
  agent::ConnectionPool::Lease connection = pool_->acquire(stop);
  connection->call("suspend", {{"node", node}, {"vmid", vmid}, {"storage", storage}}, {});
}

void AgentHypervisor::free_volume(const std::string& node, const std::string& volume, std::stop_token stop) {
  call("free_volume", {{"node", node}, {"volume", volume}}, stop);
}

bool AgentHypervisor::agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  return value_of<bool>(call("agent_answers", {{"node", node}, {"vmid", vmid}}, stop), "ask agent");
}

void AgentHypervisor::set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) {
  call("set_ha_state", {{"vmid", vmid}, {"state", state}}, stop);
}

void AgentHypervisor::destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  call("destroy", {{"node", node}, {"vmid", vmid}}, stop);
}

}  // namespace crossover

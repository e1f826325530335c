#include "agent/agent_hypervisor.hpp"

#include <utility>

#include "agent/held_connection.hpp"

namespace crossover {

using agent::Json;
using agent::value_of;

namespace {

class AgentGuestHold final : public GuestHold {
 public:
  AgentGuestHold(agent::ConnectionPool::Lease connection, std::chrono::milliseconds ping_interval,
                 std::string already)
      : connection_(std::move(connection), "release_guest", ping_interval, {}), already_(std::move(already)) {}

  [[nodiscard]] const std::string& already() const override { return already_; }

  std::chrono::milliseconds release() override {
    return std::chrono::milliseconds(value_of<std::int64_t>(connection_.release(), "release guest"));
  }

 private:
  agent::HeldConnection connection_;
  std::string already_;
};

class AgentConfigHold final : public ConfigHold {
 public:
  AgentConfigHold(agent::ConnectionPool::Lease connection, std::chrono::milliseconds ping_interval)
      : connection_(std::move(connection), "release_config", ping_interval, {}) {}

  void release() override { connection_.release(); }

 private:
  agent::HeldConnection connection_;
};

}  // namespace

AgentHypervisor::AgentHypervisor(std::shared_ptr<agent::ConnectionPool> pool,
                                 std::chrono::milliseconds ping_interval)
    : pool_(std::move(pool)), ping_interval_(ping_interval) {}

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
  return std::make_unique<AgentConfigHold>(std::move(connection), ping_interval_);
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
  return std::make_unique<AgentGuestHold>(std::move(connection), ping_interval_,
                                          value_of<std::string>(already, "hold guest"));
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

#include "agent/agent_hold.hpp"

#include <utility>

#include "agent/agent_sink.hpp"
#include "agent/held_connection.hpp"
#include "crossover/error.hpp"

namespace crossover::agent {

namespace {

class AgentHold final : public ImageHold {
 public:
  AgentHold(ConnectionPool::Lease connection, std::string subject, const SendWindow& window, std::stop_token stop)
      : subject_(std::move(subject)),
        window_(window),
        connection_(std::move(connection), "release", 2 * window.idle_mark, std::move(stop)) {}

  ImageState state() override {
    return value_of<ImageState>(connection_.call("held_state", Json::object(), {}), "look at image");
  }

  void set_metadata(const std::string& key, const std::string& value) override {
    connection_.call("held_set_metadata", {{"key", key}, {"value", value}}, {});
  }

  void remove_metadata(const std::string& key) override {
    connection_.call("held_remove_metadata", {{"key", key}}, {});
  }

  void roll_back(const Snapshot& snapshot, std::stop_token stop) override {
    connection_.call("held_roll_back", {{"snapshot", snapshot}}, stop);
  }

  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    return value_of<bool>(connection_.call("held_head_unchanged_since", {{"snapshot", snapshot}}, stop),
                          "compare with snapshot");
  }

  bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) override {
    return value_of<bool>(connection_.call("held_head_unchanged_since_transfer", {{"transfer", id}}, stop),
                          "compare with transfer");
  }

  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    return begin_sending(connection_, "held_write_diff", {{"from", from}}, subject_, stop, window_);
  }

  Snapshot create_snapshot(const std::string& name) override {
    return value_of<Snapshot>(connection_.call("held_create_snapshot", {{"name", name}}, {}), "create snapshot");
  }

 private:
  std::string subject_;
  SendWindow window_;
  HeldConnection connection_;
};

}  // namespace

std::unique_ptr<ImageHold> make_agent_hold(ConnectionPool::Lease connection, std::string subject,
                                           const SendWindow& window, std::stop_token stop) {
  return std::make_unique<AgentHold>(std::move(connection), std::move(subject), window, std::move(stop));
}

}  // namespace crossover::agent

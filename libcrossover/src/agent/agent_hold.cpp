#include "agent/agent_hold.hpp"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "agent/held_connection.hpp"
#include "crossover/error.hpp"

namespace crossover::agent {

namespace {

/// Sends one diff.
class AgentSink final : public DiffSink {
 public:
  AgentSink(HeldConnection& held, Connection& connection, const std::string& subject, const std::stop_token& stop,
            const SendWindow& window)
      : held_(held), connection_(connection), subject_(subject) {
    watch_.emplace(connection_, stop);
    sender_.emplace([this](std::span<const std::byte> bytes) { connection_.send(bytes); }, subject, stop, window);
  }

  ~AgentSink() override {
    if (sender_) connection_.give_up();
  }

  void size(std::uint64_t size_bytes) override { sender().size(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { sender().data(offset, bytes); }
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override { sender().hand_over(offset, std::move(bytes)); }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { sender().zero(offset, length_bytes); }
  void mark() override { sender().mark(); }

  void finish() override {
    sender().finish();
    const auto theirs = member_of<std::string>(connection_.answer(), "digest", "write diff");
    const std::string ours = stream::to_hex(sender_->digest());
    if (theirs != ours) {
      throw Error(ErrorCode::format, "write diff", subject_,
                  fmt::format("what arrived has the digest {}, what was sent {}", theirs, ours));
    }
    sender_.reset();
    watch_.reset();
    held_.end_transfer();
  }

 private:
  TransferSender& sender() {
    if (!sender_) throw Error(ErrorCode::usage, "write diff", subject_, "content after the end");
    return *sender_;
  }

  HeldConnection& held_;
  Connection& connection_;
  std::string subject_;
  std::optional<Connection::Watch> watch_;
  std::optional<TransferSender> sender_;  // last: its threads use the connection
};

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
    Connection& connection = connection_.begin_transfer({{"from", from}}, stop);
    return std::make_unique<AgentSink>(connection_, connection, subject_, stop, window_);
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

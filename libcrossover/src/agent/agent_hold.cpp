#include "agent/agent_hold.hpp"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "agent/connection.hpp"
#include "crossover/error.hpp"

namespace crossover::agent {

namespace {

/// The connection of a hold: for one talk at a time, and with a ping where there is none.
class HeldConnection {
 public:
  HeldConnection(ConnectionPool::Lease connection, std::chrono::milliseconds ping_interval, std::stop_token stop)
      : connection_(std::move(connection)),
        watch_(*connection_, std::move(stop)),
        ping_interval_(ping_interval),
        pinging_([this](const std::stop_token& ending) { ping(ending); }) {}

  ~HeldConnection() {
    if (sending_) connection_->give_up();
    pinging_.request_stop();
    pinging_.join();
    if (!connection_->usable()) return;
    try {
      connection_->call("release", Json::object(), {});
    } catch (...) {
      connection_->give_up();
    }
  }

  HeldConnection(const HeldConnection&) = delete;
  HeldConnection& operator=(const HeldConnection&) = delete;

  Json call(const std::string& operation, Json request, const std::stop_token& stop) {
    // Before the lock: a ping that waits for an answer that does not come ends with it, too.
    const Connection::Watch watch(*connection_, stop);
    const std::lock_guard lock(mutex_);
    return connection_->call(operation, std::move(request), stop);
  }

  /// As call(); the connection is the transfer's until end_transfer().
  Connection& begin_transfer(Json request, const std::stop_token& stop) {
    const Connection::Watch watch(*connection_, stop);
    const std::lock_guard lock(mutex_);
    connection_->call("held_write_diff", std::move(request), stop);
    sending_ = true;
    return *connection_;
  }

  void end_transfer() {
    const std::lock_guard lock(mutex_);
    sending_ = false;
  }

 private:
  void ping(const std::stop_token& ending) {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait_for(lock, ending, ping_interval_, [&ending] { return ending.stop_requested(); });
      if (ending.stop_requested()) return;
      if (sending_ || !connection_->usable()) continue;
      try {
        const Connection::Watch watch(*connection_, ending);
        connection_->call("ping", Json::object(), {});
      } catch (...) {  // NOLINT(bugprone-empty-catch): the next call says what is wrong with the connection
      }
    }
  }

  ConnectionPool::Lease connection_;
  Connection::Watch watch_;
  std::chrono::milliseconds ping_interval_;
  std::mutex mutex_;  // whoever has it may use the connection
  std::condition_variable_any changed_;
  bool sending_ = false;
  std::jthread pinging_;  // last: it uses everything above
};

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
        connection_(std::move(connection), 2 * window.idle_mark, std::move(stop)) {}

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

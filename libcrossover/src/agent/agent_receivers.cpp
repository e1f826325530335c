#include "agent/agent_receivers.hpp"

#include <optional>
#include <utility>

#include "agent/agent_sink.hpp"
#include "agent/held_connection.hpp"
#include "agent/offer_messages.hpp"
#include "plan/record.hpp"

namespace crossover {

namespace {

using agent::Json;
using agent::member_of;

class AgentDisk final : public DiskReceiver {
 public:
  /// Over a connection of its own.
  AgentDisk(agent::ConnectionPool::Lease connection, std::string subject, const agent::SendWindow& window,
            std::stop_token stop)
      : own_(std::in_place, std::move(connection), "release_disk", 2 * window.idle_mark, std::move(stop)),
        connection_(*own_),
        subject_(std::move(subject)),
        window_(window) {}
  /// Over its point's connection, which nobody else uses meanwhile: a login less, and the image stays held.
  AgentDisk(agent::HeldConnection& connection, std::string subject, const agent::SendWindow& window)
      : connection_(connection), subject_(std::move(subject)), window_(window) {}

  ~AgentDisk() override {
    if (own_) return;
    try {
      connection_.call("release_disk", Json::object(), {});
    } catch (...) {  // NOLINT(bugprone-empty-catch): the point's next step says what is wrong with the connection
    }
  }
  AgentDisk(const AgentDisk&) = delete;
  AgentDisk& operator=(const AgentDisk&) = delete;

  std::unique_ptr<DiffSink> write(std::uint64_t offset, std::stop_token stop) override {
    return send({{"offset", offset}, {"repair", false}}, stop);
  }
  std::unique_ptr<DiffSink> repair(std::stop_token stop) override {
    return send({{"offset", 0}, {"repair", true}}, stop);
  }
  void applied() override { connection_.call("disk_applied", Json::object(), {}); }
  void make_snapshot() override { connection_.call("disk_snapshot", Json::object(), {}); }

 private:
  std::unique_ptr<DiffSink> send(Json request, const std::stop_token& stop) {
    return agent::begin_sending(connection_, "write_disk", std::move(request), subject_, stop, window_);
  }

  std::optional<agent::HeldConnection> own_;
  agent::HeldConnection& connection_;
  std::string subject_;
  agent::SendWindow window_;
};

class AgentPoint final : public PointReceiver {
 public:
  AgentPoint(std::shared_ptr<agent::ConnectionPool> pool, agent::ConnectionPool::Lease connection,
             const GuestPlan& plan, TakeNote note, const agent::SendWindow& window, std::uint64_t far_memory,
             std::stop_token stop)
      : pool_(std::move(pool)),
        plan_(plan),
        note_(std::move(note)),
        window_(window),
        far_memory_(far_memory),
        stop_(stop),
        connection_(std::move(connection), "end_point", 2 * window.idle_mark, std::move(stop)) {
    for (const DiskPlan& disk : plan.disks) {
      transfers_.push_back(disk.replica_record.replica ? disk.replica_record.replica->transfer : "");
    }
  }

  void carry_out(StepKind kind) override {
    // What is not heard of has to be taken for begun.
    const bool may_tear = kind == StepKind::check_cut || kind == StepKind::roll_back ||
                          (kind == StepKind::check_head && plan_.discards);
    const bool before = torn_;
    torn_ = before || may_tear;
    take(connection_.call("carry_out", {{"step", agent::to_string(kind)}}, stop_));
  }

  void record_point(std::span<const Snapshot> ends) override {
    torn_ = true;
    const Json result =
        connection_.call("record_point", {{"ends", std::vector<Snapshot>(ends.begin(), ends.end())}}, stop_);
    take(result);
    transfers_ = member_of<std::vector<std::string>>(result, "transfers", "record point");
    if (transfers_.size() != plan_.disks.size()) {
      throw Error(ErrorCode::format, "record point", pool_->host(), "an answer about other disks");
    }
  }

  [[nodiscard]] std::vector<std::string> transfers() const override { return transfers_; }

  std::unique_ptr<DiskReceiver> receive(std::size_t disk, std::stop_token stop) override {
    const ImageRef& image = plan_.disks.at(disk).replica;
    const std::string subject = to_string(image.spec);
    Json request = Json::object();
    if (far_memory_ != 0) request["memory_bytes"] = far_memory_;
    if (disk == 0) {
      connection_.call("receive_first_disk", std::move(request), stop);
      return std::make_unique<AgentDisk>(connection_, subject, window_);
    }
    request["access"] = image.access;
    request["image"] = image.spec;
    request["transfer"] = transfers_.at(disk);
    agent::ConnectionPool::Lease connection = pool_->acquire_extra(stop);
    connection->call("receive_disk", std::move(request), stop);
    return std::make_unique<AgentDisk>(std::move(connection), subject, window_, std::move(stop));
  }

  void abandon() noexcept override {
    if (std::exchange(ended_, true)) return;
    try {
      take(connection_.release());
    } catch (...) {  // NOLINT(bugprone-empty-catch): with the connection the agent gives the point up by itself
    }
  }

  [[nodiscard]] bool torn() const noexcept override { return torn_; }

 private:
  void take(const Json& result) {
    torn_ = member_of<bool>(result, "torn", "receive point");
    for (const std::string& note : member_of<std::vector<std::string>>(result, "notes", "receive point")) note_(note);
  }

  std::shared_ptr<agent::ConnectionPool> pool_;
  const GuestPlan& plan_;
  TakeNote note_;
  agent::SendWindow window_;
  std::uint64_t far_memory_;
  std::stop_token stop_;
  std::vector<std::string> transfers_;
  std::atomic<bool> torn_ = false;
  bool ended_ = false;
  agent::HeldConnection connection_;  // last: it goes first
};

}  // namespace

std::unique_ptr<PointReceiver> AgentReceivers::begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                                     std::stop_token stop) {
  // Others are needed while the point is under way.
  agent::ConnectionPool::Lease connection = pool_->acquire_extra(stop);
  connection->call("begin_point", {{"offer", agent::render_offer(offer)}, {"half", destination_half(plan)}}, stop);
  return std::make_unique<AgentPoint>(pool_, std::move(connection), plan, std::move(note), window_, far_memory_,
                                      std::move(stop));
}

}  // namespace crossover

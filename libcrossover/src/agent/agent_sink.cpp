#include "agent/agent_sink.hpp"

#include <fmt/format.h>

#include <optional>
#include <span>
#include <utility>

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

}  // namespace

std::unique_ptr<DiffSink> begin_sending(HeldConnection& connection, const std::string& operation, Json request,
                                        const std::string& subject, const std::stop_token& stop,
                                        const SendWindow& window) {
  Connection& sending = connection.begin_transfer(operation, std::move(request), stop);
  return std::make_unique<AgentSink>(connection, sending, subject, stop, window);
}

}  // namespace crossover::agent

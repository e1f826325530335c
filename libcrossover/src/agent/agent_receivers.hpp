/// \file
/// Recovery points that another host's agent receives.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "agent/connection_pool.hpp"
#include "agent/transfer_sender.hpp"
#include "engine/point_receiver.hpp"

namespace crossover {

/// Each point has a connection of its own, and each of its disks another one while it is received. When a connection
/// ends, whoever ends it, or is silent for too long, what it has under way is given up.
class AgentReceivers final : public Receivers {
 public:
  explicit AgentReceivers(std::shared_ptr<agent::ConnectionPool> pool, agent::SendWindow window)
      : pool_(std::move(pool)), window_(window) {}

  std::unique_ptr<PointReceiver> begin(const PointOffer& offer, const GuestPlan& plan, TakeNote note,
                                       std::stop_token stop) override;

  /// How much of a transfer's content may be under way over there at once, in bytes, from now on.
  void set_far_memory(std::uint64_t bytes) noexcept { far_memory_ = bytes; }

 private:
  std::shared_ptr<agent::ConnectionPool> pool_;
  agent::SendWindow window_;
  std::atomic<std::uint64_t> far_memory_ = 0;  // 0: as the agent has it
};

}  // namespace crossover

/// \file
/// What meets offers of recovery points from another process: everything that is written follows from what is there and
/// from a plan made here. Port of the agent, and its implementation over this side's ports.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "crossover/restriction.hpp"
#include "engine/give_way.hpp"
#include "engine/point_receiver.hpp"
#include "engine/ports.hpp"
#include "plan/reception_check.hpp"

namespace crossover {

/// Thread-safe.
class Reception {
 public:
  virtual ~Reception() = default;
  /// Plans the offer from what is there, and begins the point. `half` is destination_half() of the client's plan:
  /// ErrorCode::conflict, retryable, if that is another one. Throws whatever stands in the plan's way. The disks' parts
  /// are begun by receive(), never by the receiver that this returns.
  virtual std::unique_ptr<PointReceiver> begin(PointOffer offer, const std::string& half, TakeNote note,
                                               std::stop_token stop) = 0;
  /// A disk's part in a point that is recorded, by its image and the id of its transfer. ErrorCode::conflict,
  /// retryable, if the image's record does not say that this transfer is under way.
  virtual std::unique_ptr<DiskReceiver> receive(const ImageRef& image, const std::string& transfer,
                                                std::stop_token stop) = 0;
};

/// Receives on this side.
class PortReception final : public Reception {
 public:
  /// `seen` is the side as clients see it, `side` what is written to. Without limits everything is received that can be
  /// planned. `give_way`, if there is one, is called when a replica that something is received for is to be recovered,
  /// and has to end that; see GiveWay.
  PortReception(Side seen, Side side, std::optional<ReceiveLimits> limits,
                std::function<std::chrono::sys_seconds()> now, std::function<void()> give_way = {});

  std::unique_ptr<PointReceiver> begin(PointOffer offer, const std::string& half, TakeNote note,
                                       std::stop_token stop) override;
  std::unique_ptr<DiskReceiver> receive(const ImageRef& image, const std::string& transfer,
                                        std::stop_token stop) override;

 private:
  Side seen_;
  Side side_;
  std::optional<ReceiveLimits> limits_;
  std::function<std::chrono::sys_seconds()> now_;
  GiveWay recoveries_;
};

}  // namespace crossover

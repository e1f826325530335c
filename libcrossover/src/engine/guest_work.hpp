/// \file
/// What the parts of one guest's run share.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>

#include "crossover/report.hpp"
#include "engine/ports.hpp"
#include "plan/mirror_plan.hpp"

namespace crossover {

/// One guest's run: what it is to do, through what, and what it has to tell. Thread-safe where it says so.
struct GuestWork {
  const MirrorRequest& request;
  const GuestPlan& plan;
  const Ports& ports;
  MirrorTotals& totals;
  std::stop_token stop;
  std::mutex mutex = {};  ///< guards totals and the report's lists where disks are worked on side by side
  GuestReport report = {};

  [[nodiscard]] ImageStore& source(const DiskPlan& disk) const;
  [[nodiscard]] ImageStore& destination(const DiskPlan& disk) const;

  /// Before something is changed about a disk on the source; see require_live_lock(). Thread-safe.
  void require_live_lock(const DiskPlan& disk) const;

  /// Gives an event with the guest's names in it. Thread-safe.
  void tell(Event event) const;
  void warn(const std::string& text) const;
  /// A warning that is in the report, too. Thread-safe.
  void note(const std::string& warning);

  /// Works on all disks, as many side by side as the request allows.
  void for_disks(const std::function<void(const DiskPlan& disk, std::size_t index)>& work) const;

  /// "pool/image@snapshot" of the run's point.
  [[nodiscard]] std::string point_name(const ImageRef& image) const;
};

}  // namespace crossover

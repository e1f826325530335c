/// \file
/// The operations by which recovery points are offered and received, on the agent's side of one connection.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/messages.hpp"
#include "engine/reception.hpp"

namespace crossover::agent {

/// One connection has one point under way, and the part of its first disk in it, or another disk's part in a point. For
/// one thread at a time.
class PointService {
 public:
  explicit PointService(Reception& reception) : reception_(reception) {}

  /// Begins the point that the request offers.
  Json begin(const Json& request, const std::stop_token& stop);
  /// Carries out the step that it names.
  Json carry_out(const Json& request);
  Json record(const Json& request);
  /// Gives the point up, unless it is complete.
  Json end();

  /// Begins the part of the first disk of the point at hand.
  void receive_first_disk(const std::stop_token& stop);
  /// Begins the part of the disk that has this image, of a point that another connection has.
  void receive_disk(const ImageRef& image, const std::string& transfer, const std::stop_token& stop);
  /// Takes content for it, as the request says.
  std::unique_ptr<DiffSink> write_disk(const Json& request, const std::stop_token& stop);
  /// The disk at hand. Error{usage} without one.
  DiskReceiver& disk();
  void release_disk();

  /// Whether something is held for the client.
  [[nodiscard]] bool holds() const noexcept { return point_ || disk_; }

 private:
  /// What a step came to: the notes since the last one, and whether a head may be torn.
  Json progress();
  /// The point at hand, with no disk's part under way on this connection. Error{usage} without one.
  PointReceiver& point();
  void require_free() const;

  Reception& reception_;
  std::mutex mutex_;  // guards the notes, which come from several threads
  std::vector<std::string> notes_;
  std::unique_ptr<PointReceiver> point_;
  std::unique_ptr<DiskReceiver> disk_;
};

}  // namespace crossover::agent

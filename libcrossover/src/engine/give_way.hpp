/// \file
/// Whoever receives for a replica gives way to its recovery.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "engine/ports.hpp"
#include "plan/inventory.hpp"

namespace crossover {

/// Looks at the images that are in use here for the mark of a recovery, from a thread of its own. Thread-safe.
class GiveWay {
 public:
  /// `give_way` is called once, when an image that is in use has such a mark; it has to end what uses it, and must not
  /// wait for that.
  GiveWay(ImageStores& stores, std::function<std::chrono::sys_seconds()> now, std::function<void()> give_way,
          std::chrono::milliseconds interval = std::chrono::seconds(3));

  /// Throws Error{locked}, retryable, if a recovery of the image is under way.
  void require_none(const ImageRef& image, const ImageState& state) const;

  /// Until what it returns is released, the image is in use.
  [[nodiscard]] std::shared_ptr<void> use(const ImageRef& image);

 private:
  void watch(const std::stop_token& destroyed);

  ImageStores& stores_;
  std::function<std::chrono::sys_seconds()> now_;
  std::function<void()> give_way_;
  std::chrono::milliseconds interval_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::map<std::uint64_t, ImageRef> in_use_;
  std::uint64_t last_ = 0;
  std::jthread watching_;  // last: it uses everything above
};

}  // namespace crossover

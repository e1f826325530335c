/// \file
/// Leases in memory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/leases.hpp"

namespace crossover::test {

/// Leases that run out only when they are told to. Thread-safe.
class MemoryLeases final : public Leases {
 public:
  /// Called once, before the next lease is taken.
  std::function<void()> before_next;

  std::unique_ptr<Lease> take(std::span<const LeasedImage> images, std::function<void()> lost) override {
    if (const auto before = std::exchange(before_next, nullptr)) before();
    const std::scoped_lock lock(mutex_);
    for (const LeasedImage& image : images) {
      if (const auto held = holders_.find(image.id); held != holders_.end()) {
        throw Error(ErrorCode::locked, "lease image", to_string(image.image.spec), held->second, true);
      }
    }
    std::vector<std::string> ids;
    for (const LeasedImage& image : images) {
      holders_[image.id] = "a run of this test";
      ids.push_back(image.id);
    }
    lost_ = std::move(lost);
    return std::make_unique<Held>(*this, std::move(ids));
  }

  /// Another run has the image from now on, until it is given back.
  void occupy(const std::string& id, const std::string& holder) {
    const std::scoped_lock lock(mutex_);
    holders_[id] = holder;
  }
  void give_back(const std::string& id) {
    const std::scoped_lock lock(mutex_);
    holders_.erase(id);
  }
  /// The lease that was taken last is lost.
  void lose() {
    std::function<void()> lost;
    {
      const std::scoped_lock lock(mutex_);
      lost = std::exchange(lost_, nullptr);
    }
    if (lost) lost();
  }
  [[nodiscard]] std::size_t held() const {
    const std::scoped_lock lock(mutex_);
    return holders_.size();
  }

 private:
  class Held final : public Lease {
   public:
    Held(MemoryLeases& leases, std::vector<std::string> ids) : leases_(leases), ids_(std::move(ids)) {}
    ~Held() override {
      for (const std::string& id : ids_) leases_.give_back(id);
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    MemoryLeases& leases_;
    std::vector<std::string> ids_;
  };

  mutable std::mutex mutex_;
  std::map<std::string, std::string> holders_;  // by image id
  std::function<void()> lost_;
};

}  // namespace crossover::test

/// \file
/// Leases in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
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
      for (const Key& key : {key_of(image), Key{"", image.id}}) {
        const auto held = holders_.find(key);
        if (held == holders_.end()) continue;
        throw Error(ErrorCode::locked, "lease image", to_string(image.image.spec), held->second.name, true);
      }
    }
    const std::uint64_t number = ++last_;
    for (const LeasedImage& image : images) holders_[key_of(image)] = {"a run of this test", number};
    lost_[number] = std::move(lost);
    return std::make_unique<Held>(*this, number);
  }

  /// Another run has the image from now on, until it is given back.
  void occupy(const std::string& id, const std::string& holder) {
    const std::scoped_lock lock(mutex_);
    holders_[{"", id}] = {holder, 0};
  }
  void give_back(const std::string& id) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(holders_, [&id](const auto& entry) { return entry.first.second == id; });
  }
  /// The lease that was taken last is lost.
  void lose() {
    std::function<void()> lost;
    {
      const std::scoped_lock lock(mutex_);
      if (!lost_.empty()) lost = std::move(lost_.extract(std::prev(lost_.end())).mapped());
    }
    if (lost) lost();
  }
  /// Every lease that is held runs out, as of a process that stands still: others may have it, and it is not told.
  void run_out() {
    const std::scoped_lock lock(mutex_);
    holders_.clear();
    run_out_.merge(std::exchange(lost_, {}));
  }
  /// It goes on, and is told.
  void tell_lost() {
    std::map<std::uint64_t, std::function<void()>> lost;
    {
      const std::scoped_lock lock(mutex_);
      lost = std::exchange(run_out_, {});
    }
    for (const auto& [number, tell] : lost) tell();
  }
  [[nodiscard]] std::size_t held() const {
    const std::scoped_lock lock(mutex_);
    return holders_.size();
  }

 private:
  class Held final : public Lease {
   public:
    Held(MemoryLeases& leases, std::uint64_t number) : leases_(leases), number_(number) {}
    ~Held() override { leases_.end(number_); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    MemoryLeases& leases_;
    std::uint64_t number_;
  };

  /// Pool and id: both clusters have images of the same ids, and pools of their own.
  using Key = std::pair<std::string, std::string>;
  static Key key_of(const LeasedImage& image) { return {image.image.spec.pool, image.id}; }

  struct Holder {
    std::string name;
    std::uint64_t number = 0;  ///< of the lease; 0: it is no run of this test
  };

  /// What ran out is another's by now, and stays with it.
  void end(std::uint64_t number) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(holders_, [number](const auto& entry) { return entry.second.number == number; });
    lost_.erase(number);
    run_out_.erase(number);
  }

  mutable std::mutex mutex_;
  std::map<Key, Holder> holders_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, std::function<void()>> lost_;     // by the lease's number
  std::map<std::uint64_t, std::function<void()>> run_out_;  // of those that were not told yet
};

}  // namespace crossover::test

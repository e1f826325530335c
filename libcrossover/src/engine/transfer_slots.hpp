/// \file
/// How many transfers a run has under way.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <stop_token>

namespace crossover {

/// A number of slots for transfers of all guests of a run; who waits longest is served first. Thread-safe.
class TransferSlots {
 public:
  explicit TransferSlots(std::size_t count) : free_(count) {}

  /// A slot in use, until it is destroyed.
  class Slot {
   public:
    explicit Slot(TransferSlots& slots) noexcept : slots_(slots) {}
    ~Slot() { slots_.leave(); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    TransferSlots& slots_;
  };

  /// Waits for a slot. Throws Cancelled.
  [[nodiscard]] Slot enter(const std::stop_token& stop);

  /// How many wait.
  [[nodiscard]] std::size_t waiting() const;

 private:
  void leave() noexcept;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::size_t free_;
  std::deque<const int*> waiting_;  // who waits, by the address of something of theirs
};

}  // namespace crossover

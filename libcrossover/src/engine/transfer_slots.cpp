#include "engine/transfer_slots.hpp"

#include <algorithm>

#include "crossover/error.hpp"

namespace crossover {

TransferSlots::Slot TransferSlots::enter(const std::stop_token& stop) {
  const int self = 0;
  std::unique_lock lock(mutex_);
  waiting_.push_back(&self);
  const bool mine =
      changed_.wait(lock, stop, [&] { return free_ > 0 && waiting_.front() == &self; }) && !stop.stop_requested();
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &self));
  if (mine) --free_;
  changed_.notify_all();
  if (!mine) throw Cancelled{};
  return Slot(*this);
}

std::size_t TransferSlots::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

void TransferSlots::leave() noexcept {
  const std::lock_guard lock(mutex_);
  ++free_;
  changed_.notify_all();
}

}  // namespace crossover

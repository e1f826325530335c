/// \file
/// One event at a time.
#pragma once

#include <mutex>

#include "crossover/events.hpp"

namespace crossover {

/// Events come from several threads of the engine; a sink hears one at a time.
class SerialisedSink final : public EventSink {
 public:
  explicit SerialisedSink(EventSink& next) : next_(next) {}

  void on_event(const Event& event) override {
    const std::scoped_lock lock(mutex_);
    next_.on_event(event);
  }

 private:
  EventSink& next_;
  std::mutex mutex_;
};

}  // namespace crossover

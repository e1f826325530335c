/// \file
/// What stands between the engine and whoever listens to it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "crossover/error.hpp"
#include "crossover/events.hpp"
#include "model/text.hpp"

namespace crossover {

/// Events come from several threads of the engine; a sink hears one at a time, and a warning of a guest once and in
/// one line, however often a run tries. What only listens does not decide: a sink
/// that throws hears nothing more of that guest, and the guest fails where its next step begins, in order, with the
/// exception's text. Where no step follows, in a migration's switch and in everything that undoes, nothing comes of it.
class SerialisedSink final : public EventSink {
 public:
  explicit SerialisedSink(EventSink& next) : next_(next) {}

  /// Throws Error{io} at the beginning of a step (EventKind::debug) of a guest whose listener has failed, and nothing else.
  void on_event(const Event& event) override {
    const std::scoped_lock lock(mutex_);
    const auto failed = failed_.find(event.vmid);
    if (failed == failed_.end()) return pass(event);
    if (event.kind != EventKind::debug || event.vmid == 0) return;
    throw Error(ErrorCode::io, "report", "events", "whoever listens to them failed: " + failed->second);
  }

 private:
  void pass(const Event& event) {
    try {
      if (event.kind != EventKind::warning) return next_.on_event(event);
      Event warning = event;
      warning.text = text::one_line(event.text);
      if (warned_.emplace(event.vmid, warning.text).second) next_.on_event(warning);
    } catch (const std::exception& error) {
      failed_.emplace(event.vmid, error.what());
    } catch (...) {
      failed_.emplace(event.vmid, "with what is no std::exception");
    }
  }

  EventSink& next_;
  std::mutex mutex_;
  std::set<std::pair<std::uint32_t, std::string>> warned_;
  std::map<std::uint32_t, std::string> failed_;  // guests that are not heard of any more, and why
};

}  // namespace crossover

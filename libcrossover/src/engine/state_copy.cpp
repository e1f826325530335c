#include "engine/state_copy.hpp"

#include <algorithm>
#include <memory>
#include <optional>

#include "crossover/error.hpp"
#include "engine/counting_sink.hpp"
#include "engine/stall_guard.hpp"
#include "plan/replica_layout.hpp"

namespace crossover {

namespace {

/// Nobody writes to it any more: whichever run made it, it holds the whole.
Snapshot end_of(const StateCopy& what, ImageStore& store, const ImageState& image) {
  const auto made = std::find_if(image.snapshots.begin(), image.snapshots.end(),
                                 [&](const Snapshot& one) { return one.name == what.snapshot; });
  return made != image.snapshots.end() ? *made : store.create_snapshot(what.from.spec, what.snapshot);
}

}  // namespace

std::uint64_t copy_state(const StateCopy& what, const Ports& ports, const std::stop_token& stop) {
  ImageStore& here = ports.source.images.open(what.from.access);
  ImageStore& there = ports.destination.images.open(what.to.access);
  const std::string subject = to_string(what.from.spec);
  const std::optional<ImageState> state = here.find(what.from.spec);
  if (!state) throw Error(ErrorCode::not_found, "send", subject, "the guest's saved memory is gone");
  const Snapshot end = end_of(what, here, *state);
  there.create(what.to.spec, replica_layout(state->layout, what.storage));
  return send_guarded(what.stall_timeout, stop, subject, [&](StallGuard& guard) {
    const std::unique_ptr<ImageHold> hold = there.hold(what.to.spec, guard.stop());
    CountingSink sink(hold->write_diff({}, guard.stop()), [&](std::uint64_t bytes) {
      guard.progress();
      what.progress(bytes);
    });
    here.read_diff(what.from.spec, std::nullopt, end, 0, sink, guard.stop());
    return sink.bytes();
  });
}

}  // namespace crossover

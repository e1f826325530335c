#include "engine/migration_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "crossover/error.hpp"
#include "crossover/vm_config.hpp"
#include "engine/retry.hpp"
#include "engine/wait_until_running.hpp"
#include "plan/guest_agent.hpp"
#include "plan/migration_record.hpp"
#include "plan/points.hpp"
#include "plan/record.hpp"

namespace crossover {

namespace {

constexpr std::chrono::seconds longest_wait_for_agent{120};

/// A replica's image that nobody else has open meanwhile, and what is known of it.
struct HeldReplica {
  std::unique_ptr<ImageHold> hold;
  ImageState state;
  ReplicaRecord record;
};

HeldReplica hold_replica(ImageStores& stores, const ImageRef& image, const std::stop_token& stop) {
  HeldReplica held{.hold = stores.open(image.access).hold(image.spec, stop), .state = {}, .record = {}};
  held.state = held.hold->state();
  const auto record = image_record(held.state).replica;
  if (!record) throw Error(ErrorCode::conflict, "migrate", to_string(image.spec), "its record is gone");
  held.record = *record;
  return held;
}

[[noreturn]] void throw_promoted_elsewhere(const ImageRef& image, const Promotion& promotion) {
  throw Error(ErrorCode::conflict, "migrate", to_string(image.spec),
              fmt::format("it was made a guest of its own at {} meanwhile, which is not this migration's point",
                          promotion.point));
}

}  // namespace

std::string MigrationTarget::subject() const {
  return fmt::format("VM {} on {}", vmid_, node_);
}

ConfigVersion MigrationTarget::read(const std::stop_token& stop) {
  auto version = ports_.destination.hypervisor.read_config(node_, vmid_, stop);
  if (!version) throw Error(ErrorCode::not_found, "migrate", subject(), "its configuration is gone");
  return std::move(*version);
}

ConfigVersion MigrationTarget::read_unlocked(const std::stop_token& stop) {
  ConfigVersion now = read(stop);
  const auto lock = parse_vm_config(now.bytes).get("lock");
  const auto saved = saved_state(now.bytes);
  const bool is_ours = lock == suspended_lock && saved && state_ && saved->volume == state_->volume;
  if (lock && *lock != "migrate" && !is_ours) {
    throw Error(ErrorCode::locked, "migrate", subject(), fmt::format("somebody else locked it ({})", *lock), true);
  }
  return now;
}

void MigrationTarget::promote(const std::string& point, const std::stop_token& stop) {
  for (const ImageRef& image : images_) {
    HeldReplica held = hold_replica(ports_.destination.images, image, stop);
    const auto& promoted = held.record.promoted;
    if (promoted && promoted->point != point) throw_promoted_elsewhere(image, *promoted);
    if (promoted && !promoted->done) {
      throw Error(ErrorCode::conflict, "migrate", to_string(image.spec),
                  fmt::format("a recovery of VM {} at {} was begun there and is not through; 'crossover recover {}' "
                              "there ends it",
                              vmid_, point, vmid_));
    }
    if (!promoted && (held.record.state != ReplicaState::complete || held.record.end_snapshot != point)) {
      throw Error(ErrorCode::conflict, "migrate", to_string(image.spec),
                  fmt::format("it is not at {}; another run was at it", point), true);
    }
    // It was a source itself once, and is not any more.
    if (held.state.metadata.contains(std::string(migration_key)))
      held.hold->remove_metadata(std::string(migration_key));
    if (promoted) continue;
    set_promotion(held.record, {point, ports_.clock.now(), true}, held.state);
    held.hold->set_metadata(std::string(promotion_key), render_promotion(held.record));
  }
}

void MigrationTarget::configure(const std::optional<std::string>& onboot, const std::optional<SavedState>& saved,
                                const std::stop_token& stop) {
  const ConfigVersion now = read_unlocked(stop);
  std::string wanted = without_fence(without_saved_state(now.bytes), onboot);
  if (saved && state_) wanted = with_saved_state(wanted, {state_->volume, saved->keys});
  if (wanted != now.bytes) ports_.destination.hypervisor.write_config(node_, vmid_, now, wanted, stop);
}

bool MigrationTarget::start(const std::stop_token& stop) {
  GuestPower& power = ports_.destination.power;
  power.start(node_, vmid_, stop);
  wait_until_running(power, ports_.clock, node_, vmid_, stop);
  if (!has_guest_agent(parse_vm_config(read(stop).bytes))) return true;
  constexpr std::chrono::milliseconds interval{250};
  for (const auto deadline = ports_.clock.steady() + longest_wait_for_agent; !agent_answers(stop);) {
    if (ports_.clock.steady() >= deadline) return false;
    ports_.clock.wait(interval, stop);
  }
  return true;
}

bool MigrationTarget::has_state() {
  return state_ && ports_.destination.images.open(state_->image.access).find(state_->image.spec).has_value();
}

void MigrationTarget::wait_until_resumed(const std::stop_token& stop) {
  constexpr std::chrono::hours longest{1};
  constexpr std::chrono::seconds interval{1};
  for (const auto deadline = ports_.clock.steady() + longest; state_; ports_.clock.wait(interval, stop)) {
    const auto saved = saved_state(read(stop).bytes);
    if (!saved || saved->volume != state_->volume) return;
    if (ports_.destination.power.power(node_, vmid_, stop) == Power::stopped || ports_.clock.steady() >= deadline) {
      throw Error(ErrorCode::command, "resume", subject(), "it did not go on from its memory");
    }
  }
}

template <typename Action>
void MigrationTarget::wait_while_in_use(const std::stop_token& stop, const Action& action) {
  // What a QEMU that did not come up had open is its own for half a minute more.
  constexpr std::chrono::seconds longest{60};
  constexpr std::chrono::seconds interval{1};
  for (std::chrono::seconds waited{0};; waited += interval) {
    try {
      return action();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::in_use || waited >= longest) throw;
    }
    ports_.clock.wait(interval, stop);
  }
}

void MigrationTarget::remove_state(const std::stop_token& stop) {
  if (!has_state()) return;
  const auto saved = saved_state(read(stop).bytes);
  if (saved && saved->volume == state_->volume) return;
  wait_while_in_use(stop, [&] { ports_.destination.images.open(state_->image.access).remove(state_->image.spec); });
}

/// It runs: what keeps its agent from being asked is no reason to think otherwise.
bool MigrationTarget::agent_answers(const std::stop_token& stop) {
  try {
    return ports_.destination.power.agent_answers(node_, vmid_, stop);
  } catch (const Cancelled&) {
    throw;
  } catch (...) {
    return false;
  }
}

Power MigrationTarget::power(std::size_t retries, const std::stop_token& stop) {
  return with_retries(retries, ports_.clock, stop,
                      [&] { return ports_.destination.power.power(node_, vmid_, stop); });
}

bool MigrationTarget::is_promoted() {
  return std::any_of(images_.begin(), images_.end(), [&](const ImageRef& image) {
    const auto state = ports_.destination.images.open(image.access).find(image.spec);
    if (!state) return false;
    const auto record = image_record(*state).replica;
    return record && record->promoted.has_value();
  });
}

bool MigrationTarget::is_untouched(const std::string& point, const std::stop_token& stop) {
  return std::all_of(images_.begin(), images_.end(), [&](const ImageRef& image) {
    ImageStore& store = ports_.destination.images.open(image.access);
    const auto state = store.find(image.spec);
    if (!state) return false;
    const auto record = image_record(*state).replica;
    if (!record) return false;
    const auto snapshot = std::find_if(state->snapshots.begin(), state->snapshots.end(),
                                       [&](const Snapshot& one) { return one.name == point; });
    return snapshot != state->snapshots.end() && state->layout.size_bytes == snapshot->size_bytes &&
           store.head_unchanged_since(image.spec, *snapshot, stop);
  });
}

std::string MigrationTarget::why_not_taken_back(const std::string& point, std::size_t retries,
                                                const std::stop_token& stop) {
  if (power(retries, stop) != Power::stopped) return fmt::format("VM {} runs on {}", vmid_, node_);
  if (!is_promoted() || is_untouched(point, stop)) return "";
  return fmt::format("{} has written to its disks since {}, and does not run", subject(), point);
}

void MigrationTarget::keep_down(const std::stop_token& stop) {
  const ConfigVersion now = read_unlocked(stop);
  const std::string wanted = with_fence(without_saved_state(now.bytes));
  if (wanted != now.bytes) ports_.destination.hypervisor.write_config(node_, vmid_, now, wanted, stop);
}

void MigrationTarget::demote(const std::string& point, const std::stop_token& stop) {
  for (const ImageRef& image : images_) {
    wait_while_in_use(stop, [&] {
      const HeldReplica held = hold_replica(ports_.destination.images, image, stop);
      const auto& promoted = held.record.promoted;
      if (!promoted) return;
      if (promoted->point != point) throw_promoted_elsewhere(image, *promoted);
      held.hold->remove_metadata(std::string(promotion_key));
    });
  }
  const ConfigVersion now = read(stop);
  if (is_fenced(now.bytes)) {
    ports_.destination.hypervisor.write_config(node_, vmid_, now, without_fence(now.bytes, "0"), stop);
  }
}

}  // namespace crossover

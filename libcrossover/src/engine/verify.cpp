#include "engine/verify.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crossover/error.hpp"
#include "engine/compare_blocks.hpp"
#include "engine/guest_mirror.hpp"
#include "engine/guest_report.hpp"
#include "engine/in_parallel.hpp"
#include "engine/survey.hpp"
#include "engine/unexpected_error.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Small enough that a lost object is found by one of its many blocks, large enough that reading it pays.
constexpr std::uint64_t sample_block_bytes = std::uint64_t{256} << 10;

class GuestVerify {
 public:
  GuestVerify(const VerifyRequest& request, std::uint64_t seed, const GuestScope& scope, const Ports& ports,
              TransferSlots& slots, std::stop_token stop)
      : request_(request), seed_(seed), scope_(scope), ports_(ports), slots_(slots), stop_(std::move(stop)) {}

  VerifiedGuest run(const Inventory& inventory) {
    result_.vmid = scope_.vmid;
    result_.target_vmid = scope_.target_vmid;
    result_.name = scope_.name;
    Repair repair;
    try {
      const VerifyPlan plan = plan_verify(request_, inventory, scope_);
      result_.point = repair.point = plan.point;
      for (const std::string& warning : plan.warnings) warn(warning);
      if (plan.problem) return fail(plan.problem->code, plan.problem->text);
      for (const VerifyDisk& disk : plan.disks) {
        result_.disks.push_back(compare(disk));
        repair.ranges[disk.replica] = result_.disks.back().differing;
      }
    } catch (...) {
      const Error error = failure_at_hand();
      return fail(error.code(), error.what());
    }
    const bool is_equal = std::all_of(result_.disks.begin(), result_.disks.end(),
                                      [](const VerifiedDisk& disk) { return disk.is_equal(); });
    result_.outcome = is_equal ? VerifyOutcome::equal : VerifyOutcome::differs;
    if (!is_equal && request_.repair) mend(repair);
    return std::move(result_);
  }

 private:
  void tell(Event event) const {
    event.vmid = scope_.vmid;
    event.target_vmid = scope_.target_vmid;
    ports_.events.on_event(event);
  }

  void warn(const std::string& text) {
    result_.warnings.push_back(text);
    tell({.kind = EventKind::warning, .text = text});
  }

  VerifiedGuest fail(ErrorCode code, const std::string& text) {
    result_.outcome = is_conflict(code) ? VerifyOutcome::conflict : VerifyOutcome::failed;
    result_.error_code = code;
    result_.error = text;
    return std::move(result_);
  }

  VerifiedDisk compare(const VerifyDisk& disk) {
    VerifiedDisk result;
    result.key = disk.disk.key;
    result.source_image = to_string(disk.disk.image.spec);
    result.replica_image = to_string(disk.replica.spec);
    result.source_size_bytes = disk.source_snapshot.size_bytes;
    result.replica_size_bytes = disk.replica_snapshot.size_bytes;
    const std::string subject = result.source_image + "@" + disk.source_snapshot.name;
    tell({.kind = EventKind::verify_started,
          .subject = subject,
          .text = result.replica_image + "@" + disk.replica_snapshot.name});

    const auto begin = steady_clock::now();
    const auto elapsed = [&] { return duration_cast<milliseconds>(steady_clock::now() - begin); };
    const std::uint64_t size = std::max(result.source_size_bytes, result.replica_size_bytes);
    BlockSelection blocks = whole_snapshot(size);
    if (!request_.sample.empty()) {
      blocks = whole_snapshot(size, sample_block_bytes);
      blocks.sample = BlockSample{request_.sample_per_million, seed_};
    }
    auto told = begin;
    const auto progress = [&](std::uint64_t done) {
      if (steady_clock::now() - told < milliseconds(200)) return;
      told = steady_clock::now();
      tell({.kind = EventKind::verify_progress,
            .subject = subject,
            .bytes = std::min(done * blocks.block_bytes, size),
            .elapsed = elapsed()});
    };
    const ComparedSnapshot source{ports_.source.images.open(disk.disk.image.access), disk.disk.image.spec,
                                  disk.source_snapshot};
    const ComparedSnapshot replica{ports_.destination.images.open(disk.replica.access), disk.replica.spec,
                                   disk.replica_snapshot};
    const BlockComparison found = compare_blocks(source, replica, blocks, progress, stop_);
    result.compared_bytes = std::min(found.blocks * blocks.block_bytes, size);
    result.differing = narrow(source, replica, found.differing, size, stop_);
    result.duration = elapsed();
    tell({.kind = EventKind::verify_finished,
          .subject = subject,
          .text = result.is_equal() ? "equal" : describe(result),
          .bytes = result.compared_bytes,
          .elapsed = result.duration});
    return result;
  }

  static std::string describe(const VerifiedDisk& disk) {
    if (disk.differing.empty()) {
      return fmt::format("the sizes differ: {} and {} bytes", disk.source_size_bytes, disk.replica_size_bytes);
    }
    return fmt::format("{} bytes differ, in {} ranges", sum(disk.differing), disk.differing.size());
  }

  /// What the first survey saw may be hours old.
  void mend(const Repair& repair) {
    try {
      MirrorRequest alone = request_.mirror;
      alone.vmids = {.all = false, .guests = {{scope_.vmid, scope_.target_vmid}}};
      alone.tag.clear();
      const Survey found = survey(alone, ports_, stop_);
      MirrorTotals totals;
      result_.repair =
          mirror_guest(alone, found.inventory, found.guests.at(0), ports_, slots_, totals, stop_, repair);
    } catch (...) {
      const Error error = failure_at_hand();
      result_.error_code = error.code();
      result_.error = error.what();
      return;
    }
    const Outcome outcome = result_.repair->outcome;
    if (outcome == Outcome::ok || outcome == Outcome::incomplete) {
      result_.outcome = VerifyOutcome::repaired;
      return;
    }
    result_.error_code = result_.repair->error_code;
    result_.error = result_.repair->error;
  }

  const VerifyRequest& request_;
  std::uint64_t seed_;
  const GuestScope& scope_;
  const Ports& ports_;
  TransferSlots& slots_;
  std::stop_token stop_;
  VerifiedGuest result_;
};

}  // namespace

VerifyReport verify(const VerifyRequest& request, const Ports& ports, std::stop_token stop) {
  const auto begin = steady_clock::now();
  VerifyReport report;
  report.job = request.mirror.job_name;
  report.destination = request.mirror.destination;
  report.started = ports.clock.now();
  report.sample = request.sample;
  if (!request.sample.empty()) {
    report.seed = request.seed.value_or(static_cast<std::uint64_t>(report.started.time_since_epoch().count()));
  }
  const Survey found = survey(request.mirror, ports, stop);
  report.guests.resize(found.guests.size());
  TransferSlots slots(request.mirror.parallel);
  in_parallel(found.guests.size(), request.mirror.parallel, [&](std::size_t index) {
    report.guests[index] =
        GuestVerify(request, report.seed, found.guests[index], ports, slots, stop).run(found.inventory);
  });
  report.duration = duration_cast<milliseconds>(steady_clock::now() - begin);
  return report;
}

}  // namespace crossover

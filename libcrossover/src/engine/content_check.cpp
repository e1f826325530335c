#include "engine/content_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "engine/compare_blocks.hpp"
#include "engine/conflict_error.hpp"

namespace crossover {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

}  // namespace

void check_content(const GuestWork& work, const DiskPlan& disk) {
  const std::string here = to_string(disk.disk.image.spec) + "@" + disk.source_base->name;
  const std::string there = to_string(disk.replica.spec) + "@" + disk.replica_base->name;
  const auto begin = steady_clock::now();
  work.tell({.kind = EventKind::verify_started, .subject = here, .text = there});
  const ComparedSnapshot source{work.source(disk), disk.disk.image.spec, *disk.source_base};
  const ComparedSnapshot replica{work.destination(disk), disk.replica.spec, *disk.replica_base};
  const std::uint64_t size = disk.source_base->size_bytes;
  const auto progress = [&](std::uint64_t blocks) {
    work.tell({.kind = EventKind::verify_progress,
               .subject = here,
               .bytes = std::min(blocks * whole_block_bytes, size),
               .elapsed = duration_cast<milliseconds>(steady_clock::now() - begin)});
  };
  const BlockComparison found = compare_blocks(source, replica, whole_snapshot(size), progress, work.stop);
  const std::vector<ByteRange> differing = narrow(source, replica, found.differing, size, work.stop);
  work.tell({.kind = EventKind::verify_finished,
             .subject = here,
             .text = differing.empty() ? "equal" : fmt::format("{} bytes differ", sum(differing)),
             .bytes = std::min(found.blocks * whole_block_bytes, size),
             .elapsed = duration_cast<milliseconds>(steady_clock::now() - begin)});
  if (differing.empty()) return;
  throw ConflictError(
      Conflict::replica_diverged, "adopt replica", to_string(disk.replica.spec),
      fmt::format("{} differs from {} in {} bytes in {} ranges, the first at {}; it was not touched. "
                  "--reseed makes a new copy beside it",
                  there, here, sum(differing), differing.size(), differing.front().offset));
}

}  // namespace crossover

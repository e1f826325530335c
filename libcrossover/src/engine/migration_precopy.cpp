#include "engine/migration_precopy.hpp"

#include <fmt/format.h>

#include <cstddef>

#include "engine/guest_mirror.hpp"
#include "engine/guest_report.hpp"

namespace crossover {

bool pre_copy(MigrationWork& work) {
  const MigrateRequest& request = work.request;
  for (std::size_t round = 1; round <= request.precopy_rounds; ++round) {
    if (round > 1) work.look(work.stop);
    work.say(fmt::format("round {} before the switch", round));
    work.keep(mirror_guest(request.mirror, work.found.inventory, work.scope, work.ports, work.slots, work.totals,
                           work.stop));
    if (work.report.outcome != Outcome::ok) return false;
    ++work.migration.rounds;
    const auto [bytes, took] = sent(work.report);
    work.migration.precopy_bytes += bytes;
    if (request.precopy_threshold ? bytes <= *request.precopy_threshold : took <= precopy_time) break;
  }
  return true;
}

}  // namespace crossover

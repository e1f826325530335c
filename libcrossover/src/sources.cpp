#include "crossover/sources.hpp"

#include "connect.hpp"
#include "engine/cleanup_source.hpp"
#include "serialised_sink.hpp"
#include "system_clock.hpp"

namespace crossover {

CleanupReport Sources::cleanup(std::uint32_t vmid, const std::vector<std::string>& images, bool dry_run,
                               const ConfirmCleanup& confirm, EventSink& events, std::stop_token stop) {
  SerialisedSink serialised(events);
  SystemClock clock;
  const std::unique_ptr<LocalConnection> here = connect_here();
  return cleanup_source(vmid, images, dry_run, confirm,
                        {here->hypervisor(), here->power(), here->images(), clock, serialised}, here->leases(),
                        stop);
}

}  // namespace crossover

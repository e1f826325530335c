#include "crossover/sources.hpp"

#include "connect.hpp"
#include "engine/cleanup_source.hpp"
#include "serialised_sink.hpp"
#include "system_clock.hpp"

namespace crossover {

CleanupReport Sources::cleanup(std::uint32_t vmid, bool dry_run, const ConfirmCleanup& confirm, EventSink& events,
                               std::stop_token stop) {
  SerialisedSink serialised(events);
  SystemClock clock;
  const std::unique_ptr<LocalConnection> here = connect_here();
  return cleanup_source(vmid, dry_run, confirm,
                        {here->hypervisor(), here->power(), here->images(), clock, serialised}, stop);
}

}  // namespace crossover

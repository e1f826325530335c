#include "crossover/replicas.hpp"

#include "connect.hpp"
#include "engine/prune.hpp"
#include "engine/recover.hpp"
#include "serialised_sink.hpp"
#include "system_clock.hpp"

namespace crossover {

namespace {

class NoSink final : public EventSink {
 public:
  void on_event(const Event& /*event*/) override {}
};

/// Calls `action` with this host's cluster.
template <typename Action>
auto with_replicas(EventSink& events, const Action& action) {
  SerialisedSink serialised(events);
  SystemClock clock;
  const std::unique_ptr<LocalConnection> here = connect_here();
  return action(ReplicaPorts{here->hypervisor(), here->power(), here->images(), clock, serialised});
}

}  // namespace

ReplicaReport Replicas::points(std::uint32_t vmid, std::stop_token stop) {
  NoSink none;
  return with_replicas(none, [&](const ReplicaPorts& ports) {
    const Replica replica = find_replica(survey_replicas({vmid}, ports, stop), vmid);
    if (replica.problem) throw Error(replica.problem->code, "read replica", "", replica.problem->text);
    return report_of(replica, ports.clock.now());
  });
}

RecoverReport Replicas::recover(std::uint32_t vmid, const RecoverOptions& options, EventSink& events,
                                std::stop_token stop) {
  const RecoverRequest request = parse_options(vmid, options);
  return with_replicas(events, [&](const ReplicaPorts& ports) { return crossover::recover(request, ports, stop); });
}

PruneReport Replicas::prune(const std::string& vmids, const PruneOptions& options, EventSink& events,
                            std::stop_token stop) {
  const PruneRequest request = parse_options(vmids, options);
  return with_replicas(events, [&](const ReplicaPorts& ports) { return crossover::prune(request, ports, stop); });
}

}  // namespace crossover

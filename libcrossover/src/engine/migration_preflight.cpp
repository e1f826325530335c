#include "engine/migration_preflight.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <utility>

#include "engine/retry.hpp"
#include "plan/migration_check.hpp"

namespace crossover {

namespace {

/// What a storage has left, by the access to an image on it; nothing if that is not known.
std::optional<std::uint64_t> free_bytes(MigrationWork& work, const Side& side, const ClusterInventory& cluster,
                                        const std::string& storage_id, const ImageRef& image) {
  const auto storage = cluster.storages.rbd(storage_id);
  const std::string& pool = storage && !storage->data_pool.empty() ? storage->data_pool : image.spec.pool;
  try {
    return side.images.open(image.access).available_bytes(pool);
  } catch (const Error& error) {
    if (is_connectivity(error)) throw;
    work.note(fmt::format("the free space of {} on the {} is unknown: {}", storage_id,
                          &side == &work.ports.source ? "source" : "destination", error.what()));
    return std::nullopt;
  }
}

}  // namespace

std::vector<std::string> preflight(MigrationWork& work) {
  Inventory& inventory = work.found.inventory;
  const Ports& ports = work.ports;
  const auto node_versions = [&work](const Side& side) {
    return side.hypervisor.survey({.versions = true}, work.stop).nodes;
  };
  FreeSpace free;
  if (!work.scope.replicas.empty()) {
    free.target = free_bytes(work, ports.destination, inventory.destination, work.request.mirror.pool,
                             work.scope.replicas.front());
  }
  // What QEMU is there is nothing that the runs ask.
  inventory.destination.nodes = node_versions(ports.destination);
  if (is_suspended(work.request, work.plan) && !work.scope.disks.replicated.empty()) {
    free.source = free_bytes(work, ports.source, inventory.source, work.state_storage(),
                             work.scope.disks.replicated.front().image);
    inventory.source.nodes = node_versions(ports.source);
  }
  return migration_findings(work.request, inventory, work.scope, work.plan, free);
}

void fail_with_findings(MigrationWork& work) {
  const std::optional<Problem>& problem = work.plan.problem;
  work.fail(work.failure(problem ? problem->code : ErrorCode::unsupported,
                         fmt::format("{}", fmt::join(work.migration.findings, "; "))));
  work.report.conflict = problem ? problem->conflict : std::nullopt;
}

}  // namespace crossover

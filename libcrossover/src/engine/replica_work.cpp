#include "engine/replica_work.hpp"

#include "engine/in_parallel.hpp"

namespace crossover {

ImageStore& ReplicaWork::store(const DiskPlan& disk) const {
  return destination.images.open(disk.replica.access);
}

void ReplicaWork::for_disks(const std::function<void(const DiskPlan& disk, std::size_t index)>& work) const {
  in_parallel(plan.disks.size(), request.parallel, [&](std::size_t i) { work(plan.disks[i], i); });
}

}  // namespace crossover

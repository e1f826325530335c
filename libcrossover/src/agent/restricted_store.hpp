/// \file
/// The images a restricted agent lets its client look at. What is written is the receiver's; see engine/reception.hpp.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "crossover/image.hpp"
#include "crossover/restriction.hpp"
#include "crossover/storage_config.hpp"
#include "engine/ports.hpp"
#include "plan/inventory.hpp"

namespace crossover::agent {

/// What restricted stores and a restricted hypervisor are made of. What it refers to has to outlive them.
struct ReceiveContext {
  Restriction restriction;
  ImageStores& stores;
  std::function<ClusterInventory()> storages;  ///< the cluster's storages and the names of their files
};

/// The allowed storages that `access` leads to, by the cluster's own configuration: a client cannot bring another
/// user or another cluster. Throws refusal() if there is none.
std::vector<RbdStorage> storages_of(const ReceiveContext& context, const CephAccess& access);

/// Stores as `ReceiveContext::stores` has them, for looking at images that are named after a VMID of the restriction
/// and lie on one of its storages. Thread-safe as they are. Everything else is Error{permission}.
class RestrictedStores final : public ImageStores {
 public:
  explicit RestrictedStores(const ReceiveContext& context) : context_(context) {}

  ImageStore& open(const CephAccess& access) override;
  void set_transfer_memory(std::uint64_t bytes) override { context_.stores.set_transfer_memory(bytes); }

 private:
  const ReceiveContext& context_;
  std::mutex mutex_;
  std::map<CephAccess, std::unique_ptr<ImageStore>> stores_;
};

}  // namespace crossover::agent

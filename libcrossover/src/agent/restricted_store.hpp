/// \file
/// The images a restricted agent lets its client reach, and what it lets it do to them.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/receive_policy.hpp"
#include "engine/ports.hpp"
#include "plan/inventory.hpp"

namespace crossover::agent {

/// What restricted stores and a restricted hypervisor are made of. What it refers to has to outlive them.
struct ReceiveContext {
  Restriction restriction;
  ImageStores& stores;
  std::function<ClusterInventory()> storages;  ///< the cluster's storages and the names of their files
  /// True if nothing was ever written to the image. Nobody but the client has it open.
  std::function<bool(const CephAccess&, const ImageSpec&)> is_empty;
  std::function<std::chrono::sys_seconds()> now;
};

/// The allowed storages that `access` leads to, by the cluster's own configuration: a client cannot bring another
/// user or another cluster. Throws refusal() if there is none.
std::vector<RbdStorage> storages_of(const ReceiveContext& context, const CephAccess& access);

/// Stores as `ReceiveContext::stores` has them, limited as ReceivePolicy says. Thread-safe as they are. Everything
/// that is refused is Error{permission}.
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

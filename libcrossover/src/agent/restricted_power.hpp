/// \file
/// What a restricted agent lets its client see and do of guests' power.
#pragma once

#include "agent/restricted_store.hpp"
#include "engine/hypervisor.hpp"

namespace crossover::agent {

/// Tells whether the guests of the restriction's VMIDs run, and changes nothing: a replica is started, and given to
/// high availability, by the destination's administrator. Thread-safe. Everything that is refused is
/// Error{permission}.
class RestrictedPower final : public GuestPower {
 public:
  RestrictedPower(GuestPower& inner, const ReceiveContext& context) : inner_(inner), context_(context) {}

  Power power(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void start(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                 std::stop_token stop) override;
  void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
               std::stop_token stop) override;
  void free_volume(const std::string& node, const std::string& volume, std::stop_token stop) override;
  bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) override;
  void destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;

 private:
  void require_allowed(std::uint32_t vmid) const;

  GuestPower& inner_;
  const ReceiveContext& context_;
};

}  // namespace crossover::agent

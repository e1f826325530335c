#include "agent/restricted_power.hpp"

#include <fmt/format.h>

#include <utility>

#include "crossover/error.hpp"
#include "plan/reception_check.hpp"

namespace crossover::agent {

namespace {

std::string subject_of(std::uint32_t vmid) {
  return fmt::format("VM {}", vmid);
}

}  // namespace

void RestrictedPower::require_allowed(std::uint32_t vmid) const {
  if (context_.restriction.allows(vmid)) return;
  throw refusal(subject_of(vmid), fmt::format("it is none of the {}", to_string(context_.restriction)));
}

Power RestrictedPower::power(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  require_allowed(vmid);
  return inner_.power(node, vmid, std::move(stop));
}

bool RestrictedPower::agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  require_allowed(vmid);
  return inner_.agent_answers(node, vmid, std::move(stop));
}

void RestrictedPower::start(const std::string& /*node*/, std::uint32_t vmid, std::stop_token /*stop*/) {
  throw refusal(subject_of(vmid), "no guest is started");
}

void RestrictedPower::shut_down(const std::string& /*node*/, std::uint32_t vmid, std::chrono::seconds /*timeout*/,
                                bool /*force*/, std::stop_token /*stop*/) {
  throw refusal(subject_of(vmid), "no guest is shut down");
}

void RestrictedPower::suspend(const std::string& /*node*/, std::uint32_t vmid, const std::string& /*storage*/,
                              std::stop_token /*stop*/) {
  throw refusal(subject_of(vmid), "no guest is suspended");
}

void RestrictedPower::free_volume(const std::string& /*node*/, const std::string& volume,
                                  std::stop_token /*stop*/) {
  throw refusal(volume, "no volume is removed");
}

void RestrictedPower::set_ha_state(std::uint32_t vmid, const std::string& /*state*/, std::stop_token /*stop*/) {
  throw refusal(subject_of(vmid), "no guest's high availability is changed");
}

void RestrictedPower::destroy(const std::string& /*node*/, std::uint32_t vmid, std::stop_token /*stop*/) {
  throw refusal(subject_of(vmid), "no guest is destroyed");
}

}  // namespace crossover::agent

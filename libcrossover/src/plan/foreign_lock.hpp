/// \file
/// What is said of a guest that somebody else has locked. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace crossover {

/// Whether the lock does not go by itself: it says what state the guest is in, and nobody is at work.
bool is_state(const std::string& lock);

/// What PVE's `lock` of that value means for the VM on `node`, and what to do: a half sentence without a full stop.
/// What would throw something away is not advised. Of a value that is not known (PVE reads any), that somebody holds it.
std::string foreign_lock(const std::string& lock, std::uint32_t vmid, const std::string& node);

/// The same of a replica. One that is hibernated was started there by somebody: to resume it would let it run beside the
/// guest it is a replica of.
std::string foreign_lock_of_replica(const std::string& lock, std::uint32_t vmid, const std::string& node);

}  // namespace crossover

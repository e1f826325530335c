/// \file
/// What a hostile client offers: the state of things as its honest run would, or with anything of it changed.
#pragma once

#include <optional>
#include <string>

#include "agent/offer_messages.hpp"
#include "stage.hpp"

namespace crossover::test {

/// An offer, and what its client knows of the plan that is made of it over there.
struct Offered {
  agent::Json json;
  std::string half;
  std::optional<GuestPlan> plan;  ///< nothing: it comes to none
  std::string changed;            ///< what is not as it is, for people
};

/// What the guest's honest run would offer now, with so many changes.
Offered make_offer(Stage& stage, std::uint32_t vmid, int changes);

/// Something else in the place of one of the values, or nothing.
void spoil(Stage& stage, agent::Json& value);

}  // namespace crossover::test

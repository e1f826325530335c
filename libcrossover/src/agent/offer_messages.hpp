/// \file
/// Offers of recovery points as JSON.
#pragma once

#include <string>

#include "agent/messages.hpp"
#include "plan/point_offer.hpp"

namespace crossover::agent {

Json render_offer(const PointOffer& offer);

/// What a client sent. Its options are checked as a user's are. Throws Error{format} for what is no offer of one
/// guest's point, and Error{usage} for an option that is none.
PointOffer parse_offer(const Json& json);

/// "create_image"; the kinds that is_at_replica().
std::string to_string(StepKind kind);
/// Throws Error{format} for any other text.
StepKind parse_step(const std::string& name);

}  // namespace crossover::agent

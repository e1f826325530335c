/// \file
/// How the memory of a run is divided.
#pragma once

#include <cstddef>

#include "engine/ports.hpp"
#include "plan/mirror_request.hpp"

namespace crossover {

/// How many transfers go on at once where at most `images` are worked on at a time: with fewer than --parallel allows,
/// each has more of --memory. Tells the destination how much; at the source more would not help, for what is written
/// waits longest. Calling thread: any; throws what reaching the destination throws.
std::size_t transfers_at_once(const MirrorRequest& request, std::size_t images, ImageStores& destination);

}  // namespace crossover

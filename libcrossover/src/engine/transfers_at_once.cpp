#include "engine/transfers_at_once.hpp"

#include <algorithm>

namespace crossover {

std::size_t transfers_at_once(const MirrorRequest& request, std::size_t images, ImageStores& destination) {
  const std::size_t count = std::clamp<std::size_t>(images, 1, request.parallel);
  destination.set_transfer_memory(request.memory_bytes / count);
  return count;
}

}  // namespace crossover

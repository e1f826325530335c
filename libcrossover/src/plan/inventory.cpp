#include "plan/inventory.hpp"

namespace crossover {

const ImageState* find_image(const ImageStates& images, const ImageRef& ref) {
  const auto found = images.find(ref);
  return found == images.end() || !found->second ? nullptr : &*found->second;
}

}  // namespace crossover

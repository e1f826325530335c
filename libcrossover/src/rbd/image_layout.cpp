#include "rbd/image_layout.hpp"

namespace crossover::rbd {

bool is_striped(const ImageLayout& layout) {
  return layout.stripe_count > 1;
}

std::uint64_t features_to_create(const ImageLayout& layout) {
  using namespace image_feature;
  std::uint64_t features = layout.features & (layering | object_map | fast_diff | deep_flatten);
  features |= exclusive_lock;
  if ((features & object_map) == 0) features &= ~fast_diff;
  if (is_striped(layout)) features |= striping;
  return features;
}

void normalise(ImageLayout& layout) {
  if (is_striped(layout)) return;
  layout.stripe_unit = 0;
  layout.stripe_count = 0;
}

}  // namespace crossover::rbd

#include "plan/replica_layout.hpp"

#include <cstdint>

namespace crossover {

namespace {

/// Features a replica gets: the source's, without what belongs to the source's own set-up.
std::uint64_t replica_features(std::uint64_t source) {
  using namespace image_feature;
  constexpr std::uint64_t carried = layering | striping | exclusive_lock | object_map | fast_diff | deep_flatten;
  return (source & carried) | exclusive_lock;
}

}  // namespace

ImageLayout replica_layout(const ImageLayout& source, const RbdStorage& storage) {
  ImageLayout layout = source;
  layout.features = replica_features(source.features);
  layout.data_pool = storage.data_pool;
  return layout;
}

}  // namespace crossover

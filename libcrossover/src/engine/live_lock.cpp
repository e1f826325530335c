#include "engine/live_lock.hpp"

#include "crossover/error.hpp"

namespace crossover {

void require_live_lock(ImageStore& store, const ImageSpec& image) {
  if (!store.lock_is_orphaned(image)) return;
  throw Error(ErrorCode::timeout, "look for its guest", to_string(image),
              "the guest runs and has the image's lock, but has not told Ceph for a while that it lives; changing the "
              "image now would take its disk away",
              true);
}

}  // namespace crossover

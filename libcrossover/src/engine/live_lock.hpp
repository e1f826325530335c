/// \file
/// Whether the image of a running guest can be changed without taking it from the guest.
#pragma once

#include "crossover/image.hpp"
#include "engine/image_store.hpp"

namespace crossover {

/// To be asked before anything is changed about an image that a running guest has. A QEMU that stood still for longer
/// than Ceph's watch timeout (30 s by default) is dead to Ceph while it still has the image's lock: whoever changes the
/// image next has librbd take that lock away and blocklist the QEMU, so that the guest, back again, finds its disk gone.
/// ErrorCode::timeout, retryable, if it is so: once the guest moves again it watches again.
void require_live_lock(ImageStore& store, const ImageSpec& image);

}  // namespace crossover

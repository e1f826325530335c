/// \file
/// Whether what is on the destination is this guest's: its images by their records, its configuration by what it
/// names. Pure. Whoever asks for an image's record may get the errors of image_record().
#pragma once

#include "plan/guest_facts.hpp"

namespace crossover {

/// True if the guest that has the target VMID is this one, before it was promoted here.
bool goes_back(const GuestScope& scope);

/// True if one of the guest's disks was copied from that image.
bool is_origin(const GuestScope& scope, const ImageRef& ref);

/// True if a record says that this image is a replica of this guest, whichever disk it is of.
bool is_our_replica(const GuestFacts& facts, const ImageRef& ref);

/// True if the configuration has this guest's vmgenid. One that is switched off ("0") or yet to be made ("1") tells
/// nothing.
bool is_same_guest(const GuestScope& scope, const VmConfig& config);

/// True if the guest that has the target VMID is this one by its vmgenid, and names the image.
bool is_named_by_this_guest(const GuestFacts& facts, const ImageRef& ref);

/// A run that is cut while it replaces an unfinished image leaves a configuration without an image that could say
/// whose it is. It has our lock and names nothing but images only we would make.
bool is_unfinished_replica(const GuestScope& scope, const VmConfig& config);

}  // namespace crossover

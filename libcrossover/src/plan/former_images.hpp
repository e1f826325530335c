/// \file
/// Images of a replica whose disks the guest does not have any more: they were detached, moved to another storage or
/// excluded since. No configuration names them; what they hold belongs to older recovery points. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "plan/guest_facts.hpp"

namespace crossover {

/// Whether two of one side lead to the same cluster, as whichever user: each storage may have a keyring of its own.
bool is_same_cluster(const CephAccess& one, const CephAccess& other);

/// Adds an image that is known by its name, in the cluster of `named`. One that is among them already, by whichever
/// access, is not added; another gets the access of one in its pool, if there is one.
void add_named(std::set<ImageRef>& images, const ImageRef& named);

/// Images, itself among them or not, that the points on a replica's image and its record name. What cannot be read
/// names none.
std::set<ImageRef> images_named_by(const ImageRef& ref, const ImageState& image, std::uint32_t target_vmid);

/// The recovery points, complete or not, that name it: those whose configuration stands on one of these images. One that
/// it does not have the snapshot of, which somebody removed by hand, needs nothing of it.
std::set<std::string> points_that_name(const ImageRef& image, const ImageState& state,
                                       const std::vector<const ImageState*>& replicas);

/// Images that are to be looked at as well to find the former ones, once choose_replicas() is through.
std::set<ImageRef> images_beside(const GuestScope& scope, const ImageStates& images);

/// Finds those whose records say that they are images of this very replica; once they were looked at.
void find_former_images(GuestScope& scope, const MirrorRequest& request, const Inventory& inventory);

/// Puts them into the plan. Throws Stop if no disk is left to tell of them.
void plan_former_images(const GuestFacts& facts, GuestPlan& plan);

}  // namespace crossover

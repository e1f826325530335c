/// \file
/// What a point may be that somebody offers who is not trusted. Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "plan/mirror_plan.hpp"

namespace crossover {

/// What a client that is restricted to receiving can have.
struct ReceiveLimits {
  std::uint64_t image_bytes = std::uint64_t{16} << 40;  ///< of one image: what a rollback gets through in hours
  std::uint64_t objects = std::uint64_t{1} << 26;  ///< of one image, which may be small ones: the same in hours
  std::size_t images = 64;       ///< of one replica, those whose disks left the guest included
  std::size_t points = 1024;     ///< snapshots on one image
  std::size_t config_bytes = std::size_t{64} << 10;    ///< all files of a cluster share 128 MiB
  std::size_t firewall_bytes = std::size_t{256} << 10;
  std::size_t name_bytes = 512;  ///< of what a record names: a job, a cluster, an image. All of it has 1 MiB then
  std::chrono::seconds clock_skew = std::chrono::hours(24);  ///< how far ahead of the time here a point may be dated

  bool operator==(const ReceiveLimits&) const = default;
};

/// Throws Error{permission} with what is too much about a plan that was made for a restricted client: its sizes, its
/// counts, whose replica it is where another's is, and what check_newest() refuses.
void check_reception(const GuestPlan& plan, const Inventory& inventory, const ReceiveLimits& limits,
                     std::chrono::sys_seconds now);

/// The same of the time in its point's name, which may lie neither before a point of the same job on any of these
/// images nor far ahead: retention goes by names, and would remove good points in favour of newer ones.
void check_newest(const GuestPlan& plan, const ImageStates& images, const ReceiveLimits& limits,
                  std::chrono::sys_seconds now);

/// The same for a size that an image of this layout is to have.
void check_image_bytes(const std::string& image, std::uint64_t bytes, const ImageLayout& layout,
                       const ReceiveLimits& limits);

/// The error of what a restricted client may not do, with what its administrator can do about it in `cause`.
Error refusal(const std::string& subject, const std::string& cause);

/// True if a file of lines has no other control characters than those that end and indent lines.
bool has_no_control_bytes(const std::string& file);

}  // namespace crossover

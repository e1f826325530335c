/// \file
/// What a restricted agent lets its client do to an image and to a configuration. The client may be in the hands of
/// somebody who wants the replicas gone: recovery points that are complete stay as they are, whatever is asked.
/// Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/image.hpp"
#include "crossover/restriction.hpp"
#include "crossover/storage_config.hpp"
#include "plan/record.hpp"

namespace crossover::agent {

/// The error of everything that is not allowed, with what the client's administrator can do about it in `cause`.
Error refusal(const std::string& subject, const std::string& cause);

/// The VMID of the guest an image of one of these storages is of. Throws refusal() unless its name says that it is
/// one of those the restriction allows.
Vmid own_vmid(const ImageSpec& image, const std::vector<RbdStorage>& storages, const Restriction& restriction);

/// What one file of a replica may have. All files of a cluster share 128 MiB, and who fills them stops it.
inline constexpr std::size_t max_config_bytes = std::size_t{64} << 10;
inline constexpr std::size_t max_firewall_bytes = std::size_t{256} << 10;
/// And what one record may have: each look at an image reads it whole.
inline constexpr std::size_t max_record_bytes = std::size_t{1} << 20;

/// True if a file of lines has no other control characters than those that end and indent lines.
bool has_no_control_bytes(const std::string& file);

/// Throws refusal() for a firewall file that a replica may not have.
void check_firewall(Vmid vmid, const std::string& bytes);

/// True if the image is a replica's of which no recovery point was ever completed.
bool is_unfinished_copy(const ImageState& image);

/// True if nothing says what the image is.
bool is_unclaimed(const ImageState& image);

/// Throws refusal() if the record is that of a replica which was made a guest of its own.
void require_not_promoted(const std::optional<ReplicaRecord>& record, const std::string& subject);

/// The checks of one guest's images. Each throws refusal() if what is asked could cost a complete recovery point,
/// or bring something to the destination that does not belong there.
class ReceivePolicy {
 public:
  /// `storages` are those of the images.
  ReceivePolicy(const Restriction& restriction, const std::vector<RbdStorage>& storages, Vmid vmid)
      : restriction_(restriction), storages_(storages), vmid_(vmid) {}

  /// `value` is to be the record of `image`. An unclaimed image has to be empty; that is for the caller to look at.
  /// The names of new points lie neither before those that are there nor more than a day after `now`: retention
  /// goes by names, and would remove good points in favour of the newer ones.
  void check_record(const ImageState& image, const std::string& value, std::chrono::sys_seconds now) const;

  /// `value` is to be what makes `point` complete, on `image`.
  void check_completion(const ImageState& image, const std::string& point, const std::string& value) const;

  /// A configuration that is to replace `present`: nothing comes in that is refused (see
  /// plan/restricted_config.hpp) and was not there before.
  void check_config(const std::string& bytes, const std::string& present) const;

 private:
  [[nodiscard]] std::string subject(const ImageState& image) const;
  void check_point(const PointConfig& point) const;

  const Restriction& restriction_;
  const std::vector<RbdStorage>& storages_;
  Vmid vmid_;
};

}  // namespace crossover::agent

/// \file
/// States that a human has to decide about, by name.
#pragma once

#include <string_view>

namespace crossover {

/// What stands in a guest's way and is not for a run to guess about. Texts that tell of one begin with its name,
/// say what was found, and what can be done.
enum class Conflict {
  no_common_base,     ///< source and replica share no snapshot that a diff could start from
  replica_diverged,   ///< the replica holds something else than its newest recovery point
  image_in_use,       ///< a replica's image is open elsewhere
  another_source,     ///< a replica is one of another image, guest, cluster or job
  target_vmid_taken,  ///< the target VMID is another guest's, or one that no record says is a replica
  size_mismatch,      ///< source and replica differ in size where they must not
  replica_running,    ///< the replica runs
  replica_promoted,   ///< the replica was recovered, and is a guest of its own
  image_name_taken,   ///< an image of the replica's name exists, and no record says that it is ours
  job_name_taken,     ///< two jobs would take each other's recovery points for their own
  source_unfinished,  ///< the source is itself a replica, and torn
};

/// The conflict's name as it stands in texts and JSON, such as "no common base".
std::string_view to_string(Conflict conflict) noexcept;

}  // namespace crossover

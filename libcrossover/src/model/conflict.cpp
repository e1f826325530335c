#include "crossover/conflict.hpp"

namespace crossover {

std::string_view to_string(Conflict conflict) noexcept {
  switch (conflict) {
    case Conflict::no_common_base:
      return "no common base";
    case Conflict::replica_diverged:
      return "replica diverged";
    case Conflict::image_in_use:
      return "image in use";
    case Conflict::another_source:
      return "another source";
    case Conflict::target_vmid_taken:
      return "target VMID taken";
    case Conflict::size_mismatch:
      return "size mismatch";
    case Conflict::replica_running:
      return "replica running";
    case Conflict::replica_promoted:
      return "replica promoted";
    case Conflict::image_name_taken:
      return "image name taken";
    case Conflict::job_name_taken:
      return "job name taken";
    case Conflict::source_unfinished:
      return "source unfinished";
  }
  return "conflict";
}

}  // namespace crossover

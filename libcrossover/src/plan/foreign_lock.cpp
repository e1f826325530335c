#include "plan/foreign_lock.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace crossover {

namespace {

struct Meaning {
  std::string_view lock;
  std::string_view text;  // {0}: the VMID, {1}: the node
};

// The values of PVE's schema, and what PVE leaves behind where the task that set one is cut off.
constexpr std::array meanings{
    Meaning{"backup", "a backup of it is under way; 'qm unlock {0}' on {1} if no such task runs any more"},
    Meaning{"clone",
            "it is being cloned; what a clone that was cut off has made is not whole, so see to it that it is not "
            "needed, or clone it again, before 'qm unlock {0}' on {1}"},
    Meaning{"create",
            "it is being created or restored; what was cut off there is not whole, so restore it again rather than "
            "'qm unlock {0}' on {1}"},
    Meaning{"migrate",
            "it is being migrated, or was migrated to another cluster and must not start here; 'qm unlock {0}' on {1} "
            "only if no such task runs and it runs nowhere else"},
    Meaning{"rollback",
            "it is being rolled back to a snapshot; if that was cut off its disks are not of one time, so after 'qm "
            "unlock {0}' on {1} roll it back again"},
    Meaning{"snapshot",
            "a snapshot of it is being made; if that was cut off, 'qm unlock {0}' on {1}, and 'qm delsnapshot {0} NAME "
            "--force' of the one that is not whole"},
    Meaning{"snapshot-delete",
            "a snapshot of it is being removed; if that was cut off, 'qm unlock {0}' on {1}, and 'qm delsnapshot {0} "
            "NAME --force' of that one"},
    Meaning{"suspending",
            "its memory is being saved to hibernate it; wait until that is through. If it was cut off and the guest runs, "
            "'qm unlock {0}' on {1}"},
    Meaning{"suspended",
            "it is hibernated, and unlocking it would throw away the memory that was saved: resume it with 'qm start "
            "{0}' on {1}, or resume it and shut it down"},
    Meaning{"destroyed", "a 'qm destroy' of it on {1} was begun and has not ended, so disks of it may be gone"},
};

}  // namespace

bool is_state(const std::string& lock) {
  return lock == "suspended";
}

std::string foreign_lock(const std::string& lock, std::uint32_t vmid, const std::string& node) {
  const auto* const known =
      std::find_if(meanings.begin(), meanings.end(), [&](const Meaning& one) { return one.lock == lock; });
  const std::string text =
      known != meanings.end()
          ? fmt::format(fmt::runtime(known->text), vmid, node)
          : fmt::format("somebody else holds it; 'qm unlock {}' on {} if nobody does any more", vmid, node);
  return fmt::format("locked ({}): {}", lock, text);
}

std::string foreign_lock_of_replica(const std::string& lock, std::uint32_t vmid, const std::string& node) {
  if (!is_state(lock)) return foreign_lock(lock, vmid, node);
  return fmt::format(
      "locked ({}): somebody started it there and hibernated it, and it is not to be resumed while its guest runs; if "
      "neither its memory nor what it wrote is wanted, 'qm unlock {}' on {}",
      lock, vmid, node);
}

}  // namespace crossover

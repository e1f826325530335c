/// \file
/// What a comparison of recovery points found, as plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/image.hpp"
#include "crossover/report.hpp"

namespace crossover {

/// How the comparison of a guest's point ended.
enum class VerifyOutcome {
  equal,     ///< all that was compared is the same on both sides
  differs,   ///< something is not
  repaired,  ///< something was not; a new recovery point has it right, and the bad one is marked
  conflict,  ///< a state that a human has to decide; nothing was compared
  failed,    ///< an error
};

/// The outcome's name as it stands in JSON.
std::string_view to_string(VerifyOutcome outcome) noexcept;

/// One disk of a point.
struct VerifiedDisk {
  std::string key;                       ///< "scsi0"
  std::string source_image;              ///< "pool/vm-100-disk-0"
  std::string replica_image;             ///< "pool/vm-99100-disk-0-ssd"
  std::uint64_t source_size_bytes = 0;   ///< of the source's snapshot
  std::uint64_t replica_size_bytes = 0;  ///< of the replica's
  std::uint64_t compared_bytes = 0;      ///< hashed on either side; everything else reads as zeroes on both
  std::vector<ByteRange> differing;      ///< ascending, in units of 4 KiB (4 MiB if more than 1 GiB differs)
  std::chrono::milliseconds duration{};

  /// True if what was compared is the same.
  [[nodiscard]] bool is_equal() const;
};

/// One guest's point.
struct VerifiedGuest {
  std::uint32_t vmid = 0;
  std::uint32_t target_vmid = 0;
  std::string name;
  VerifyOutcome outcome = VerifyOutcome::failed;
  std::optional<ErrorCode> error_code;  ///< why it was not compared, or not repaired
  std::string error;                    ///< the same in one line
  std::string point;                    ///< the snapshot's name; empty if there is none to compare
  std::vector<VerifiedDisk> disks;
  std::vector<std::string> warnings;
  std::optional<GuestReport> repair;  ///< the run that repaired, or was to
};

/// A whole comparison.
struct VerifyReport {
  std::string job;  ///< the job's name as given
  std::string destination;
  std::string sample;      ///< share that was compared, such as "5%"; empty: everything
  std::uint64_t seed = 0;  ///< of the sample
  std::chrono::sys_seconds started{};
  std::chrono::milliseconds duration{};
  std::vector<VerifiedGuest> guests;
};

/// The whole report as one JSON object; field names are those above.
std::string to_json(const VerifyReport& report);

}  // namespace crossover

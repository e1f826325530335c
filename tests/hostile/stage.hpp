/// \file
/// A destination that serves clients which may only send replicas, and what must hold there whatever they do.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/restricted_hypervisor.hpp"
#include "agent/restricted_power.hpp"
#include "agent/restricted_store.hpp"
#include "agent/server.hpp"
#include "engine/reception.hpp"
#include "plan/point_offer.hpp"
#include "plan/record.hpp"
#include "support/two_clusters.hpp"

namespace crossover::test {

using Random = std::mt19937_64;

/// Guests of the source, by their VMIDs there; their replicas are these plus 99000.
inline constexpr std::uint32_t mirrored = 100;   ///< has several recovery points
inline constexpr std::uint32_t torn = 101;       ///< the same, and its last run was cut
inline constexpr std::uint32_t recovered = 102;  ///< was recovered, and is a guest of its own over there
inline constexpr std::uint32_t unknown = 103;    ///< has no replica yet
/// Of the destination's own.
inline constexpr std::uint32_t foreign = 99300;        ///< in the range, with a disk, and no replica
inline constexpr std::uint32_t foreign_locked = 99301; ///< the same, while Proxmox VE migrates it
inline constexpr std::uint32_t diskless = 99302;       ///< in the range
inline constexpr std::uint32_t outside = 500;          ///< not in the range, and running

/// A recovery point as it stands on the images, with all that it is worth.
struct SeenPoint {
  std::string config;                         ///< what its key says
  std::map<std::string, std::string> images;  ///< by name: snapshot, content, and what the record says of it

  bool operator==(const SeenPoint&) const = default;
};

/// An image, and what is known of it.
struct SeenImage {
  ImageState state;
  std::optional<ReplicaRecord> record;
};

/// All that a client must not change.
struct Seen {
  std::map<std::pair<std::uint32_t, std::string>, SeenPoint> points;  ///< complete ones, by VMID and name
  std::map<std::string, std::string> fixed;  ///< guests and images that are not the client's, by what they are
  std::set<std::pair<std::uint32_t, std::string>> whole;  ///< points, whether or not anything leads to them
  std::set<std::string> half;                ///< points that are listed as complete, and are not
};

class Stage {
 public:
  /// All of it, and everything that `random()` says later, follows from the seed.
  explicit Stage(std::uint64_t seed);

  Random& random() { return random_; }
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bool chance(double of_one) { return static_cast<double>(random_() >> 11U) * 0x1p-53 < of_one; }

  [[nodiscard]] agent::Service service() { return {{hypervisor_, power_, stores_}, &reception_, true}; }
  [[nodiscard]] Side seen_side() { return {hypervisor_, power_, stores_}; }
  MemoryImageStore& images() { return clusters.replica_images; }
  /// The first offer that the guest's honest run made: of its first copy.
  [[nodiscard]] const PointOffer& offer_of(std::uint32_t vmid) const { return offers_.at(vmid); }

  /// What somebody who is not the client does: another run of the source's, or the destination's own.
  /// Returns what it was.
  std::string happen();

  /// Notes all that has to stay.
  void remember() { seen_ = look(); }
  /// What has not stayed, or is wrong by itself; empty: nothing, and what is there now is what has to stay.
  std::string wrong(bool may_hold = false);
  /// Everything on the destination's images, as it is now.
  std::map<ImageSpec, SeenImage> seen_images();
  /// Recovers every replica at one of its complete points, and says what is another then. The last call.
  std::string recover_all();

  TwoClusters clusters;
  const ReceiveLimits limits;
  const bool is_full;  ///< every VMID of the range is taken
  const Restriction restriction;
  int honest_points = 0;  ///< that runs of the source made meanwhile
  int recoveries = 0;     ///< of recover_all()

 private:
  void add_others();
  void run_honestly(std::uint32_t vmid, bool captured = false);
  void capture(std::uint32_t vmid, PointOffer& offer);
  Seen look();
  /// Points that are listed as complete.
  const std::set<std::string>& listed_points(std::uint32_t vmid, const std::string& config);
  SeenPoint look_at(std::uint32_t vmid, const std::string& name, const std::string& config, bool& complete);
  [[nodiscard]] bool is_clients(const ImageSpec& image, const SeenImage* seen) const;
  [[nodiscard]] bool is_clients(std::uint32_t vmid, const GuestState& guest) const;
  /// Its disks, and those of them that are there.
  [[nodiscard]] std::vector<std::pair<ImageSpec, const SeenImage*>> disks_of(const GuestState& guest) const;
  std::string dump(const ImageSpec& image, const ImageState& state);
  /// Of a snapshot, which does not change; all of them are read again at the end.
  const std::string& digest_of(const ImageSpec& image, const ImageState& state, const Snapshot& snapshot);
  std::string dump(const GuestState& guest);
  void check_guests(std::string& wrong);
  void check_images(std::string& wrong);

  /// What was listed of a replica when it stood so.
  struct Listing {
    std::string config;
    std::map<ImageSpec, ImageState> images;
    std::set<std::string> names;
  };

  Random random_;
  std::map<std::uint32_t, PointOffer> offers_;
  std::map<std::uint32_t, Listing> listings_;
  Seen seen_;
  std::map<ImageSpec, SeenImage> images_;  ///< by the last look
  std::map<std::tuple<ImageSpec, std::string, std::uint64_t>, std::string> digests_;
  OneStore all_{clusters.replica_images};
  agent::ReceiveContext context_;
  agent::RestrictedStores stores_{context_};
  agent::RestrictedHypervisor hypervisor_{clusters.destination, context_};
  agent::RestrictedPower power_{clusters.destination, context_};
  PortReception reception_;
};

}  // namespace crossover::test

/// \file
/// Two clusters in memory and a run from one to the other: the stage of the engine's tests.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "crossover/events.hpp"
#include "crossover/options.hpp"
#include "crossover/report.hpp"
#include "crossover/restriction.hpp"
#include "crossover/sources.hpp"
#include "engine/migrate.hpp"
#include "engine/mirror.hpp"
#include "engine/prune.hpp"
#include "engine/reception.hpp"
#include "engine/recover.hpp"
#include "engine/verify.hpp"
#include "plan/point_offer.hpp"
#include "support/faults.hpp"
#include "support/memory_hypervisor.hpp"
#include "support/memory_image_store.hpp"
#include "support/memory_leases.hpp"

namespace crossover::test {

/// A clock that moves when it is told to, or when somebody waits.
class ManualClock final : public Clock {
 public:
  std::chrono::sys_seconds now() override { return std::chrono::floor<std::chrono::seconds>(time); }
  std::chrono::steady_clock::time_point steady() override { return passed; }
  void wait(std::chrono::milliseconds duration, std::stop_token stop) override;

  std::chrono::sys_time<std::chrono::milliseconds> time =
      std::chrono::sys_days(std::chrono::year(2026) / 11 / 23) + std::chrono::hours(12);
  std::chrono::steady_clock::time_point passed;  ///< by waiting alone
  std::vector<std::chrono::milliseconds> waits;
  std::function<void()> on_wait;  ///< called in each wait, if it is set
};

/// Thread-safe while a run goes on, for the engine's guests and disks tell side by side.
class RecordingSink final : public EventSink {
 public:
  void on_event(const Event& event) override {
    const std::scoped_lock lock(mutex_);
    events.push_back(event);
    if (at) at(event);
  }

  /// Kinds of the events in order, without progress (which depends on time) and debugging.
  [[nodiscard]] std::vector<std::string> kinds() const;
  void clear() {
    const std::scoped_lock lock(mutex_);
    events.clear();
  }

  std::vector<Event> events;
  std::function<void(const Event&)> at;  ///< called with each event, if it is set

 private:
  std::mutex mutex_;
};

/// All of one side go to one store.
class OneStore final : public ImageStores {
 public:
  /// What a transfer may have under way is written to `transfer_memory`, if there is one.
  explicit OneStore(ImageStore& store, std::uint64_t* transfer_memory = nullptr)
      : store_(store), transfer_memory_(transfer_memory) {}
  ImageStore& open(const CephAccess& /*access*/) override { return store_; }
  void set_transfer_memory(std::uint64_t bytes) override {
    if (transfer_memory_ != nullptr) *transfer_memory_ = bytes;
  }

 private:
  ImageStore& store_;
  std::uint64_t* transfer_memory_;
};

/// Source cluster "east" with the nodes e1 and e2 and the storages ssd (pool fast) and hdd (pool slow), destination
/// cluster "west" with w1 and w2 and the storage copy (pool backup), each with its Ceph.
class TwoClusters {
 public:
  TwoClusters();

  /// A running VM with an agent on e1: scsi0 on ssd, and as many more disks on hdd. Content of the disks is random.
  void add_guest(std::uint32_t vmid, std::size_t disks = 2);
  /// Adds a disk to a guest, in the configuration and as an image.
  void add_disk(std::uint32_t vmid, const std::string& key, const std::string& storage, const std::string& image,
                std::uint64_t size_bytes);
  /// Writes and zeroes at random in the disks of the side that runs come from; now and then a disk changes its
  /// size.
  void write_at_random();
  /// The image a disk of a source guest stands for.
  [[nodiscard]] ImageSpec image_of(std::uint32_t vmid, const std::string& key) const;
  [[nodiscard]] ImageSpec replica_of(const ImageSpec& source, std::uint32_t target_vmid) const;

  /// One run with the options as they are, with the fault that is armed. Throws what mirror() throws.
  MirrorReport run();
  /// The same, told to another sink.
  MirrorReport run(EventSink& sink);

  /// A run that migrates, in the same way; asked for confirmation it says `confirms`, and counts that in `asked`.
  MirrorReport migrate();

  /// A comparison, in the same way.
  VerifyReport verify(const VerifyOptions& what = {});

  /// What can be done on the destination alone, in the same way: no call reaches the source.
  ReplicaReport points(std::uint32_t vmid);
  RecoverReport recover(std::uint32_t vmid, const RecoverOptions& how = {});
  PruneReport prune(const std::string& vmids, const PruneOptions& what);

  /// The end of a migration on the side that runs come from, in the same way; asked for confirmation it says
  /// `confirms`.
  CleanupReport clean_up(std::uint32_t vmid);

  /// Whether nobody has a lease, holds an image, or keeps a guest of the source frozen or paused.
  [[nodiscard]] bool is_let_go() const;
  /// Everything on both sides that a run could change, as text.
  [[nodiscard]] std::string dump() const;
  /// The same of the destination alone.
  [[nodiscard]] std::string dump_destination() const;

  MemoryImageStore source_images{"aaaaaaaa-2222-3333-4444-555555555555"};
  MemoryImageStore replica_images{"bbbbbbbb-2222-3333-4444-555555555555"};
  MemoryHypervisor source;
  MemoryHypervisor destination;
  ManualClock clock;
  MemoryLeases leases;
  RecordingSink events;
  Faults faults;
  Faults* calls = &faults;  ///< what the calls of the next run go through
  MirrorOptions options;
  MigrateOptions migration;
  bool confirms = true;
  int asked = 0;
  std::function<void()> before_answer;     ///< called once, while somebody thinks about the question
  std::optional<Restriction> restriction;  ///< of the destination's agent
  /// Makes the way to the destination's reception, if it is set; otherwise a run has none between.
  std::function<std::unique_ptr<Receivers>(Reception&)> through;
  std::function<void(PointOffer&)> tamper;  ///< with what is offered to an agent that is restricted, if it is set
  bool back = false;                       ///< west is the source and east the destination, of all that is done
  MarkInterval marks;                      ///< of transfers
  std::uint64_t far_transfer_memory = 0;   ///< what the destination was told last; 0: nothing
  std::mt19937 random{1};

 private:
  /// The side that runs come from, and the one they go to.
  [[nodiscard]] MemoryImageStore& near_images() { return back ? replica_images : source_images; }
  [[nodiscard]] MemoryImageStore& far_images() { return back ? source_images : replica_images; }
  [[nodiscard]] MemoryHypervisor& near_cluster() { return back ? destination : source; }
  [[nodiscard]] MemoryHypervisor& far_cluster() { return back ? source : destination; }

  template <typename Action>
  auto over_ports(EventSink& sink, const Action& action);
  template <typename Action>
  auto over_replica_ports(const Action& action);
};

}  // namespace crossover::test

/// \file
/// Faults at any call of a port: wrappers around both ports, and what decides which call goes wrong.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "crossover/error.hpp"
#include "engine/fast_listing.hpp"
#include "engine/ports.hpp"

namespace crossover::test {

/// How the call that is chosen goes wrong.
enum class Fault {
  fails,          ///< throws, and nothing was done
  answer_lost,    ///< throws, though it was done
  cancels,        ///< a stop is requested right before it; the call goes on as it does then
  dies,           ///< the process is killed before it: no call reaches the world any more
  dies_after,     ///< the same after it
  foreign,        ///< as fails, and what is thrown is no exception of anybody's
  foreign_after,  ///< as answer_lost, with an exception of the standard library's
};

std::string_view to_string(Fault fault);

/// Names every call of a run, and lets one of them go wrong. A name says side, operation, subject and how often
/// this was called before, so that it means the same call whichever thread comes first. Thread-safe.
class Faults {
 public:
  /// Forgets all calls, and lets the one called `call` go wrong the next time ("": none).
  void arm(const std::string& call = {}, Fault fault = Fault::fails);
  /// The same for the call of this number, from 0.
  void arm(std::size_t number, Fault fault);
  /// Names of the calls since arm(), in order.
  [[nodiscard]] std::vector<std::string> calls() const;
  /// True if the chosen call came.
  [[nodiscard]] bool happened() const;
  /// Called with the name of each call before it is made, from the thread that makes it.
  std::function<void(const std::string& call)> at;
  /// Of this run; Fault::cancels triggers it.
  [[nodiscard]] std::stop_token stop() const;

  template <typename Action>
  auto pass(const std::string& what, const Action& action) {
    const bool wrong = enter(what);
    if constexpr (std::is_void_v<decltype(action())>) {
      action();
      if (wrong) leave(what);
    } else {
      auto result = action();
      if (wrong) leave(what);
      return result;
    }
  }

 private:
  bool enter(const std::string& what);
  void leave(const std::string& what);

  mutable std::mutex mutex_;
  std::map<std::string, int> counts_;
  std::vector<std::string> calls_;
  std::string armed_;
  std::optional<std::size_t> armed_number_;
  Fault fault_ = Fault::fails;
  bool happened_ = false;
  bool dead_ = false;
  std::stop_source stop_;
};

class FaultyStore final : public ImageStore, public FastListing {
 public:
  FaultyStore(std::string side, ImageStore& store, Faults& faults)
      : side_(std::move(side)), store_(store), faults_(faults) {}

  std::string fsid() override;
  std::optional<ImageState> find(const ImageSpec& image) override;
  bool lock_is_orphaned(const ImageSpec& image) override;
  std::uint64_t available_bytes(const std::string& pool) override;
  void create(const ImageSpec& image, const ImageLayout& layout) override;
  void remove(const ImageSpec& image) override;
  void trash(const ImageSpec& image, std::chrono::seconds delay) override;
  Snapshot create_snapshot(const ImageSpec& image, const std::string& name) override;
  void remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) override;
  std::unique_ptr<ImageHold> hold(const ImageSpec& image, std::stop_token stop) override;
  void set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) override;
  void remove_metadata(const ImageSpec& image, const std::string& key) override;
  bool replace_metadata(const ImageSpec& image, const std::string& key, const std::optional<std::string>& expected,
                        const std::optional<std::string>& wanted) override;
  bool head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) override;
  void read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                 std::uint64_t offset, DiffSink& sink, std::stop_token stop) override;
  void read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                   DiffSink& sink, std::stop_token stop) override;
  void hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                   const std::function<void(const BlockHash&)>& take, std::stop_token stop) override;

  FastListing* fast_listing() override { return store_.fast_listing() != nullptr ? this : nullptr; }
  std::optional<std::vector<RollbackTarget>> rollback_targets(const ImageSpec& image) override;
  FirstPass first_pass(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                       const std::optional<RollbackTargets>& older) override;
  void read_diff_in(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                    std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) override;

 private:
  [[nodiscard]] std::string name(std::string_view operation, const ImageSpec& image) const;

  std::string side_;
  ImageStore& store_;
  Faults& faults_;
};

class FaultyHypervisor final : public Hypervisor {
 public:
  FaultyHypervisor(std::string side, Hypervisor& hypervisor, Faults& faults)
      : side_(std::move(side)), hypervisor_(hypervisor), faults_(faults) {}

  ClusterInventory survey(const SurveyScope& scope, std::stop_token stop) override;
  std::optional<ConfigVersion> read_config(const std::string& node, std::uint32_t vmid,
                                           std::stop_token stop) override;
  ConfigVersion write_config(const std::string& node, std::uint32_t vmid,
                             const std::optional<ConfigVersion>& expected, const std::string& bytes,
                             std::stop_token stop) override;
  std::unique_ptr<ConfigHold> hold_config(const std::string& node, std::uint32_t vmid,
                                          const ConfigVersion& expected, const std::string& bytes) override;
  void write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes, std::stop_token stop) override;
  std::unique_ptr<GuestHold> hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                        std::chrono::milliseconds deadline, std::stop_token stop) override;

 private:
  [[nodiscard]] std::string name(std::string_view operation, std::uint32_t vmid) const;

  std::string side_;
  Hypervisor& hypervisor_;
  Faults& faults_;
};

class FaultyPower final : public GuestPower {
 public:
  FaultyPower(std::string side, GuestPower& power, Faults& faults)
      : side_(std::move(side)), power_(power), faults_(faults) {}

  Power power(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void start(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                 std::stop_token stop) override;
  void suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
               std::stop_token stop) override;
  void free_volume(const std::string& node, const std::string& volume, std::stop_token stop) override;
  bool agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;
  void set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) override;
  void destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) override;

 private:
  [[nodiscard]] std::string name(std::string_view operation, std::uint32_t vmid) const;

  std::string side_;
  GuestPower& power_;
  Faults& faults_;
};

}  // namespace crossover::test

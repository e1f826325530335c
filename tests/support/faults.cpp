#include "support/faults.hpp"

#include <fmt/format.h>

#include <new>

namespace crossover::test {

namespace {

class FaultySink final : public DiffSink {
 public:
  FaultySink(std::string name, std::unique_ptr<DiffSink> next, Faults& faults)
      : name_(std::move(name)), next_(std::move(next)), faults_(faults) {}

  void size(std::uint64_t size_bytes) override {
    faults_.pass(name_ + " size", [&] { next_->size(size_bytes); });
  }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    faults_.pass(name_ + " data", [&] { next_->data(offset, bytes); });
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    faults_.pass(name_ + " zero", [&] { next_->zero(offset, length_bytes); });
  }
  void mark() override {
    faults_.pass(name_ + " mark", [&] { next_->mark(); });
  }
  void finish() override {
    faults_.pass(name_ + " finish", [&] { next_->finish(); });
  }

 private:
  std::string name_;
  std::unique_ptr<DiffSink> next_;
  Faults& faults_;
};

/// A killed run's guest goes on by what its own node does: destroying what holds it is no call.
class FaultyGuestHold final : public GuestHold {
 public:
  FaultyGuestHold(std::string name, std::unique_ptr<GuestHold> next, Faults& faults)
      : name_(std::move(name)), next_(std::move(next)), faults_(faults) {}

  [[nodiscard]] const std::string& already() const override { return next_->already(); }
  std::chrono::milliseconds release() override {
    return faults_.pass(name_, [&] { return next_->release(); });
  }

 private:
  std::string name_;
  std::unique_ptr<GuestHold> next_;
  Faults& faults_;
};

/// The same for a configuration that is held.
class FaultyConfigHold final : public ConfigHold {
 public:
  FaultyConfigHold(std::string name, std::unique_ptr<ConfigHold> next, Faults& faults)
      : name_(std::move(name)), next_(std::move(next)), faults_(faults) {}

  void release() override {
    faults_.pass(name_, [&] { next_->release(); });
  }

 private:
  std::string name_;
  std::unique_ptr<ConfigHold> next_;
  Faults& faults_;
};

class FaultyImageHold final : public ImageHold {
 public:
  FaultyImageHold(std::function<std::string(std::string_view)> name, std::unique_ptr<ImageHold> next,
                  Faults& faults)
      : name_(std::move(name)), next_(std::move(next)), faults_(faults) {}

  ImageState state() override {
    return faults_.pass(name_("state"), [&] { return next_->state(); });
  }
  void set_metadata(const std::string& key, const std::string& value) override {
    faults_.pass(name_("set_metadata"), [&] { next_->set_metadata(key, value); });
  }
  void remove_metadata(const std::string& key) override {
    faults_.pass(name_("remove_metadata"), [&] { next_->remove_metadata(key); });
  }
  void roll_back(const Snapshot& snapshot, std::stop_token stop) override {
    faults_.pass(name_("roll_back"), [&] { next_->roll_back(snapshot, stop); });
  }
  bool head_unchanged_since(const Snapshot& snapshot, std::stop_token stop) override {
    return faults_.pass(name_("head_unchanged_since"), [&] { return next_->head_unchanged_since(snapshot, stop); });
  }
  bool head_unchanged_since_transfer(const std::string& id, std::stop_token stop) override {
    return faults_.pass(name_("head_unchanged_since_transfer"),
                        [&] { return next_->head_unchanged_since_transfer(id, stop); });
  }
  std::unique_ptr<DiffSink> write_diff(const TransferProgress& from, std::stop_token stop) override {
    const std::string what = name_("write_diff");
    return faults_.pass(what, [&]() -> std::unique_ptr<DiffSink> {
      return std::make_unique<FaultySink>(what, next_->write_diff(from, stop), faults_);
    });
  }
  Snapshot create_snapshot(const std::string& name) override {
    return faults_.pass(name_("create_snapshot"), [&] { return next_->create_snapshot(name); });
  }

 private:
  std::function<std::string(std::string_view)> name_;
  std::unique_ptr<ImageHold> next_;
  Faults& faults_;
};

}  // namespace

std::string_view to_string(Fault fault) {
  switch (fault) {
    case Fault::fails:
      return "fails";
    case Fault::answer_lost:
      return "answer lost";
    case Fault::cancels:
      return "cancels";
    case Fault::dies:
      return "dies";
    case Fault::dies_after:
      return "dies after";
    case Fault::foreign:
      return "foreign";
    case Fault::foreign_after:
      return "foreign after";
  }
  return "";
}

void Faults::arm(const std::string& call, Fault fault) {
  const std::scoped_lock lock(mutex_);
  counts_.clear();
  calls_.clear();
  armed_ = call;
  armed_number_.reset();
  fault_ = fault;
  happened_ = false;
  dead_ = false;
  stop_ = std::stop_source();
}

void Faults::arm(std::size_t number, Fault fault) {
  arm(std::string(), fault);
  const std::scoped_lock lock(mutex_);
  armed_number_ = number;
}

std::vector<std::string> Faults::calls() const {
  const std::scoped_lock lock(mutex_);
  return calls_;
}

bool Faults::happened() const {
  const std::scoped_lock lock(mutex_);
  return happened_;
}

std::stop_token Faults::stop() const {
  const std::scoped_lock lock(mutex_);
  return stop_.get_token();
}

bool Faults::enter(const std::string& what) {
  if (at) at(what);
  const std::scoped_lock lock(mutex_);
  if (dead_) throw Error(ErrorCode::unreachable, "call", what, "the process was killed");
  calls_.push_back(fmt::format("{} #{}", what, ++counts_[what]));
  if (armed_number_ ? calls_.size() != *armed_number_ + 1 : calls_.back() != armed_) return false;
  happened_ = true;
  if (fault_ == Fault::fails) throw Error(ErrorCode::io, "call", what, "a fault", true);
  if (fault_ == Fault::foreign) throw 42;
  if (fault_ == Fault::cancels) stop_.request_stop();
  if (fault_ == Fault::dies) {
    dead_ = true;
    throw Error(ErrorCode::unreachable, "call", what, "the process was killed");
  }
  return true;
}

void Faults::leave(const std::string& what) {
  const std::scoped_lock lock(mutex_);
  if (fault_ == Fault::cancels) return;
  if (fault_ == Fault::foreign_after) throw std::bad_alloc();
  dead_ = fault_ == Fault::dies_after;
  throw Error(ErrorCode::unreachable, "call", what, "its answer did not come", true);
}

std::string FaultyStore::name(std::string_view operation, const ImageSpec& image) const {
  return fmt::format("{} {} {}", side_, operation, to_string(image));
}

std::string FaultyStore::fsid() {
  return faults_.pass(side_ + " fsid", [&] { return store_.fsid(); });
}

std::optional<ImageState> FaultyStore::find(const ImageSpec& image) {
  return faults_.pass(name("find", image), [&] { return store_.find(image); });
}

bool FaultyStore::lock_is_orphaned(const ImageSpec& image) {
  return faults_.pass(name("lock_is_orphaned", image), [&] { return store_.lock_is_orphaned(image); });
}

std::uint64_t FaultyStore::available_bytes(const std::string& pool) {
  return faults_.pass(side_ + " available_bytes", [&] { return store_.available_bytes(pool); });
}

void FaultyStore::create(const ImageSpec& image, const ImageLayout& layout) {
  faults_.pass(name("create", image), [&] { store_.create(image, layout); });
}

void FaultyStore::remove(const ImageSpec& image) {
  faults_.pass(name("remove", image), [&] { store_.remove(image); });
}

void FaultyStore::trash(const ImageSpec& image, std::chrono::seconds delay) {
  faults_.pass(name("trash", image), [&] { store_.trash(image, delay); });
}

Snapshot FaultyStore::create_snapshot(const ImageSpec& image, const std::string& snapshot) {
  return faults_.pass(name("create_snapshot", image), [&] { return store_.create_snapshot(image, snapshot); });
}

void FaultyStore::remove_snapshot(const ImageSpec& image, const Snapshot& snapshot) {
  faults_.pass(name("remove_snapshot", image), [&] { store_.remove_snapshot(image, snapshot); });
}

std::unique_ptr<ImageHold> FaultyStore::hold(const ImageSpec& image, std::stop_token stop) {
  return faults_.pass(name("hold", image), [&]() -> std::unique_ptr<ImageHold> {
    return std::make_unique<FaultyImageHold>(
        [this, image](std::string_view operation) { return name(operation, image); }, store_.hold(image, stop),
        faults_);
  });
}

void FaultyStore::set_metadata(const ImageSpec& image, const std::string& key, const std::string& value) {
  faults_.pass(name("set_metadata", image), [&] { store_.set_metadata(image, key, value); });
}

void FaultyStore::remove_metadata(const ImageSpec& image, const std::string& key) {
  faults_.pass(name("remove_metadata", image), [&] { store_.remove_metadata(image, key); });
}

bool FaultyStore::replace_metadata(const ImageSpec& image, const std::string& key,
                                   const std::optional<std::string>& expected,
                                   const std::optional<std::string>& wanted) {
  return faults_.pass(name("replace_metadata", image),
                      [&] { return store_.replace_metadata(image, key, expected, wanted); });
}

bool FaultyStore::head_unchanged_since(const ImageSpec& image, const Snapshot& snapshot, std::stop_token stop) {
  return faults_.pass(name("head_unchanged_since", image),
                      [&] { return store_.head_unchanged_since(image, snapshot, stop); });
}

void FaultyStore::read_diff(const ImageSpec& image, const std::optional<Snapshot>& from, const Snapshot& to,
                            std::uint64_t offset, DiffSink& sink, std::stop_token stop) {
  faults_.pass(name("read_diff", image), [&] { store_.read_diff(image, from, to, offset, sink, stop); });
}

void FaultyStore::read_ranges(const ImageSpec& image, const Snapshot& snapshot, std::span<const ByteRange> ranges,
                              DiffSink& sink, std::stop_token stop) {
  faults_.pass(name("read_ranges", image), [&] { store_.read_ranges(image, snapshot, ranges, sink, stop); });
}

std::optional<std::vector<RollbackTarget>> FaultyStore::rollback_targets(const ImageSpec& image) {
  return faults_.pass(name("rollback_targets", image),
                      [&] { return store_.fast_listing()->rollback_targets(image); });
}

FirstPass FaultyStore::first_pass(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                                  const std::optional<RollbackTargets>& older) {
  return faults_.pass(name("first_pass", image),
                      [&] { return store_.fast_listing()->first_pass(image, from, to, older); });
}

void FaultyStore::read_diff_in(const ImageSpec& image, const Snapshot& from, const Snapshot& to,
                               std::span<const ByteRange> ranges, DiffSink& sink, std::stop_token stop) {
  faults_.pass(name("read_diff_in", image),
               [&] { store_.fast_listing()->read_diff_in(image, from, to, ranges, sink, stop); });
}

void FaultyStore::hash_blocks(const ImageSpec& image, const Snapshot& snapshot, const BlockSelection& blocks,
                              const std::function<void(const BlockHash&)>& take, std::stop_token stop) {
  faults_.pass(name("hash_blocks", image), [&] { store_.hash_blocks(image, snapshot, blocks, take, stop); });
}

std::string FaultyHypervisor::name(std::string_view operation, std::uint32_t vmid) const {
  return fmt::format("{} {} {}", side_, operation, vmid);
}

ClusterInventory FaultyHypervisor::survey(const SurveyScope& scope, std::stop_token stop) {
  return faults_.pass(side_ + " survey", [&] { return hypervisor_.survey(scope, stop); });
}

std::optional<ConfigVersion> FaultyHypervisor::read_config(const std::string& node, std::uint32_t vmid,
                                                           std::stop_token stop) {
  return faults_.pass(name("read_config", vmid), [&] { return hypervisor_.read_config(node, vmid, stop); });
}

ConfigVersion FaultyHypervisor::write_config(const std::string& node, std::uint32_t vmid,
                                             const std::optional<ConfigVersion>& expected, const std::string& bytes,
                                             std::stop_token stop) {
  return faults_.pass(name("write_config", vmid),
                      [&] { return hypervisor_.write_config(node, vmid, expected, bytes, stop); });
}

std::unique_ptr<ConfigHold> FaultyHypervisor::hold_config(const std::string& node, std::uint32_t vmid,
                                                          const ConfigVersion& expected, const std::string& bytes) {
  return faults_.pass(name("hold_config", vmid), [&]() -> std::unique_ptr<ConfigHold> {
    return std::make_unique<FaultyConfigHold>(name("release_config", vmid),
                                              hypervisor_.hold_config(node, vmid, expected, bytes), faults_);
  });
}

void FaultyHypervisor::write_firewall(std::uint32_t vmid, const std::optional<std::string>& bytes,
                                      std::stop_token stop) {
  faults_.pass(name("write_firewall", vmid), [&] { hypervisor_.write_firewall(vmid, bytes, stop); });
}

std::unique_ptr<GuestHold> FaultyHypervisor::hold_guest(HoldWay way, const std::string& node, std::uint32_t vmid,
                                                        std::chrono::milliseconds deadline, std::stop_token stop) {
  const bool freeze = way == HoldWay::freeze;
  return faults_.pass(name(freeze ? "freeze" : "pause", vmid), [&]() -> std::unique_ptr<GuestHold> {
    return std::make_unique<FaultyGuestHold>(name(freeze ? "thaw" : "resume", vmid),
                                             hypervisor_.hold_guest(way, node, vmid, deadline, stop), faults_);
  });
}

std::string FaultyPower::name(std::string_view operation, std::uint32_t vmid) const {
  return fmt::format("{} {} {}", side_, operation, vmid);
}

Power FaultyPower::power(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  return faults_.pass(name("power", vmid), [&] { return power_.power(node, vmid, stop); });
}

void FaultyPower::start(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  faults_.pass(name("start", vmid), [&] { power_.start(node, vmid, stop); });
}

void FaultyPower::shut_down(const std::string& node, std::uint32_t vmid, std::chrono::seconds timeout, bool force,
                            std::stop_token stop) {
  faults_.pass(name("shut_down", vmid), [&] { power_.shut_down(node, vmid, timeout, force, stop); });
}

void FaultyPower::suspend(const std::string& node, std::uint32_t vmid, const std::string& storage,
                          std::stop_token stop) {
  faults_.pass(name("suspend", vmid), [&] { power_.suspend(node, vmid, storage, stop); });
}

void FaultyPower::free_volume(const std::string& node, const std::string& volume, std::stop_token stop) {
  faults_.pass(fmt::format("{} free_volume {}", side_, volume), [&] { power_.free_volume(node, volume, stop); });
}

bool FaultyPower::agent_answers(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  return faults_.pass(name("agent_answers", vmid), [&] { return power_.agent_answers(node, vmid, stop); });
}

void FaultyPower::set_ha_state(std::uint32_t vmid, const std::string& state, std::stop_token stop) {
  faults_.pass(name("set_ha_state", vmid), [&] { power_.set_ha_state(vmid, state, stop); });
}

void FaultyPower::destroy(const std::string& node, std::uint32_t vmid, std::stop_token stop) {
  faults_.pass(name("destroy", vmid), [&] { power_.destroy(node, vmid, stop); });
}

}  // namespace crossover::test

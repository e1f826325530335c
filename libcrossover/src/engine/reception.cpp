#include "engine/reception.hpp"

#include <utility>

#include "crossover/error.hpp"
#include "engine/disk_part.hpp"
#include "engine/port_receivers.hpp"
#include "engine/survey.hpp"
#include "plan/points.hpp"
#include "plan/record.hpp"

namespace crossover {

namespace {

/// Refuses what would make the image larger than it may be, before it is.
class BoundedSink final : public DiffSink {
 public:
  BoundedSink(std::unique_ptr<DiffSink> next, std::string image, const ImageLayout& layout,
              const ReceiveLimits& limits)
      : next_(std::move(next)), image_(std::move(image)), layout_(layout), limits_(limits) {}

  void size(std::uint64_t size_bytes) override {
    check_image_bytes(image_, size_bytes, layout_, limits_);
    next_->size(size_bytes);
  }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override { next_->data(offset, bytes); }
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override { next_->hand_over(offset, std::move(bytes)); }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override { next_->zero(offset, length_bytes); }
  void mark() override { next_->mark(); }
  void alive() override { next_->alive(); }
  void finish() override { next_->finish(); }

 private:
  std::unique_ptr<DiffSink> next_;
  std::string image_;
  ImageLayout layout_;
  ReceiveLimits limits_;
};

/// A disk's part for a restricted client.
class LimitedDisk final : public DiskReceiver {
 public:
  LimitedDisk(std::unique_ptr<DiskReceiver> part, std::string image, const ImageLayout& layout,
              const ReceiveLimits& limits)
      : part_(std::move(part)), image_(std::move(image)), layout_(layout), limits_(limits) {}

  std::unique_ptr<DiffSink> write(std::uint64_t offset, std::stop_token stop) override {
    return std::make_unique<BoundedSink>(part_->write(offset, std::move(stop)), image_, layout_, limits_);
  }
  std::unique_ptr<DiffSink> repair(std::stop_token /*stop*/) override {
    throw refusal(image_, "its client repairs nothing");
  }
  void applied() override { part_->applied(); }
  void make_snapshot() override { part_->make_snapshot(); }

 private:
  std::unique_ptr<DiskReceiver> part_;
  std::string image_;
  ImageLayout layout_;
  ReceiveLimits limits_;
};

/// A point with all that it was planned from.
class PlannedPoint final : public PointReceiver {
 public:
  PlannedPoint(PointOffer offer, GuestPlan plan, Side side, const std::optional<ReceiveLimits>& limits,
               const std::function<std::chrono::sys_seconds()>& now, std::shared_ptr<void> use, TakeNote note,
               std::stop_token stop)
      : offer_(std::move(offer)),
        plan_(std::move(plan)),
        side_(side),
        limits_(limits),
        now_(now),
        use_(std::move(use)) {
    receiver_ = receive_point(offer_.request, plan_, side, std::move(note), std::move(stop), true, !limits);
  }

  void carry_out(StepKind kind) override {
    // Its client decides how much later that is than its plan. The point's disks are its own since it was recorded, and
    // others of the replica may have got newer points.
    if (limits_ && kind == StepKind::commit) check_newest(plan_, former_images(), *limits_, now_());
    receiver_->carry_out(kind);
  }
  void record_point(std::span<const Snapshot> ends) override { receiver_->record_point(ends); }
  [[nodiscard]] std::vector<std::string> transfers() const override { return receiver_->transfers(); }
  std::unique_ptr<DiskReceiver> receive(std::size_t disk, std::stop_token stop) override {
    std::unique_ptr<DiskReceiver> part = receiver_->receive(disk, std::move(stop));
    if (!limits_) return part;
    const ImageRef& image = plan_.disks.at(disk).replica;
    const auto state = side_.images.open(image.access).find(image.spec);
    if (!state) throw Error(ErrorCode::not_found, "receive disk", to_string(image.spec), "it was removed meanwhile");
    return std::make_unique<LimitedDisk>(std::move(part), to_string(image.spec), state->layout, *limits_);
  }
  void abandon() noexcept override { receiver_->abandon(); }
  [[nodiscard]] bool torn() const noexcept override { return receiver_->torn(); }

 private:
  [[nodiscard]] ImageStates former_images() const {
    ImageStates images;
    for (const FormerReplica& former : plan_.former) {
      if (!former.seen) continue;
      images[former.image] = side_.images.open(former.image.access).find(former.image.spec);
    }
    return images;
  }

  PointOffer offer_;
  GuestPlan plan_;
  Side side_;
  std::optional<ReceiveLimits> limits_;
  const std::function<std::chrono::sys_seconds()>& now_;
  std::shared_ptr<void> use_;
  std::unique_ptr<PointReceiver> receiver_;  // last: it refers to the others
};

/// Where the transfer of a record begins: a point that both sides have. Nothing for a first copy.
std::optional<PointIds> base_of(const ReplicaRecord& record) {
  for (const PointIds& point : record.points) {
    const Snapshot base{.id = point.source_id, .name = point.name};
    if (transfer_id(record, base, record.end_source_id) == record.transfer) return point;
  }
  return std::nullopt;
}

/// Between whoever began the point and whoever takes the disk's part nobody held the image. ErrorCode::conflict,
/// retryable, if its head is not what the transfer goes on from any more.
void require_head(ImageHold& hold, const ImageState& image, const ReplicaRecord& record, std::uint64_t offset,
                  const std::stop_token& stop) {
  if (hold.head_unchanged_since_transfer(record.transfer, stop)) return;
  // Without them nothing tells of others' writes.
  constexpr std::uint64_t telling = image_feature::exclusive_lock | image_feature::object_map;
  if (offset > 0 && (image.layout.features & telling) != telling) return;
  const auto base = base_of(record);
  // A first copy: the image was made for it.
  if (offset == 0 && !base) return;
  const Snapshot* const snapshot = base ? find_snapshot(image, base->name, base->replica_id) : nullptr;
  if (offset == 0 && snapshot != nullptr && hold.head_unchanged_since(*snapshot, stop)) return;
  throw Error(ErrorCode::conflict, "write diff", record.source_image + " to VM " + std::to_string(record.target_vmid),
              "the replica's head was written to meanwhile; run again", true);
}

/// A disk's part in a process that has nothing else of its point.
class LoneDisk final : public DiskReceiver {
 public:
  LoneDisk(DiskPart part, std::shared_ptr<void> use) : use_(std::move(use)), part_(std::move(part)) {}

  std::unique_ptr<DiffSink> write(std::uint64_t offset, std::stop_token stop) override {
    require_head(part_.hold(), part_.hold().state(), part_.record(), offset, stop);
    return part_.write(offset, std::move(stop));
  }
  std::unique_ptr<DiffSink> repair(std::stop_token stop) override { return part_.repair(std::move(stop)); }
  void applied() override { part_.applied(); }
  void make_snapshot() override { (void)part_.make_snapshot(); }

 private:
  std::shared_ptr<void> use_;
  DiskPart part_;
};

}  // namespace

PortReception::PortReception(Side seen, Side side, std::optional<ReceiveLimits> limits,
                             std::function<std::chrono::sys_seconds()> now, std::function<void()> give_way)
    : seen_(seen),
      side_(side),
      limits_(limits),
      now_(std::move(now)),
      recoveries_(side.images, now_, std::move(give_way)) {}

std::unique_ptr<PointReceiver> PortReception::begin(PointOffer offer, const std::string& half, TakeNote note,
                                                    std::stop_token stop) {
  const Survey found = survey_offered(offer, seen_, !limits_, stop);
  GuestPlan plan = plan_guest(offer.request, found.inventory, found.guests.at(0), offer.now, offer.repair);
  if (plan.problem) throw Error(plan.problem->code, "receive", "", plan.problem->text);
  if (limits_) check_reception(plan, found.inventory, *limits_, now_());
  if (destination_half(plan) != half) {
    throw Error(ErrorCode::conflict, "receive", "VM " + std::to_string(plan.target_vmid),
                "what is there is not what was planned with; run again", true);
  }
  for (const auto& [image, state] : found.inventory.replica_images) {
    if (state) recoveries_.require_none(image, *state);
  }
  // A recovery marks every image.
  std::shared_ptr<void> use = plan.disks.empty() ? nullptr : recoveries_.use(plan.disks.front().replica);
  return std::make_unique<PlannedPoint>(std::move(offer), std::move(plan), side_, limits_, now_, std::move(use),
                                        std::move(note), std::move(stop));
}

std::unique_ptr<DiskReceiver> PortReception::receive(const ImageRef& image, const std::string& transfer,
                                                     std::stop_token stop) {
  // Whether it is the client's to reach.
  if (limits_) (void)seen_.images.open(image.access).find(image.spec);
  std::shared_ptr<void> use = recoveries_.use(image);
  std::unique_ptr<ImageHold> hold = side_.images.open(image.access).hold(image.spec, std::move(stop));
  const ImageState state = hold->state();
  // After the hold: who asks for a recovery later is seen by whoever looks out for that.
  recoveries_.require_none(image, state);
  const auto record = image_record(state).replica;
  if (!record || record->promoted || transfer.empty() || record->transfer != transfer) {
    throw Error(ErrorCode::conflict, "receive", to_string(image.spec),
                "its record does not say that this transfer is under way; run again", true);
  }
  auto part = std::make_unique<LoneDisk>(DiskPart(std::move(hold), image.spec, *record), std::move(use));
  if (!limits_) return part;
  return std::make_unique<LimitedDisk>(std::move(part), to_string(image.spec), state.layout, *limits_);
}

}  // namespace crossover

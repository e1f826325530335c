#include "engine/fast_diff.hpp"

#include <algorithm>
#include <utility>

#include "engine/fast_listing.hpp"
#include "engine/source_record.hpp"

namespace crossover {

namespace {

constexpr std::uint64_t grain_bytes = std::uint64_t{4} << 20;

/// Passes everything on and notes where it was.
class NotingSink final : public DiffSink {
 public:
  explicit NotingSink(DiffSink& next) : next_(next) {}

  void size(std::uint64_t size_bytes) override { next_.size(size_bytes); }
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    note(offset, bytes.size());
    next_.data(offset, bytes);
  }
  void hand_over(std::uint64_t offset, OwnedBytes bytes) override {
    note(offset, bytes.size());
    next_.hand_over(offset, std::move(bytes));
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    note(offset, length_bytes);
    next_.zero(offset, length_bytes);
  }
  void mark() override { next_.mark(); }
  void alive() override { next_.alive(); }
  void finish() override { next_.finish(); }

  /// Whole grains, ascending; nothing if there are too many.
  [[nodiscard]] std::optional<std::vector<ByteRange>> noted() && {
    if (noted_.size() > max_noted_ranges) return std::nullopt;
    return std::move(noted_);
  }

 private:
  void note(std::uint64_t offset, std::uint64_t length_bytes) {
    if (noted_.size() > max_noted_ranges || length_bytes == 0) return;
    const std::uint64_t begin = offset / grain_bytes * grain_bytes;
    const std::uint64_t end = (offset + length_bytes + grain_bytes - 1) / grain_bytes * grain_bytes;
    if (!noted_.empty() && begin <= noted_.back().offset + noted_.back().length_bytes) {
      noted_.back().length_bytes =
          std::max(end, noted_.back().offset + noted_.back().length_bytes) - noted_.back().offset;
    } else {
      noted_.push_back({begin, end - begin});
    }
  }

  DiffSink& next_;
  std::vector<ByteRange> noted_;
};

std::vector<ByteRange> cut_before(std::vector<ByteRange> ranges, std::uint64_t offset) {
  std::erase_if(ranges, [&](const ByteRange& range) { return range.offset + range.length_bytes <= offset; });
  if (!ranges.empty() && ranges.front().offset < offset) {
    ranges.front().length_bytes -= offset - ranges.front().offset;
    ranges.front().offset = offset;
  }
  return ranges;
}

}  // namespace

FastDiff::FastDiff(GuestWork& work) : work_(work), found_(work.plan.disks.size()) {}

void FastDiff::look() {
  if (!work_.request.options.fast_diff) return;
  work_.for_disks([this](const DiskPlan& disk, std::size_t index) {
    FastListing* listing = work_.source(disk).fast_listing();
    if (listing != nullptr) found_[index].targets = listing->rollback_targets(disk.disk.image.spec);
  });
}

void FastDiff::read(std::size_t index, const Snapshot& end, DiffSink& sink, const std::stop_token& stop) {
  const DiskPlan& disk = work_.plan.disks[index];
  const ImageSpec& image = disk.disk.image.spec;
  ImageStore& store = work_.source(disk);
  if (!work_.request.options.fast_diff || !disk.source_base) {
    store.read_diff(image, disk.source_base, end, disk.offset, sink, stop);
    return;
  }
  DiskReport& report = work_.report.disks[index];
  NotingSink noting(sink);
  KnownChanges& known = found_[index].known;
  known.base = *disk.source_base;
  known.older = older_than_base(work_, disk);
  FirstPass pass = first_pass(disk, end);
  report.fast_diff = pass.refused.empty();
  report.fast_diff_refused = pass.refused;
  if (report.fast_diff) {
    known.touched = pass.ranges;
    store.fast_listing()->read_diff_in(image, *disk.source_base, end,
                                       cut_before(std::move(pass.ranges), disk.offset), noting, stop);
  } else {
    work_.tell(
        {.kind = EventKind::fast_diff_refused, .subject = work_.point_name(disk.disk.image), .text = pass.refused});
    store.read_diff(image, disk.source_base, end, disk.offset, noting, stop);
  }
  if (disk.offset == 0) known.diff = std::move(noting).noted();
}

FirstPass FastDiff::first_pass(const DiskPlan& disk, const Snapshot& end) const {
  FastListing* listing = work_.source(disk).fast_listing();
  if (listing == nullptr) return {{}, "its object maps cannot be read"};
  return listing->first_pass(disk.disk.image.spec, *disk.source_base, end, older_than_base(work_, disk));
}

std::optional<RollbackTargets> FastDiff::kept(std::size_t index, const Snapshot& end) const {
  const Found& found = found_[index];
  if (!found.targets) return std::nullopt;
  RollbackTargets kept{end.id, *found.targets};
  note_changes(kept.targets, found.known);
  return kept;
}

}  // namespace crossover

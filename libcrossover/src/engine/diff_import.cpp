#include "engine/diff_import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "engine/unexpected_error.hpp"
#include "engine/zero_splitter.hpp"

namespace crossover {

namespace {

constexpr const char* operation = "import diff";
constexpr std::size_t read_bytes = 256U << 10;

/// What of a diff an image's head may have by now.
enum class Written { nothing, some, all };

class Importer final : public DiffRecordHandler {
 public:
  Importer(ImageStore& store, const ImageSpec& image, const DiffProgress& progress, const std::stop_token& stop)
      : store_(store), image_(image), progress_(progress), stop_(stop) {
    // A stream may be hours away from its first byte; an image that is not there is told of now.
    look();
  }

  void header(DiffFormat /*format*/, const DiffHeader& header) override {
    header_ = header;
    const ImageState state = look();
    check_snapshots(state);
    hold_ = store_.hold(image_, stop_);
    sink_ = hold_->write_diff({}, stop_);
    // Stock streams carry zeroes as data.
    splitter_ = std::make_unique<ZeroSplitter>(*sink_);
    if (header.size_bytes != state.layout.size_bytes) written_ = Written::some;
    sink_->size(header.size_bytes);
  }
  void data_begin(std::uint64_t /*offset*/, std::uint64_t /*length_bytes*/) override {}
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    written_ = Written::some;
    splitter_->data(offset, bytes);
    tell(offset + bytes.size());
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    written_ = Written::some;
    splitter_->zero(offset, length_bytes);
    tell(offset + length_bytes);
  }
  void end() override { splitter_->flush(); }

  /// The stream is proven whole: flushes, and makes the end snapshot while nobody else can write.
  void commit() {
    sink_->finish();
    if (written_ == Written::some) written_ = Written::all;
    if (stop_.stop_requested()) throw Cancelled{};
    if (header_.end_snapshot) hold_->create_snapshot(*header_.end_snapshot);
    tell(header_.size_bytes);
  }

  [[nodiscard]] const DiffHeader& header() const noexcept { return header_; }

  /// The error with what it leaves behind.
  [[nodiscard]] Error explain(const Error& error) const {
    // The decoder knows nothing of images.
    const bool is_stream = error.code() == ErrorCode::format;
    std::string cause = error.cause();
    if (written_ != Written::nothing) {
      cause += "; the image's head is ";
      cause += written_ == Written::some ? "half written now" : "written";
      cause += ": apply the same diff again, or roll it back";
      if (header_.from_snapshot) cause += fmt::format(" to '{}'", *header_.from_snapshot);
    }
    return {error.code(),
            is_stream ? operation : error.operation(),
            is_stream ? to_string(image_) : error.subject(),
            std::move(cause),
            error.retryable(),
            error.error_number()};
  }

 private:
  ImageState look() {
    std::optional<ImageState> state = store_.find(image_);
    if (!state) {
      throw Error(ErrorCode::not_found, operation, to_string(image_), "there is no such image", false, ENOENT);
    }
    return *std::move(state);
  }

  void check_snapshots(const ImageState& state) const {
    const auto has = [&](const std::string& name) {
      return std::any_of(state.snapshots.begin(), state.snapshots.end(),
                         [&](const Snapshot& snapshot) { return snapshot.name == name; });
    };
    if (header_.from_snapshot && !has(*header_.from_snapshot)) {
      // EINVAL is what `rbd` exits with; ENOENT is the missing image.
      throw Error(ErrorCode::not_found, operation, to_string(image_),
                  fmt::format("start snapshot '{}' does not exist in the image", *header_.from_snapshot), false,
                  EINVAL);
    }
    if (header_.end_snapshot && has(*header_.end_snapshot)) {
      throw Error(ErrorCode::already_exists, operation, to_string(image_),
                  fmt::format("end snapshot '{}' already exists", *header_.end_snapshot), false, EEXIST);
    }
  }

  void tell(std::uint64_t offset) const {
    if (progress_) progress_(offset, header_.size_bytes);
  }

  ImageStore& store_;
  const ImageSpec& image_;
  const DiffProgress& progress_;
  const std::stop_token& stop_;
  DiffHeader header_;
  std::unique_ptr<ImageHold> hold_;
  std::unique_ptr<DiffSink> sink_;
  std::unique_ptr<ZeroSplitter> splitter_;
  Written written_ = Written::nothing;
};

}  // namespace

DiffHeader import_diff_stream(ImageStore& store, const ImageSpec& image, const ByteSource& source,
                              const DiffProgress& progress, const std::stop_token& stop) {
  Importer importer(store, image, progress, stop);
  try {
    DiffDecoder decoder(importer);
    std::vector<std::byte> buffer(read_bytes);
    for (;;) {
      if (stop.stop_requested()) throw Cancelled{};
      const std::size_t count = source(buffer);
      if (count == 0) break;
      decoder.feed(std::span(buffer).first(count));
    }
    decoder.finish();
    importer.commit();
  } catch (...) {
    throw importer.explain(failure_at_hand());
  }
  return importer.header();
}

}  // namespace crossover

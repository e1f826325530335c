#include "rbd/rbd_command_io.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "crossover/diff_stream.hpp"
#include "crossover/error.hpp"
#include "engine/zero_splitter.hpp"
#include "rbd/data_gatherer.hpp"
#include "rbd/rbd_error.hpp"

namespace crossover::rbd {

namespace {

constexpr std::size_t read_bytes = 256U << 10;
constexpr std::size_t write_bytes = 64U << 10;
// `rbd import-diff` holds a record in memory.
constexpr std::uint64_t record_bytes = 4U << 20;

/// Feeds a decoder from a process. The process' own words explain more than a stream that ends early.
void decode_output(Process& process, DiffRecordHandler& handler, const std::string& operation,
                   const std::string& subject) {
  DiffDecoder decoder(handler);
  std::vector<std::byte> buffer(read_bytes);
  try {
    while (const std::size_t count = process.read(buffer)) decoder.feed(std::span(buffer).first(count));
    decoder.finish();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::format) {
      const CommandResult result = process.wait();
      if (result.exit_status != 0) throw error_of_command(result, operation, subject);
      throw Error(ErrorCode::format, operation, subject, error.cause());
    }
    throw;
  }
  const CommandResult result = process.wait();
  if (result.exit_status != 0) throw error_of_command(result, operation, subject);
}

/// Stream records as what a sink takes.
class SinkHandler final : public DiffRecordHandler {
 public:
  SinkHandler(DiffSink& sink, const std::optional<std::string>& from, const std::string& to, std::uint64_t start)
      : sink_(sink), out_(sink), from_(from), to_(to), start_(start) {}

  void header(DiffFormat, const DiffHeader& header) override {
    if (header.from_snapshot != from_ || header.end_snapshot != to_) {
      throw Error(ErrorCode::format, "read diff", {}, "the stream is of other snapshots than it was asked for");
    }
    sink_.size(header.size_bytes);
  }
  void data_begin(std::uint64_t, std::uint64_t) override {}
  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const std::uint64_t cut = before_start(offset, bytes.size());
    if (cut < bytes.size()) out_.data(offset + cut, bytes.subspan(cut));
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    const std::uint64_t cut = before_start(offset, length_bytes);
    out_.zero(offset + cut, length_bytes - cut);
  }
  void end() override { out_.flush(); }

 private:
  /// How many of these bytes are not to be given.
  [[nodiscard]] std::uint64_t before_start(std::uint64_t offset, std::uint64_t length_bytes) const {
    return offset >= start_ ? 0 : std::min(start_ - offset, length_bytes);
  }

  DiffSink& sink_;
  ZeroSplitter out_;
  const std::optional<std::string>& from_;
  const std::string& to_;
  std::uint64_t start_;
};

/// Thrown out of a decoder when the question is answered.
struct ChangeFound {};

class ChangeDetector final : public DiffRecordHandler {
 public:
  explicit ChangeDetector(std::uint64_t size_bytes) : size_bytes_(size_bytes) {}
  void header(DiffFormat, const DiffHeader& header) override {
    if (header.size_bytes != size_bytes_) throw ChangeFound{};
  }
  void data_begin(std::uint64_t, std::uint64_t) override { throw ChangeFound{}; }
  void data(std::uint64_t, std::span<const std::byte>) override {}
  void zero(std::uint64_t, std::uint64_t) override { throw ChangeFound{}; }
  void end() override {}

 private:
  std::uint64_t size_bytes_;
};

class ImportSink final : public DiffSink {
 public:
  ImportSink(std::unique_ptr<Process> process, std::string subject, std::uint64_t start,
             std::function<void(std::uint64_t)> verify_size)
      : process_(std::move(process)),
        subject_(std::move(subject)),
        verify_size_(std::move(verify_size)),
        encoder_(DiffFormat::v1, [this](std::span<const std::byte> bytes) { put(bytes); }),
        gatherer_(record_bytes,
                  [this](std::uint64_t offset, const OwnedBytes& bytes) { encoder_.data(offset, bytes.span()); }),
        position_(start) {}

  void size(std::uint64_t size_bytes) override {
    DiffHeader header;
    header.size_bytes = size_bytes;
    encoder_.header(header);
    size_bytes_ = size_bytes;
  }

  void data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    check_extent(offset, bytes.size());
    gatherer_.data(offset, bytes);
  }

  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    check_extent(offset, length_bytes);
    gatherer_.flush();
    encoder_.zero(offset, length_bytes);
  }

  void finish() override {
    gatherer_.flush();
    encoder_.end();
    flush();
    process_->close_input();
    const CommandResult result = process_->wait();
    if (result.exit_status != 0) throw error_of_command(result, "write diff", subject_);
    // `rbd import-diff` goes on when its resize fails.
    verify_size_(size_bytes_);
  }

 private:
  /// The encoder checks too, but only when the gathered data reaches it.
  void check_extent(std::uint64_t offset, std::uint64_t length) {
    if (offset < position_ || offset > size_bytes_ || length > size_bytes_ - offset) {
      throw Error(ErrorCode::usage, "write diff", subject_, "content out of order or past the image's end");
    }
    position_ = offset + length;
  }

  /// Joins the short pieces of the encoder.
  void put(std::span<const std::byte> bytes) {
    if (buffer_.size() + bytes.size() > write_bytes) flush();
    if (bytes.size() >= write_bytes) return send(bytes);
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }

  void flush() {
    if (!buffer_.empty()) send(buffer_);
    buffer_.clear();
  }

  void send(std::span<const std::byte> bytes) {
    try {
      process_->write(bytes);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::io) throw;
      const CommandResult result = process_->wait();
      if (result.exit_status != 0) throw error_of_command(result, "write diff", subject_);
      throw;
    }
  }

  std::unique_ptr<Process> process_;
  std::string subject_;
  std::function<void(std::uint64_t)> verify_size_;
  std::vector<std::byte> buffer_;
  DiffEncoder encoder_;
  DataGatherer gatherer_;
  std::uint64_t position_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace

void read_export(Process& process, const std::optional<std::string>& from, const std::string& to,
                 std::uint64_t offset, DiffSink& sink, const std::string& subject) {
  SinkHandler handler(sink, from, to, offset);
  decode_output(process, handler, "read diff", subject);
}

bool export_is_empty(Process& process, std::uint64_t size_bytes, const std::string& subject) {
  ChangeDetector detector(size_bytes);
  try {
    decode_output(process, detector, "compare with snapshot", subject);
  } catch (const ChangeFound&) {
    return false;
  }
  return true;
}

std::unique_ptr<DiffSink> make_import_sink(std::unique_ptr<Process> process, std::string subject,
                                           std::uint64_t offset, std::function<void(std::uint64_t)> verify_size) {
  return std::make_unique<ImportSink>(std::move(process), std::move(subject), offset, std::move(verify_size));
}

}  // namespace crossover::rbd

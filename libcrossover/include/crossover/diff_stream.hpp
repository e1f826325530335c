/// \file
/// The byte formats of `rbd export-diff`: diff v1 (what `rbd import-diff` takes) and diff v2 (what stands inside an
/// export of format 2). Encoding and decoding are incremental: bytes come and go in any pieces, and the content of
/// a data record is handed on as it arrives, so memory stays below some 4 KiB whatever a stream claims.
///
/// The formats have no checksum, and Ceph's own importer resynchronises on garbage, so this decoder is strict: it
/// takes exactly the streams DiffEncoder can write, which makes decoding and encoding again the identity.
/// - the banner, then `f`, `t`, `p` (v2, only with `t`), `s` in this order, each at most once, `s` always;
/// - then `w` and `z`, ascending, not overlapping, not empty, inside the size `s` gave;
/// - then `e`, and nothing after it.
/// An unknown tag is an error in both formats. A v2 record could be stepped over by its length, but nothing says
/// whether what it carries may be missed; to skip it would be to take a part for the whole.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace crossover {

enum class DiffFormat { v1, v2 };

/// What stands before the content.
struct DiffHeader {
  std::optional<std::string> from_snapshot;  ///< the start snapshot; nothing for a full diff
  std::optional<std::string> end_snapshot;   ///< the end snapshot; nothing if the diff ends at the head
  std::optional<bool> end_protected;         ///< v2 only, and only with an end snapshot
  std::uint64_t size_bytes = 0;              ///< the image's size at the end

  bool operator==(const DiffHeader&) const = default;
};

/// Longest snapshot name a stream may carry, as in Ceph.
inline constexpr std::size_t max_diff_name_bytes = 4096;
/// Longest data record. Ceph's writers stay within one stripe period, and its importer holds a record in memory.
inline constexpr std::uint64_t max_diff_data_bytes = std::uint64_t{1} << 30;

/// Takes the records of a stream in their order. What a member throws comes out of DiffDecoder::feed().
class DiffRecordHandler {
 public:
  virtual ~DiffRecordHandler() = default;
  /// Called once, first.
  virtual void header(DiffFormat format, const DiffHeader& header) = 0;
  /// A data record begins; `length_bytes` follow through data().
  virtual void data_begin(std::uint64_t offset, std::uint64_t length_bytes) = 0;
  /// The next piece of the data record; the span is only valid during the call.
  virtual void data(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// A range that reads as zeroes.
  virtual void zero(std::uint64_t offset, std::uint64_t length_bytes) = 0;
  /// The end record. Only DiffDecoder::finish() proves that nothing follows it.
  virtual void end() = 0;
};

namespace detail {

/// The rule both directions share: extents ascend, do not overlap, are not empty and end within the size.
class DiffExtentRule {
 public:
  void start(std::uint64_t size_bytes) noexcept { size_bytes_ = size_bytes; }
  /// Takes the next extent; says what is wrong with it, or nothing.
  [[nodiscard]] std::string take(std::uint64_t offset, std::uint64_t length_bytes);

 private:
  std::uint64_t size_bytes_ = 0;
  std::uint64_t position_ = 0;
};

}  // namespace detail

/// Turns bytes into records. Throws Error{format} that names the byte offset of the field it does not accept; its
/// errno is `rbd import-diff`'s: EBADMSG for what cannot be decoded, EINVAL for a wrong banner, name or extent.
/// After any exception the decoder only repeats that it has failed.
class DiffDecoder {
 public:
  /// `handler` must outlive the decoder.
  explicit DiffDecoder(DiffRecordHandler& handler);

  /// Takes the next bytes of the stream.
  void feed(std::span<const std::byte> bytes);

  /// The input is over: throws if the stream is not.
  void finish();

  /// Bytes taken so far.
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  /// Where the field in hand began: after an error, the one that was not accepted.
  [[nodiscard]] std::uint64_t field_position() const noexcept { return field_position_; }

 private:
  enum class Step {
    banner,
    tag,
    record_length,
    name_length,
    name,
    protection,
    size,
    extent,
    data,
    after_end,
    failed
  };

  std::size_t collect(std::span<const std::byte> bytes);
  void take_field();
  void take_banner();
  void take_tag();
  void take_record_length();
  void take_name_length();
  void take_name();
  void take_extent();
  void begin_record_body();
  void expect(Step step, std::size_t bytes);
  void check_order(int rank);
  [[nodiscard]] std::string_view step_name() const;
  [[noreturn]] void fail(const std::string& cause, int error_number = EBADMSG) const;

  DiffRecordHandler& handler_;
  DiffFormat format_ = DiffFormat::v1;
  DiffHeader header_;
  detail::DiffExtentRule extents_;
  Step step_ = Step::banner;
  std::size_t needed_ = 0;            // bytes the field in hand has
  std::string field_;                 // those of them that have come
  char tag_ = 0;                      // the record in hand
  int rank_ = 0;                      // the place in the order of the last record
  std::uint64_t record_length_ = 0;   // v2
  std::uint64_t data_offset_ = 0;     // of the next byte of a data record
  std::uint64_t data_left_ = 0;       // bytes to come of it
  std::uint64_t position_ = 0;        // bytes taken from the stream
  std::uint64_t field_position_ = 0;  // where the field in hand began
};

/// Turns records into bytes. Breaking the order or the rules above throws Error{usage} before a byte is written.
class DiffEncoder {
 public:
  using ByteSink = std::function<void(std::span<const std::byte>)>;

  DiffEncoder(DiffFormat format, ByteSink sink);

  void header(const DiffHeader& header);
  /// Begins a data record whose `length_bytes` follow through data().
  void data_begin(std::uint64_t offset, std::uint64_t length_bytes);
  /// The next piece of the data record.
  void data(std::span<const std::byte> bytes);
  /// A whole data record.
  void data(std::uint64_t offset, std::span<const std::byte> bytes);
  void zero(std::uint64_t offset, std::uint64_t length_bytes);
  void end();

 private:
  enum class State { start, content, data, ended };

  void require(State state, std::string_view what) const;
  void write_name(std::string& out, char tag, const std::string& name) const;
  void write_extent(char tag, std::uint64_t offset, std::uint64_t length_bytes);
  void put(std::string_view bytes) const;

  DiffFormat format_;
  ByteSink sink_;
  State state_ = State::start;
  detail::DiffExtentRule extents_;
  std::uint64_t data_left_ = 0;
};

}  // namespace crossover

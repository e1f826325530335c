#include <fmt/format.h>

#include <algorithm>

#include "crossover/diff_stream.hpp"
#include "crossover/error.hpp"
#include "stream/diff_records.hpp"
#include "stream/little_endian.hpp"

namespace crossover {

using stream::read_little_endian;

namespace {

// The records' places in the order. Header records stand once each, content records repeat.
constexpr int rank_from = 1;
constexpr int rank_end_name = 2;
constexpr int rank_protection = 3;
constexpr int rank_size = 4;
constexpr int rank_content = 5;
constexpr int rank_end = 6;

std::string describe_tag(char tag) {
  const auto byte = static_cast<unsigned char>(tag);
  return byte > 0x20 && byte < 0x7f ? fmt::format("'{}'", tag) : fmt::format("0x{:02x}", byte);
}

}  // namespace

DiffDecoder::DiffDecoder(DiffRecordHandler& handler) : handler_(handler), needed_(stream::diff_banner_bytes) {}

void DiffDecoder::feed(std::span<const std::byte> bytes) {
  if (step_ == Step::failed) fail("the stream has failed before");
  try {
    while (!bytes.empty()) bytes = bytes.subspan(collect(bytes));
  } catch (...) {
    // Whatever threw, in here or in the handler, the records' order is lost.
    step_ = Step::failed;
    throw;
  }
}

std::size_t DiffDecoder::collect(std::span<const std::byte> bytes) {
  if (step_ == Step::data) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(data_left_, bytes.size()));
    handler_.data(data_offset_, bytes.first(count));
    data_offset_ += count;
    data_left_ -= count;
    position_ += count;
    if (data_left_ == 0) expect(Step::tag, 1);
    return count;
  }
  if (step_ == Step::after_end) {
    field_position_ = position_;
    fail("bytes after the end record");
  }
  const std::size_t count = std::min(needed_ - field_.size(), bytes.size());
  if (field_.empty()) field_position_ = position_;
  field_.append(reinterpret_cast<const char*>(bytes.data()), count);
  position_ += count;
  if (field_.size() == needed_) take_field();
  return count;
}

void DiffDecoder::finish() {
  if (step_ == Step::failed) fail("the stream has failed before");
  if (step_ == Step::after_end) return;
  field_position_ = position_;
  const std::string where(step_name());
  step_ = Step::failed;
  fail("the stream ends " + where);
}

void DiffDecoder::take_field() {
  switch (step_) {
    case Step::banner:
      return take_banner();
    case Step::tag:
      return take_tag();
    case Step::record_length:
      return take_record_length();
    case Step::name_length:
      return take_name_length();
    case Step::name:
      return take_name();
    case Step::protection:
      if (field_[0] != 0 && field_[0] != 1) fail("a protection flag that is neither 0 nor 1");
      header_.end_protected = field_[0] == 1;
      return expect(Step::tag, 1);
    case Step::size:
      header_.size_bytes = read_little_endian<std::uint64_t>(field_);
      extents_.start(header_.size_bytes);
      handler_.header(format_, header_);
      return expect(Step::tag, 1);
    case Step::extent:
      return take_extent();
    case Step::data:
    case Step::after_end:
    case Step::failed:
      break;
  }
  fail("the decoder is out of step");
}

void DiffDecoder::take_banner() {
  if (field_ == stream::diff_v1_banner) {
    format_ = DiffFormat::v1;
  } else if (field_ == stream::diff_v2_banner) {
    format_ = DiffFormat::v2;
  } else {
    fail("the stream does not begin with the banner of an rbd diff", EINVAL);
  }
  expect(Step::tag, 1);
}

void DiffDecoder::take_tag() {
  tag_ = field_[0];
  switch (tag_) {
    case 'f':
      check_order(rank_from);
      break;
    case 't':
      check_order(rank_end_name);
      break;
    case 'p':
      if (format_ == DiffFormat::v1) fail("an unknown record 'p'");
      check_order(rank_protection);
      if (!header_.end_snapshot) fail("a record 'p' without an end snapshot");
      break;
    case 's':
      check_order(rank_size);
      break;
    case 'w':
    case 'z':
      check_order(rank_content);
      break;
    case 'e':
      check_order(rank_end);
      expect(Step::after_end, 0);
      handler_.end();
      return;
    default:
      fail("an unknown record " + describe_tag(tag_));
  }
  if (format_ == DiffFormat::v2) return expect(Step::record_length, 8);
  begin_record_body();
}

void DiffDecoder::check_order(int rank) {
  if (rank > rank_size && rank_ < rank_size) fail(fmt::format("a record '{}' before the size", tag_));
  if (rank < rank_ || (rank == rank_ && rank != rank_content)) {
    fail(fmt::format("a record '{}' out of its order", tag_));
  }
  rank_ = rank;
}

void DiffDecoder::take_record_length() {
  record_length_ = read_little_endian<std::uint64_t>(field_);
  bool right = false;
  switch (tag_) {
    case 'f':
    case 't':
      right = record_length_ > 4 && record_length_ <= 4 + max_diff_name_bytes;
      break;
    case 'p':
      right =
          record_length_ == stream::diff_protection_length || record_length_ == stream::diff_protection_true_length;
      break;
    case 's':
      right = record_length_ == 8;
      break;
    case 'z':
      right = record_length_ == 16;
      break;
    default:  // 'w'
      right = record_length_ > 16 && record_length_ <= 16 + max_diff_data_bytes;
      break;
  }
  if (!right) fail(fmt::format("a record '{}' of {} bytes", tag_, record_length_));
  begin_record_body();
}

void DiffDecoder::begin_record_body() {
  switch (tag_) {
    case 'f':
    case 't':
      return expect(Step::name_length, 4);
    case 'p':
      return expect(Step::protection, 1);
    case 's':
      return expect(Step::size, 8);
    default:
      return expect(Step::extent, 16);
  }
}

void DiffDecoder::take_name_length() {
  const auto length = read_little_endian<std::uint32_t>(field_);
  if (length == 0 || length > max_diff_name_bytes) {
    fail(fmt::format("a snapshot name of {} bytes", length), EINVAL);
  }
  if (format_ == DiffFormat::v2 && record_length_ != 4 + std::uint64_t{length}) {
    fail(fmt::format("a snapshot name of {} bytes in a record of {}", length, record_length_));
  }
  expect(Step::name, length);
}

void DiffDecoder::take_name() {
  if (field_.find('\0') != std::string::npos) fail("a snapshot name with a zero byte");
  (tag_ == 'f' ? header_.from_snapshot : header_.end_snapshot) = field_;
  expect(Step::tag, 1);
}

void DiffDecoder::take_extent() {
  const auto offset = read_little_endian<std::uint64_t>(field_);
  const auto length = read_little_endian<std::uint64_t>(std::string_view(field_).substr(8));
  if (const std::string wrong = extents_.take(offset, length); !wrong.empty()) fail(wrong, EINVAL);
  if (tag_ == 'z') {
    expect(Step::tag, 1);
    handler_.zero(offset, length);
    return;
  }
  if (length > max_diff_data_bytes) fail(fmt::format("a data record of {} bytes", length), EINVAL);
  if (format_ == DiffFormat::v2 && record_length_ != 16 + length) {
    fail(fmt::format("{} bytes of data in a record of {}", length, record_length_));
  }
  data_offset_ = offset;
  data_left_ = length;
  expect(Step::data, 0);
  handler_.data_begin(offset, length);
}

void DiffDecoder::expect(Step step, std::size_t bytes) {
  step_ = step;
  needed_ = bytes;
  field_.clear();
}

std::string_view DiffDecoder::step_name() const {
  switch (step_) {
    case Step::banner:
      return "inside the banner";
    case Step::tag:
      return "before its end record";
    case Step::data:
      return "inside a data record";
    default:
      return "inside a record";
  }
}

void DiffDecoder::fail(const std::string& cause, int error_number) const {
  throw Error(ErrorCode::format, "read diff stream", {}, fmt::format("at byte {}: {}", field_position_, cause),
              false, error_number);
}

}  // namespace crossover

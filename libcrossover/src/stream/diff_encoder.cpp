#include <fmt/format.h>

#include <utility>

#include "crossover/diff_stream.hpp"
#include "crossover/error.hpp"
#include "stream/diff_records.hpp"
#include "stream/little_endian.hpp"

namespace crossover {

using stream::append_little_endian;

namespace {

[[noreturn]] void fail(const std::string& cause) {
  throw Error(ErrorCode::usage, "write diff stream", {}, cause);
}

void check_name(const std::string& name) {
  if (name.empty() || name.size() > max_diff_name_bytes || name.find('\0') != std::string::npos) {
    fail("a snapshot name is empty, too long or holds a zero byte");
  }
}

}  // namespace

DiffEncoder::DiffEncoder(DiffFormat format, ByteSink sink) : format_(format), sink_(std::move(sink)) {}

void DiffEncoder::header(const DiffHeader& header) {
  require(State::start, "a header");
  if (header.from_snapshot) check_name(*header.from_snapshot);
  if (header.end_snapshot) check_name(*header.end_snapshot);
  if (header.end_protected && (format_ == DiffFormat::v1 || !header.end_snapshot)) {
    fail("the protection of an end snapshot has no place in this stream");
  }
  std::string out(format_ == DiffFormat::v1 ? stream::diff_v1_banner : stream::diff_v2_banner);
  if (header.from_snapshot) write_name(out, 'f', *header.from_snapshot);
  if (header.end_snapshot) write_name(out, 't', *header.end_snapshot);
  if (header.end_protected) {
    out.push_back('p');
    append_little_endian(out, stream::diff_protection_length);
    out.push_back(*header.end_protected ? 1 : 0);
  }
  out.push_back('s');
  if (format_ == DiffFormat::v2) append_little_endian<std::uint64_t>(out, 8);
  append_little_endian(out, header.size_bytes);
  extents_.start(header.size_bytes);
  state_ = State::content;
  put(out);
}

void DiffEncoder::data_begin(std::uint64_t offset, std::uint64_t length_bytes) {
  require(State::content, "data");
  if (length_bytes > max_diff_data_bytes) fail(fmt::format("a data record of {} bytes", length_bytes));
  write_extent('w', offset, length_bytes);
  data_left_ = length_bytes;
  state_ = State::data;
}

void DiffEncoder::data(std::span<const std::byte> bytes) {
  require(State::data, "data");
  if (bytes.size() > data_left_) fail("more data than its record was begun with");
  data_left_ -= bytes.size();
  if (data_left_ == 0) state_ = State::content;
  if (!bytes.empty()) sink_(bytes);
}

void DiffEncoder::data(std::uint64_t offset, std::span<const std::byte> bytes) {
  data_begin(offset, bytes.size());
  data(bytes);
}

void DiffEncoder::zero(std::uint64_t offset, std::uint64_t length_bytes) {
  require(State::content, "zeroes");
  write_extent('z', offset, length_bytes);
}

void DiffEncoder::end() {
  require(State::content, "an end");
  state_ = State::ended;
  put("e");
}

void DiffEncoder::require(State state, std::string_view what) const {
  if (state_ != state) fail(fmt::format("{} out of its order", what));
}

void DiffEncoder::write_name(std::string& out, char tag, const std::string& name) const {
  out.push_back(tag);
  if (format_ == DiffFormat::v2) append_little_endian<std::uint64_t>(out, 4 + name.size());
  append_little_endian(out, static_cast<std::uint32_t>(name.size()));
  out += name;
}

void DiffEncoder::write_extent(char tag, std::uint64_t offset, std::uint64_t length_bytes) {
  if (const std::string wrong = extents_.take(offset, length_bytes); !wrong.empty()) fail(wrong);
  std::string out(1, tag);
  if (format_ == DiffFormat::v2) append_little_endian<std::uint64_t>(out, tag == 'w' ? 16 + length_bytes : 16);
  append_little_endian(out, offset);
  append_little_endian(out, length_bytes);
  put(out);
}

void DiffEncoder::put(std::string_view bytes) const {
  sink_(std::as_bytes(std::span(bytes)));
}

}  // namespace crossover

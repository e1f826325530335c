/// \file
/// A diff as a list of records, for tests: what a decoder said, and how to say it to an encoder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crossover/diff_stream.hpp"

namespace crossover::test {

struct RecordedExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool is_zero = false;
  std::string content;

  bool operator==(const RecordedExtent&) const = default;
};

/// Keeps everything it is given.
class RecordedDiff final : public DiffRecordHandler {
 public:
  DiffFormat format = DiffFormat::v1;
  DiffHeader head;
  std::vector<RecordedExtent> extents;
  int headers = 0;
  int ends = 0;

  void header(DiffFormat stream_format, const DiffHeader& stream_header) override {
    format = stream_format;
    head = stream_header;
    ++headers;
  }
  void data_begin(std::uint64_t offset, std::uint64_t length) override {
    extents.push_back({offset, length, false, {}});
  }
  void data(std::uint64_t, std::span<const std::byte> bytes) override {
    extents.back().content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void zero(std::uint64_t offset, std::uint64_t length) override { extents.push_back({offset, length, true, {}}); }
  void end() override { ++ends; }

  bool operator==(const RecordedDiff& other) const {
    return format == other.format && head == other.head && extents == other.extents;
  }
};

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Decodes a whole stream, given in pieces of `piece` bytes.
inline RecordedDiff decode(std::string_view stream, std::size_t piece = SIZE_MAX) {
  RecordedDiff out;
  DiffDecoder decoder(out);
  while (!stream.empty()) {
    decoder.feed(bytes_of(stream.substr(0, piece)));
    stream.remove_prefix(std::min(piece, stream.size()));
  }
  decoder.finish();
  return out;
}

/// Encodes what was recorded.
inline std::string encode(const RecordedDiff& diff) {
  std::string out;
  DiffEncoder encoder(diff.format, [&out](std::span<const std::byte> bytes) {
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  encoder.header(diff.head);
  for (const RecordedExtent& extent : diff.extents) {
    if (extent.is_zero) {
      encoder.zero(extent.offset, extent.length);
    } else {
      encoder.data(extent.offset, bytes_of(extent.content));
    }
  }
  encoder.end();
  return out;
}

}  // namespace crossover::test

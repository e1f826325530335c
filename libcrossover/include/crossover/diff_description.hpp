/// \file
/// A look into a diff stream, without a cluster.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>

#include "crossover/byte_stream.hpp"
#include "crossover/diff_stream.hpp"

namespace crossover {

/// One content record of a stream.
struct DiffExtent {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  bool is_zero = false;  ///< false: data

  bool operator==(const DiffExtent&) const = default;
};

/// What is wrong with a stream.
struct DiffFault {
  std::uint64_t byte = 0;  ///< where in the stream the field begins that is not accepted
  std::string text;
  int error_number = 0;  ///< what `rbd import-diff` would exit with, where it notices

  bool operator==(const DiffFault&) const = default;
};

/// A stream in numbers, up to its end or its fault.
struct DiffSummary {
  std::uint64_t data_extents = 0;
  std::uint64_t data_bytes = 0;  ///< those that are there, of a stream that is cut short
  std::uint64_t zero_extents = 0;
  std::uint64_t zero_bytes = 0;
  std::uint64_t stream_bytes = 0;
  std::optional<DiffFault> fault;  ///< nothing: import_diff() would take the stream

  bool operator==(const DiffSummary&) const = default;
};

/// Is told of a stream's records as they come, in the calling thread.
class DiffListener {
 public:
  virtual ~DiffListener() = default;
  /// Called once, before any extent; not at all if the stream is wrong before its size record.
  virtual void header(DiffFormat format, const DiffHeader& header) = 0;
  virtual void extent(const DiffExtent& extent) = 0;
};

/// Reads a stream to its end and holds it to the rules of DiffDecoder. A stream that breaks them is an answer, not
/// an exception. Throws Cancelled, and what `source` or `listener` throws.
DiffSummary describe_diff(const ByteSource& source, DiffListener& listener, const std::stop_token& stop = {});

}  // namespace crossover

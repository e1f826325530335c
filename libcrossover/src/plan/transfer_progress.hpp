/// \file
/// How far a transfer has come, as it stands in the metadata of the image that is written. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "crossover/image.hpp"

namespace crossover {

/// Metadata key of the progress, on the image that is written.
inline constexpr std::string_view progress_key = "crossover.progress";

/// Everything of a diff before `offset` is on the image's stable storage.
struct TransferProgress {
  std::string id;            ///< of one diff into one image, and of no other; empty: nothing is kept of it
  std::uint64_t offset = 0;  ///< bytes from the image's start

  bool operator==(const TransferProgress&) const = default;
};

/// How often a transfer is marked: what comes after the last mark is sent again if it is cut.
struct MarkInterval {
  std::uint64_t bytes = 32U << 20;  ///< of data
  std::chrono::milliseconds time{2000};
};

/// One line of JSON with a version. `client` is Ceph's number of who writes the image and has its lock, for
/// progress_client(); 0: unknown.
std::string render_progress(const TransferProgress& progress, std::uint64_t client = 0);

/// What stands in an image's metadata. Nothing if it cannot be read: without it a transfer begins at its start,
/// which is always right.
std::optional<TransferProgress> parse_progress(std::string_view json);

/// The client that wrote the progress; nothing if it does not say.
std::optional<std::uint64_t> progress_client(std::string_view json);

/// Throws Error{conflict} unless `stored`, the metadata's value, says that a diff into `image` can go on at `from`.
void require_progress(const std::optional<std::string>& stored, const TransferProgress& from,
                      const std::string& image);

}  // namespace crossover

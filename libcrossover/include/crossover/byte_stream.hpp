/// \file
/// Streams of bytes as calls, so that a caller brings its own files, pipes or buffers.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

namespace crossover {

/// Takes the next bytes of a stream; the span is only valid during the call. What it throws comes out of the call
/// it was given to.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// Fills the beginning of the span with the next bytes of a stream and says how many; 0 only at its end. What it
/// throws comes out of the call it was given to.
using ByteSource = std::function<std::size_t(std::span<std::byte>)>;

}  // namespace crossover

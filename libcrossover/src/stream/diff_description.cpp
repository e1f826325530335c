#include "crossover/diff_description.hpp"

#include <span>
#include <vector>

#include "crossover/error.hpp"

namespace crossover {

namespace {

constexpr std::size_t read_bytes = 256U << 10;

class Counter final : public DiffRecordHandler {
 public:
  Counter(DiffListener& listener, DiffSummary& summary) : listener_(listener), summary_(summary) {}

  void header(DiffFormat format, const DiffHeader& header) override { listener_.header(format, header); }
  void data_begin(std::uint64_t offset, std::uint64_t length_bytes) override {
    ++summary_.data_extents;
    listener_.extent({offset, length_bytes, false});
  }
  void data(std::uint64_t /*offset*/, std::span<const std::byte> bytes) override {
    summary_.data_bytes += bytes.size();
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    ++summary_.zero_extents;
    summary_.zero_bytes += length_bytes;
    listener_.extent({offset, length_bytes, true});
  }
  void end() override {}

 private:
  DiffListener& listener_;
  DiffSummary& summary_;
};

}  // namespace

DiffSummary describe_diff(const ByteSource& source, DiffListener& listener, const std::stop_token& stop) {
  DiffSummary summary;
  Counter counter(listener, summary);
  DiffDecoder decoder(counter);
  std::vector<std::byte> buffer(read_bytes);
  for (;;) {
    if (stop.stop_requested()) throw Cancelled{};
    const std::size_t count = source(buffer);
    try {
      if (count != 0) {
        decoder.feed(std::span(buffer).first(count));
        continue;
      }
      decoder.finish();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::format) throw;
      summary.fault = DiffFault{decoder.field_position(), error.cause(), error.error_number()};
    }
    summary.stream_bytes = decoder.position();
    return summary;
  }
}

}  // namespace crossover

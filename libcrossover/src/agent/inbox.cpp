#include "agent/inbox.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "crossover/error.hpp"

namespace crossover::agent {

namespace {

constexpr std::size_t max_messages = 4096;
constexpr std::size_t read_bytes = std::size_t{256} << 10;

std::uint64_t bytes_of(const Inbox::Message& message) {
  if (const auto* request = std::get_if<Inbox::Request>(&message)) return request->frame.payload.size();
  const auto* record = std::get_if<stream::TransferRecord>(&message);
  const auto* data = record == nullptr ? nullptr : std::get_if<stream::DataRecord>(record);
  return data == nullptr ? 0 : data->bytes.size();
}

}  // namespace

Inbox::Inbox(FdStream& stream, std::stop_source& ending, std::uint64_t max_bytes, std::chrono::milliseconds silence)
    : stream_(stream), ending_(ending), silence_(silence), max_bytes_(max_bytes), thread_([this] { read(); }) {}

void Inbox::set_max_bytes(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  max_bytes_ = bytes;
}

void Inbox::read() {
  End end;
  try {
    read_frames();
  } catch (...) {
    end.why = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  messages_.emplace_back(std::move(end));
  changed_.notify_all();
}

void Inbox::read_frames() {
  stream::FrameDecoder frames("client");
  stream::TransferDecoder transfer("client");
  std::vector<std::byte> buffer(read_bytes);
  bool greeted = false;
  bool in_transfer = false;
  for (;;) {
    const std::span<std::byte> room = frames.room();
    const std::span<std::byte> into = room.empty() ? buffer : room;
    const bool was_expected = expected_;
    const std::optional<std::size_t> came = stream_.read(into, silence_);
    if (!came) {
      if (!in_transfer && !(was_expected && expected_)) continue;
      throw Error(ErrorCode::timeout, "read from", "client",
                  fmt::format("it said nothing for {} s in the middle of a transfer, or while it held something",
                              std::chrono::duration_cast<std::chrono::seconds>(silence_).count()),
                  true);
    }
    const std::size_t count = *came;
    if (count == 0) {
      ending_.request_stop();
      return;
    }
    if (room.empty()) {
      frames.feed(std::span(buffer).first(count));
    } else {
      frames.filled(count);
    }
    if (!greeted) {
      auto hello = frames.hello();
      if (!hello) continue;
      greeted = true;
      put(*std::move(hello));
    }
    while (auto frame = frames.next()) {
      if (stream::TransferDecoder::takes(frame->type)) {
        in_transfer = frame->type != stream::FrameType::end;
        put(transfer.decode(*std::move(frame)));
      } else if (frame->type == stream::FrameType::request) {
        put(Request{*std::move(frame)});
      } else {
        throw Error(ErrorCode::format, "read from", "client", "an answer to nothing");
      }
    }
  }
}

void Inbox::put(Message message) {
  const std::uint64_t bytes = bytes_of(message);
  std::unique_lock lock(mutex_);
  const auto has_room = [&] {
    return messages_.empty() || (bytes_ + bytes <= max_bytes_ && messages_.size() < max_messages);
  };
  if (!changed_.wait(lock, ending_.get_token(), has_room)) throw Cancelled{};
  bytes_ += bytes;
  messages_.push_back(std::move(message));
  changed_.notify_all();
}

Inbox::Message Inbox::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !messages_.empty(); });
  // What came before the end of the input is of no use to anybody any more.
  if (ending_.stop_requested()) {
    changed_.wait(lock, [this] { return std::holds_alternative<End>(messages_.back()); });
    return std::get<End>(messages_.back());
  }
  if (const auto* end = std::get_if<End>(&messages_.front())) return *end;
  Message message = std::move(messages_.front());
  messages_.pop_front();
  bytes_ -= bytes_of(message);
  changed_.notify_all();
  return message;
}

}  // namespace crossover::agent

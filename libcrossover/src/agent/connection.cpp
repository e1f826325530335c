#include "agent/connection.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/migrator.hpp"

namespace crossover::agent {

namespace {

// A shell's statuses for a command that is not there and one that cannot be executed.
constexpr int command_not_found = 127;
constexpr int command_not_executable = 126;

// Starting a process, on a busy host; what takes longer will not come.
constexpr std::chrono::seconds greeting_limit{30};

/// Does something unless it is destroyed in time.
class Timer {
 public:
  template <typename Action>
  Timer(std::chrono::seconds limit, Action action)
      : thread_([this, limit, action](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          if (never_.wait_for(lock, stop, limit, [&stop] { return stop.stop_requested(); })) return;
          expired_ = true;
          action();
        }) {}

  [[nodiscard]] bool expired() const noexcept { return expired_; }

 private:
  std::mutex mutex_;
  std::condition_variable_any never_;
  std::atomic<bool> expired_ = false;
  std::jthread thread_;  // last: it uses everything above
};

std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

}  // namespace

Connection::Watch::Watch(Connection& connection, std::stop_token stop)
    : callback_(std::move(stop), Forward{&connection}) {}

Connection::Connection(Shell& shell, const std::vector<std::string>& command, std::chrono::milliseconds silence,
                       std::stop_token stop)
    : host_(shell.host()), silence_(silence), decoder_("agent on " + host_) {
  // First: reaching the host may take long, too.
  const Watch watch(*this, stop);
  process_ = shell.start(command, ending_.get_token());
  if (greet_within_limit(stop)) return;
  throw Error(ErrorCode::timeout, "start agent on", host_,
              fmt::format("it did not say what it is within {} s", greeting_limit.count()), true);
}

Connection::~Connection() = default;

bool Connection::greet_within_limit(const std::stop_token& stop) {
  const Timer timer(greeting_limit, [this] { give_up(); });
  try {
    greet();
  } catch (const Cancelled&) {
    if (stop.stop_requested() || !timer.expired()) throw;
  }
  return !timer.expired();
}

void Connection::greet() {
  const std::string hello = stream::render_hello({stream::agent_protocol_version, crossover::version()});
  try {
    process_->write(std::as_bytes(std::span(hello)));
  } catch (const Error& error) {
    // It ended at once; why, reading tells.
    if (error.code() != ErrorCode::io) throw;
  }
  std::optional<stream::AgentHello> theirs;
  while (!(theirs = decoder_.hello())) {
    if (read_more()) continue;
    const CommandResult result = process_->wait();
    if (result.exit_status == command_not_found || result.exit_status == command_not_executable) {
      throw Error(ErrorCode::unsupported, "start agent on", host_,
                  fmt::format("there is no crossover command ({})", last_line(result.errors)));
    }
    throw_gone("before it said what it is");
  }
  version_ = theirs->version;
  if (theirs->protocol != stream::agent_protocol_version) {
    throw Error(
        ErrorCode::unsupported, "start agent on", host_,
        fmt::format("it speaks version {} of the protocol (crossover {}), this is version {} (crossover {})",
                    theirs->protocol, theirs->version, stream::agent_protocol_version, crossover::version()));
  }
}

bool Connection::read_more() {
  if (const std::span<std::byte> room = decoder_.room(); !room.empty()) {
    const std::size_t count = process_->read(room);
    decoder_.filled(count);
    return count > 0;
  }
  std::array<std::byte, std::size_t{64} << 10> buffer;
  const std::size_t count = process_->read(buffer);
  decoder_.feed(std::span(buffer).first(count));
  return count > 0;
}

void Connection::throw_gone(const std::string& meanwhile) {
  usable_ = false;
  std::string why;
  try {
    const CommandResult result = process_->wait();
    const std::string said = last_line(result.errors);
    why = fmt::format("exit status {}{}{}", result.exit_status, said.empty() ? "" : ": ", said);
  } catch (const Error& error) {
    why = error.cause();
  } catch (const Cancelled&) {
    throw_ended();
  }
  throw Error(ErrorCode::unreachable, "talk to", "agent on " + host_,
              fmt::format("it ended {}: {}", meanwhile, why), true);
}

stream::Frame Connection::read_frame() {
  try {
    for (;;) {
      if (auto frame = decoder_.next()) {
        if (waiting_ != nullptr) waiting_->progress();
        if (frame->type == stream::FrameType::busy) continue;
        return *std::move(frame);
      }
      if (!read_more()) break;
    }
  } catch (const Cancelled&) {
    throw_ended();
  } catch (...) {
    usable_ = false;
    throw;
  }
  throw_gone("without an answer");
}

void Connection::write(std::span<const std::byte> bytes) {
  try {
    process_->write(bytes);
  } catch (const Cancelled&) {
    throw_ended();
  } catch (...) {
    usable_ = false;
    throw;
  }
}

void Connection::send(std::span<const std::byte> bytes) {
  try {
    write(bytes);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::io) throw;
    // An agent that fails in the middle of a transfer says why and ends.
    (void)answer_in(read_frame());
    throw_gone("in the middle of a transfer");
  }
}

Json Connection::call(const std::string& operation, Json request, const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled{};
  const Watch watch(*this, stop);
  StallGuard guard(silence_, {});
  const std::stop_callback stalled(guard.stop(), [this] { give_up(); });
  waiting_ = &guard;
  try {
    Json result = ask(operation, std::move(request));
    waiting_ = nullptr;
    return result;
  } catch (const Error&) {
    waiting_ = nullptr;
    if (usable() || !guard.stalled()) throw;
    throw Error(ErrorCode::timeout, "talk to", "agent on " + host_,
                fmt::format("it said nothing for {} s when asked to {}",
                            std::chrono::duration_cast<std::chrono::seconds>(silence_).count(), operation),
                true);
  } catch (...) {
    waiting_ = nullptr;
    throw;
  }
}

Json Connection::ask(const std::string& operation, Json request) {
  request["id"] = ++last_id_;
  request["op"] = operation;
  const std::vector<std::byte> frame = stream::render_frame(stream::FrameType::request, render_json(request));
  try {
    write(frame);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::io) throw;
    throw_gone("while it was idle");
  }
  return answer();
}

Json Connection::answer() {
  return answer_in(read_frame());
}

Json Connection::answer_in(const stream::Frame& frame) {
  // Until it has turned out to be one.
  const bool was_usable = std::exchange(usable_, false);
  const auto fail = [this](const char* cause) {
    throw Error(ErrorCode::format, "talk to", "agent on " + host_, cause);
  };
  if (frame.type != stream::FrameType::answer) fail("a frame that is no answer");
  const Json message = parse_json(frame.text());
  if (!message.is_object() || member_of<std::uint64_t>(message, "id", "read answer") != last_id_) {
    fail("an answer to something else than what was asked");
  }
  usable_ = was_usable;
  if (const auto error = message.find("error"); error != message.end()) throw_error(*error);
  const auto result = message.find("result");
  if (result == message.end()) fail("an answer without a result");
  return *result;
}

void Connection::give_up() noexcept {
  ending_.request_stop();
}

void Connection::cancel() noexcept {
  cancelled_ = true;
  ending_.request_stop();
}

void Connection::throw_ended() {
  usable_ = false;
  if (cancelled_) throw Cancelled{};
  throw Error(ErrorCode::unreachable, "talk to", "agent on " + host_, "it had said nothing for too long", true);
}

}  // namespace crossover::agent

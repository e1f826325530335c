#include "ssh/duplex_process.hpp"

#include <chrono>
#include <utility>

#include "crossover/error.hpp"

namespace crossover {

std::string one_line(std::string_view text) {
  constexpr std::size_t longest = 2000;
  constexpr std::string_view blank = " \t\r\n";
  const auto last = text.find_last_not_of(blank);
  if (last == std::string_view::npos) return {};
  text = text.substr(0, last + 1);
  if (text.size() > longest) text.remove_prefix(text.size() - longest);
  text.remove_prefix(text.find_first_not_of(blank));

  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      line += "; ";
    } else if (c == '\t') {
      line += ' ';
    } else if (c != '\r') {
      line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  return line;
}

DuplexProcess::DuplexProcess(std::string subject, std::stop_token stop)
    : subject_(std::move(subject)), stop_(std::move(stop)) {}

void DuplexProcess::wait_for(Interest interest, Deadline deadline) {
  stop_.check();
  if (deadline.passed()) throw Error(ErrorCode::timeout, "run", subject_, "it did not end in time", true);
  pump(interest, deadline);
}

void DuplexProcess::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    stop_.check();
    const auto taken = input_open_ ? offer_input(bytes) : std::nullopt;
    if (!taken) throw_input_refused();
    bytes = bytes.subspan(*taken);
    if (bytes.empty()) return;
    const std::size_t unread = output_.size();
    wait_for({.input = true, .output_room = unread < unread_limit ? unread_limit - unread : 0}, Deadline::never());
  }
}

void DuplexProcess::throw_input_refused() {
  // Why a command stopped reading is usually on its standard error a moment later; a command that goes on without
  // its input gets no more than that moment.
  const Deadline patience = Deadline::after(std::chrono::milliseconds(500));
  while (input_open_ && !ended() && !patience.passed()) {
    stop_.check();
    pump({.input = false, .output_room = unread_limit}, patience);
    if (output_.size() > 2 * unread_limit) break;
  }
  std::string cause = !input_open_ ? "its input is closed" : one_line(errors_.view());
  if (cause.empty()) cause = ended() ? "it ended" : "it closed its input";
  throw Error(ErrorCode::io, "write to", subject_, cause);
}

void DuplexProcess::close_input() {
  if (!std::exchange(input_open_, false)) return;
  end_input();
}

std::size_t DuplexProcess::read(std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  while (output_.empty() && !output_ended()) {
    wait_for({.input = false, .output_room = unread_limit}, Deadline::never());
  }
  return output_.take(buffer);
}

CommandResult DuplexProcess::wait() {
  return collect(Deadline::never());
}

CommandResult DuplexProcess::run_to_end(std::string_view input, Deadline deadline) {
  auto rest = std::as_bytes(std::span(input));
  while (!rest.empty()) {
    stop_.check();
    const auto taken = offer_input(rest);
    if (!taken) break;
    rest = rest.subspan(*taken);
    if (!rest.empty()) wait_for({.input = true, .output_room = unread_limit}, deadline);
    if (output_.size() > collect_limit) break;
  }
  return collect(deadline);
}

CommandResult DuplexProcess::collect(Deadline deadline) {
  close_input();
  while (!ended()) {
    wait_for({.input = false, .output_room = unread_limit}, deadline);
    if (output_.size() > collect_limit) {
      throw Error(ErrorCode::io, "read from", subject_, "more output than fits into memory");
    }
  }
  CommandResult result;
  result.exit_status = exit_status();
  result.output = output_.take_all();
  result.errors = std::string(errors_.view());
  return result;
}

}  // namespace crossover

/// \file
/// What every running command has in common: three streams that must all go on whichever of them the caller is at.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "engine/shell.hpp"
#include "ssh/deadline.hpp"
#include "ssh/stop_event.hpp"
#include "ssh/stream_buffer.hpp"

namespace crossover {

/// Implements Process over a non-blocking transport.
///
/// While one call waits, the other streams move too: standard error is always taken in, and write() takes in up to
/// `unread_limit` bytes of output nobody has read yet. A command that writes more than that before it has read its
/// input makes write() wait (it can be cancelled): callers of start() that expect more output than that have to
/// read between their writes. run_to_end() takes in everything while it writes and has no such limit.
class DuplexProcess : public Process {
 public:
  static constexpr std::size_t unread_limit = std::size_t{1} << 20;     ///< output kept for a later read()
  static constexpr std::size_t errors_limit = std::size_t{64} << 10;    ///< standard error kept
  static constexpr std::size_t collect_limit = std::size_t{256} << 20;  ///< output wait() and run_to_end() collect

  void write(std::span<const std::byte> bytes) final;
  void close_input() final;
  std::size_t read(std::span<std::byte> buffer) final;
  /// Error{io} if it would have to collect more than `collect_limit` bytes.
  CommandResult wait() final;

  /// Writes `input`, takes in all output meanwhile, waits for the end. Input the command does not want is dropped.
  /// Error{timeout} at the deadline.
  CommandResult run_to_end(std::string_view input, Deadline deadline);

 protected:
  /// `subject` names host and command in errors.
  DuplexProcess(std::string subject, std::stop_token stop);

  /// What pump() should wait for, beside standard error, the stop token and the end of the command.
  struct Interest {
    bool input = false;           ///< room for more input
    std::size_t output_room = 0;  ///< so many bytes of output may be taken in
  };

  /// Hands over as much input as goes without waiting; 0 if none does, nothing if the command takes no more input.
  virtual std::optional<std::size_t> offer_input(std::span<const std::byte> bytes) = 0;
  /// Ends the input; may leave what is still on its way to pump().
  virtual void end_input() = 0;
  /// Waits until something happened or the deadline or the stop token ended the wait, and takes in what arrived.
  virtual void pump(Interest interest, Deadline deadline) = 0;
  /// Whether all output has been taken in.
  [[nodiscard]] virtual bool output_ended() const = 0;
  /// Whether the command and all of its streams have ended.
  [[nodiscard]] virtual bool ended() const = 0;
  /// Its exit status as in CommandResult, called once ended(). Throws Error if it was lost.
  virtual int exit_status() = 0;

  [[nodiscard]] const std::string& subject() const noexcept { return subject_; }
  [[nodiscard]] const StopEvent& stop() const noexcept { return stop_; }

  StreamBuffer output_;
  TailBuffer errors_{errors_limit};

 private:
  CommandResult collect(Deadline deadline);
  void wait_for(Interest interest, Deadline deadline);
  [[noreturn]] void throw_input_refused();

  std::string subject_;
  StopEvent stop_;
  bool input_open_ = true;
};

/// Text of a command as one line that fits into an error: trimmed, line breaks as "; ", control characters as "?",
/// at most its last 2000 bytes.
std::string one_line(std::string_view text);

}  // namespace crossover

#include "rbd/rbd_error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "model/ceph_key.hpp"

namespace crossover::rbd {

namespace {

constexpr const char* caps_to_write =
    "the cephx user lacks the caps: to write it needs mon 'profile rbd' and osd 'profile rbd pool=...'";

std::string words_of_errno(int error_number) {
  switch (error_number) {
    case EROFS:
      return "another client holds the image's exclusive lock, or it is opened read-only";
    case EBUSY:
      return "it is in use: a client has it open, or something depends on it";
    case ENOTEMPTY:
      return "it still has snapshots";
    case EPERM:
    case EACCES:
      return fmt::format("it is not permitted: {}", caps_to_write);
    case ENOSPC:
      return "no space left in the cluster";
    case EDQUOT:
      return "a quota or the limit of snapshots is reached";
    case ESHUTDOWN:
      return "this client was blocklisted by the cluster";
    default:
      break;
  }
  std::array<char, 256> buffer{};
  return strerror_r(error_number, buffer.data(), buffer.size());
}

bool is_retryable(ErrorCode code) {
  return code == ErrorCode::timeout || code == ErrorCode::unreachable || code == ErrorCode::in_use;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

/// Exit statuses that mean something else than an errno, or an errno that another cause explains better.
ErrorCode code_of_text(const std::string& text, int exit_status) {
  const auto says = [&text](std::string_view words) { return text.find(words) != std::string::npos; };
  if (exit_status == 127 || says("command not found")) return ErrorCode::unsupported;
  if (says("unable to open config file")) return ErrorCode::not_found;
  // A key that cannot be read does not become readable.
  if (says("type=key val=") || says("failed to decode key")) return ErrorCode::authentication;
  if (says("couldn't connect to the cluster") || says("error connecting to the cluster")) {
    // Strangers, wrong keys and missing keyrings are refused before there is a connection.
    const bool is_refused = exit_status == EACCES || exit_status == EPERM || says("keyring");
    return is_refused ? ErrorCode::authentication : ErrorCode::unreachable;
  }
  if (says("is protected from removal")) return ErrorCode::conflict;
  if (says("unrecognised option") || says("invalid command")) return ErrorCode::unsupported;
  if (exit_status > 0 && exit_status < 126) return code_of_errno(exit_status);
  return ErrorCode::command;
}

/// Ceph's log lines begin with a time, a thread and a level: "2024-05-06T07:08:09.000+0000 7f00 -1 text".
std::string_view without_log_prefix(std::string_view line) {
  constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd";
  if (line.size() < shape.size()) return line;
  for (std::size_t index = 0; index < shape.size(); ++index) {
    const char c = line[index];
    if (shape[index] == 'd' ? c < '0' || c > '9' : c != shape[index]) return line;
  }
  for (int word = 0; word < 3; ++word) {
    line.remove_prefix(std::min(line.find(' '), line.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  }
  return line;
}

/// Ceph shows a key that it cannot read in its messages: "... type=key val=AQB...: Malformed input", "failed to
/// decode key 'AQB...'".
std::string without_key(std::string_view line) {
  std::string out(line);
  for (const std::string_view before : {"type=key val=", "decode key "}) {
    const std::size_t found = out.find(before);
    if (found == std::string::npos) continue;
    const std::size_t begin = found + before.size();
    const std::size_t end = std::min(out.find_first_of(": ", begin), out.size());
    const std::size_t quote = out[begin < out.size() ? begin : 0] == '\'' ? 1 : 0;
    const std::string_view key = std::string_view(out).substr(begin + quote, end - begin - quote);
    const std::string why = unreadable_key(key_type(key));
    out.replace(begin, end - begin, why.empty() ? "(not shown)" : fmt::format("(not shown; {})", why));
  }
  return out;
}

}  // namespace

ErrorCode code_of_errno(int error_number) {
  switch (error_number) {
    case ENOENT:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case EPERM:
    case EACCES:
      return ErrorCode::permission;
    case EROFS:
    case EBUSY:
      return ErrorCode::in_use;
    case ENOTEMPTY:
      return ErrorCode::conflict;
    case ETIMEDOUT:
      return ErrorCode::timeout;
    case ENOTCONN:
    case ECONNREFUSED:
    case ESHUTDOWN:
      return ErrorCode::unreachable;
    case EINVAL:
    case ERANGE:
      return ErrorCode::usage;
    case ENOSYS:
    case EOPNOTSUPP:
      return ErrorCode::unsupported;
    default:
      return ErrorCode::io;
  }
}

Error error_of_return(int return_value, std::string operation, std::string subject) {
  const int error_number = -return_value;
  const ErrorCode code = code_of_errno(error_number);
  return {code,
          std::move(operation),
          std::move(subject),
          fmt::format("{} (errno {})", words_of_errno(error_number), error_number),
          is_retryable(code),
          error_number};
}

std::string cause_of_errors(std::string_view errors) {
  std::string last;
  while (!errors.empty()) {
    const std::size_t end = errors.find('\n');
    std::string_view line = errors.substr(0, end);
    errors.remove_prefix(end == std::string_view::npos ? errors.size() : end + 1);
    // Progress overwrites its line: "Importing image diff: 20% complete...\r"
    if (const std::size_t start = line.rfind('\r'); start != std::string_view::npos) line.remove_prefix(start + 1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
    line = without_log_prefix(line);
    if (line.empty() || line.find("% complete") != std::string_view::npos) continue;
    if (line.starts_with("did not load config file")) continue;
    if (!last.empty()) last += "; ";
    last += without_key(line);
  }
  constexpr std::size_t longest = 1000;
  if (last.size() > longest) last.erase(0, last.size() - longest);
  return last;
}

Error error_of_command(const CommandResult& result, std::string operation, std::string subject) {
  const ErrorCode code = code_of_text(lower(result.errors), result.exit_status);
  std::string cause = cause_of_errors(result.errors);
  cause = cause.empty() ? fmt::format("exit status {}", result.exit_status)
                        : fmt::format("{} (exit status {})", cause, result.exit_status);
  if (code == ErrorCode::permission && cause.find("not permitted") != std::string::npos) {
    cause += fmt::format("; {}", caps_to_write);
  }
  return {code, std::move(operation), std::move(subject), std::move(cause), is_retryable(code)};
}

}  // namespace crossover::rbd

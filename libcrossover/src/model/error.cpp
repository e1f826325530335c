#include "crossover/error.hpp"

#include <fmt/format.h>

#include <utility>

namespace crossover {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::usage:
      return "usage";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::already_exists:
      return "already_exists";
    case ErrorCode::permission:
      return "permission";
    case ErrorCode::unreachable:
      return "unreachable";
    case ErrorCode::host_key:
      return "host_key";
    case ErrorCode::authentication:
      return "authentication";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::locked:
      return "locked";
    case ErrorCode::in_use:
      return "in_use";
    case ErrorCode::io:
      return "io";
    case ErrorCode::format:
      return "format";
    case ErrorCode::timeout:
      return "timeout";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::command:
      return "command";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string operation, std::string subject, std::string cause, bool retryable,
             int error_number)
    : std::runtime_error(subject.empty() ? fmt::format("{}: {}", operation, cause)
                                         : fmt::format("{} {}: {}", operation, subject, cause)),
      code_(code),
      operation_(std::move(operation)),
      subject_(std::move(subject)),
      cause_(std::move(cause)),
      retryable_(retryable),
      error_number_(error_number) {}

}  // namespace crossover

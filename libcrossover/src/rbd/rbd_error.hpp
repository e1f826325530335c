/// \file
/// Ceph's failures as this library's errors.
#pragma once

#include <string>
#include <string_view>

#include "crossover/error.hpp"
#include "engine/shell.hpp"

namespace crossover::rbd {

/// The kind of failure a (positive) errno of librbd or librados stands for.
ErrorCode code_of_errno(int error_number);

/// The error for a negative return value of librbd or librados.
Error error_of_return(int return_value, std::string operation, std::string subject);

/// The error for an `rbd` or `ceph` command that ended badly: `rbd` exits with the errno, and its last words name
/// the cause.
Error error_of_command(const CommandResult& result, std::string operation, std::string subject);

/// The line of a command's standard error that says most, without log prefixes and progress.
std::string cause_of_errors(std::string_view errors);

}  // namespace crossover::rbd

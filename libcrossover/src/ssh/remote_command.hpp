/// \file
/// A command for the other side of an ssh connection, whatever root's login shell is.
#pragma once

#include <string>
#include <vector>

namespace crossover {

/// sshd hands the line to the login shell, which may be sh, csh or fish. They agree on words of plain characters,
/// and on what stands in single quotes without a quote, backslash, exclamation mark or line break. So a command
/// with anything else in it goes ahead of its input, to a POSIX shell that the line starts.
struct RemoteCommand {
  std::string line;   ///< for the login shell
  std::string ahead;  ///< comes on standard input before the command's own
};

/// How a command's end by a signal is told.
enum class SignalsAre {
  passed_on,    ///< by the transport: the command takes the shell's place
  exit_statuses  ///< 128 and the signal's number, by the shell, which stays
};

/// The command `argv`, each element exactly one argument. Error{usage} for an empty command or an argument with a
/// NUL.
RemoteCommand remote_command(const std::vector<std::string>& argv, SignalsAre signals);

}  // namespace crossover

/// \file
/// Text that somebody else chose, for a terminal, a log or a mail.
#pragma once

#include <string>
#include <string_view>

namespace crossover {

/// The text as one line that does nothing but show: line breaks and control characters (C0, DEL, C1), those that turn
/// the direction of text round, and bytes that are no UTF-8 become escapes: "\n", "\x1b", "\u202e". All else stays as it
/// is, so that it can be done twice. Names of guests, jobs and snapshots, lines of configurations and messages of other
/// programs are such text, and so are the texts of events, errors and reports that have them in it.
std::string printable(std::string_view text);

}  // namespace crossover

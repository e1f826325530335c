/// \file
/// What is not the library's own, where it has to be undone and reported like everything else.
#pragma once

#include "crossover/error.hpp"

namespace crossover {

/// The exception that is being handled as an Error: itself if it is one, else ErrorCode::io with its text. Only
/// inside a handler. Of Cancelled, too: for what undoes or lets go, and goes on whatever ends a part of it.
inline Error error_at_hand() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const Cancelled&) {
    return Error(ErrorCode::io, "run", "", "it was cancelled");
  } catch (const std::exception& error) {
    return Error(ErrorCode::io, "run", "", std::string("unexpectedly: ") + error.what());
  } catch (...) {
    return Error(ErrorCode::io, "run", "", "unexpectedly, with what is no std::exception");
  }
}

/// The same for what reports a failure, which Cancelled is not: it is thrown on.
inline Error failure_at_hand() {
  try {
    throw;
  } catch (const Cancelled&) {
    throw;
  } catch (...) {
    return error_at_hand();
  }
}

}  // namespace crossover

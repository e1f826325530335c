/// \file
/// Long calls from Python.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <stop_token>

#include "crossover/events.hpp"

namespace crossover::python {

/// The thread that waits for a long call, as the work sees it. From any thread, one at a time is dealt with.
class CallingThread : public EventSink {
 public:
  /// What `question` says there, with the GIL held. Throws Cancelled if the work was asked to stop before the
  /// answer was there, or if `question` threw, which is an exception from Python as any other.
  virtual bool ask(const std::function<bool()>& question) = 0;
};

/// Whether Python said True. Throws TypeError unless it said True or False: what a text or a forgotten `return`
/// means is not for guessing.
bool is_yes(const pybind11::object& answer);

/// A confirmation for the library that asks `confirm`, which has to say True or False, in the calling thread. None
/// agrees to everything. Both arguments have to outlive it.
template <class Report>
std::function<bool(const Report&)> confirmation(CallingThread& caller, const pybind11::object& confirm) {
  return [&](const Report& report) {
    return confirm.is_none() || caller.ask([&] { return is_yes(confirm(report)); });
  };
}

/// Does `work` in a thread of its own, and returns when it has ended. The calling thread, which holds the GIL,
/// gives it up meanwhile and takes it back for what is Python's:
/// - `on_event` (or None), called with each event, in the calling thread;
/// - what the work asks, in the calling thread too;
/// - signal handlers (in the main thread, where Python runs them);
/// - `stop` (or None), whose is_set() is asked several times a second.
///
/// The first exception from any of these asks the work to stop, and is thrown once the work has ended in order; so
/// does a `stop` that is set, and then what the work throws comes out: Cancelled, or nothing if it was done by
/// then. After an exception of its own `on_event` is not called again.
void run_interruptibly(const std::function<void(CallingThread&, std::stop_token)>& work,
                       const pybind11::object& on_event, const pybind11::object& stop);

}  // namespace crossover::python

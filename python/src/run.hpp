/// \file
/// Long calls from Python.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <stop_token>

#include "crossover/events.hpp"

namespace crossover::python {

/// Does `work` in a thread of its own, and returns when it has ended. The calling thread, which holds the GIL,
/// gives it up meanwhile and takes it back for what is Python's:
/// - `on_event` (or None), called with each event, in the calling thread;
/// - signal handlers (in the main thread, where Python runs them);
/// - `stop` (or None), whose is_set() is asked several times a second.
///
/// The first exception from any of these asks the work to stop, and is thrown once the work has ended in order; so
/// does a `stop` that is set, and then what the work throws comes out: Cancelled, or nothing if it was done by
/// then. After an exception of its own `on_event` is not called again.
void run_interruptibly(const std::function<void(EventSink&, std::stop_token)>& work,
                       const pybind11::object& on_event, const pybind11::object& stop);

}  // namespace crossover::python

/// \file
/// Strings, times and time spans between the library and Python.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <string>
#include <string_view>

namespace crossover::python {

namespace py = pybind11;

/// A string that can be turned back: bytes that are no UTF-8 become lone surrogates, as os.fsdecode() does it.
py::str to_text(std::string_view bytes);

/// The bytes of a string of to_text(), or of any other. Throws UnicodeEncodeError for surrogates that are none of
/// to_text()'s.
std::string from_text(const py::str& text);

/// A string to be shown: bytes that are no UTF-8 become U+FFFD, as in the library's JSON.
py::str to_shown_text(std::string_view bytes);

/// datetime.timedelta.
py::object to_timedelta(std::chrono::milliseconds span);

/// Throws TypeError if it is no timedelta, ValueError if it is negative or not whole seconds.
std::chrono::seconds from_timedelta(const py::object& span);

/// An aware datetime in UTC.
py::object to_datetime(std::chrono::sys_seconds time);

/// Cuts fractions of a second off. Throws TypeError if it is no datetime, ValueError if it has no time zone.
std::chrono::sys_seconds from_datetime(const py::object& time);

}  // namespace crossover::python

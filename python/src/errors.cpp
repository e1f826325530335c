#include "crossover/error.hpp"

#include "bindings.hpp"
#include "text.hpp"

namespace crossover::python {

namespace {

/// The classes are written in Python, where exceptions are at home: pickling and str() come with them.
py::object error_class(const char* name) {
  return py::module_::import("crossover._errors").attr(name);
}

void translate(std::exception_ptr exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const Cancelled&) {
    PyErr_SetNone(error_class("Cancelled").ptr());
  } catch (const Error& error) {
    const py::object type = error_class("Error");
    const py::object value = type(to_shown_text(to_string(error.code())), to_shown_text(error.operation()),
                                  to_shown_text(error.subject()), to_shown_text(error.cause()), error.retryable());
    PyErr_SetObject(type.ptr(), value.ptr());
  }
}

}  // namespace

void add_errors(py::module_& /*module*/) {
  py::register_local_exception_translator(&translate);
}

}  // namespace crossover::python

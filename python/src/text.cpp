#include "text.hpp"

#include <cmath>
#include <cstdint>

namespace crossover::python {

namespace {

py::str decode(std::string_view bytes, const char* errors) {
  PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), errors);
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::object datetime_module() {
  return py::module_::import("datetime");
}

}  // namespace

py::str to_text(std::string_view bytes) {
  return decode(bytes, "surrogateescape");
}

std::string from_text(const py::str& text) {
  PyObject* encoded = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape");
  if (encoded == nullptr) throw py::error_already_set();
  return static_cast<std::string>(py::reinterpret_steal<py::bytes>(encoded));
}

py::str to_shown_text(std::string_view bytes) {
  return decode(bytes, "replace");
}

py::object to_timedelta(std::chrono::milliseconds span) {
  using namespace py::literals;
  return datetime_module().attr("timedelta")("milliseconds"_a = span.count());
}

std::chrono::seconds from_timedelta(const py::object& span) {
  if (!py::isinstance(span, datetime_module().attr("timedelta"))) {
    throw py::type_error("a datetime.timedelta is expected");
  }
  if (span.attr("microseconds").cast<std::int64_t>() != 0) throw py::value_error("whole seconds are expected");
  const auto days = span.attr("days").cast<std::int64_t>();
  if (days < 0) throw py::value_error("a time span that is not negative is expected");
  return std::chrono::seconds(days * 86400 + span.attr("seconds").cast<std::int64_t>());
}

py::object to_datetime(std::chrono::sys_seconds time) {
  const py::object module = datetime_module();
  return module.attr("datetime")
      .attr("fromtimestamp")(time.time_since_epoch().count(), module.attr("timezone").attr("utc"));
}

std::chrono::sys_seconds from_datetime(const py::object& time) {
  if (!py::isinstance(time, datetime_module().attr("datetime"))) {
    throw py::type_error("a datetime.datetime is expected");
  }
  // A time without a zone would be taken for local time here and for UTC there.
  if (time.attr("utcoffset")().is_none()) throw py::value_error("a datetime with a time zone is expected");
  const auto seconds = std::floor(time.attr("timestamp")().cast<double>());
  return std::chrono::sys_seconds(std::chrono::seconds(static_cast<std::int64_t>(seconds)));
}

}  // namespace crossover::python

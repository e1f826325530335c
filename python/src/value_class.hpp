/// \file
/// How plain structs become Python classes.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "crossover/error.hpp"
#include "crossover/report.hpp"
#include "crossover/verify_report.hpp"
#include "text.hpp"

namespace crossover::python {

// What each type of a field is in Python. Lists become tuples: to change a copy of a list would only seem to work.
inline py::object to_python(bool value) {
  return py::bool_(value);
}
inline py::object to_python(std::uint32_t value) {
  return py::int_(value);
}
inline py::object to_python(std::uint64_t value) {
  return py::int_(value);
}
inline py::object to_python(const std::string& value) {
  return to_shown_text(value);
}
inline py::object to_python(std::chrono::milliseconds value) {
  return to_timedelta(value);
}
inline py::object to_python(std::chrono::sys_seconds value) {
  return to_datetime(value);
}
inline py::object to_python(Outcome value) {
  return to_shown_text(to_string(value));
}
inline py::object to_python(MigrationOutcome value) {
  return to_shown_text(to_string(value));
}
inline py::object to_python(VerifyOutcome value) {
  return to_shown_text(to_string(value));
}
inline py::object to_python(Conflict value) {
  return to_shown_text(to_string(value));
}
inline py::object to_python(ErrorCode value) {
  return to_shown_text(to_string(value));
}

/// What is Python's already stays; structs have a ValueClass of their own.
template <class T>
py::object to_python(const T& value) {
  if constexpr (std::is_base_of_v<py::object, T>) {
    return value;
  } else {
    return py::cast(value);
  }
}

template <class T>
py::object to_python(const std::optional<T>& value) {
  if (!value) return py::none();
  return to_python(*value);
}

template <class T>
py::object to_python(const std::vector<T>& values) {
  py::tuple all(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) all[i] = to_python(values[i]);
  return all;
}

/// A class's fields stand in its __match_args__.
void add_field_name(py::object type, const char* name);
py::str repr_of_value(const py::object& self);
py::object values_are_equal(const py::object& self, const py::object& other);
py::ssize_t hash_of_value(const py::object& self);

/// Makes a class of a struct: attributes that can be read, and repr, ==, hash and match over all of them.
template <class T>
class ValueClass {
 public:
  ValueClass(py::module_& module, const char* name, const char* doc) : type_(module, name, doc) {
    type_.def("__repr__", &repr_of_value);
    type_.def("__eq__", &values_are_equal, py::is_operator());
    type_.def("__hash__", &hash_of_value);
    type_.attr("__match_args__") = py::tuple();
  }

  /// `get` is a member, or a function of a `const T&`.
  template <class Get>
  ValueClass& field(const char* name, Get get, const char* doc) {
    type_.def_property_readonly(
        name, [get](const T& value) { return to_python(std::invoke(get, value)); }, doc);
    add_field_name(type_, name);
    return *this;
  }

  /// The class itself, for what is no field.
  py::class_<T>& type() { return type_; }

 private:
  py::class_<T> type_;
};

}  // namespace crossover::python

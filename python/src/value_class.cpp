#include "value_class.hpp"

namespace crossover::python {

namespace {

py::tuple fields_of(const py::object& value) {
  const py::tuple names = py::type::of(value).attr("__match_args__");
  py::tuple fields(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) fields[i] = py::getattr(value, names[i]);
  return fields;
}

}  // namespace

void add_field_name(py::object type, const char* name) {
  const py::object before = type.attr("__match_args__");
  const py::object added = py::make_tuple(name);
  type.attr("__match_args__") = before + added;
}

py::str repr_of_value(const py::object& self) {
  const py::object type = py::type::of(self);
  const py::tuple names = type.attr("__match_args__");
  const py::tuple fields = fields_of(self);
  py::list parts;
  for (std::size_t i = 0; i < names.size(); ++i) parts.append(py::str("{}={!r}").format(names[i], fields[i]));
  return py::str("{}({})").format(type.attr("__name__"), py::str(", ").attr("join")(parts));
}

py::object values_are_equal(const py::object& self, const py::object& other) {
  if (!py::type::of(self).is(py::type::of(other))) {
    return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  }
  return py::bool_(fields_of(self).equal(fields_of(other)));
}

py::ssize_t hash_of_value(const py::object& self) {
  return py::hash(fields_of(self));
}

}  // namespace crossover::python

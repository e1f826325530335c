#include "crossover/retention.hpp"

#include <pybind11/operators.h>
#include <pybind11/stl.h>

#include "bindings.hpp"
#include "text.hpp"
#include "value_class.hpp"

namespace crossover::python {

namespace {

std::vector<std::string> removals(const RetentionPolicy& policy, const std::vector<RetentionPoint>& points,
                                  const py::object& now, const py::iterable& protected_names) {
  if (py::isinstance<py::str>(protected_names)) {
    throw py::type_error("protected_names has to be several str, not one");
  }
  std::set<std::string, std::less<>> names;
  for (const py::handle name : protected_names) names.insert(from_text(name.cast<py::str>()));
  return plan_removals(points, policy, from_datetime(now), names);
}

}  // namespace

void add_retention(py::module_& module) {
  ValueClass<KeepWindow> window(
      module, "KeepWindow",
      "The time for which recovery points are kept beside the newest. Zero keeps only what must stay.\n\n"
      "A value; str() gives the form that parse() reads, such as \"2d\".");
  window.field(
      "length", [](const KeepWindow& w) { return to_timedelta(w.length); }, "The time span, a timedelta.");
  window.type()
      .def(py::init([](const py::object& length) { return KeepWindow{from_timedelta(length)}; }),
           py::arg("length") = to_timedelta({}),
           "From a timedelta. ValueError if it is negative or not whole seconds.")
      .def_static(
          "parse",
          [](const py::str& text, const py::str& option) {
            return parse_keep_window(from_text(option), from_text(text));
          },
          py::arg("text"), py::arg("option") = "keep",
          "parse(text, option='keep')\n--\n\n"
          "Reads a number with a unit: s, m (minutes), h, d or w, such as \"0s\" or \"2d\"; at most 100 years.\n\n"
          "Error (usage), which names the option, for anything else: a number alone could mean days or points.")
      .def("__str__", [](const KeepWindow& self) { return to_string(self); })
      .def(py::self < py::self)
      .def(py::self <= py::self)
      .def(py::self > py::self)
      .def(py::self >= py::self);

  ValueClass<RetentionPoint>(module, "RetentionPoint", "A recovery point of one job on one side; a value.")
      .field(
          "name", [](const RetentionPoint& p) { return to_text(p.name); }, "Its snapshot's name.")
      .field("time", &RetentionPoint::time, "The moment in that name, a datetime in UTC.")
      .type()
      .def(py::init([](const py::str& name, const py::object& time) {
             return RetentionPoint{from_text(name), from_datetime(time)};
           }),
           py::arg("name"), py::arg("time"),
           "`time` needs a time zone (else ValueError); fractions of a second are cut off.");

  ValueClass<RetentionPolicy>(
      module, "RetentionPolicy",
      "What is kept on one side; a value. A point that one of the rules keeps is kept; a rule of 0 keeps "
      "nothing.\n\n"
      "A rule for periods keeps the newest point of each of so many periods, counted over those that have points,\n"
      "going back from the newest. Hours, days and months are those of UTC, weeks begin on Monday (ISO 8601). "
      "str()\n"
      "gives the form that parse() reads.")
      .field("window", &RetentionPolicy::window, "A KeepWindow: points at most this old.")
      .field("last", &RetentionPolicy::last, "So many of the newest.")
      .field("hourly", &RetentionPolicy::hourly, "The newest of each of so many hours.")
      .field("daily", &RetentionPolicy::daily, "Of each of so many days.")
      .field("weekly", &RetentionPolicy::weekly, "Of each of so many weeks.")
      .field("monthly", &RetentionPolicy::monthly, "Of each of so many months.")
      .type()
      .def(py::init([](const KeepWindow& window_kept, std::uint32_t last, std::uint32_t hourly, std::uint32_t daily,
                       std::uint32_t weekly, std::uint32_t monthly) {
             return RetentionPolicy{window_kept, last, hourly, daily, weekly, monthly};
           }),
           py::arg("window") = KeepWindow{}, py::arg("last") = 0, py::arg("hourly") = 0, py::arg("daily") = 0,
           py::arg("weekly") = 0, py::arg("monthly") = 0)
      .def_static(
          "parse",
          [](const py::str& text, const py::str& option) {
            return parse_retention(from_text(option), from_text(text));
          },
          py::arg("text"), py::arg("option") = "keep",
          "parse(text, option='keep')\n--\n\n"
          "Reads a time span as KeepWindow.parse() does, or rules: any of last=N, hourly=N, daily=N, weekly=N and\n"
          "monthly=N, each once, with commas between them; N is 1 to 9999. Error (usage), which names the option, "
          "for\n"
          "anything else.")
      .def("__str__", [](const RetentionPolicy& self) { return to_string(self); })
      .def(
          "plan_removals",
          [](const RetentionPolicy& self, const std::vector<RetentionPoint>& points, const py::object& now,
             const py::iterable& protected_names) {
            py::list names;
            for (const std::string& name : removals(self, points, now, protected_names))
              names.append(to_text(name));
            return names;
          },
          py::arg("points"), py::arg("now"), py::arg("protected_names") = py::tuple(),
          "plan_removals($self, points, now, protected_names=())\n--\n\n"
          "Names of the points that may be removed, in the order given: those that no rule keeps.\n\n"
          "`points` are in the order they were made, oldest first. Never among the names: the last made, the one\n"
          "with the latest time, any in `protected_names`, any with a time after `now`, and any name that comes\n"
          "twice. Removes nothing itself.");
}

}  // namespace crossover::python

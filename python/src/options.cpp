#include "crossover/options.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bindings.hpp"
#include "text.hpp"
#include "value_class.hpp"

namespace crossover::python {

namespace {

std::string_view kind_of(const OptionDescription& option) {
  if (std::holds_alternative<bool MirrorOptions::*>(option.pointer)) return "bool";
  if (std::holds_alternative<std::string MirrorOptions::*>(option.pointer)) return "str";
  return "tuple[str, ...]";
}

py::object read(const MirrorOptions& options, const OptionDescription& option) {
  return std::visit(
      [&options](auto pointer) -> py::object {
        const auto& member = options.*pointer;
        using Member = std::decay_t<decltype(member)>;
        if constexpr (std::is_same_v<Member, bool>) {
          return py::bool_(member);
        } else if constexpr (std::is_same_v<Member, std::string>) {
          return to_text(member);
        } else {
          py::tuple all(member.size());
          for (std::size_t i = 0; i < member.size(); ++i) all[i] = to_text(member[i]);
          return all;
        }
      },
      option.pointer);
}

[[noreturn]] void refuse(const OptionDescription& option, std::string_view wanted, const py::handle& value) {
  throw py::type_error(fmt::format("{} has to be {}, not {}", option.member, wanted,
                                   py::type::of(value).attr("__name__").cast<std::string>()));
}

/// Types are taken exactly: a text "no" for a flag would be true, and a text for a list would be its letters.
void write(MirrorOptions& options, const OptionDescription& option, const py::handle& value) {
  std::visit(
      [&](auto pointer) {
        auto& member = options.*pointer;
        using Member = std::decay_t<decltype(member)>;
        if constexpr (std::is_same_v<Member, bool>) {
          if (!py::isinstance<py::bool_>(value)) refuse(option, "bool", value);
          member = value.ptr() == Py_True;
        } else if constexpr (std::is_same_v<Member, std::string>) {
          if (!py::isinstance<py::str>(value)) refuse(option, "str", value);
          member = from_text(py::reinterpret_borrow<py::str>(value));
        } else {
          constexpr std::string_view wanted = "several str, such as a list of them";
          if (!py::isinstance<py::iterable>(value) || py::isinstance<py::str>(value)) {
            refuse(option, wanted, value);
          }
          Member all;
          for (const py::handle item : value) {
            if (!py::isinstance<py::str>(item)) refuse(option, wanted, value);
            all.push_back(from_text(py::reinterpret_borrow<py::str>(item)));
          }
          member = std::move(all);
        }
      },
      option.pointer);
}

MirrorOptions from_keywords(const py::dict& keywords) {
  MirrorOptions options;
  const std::span<const OptionDescription> all = option_list();
  for (const auto& [key, value] : keywords) {
    const auto name = key.cast<std::string>();
    const auto option =
        std::find_if(all.begin(), all.end(), [&name](const OptionDescription& o) { return o.member == name; });
    if (option == all.end()) {
      throw py::type_error(fmt::format("MirrorOptions() got an unexpected keyword argument '{}'", name));
    }
    write(options, *option, value);
  }
  return options;
}

py::dict to_keywords(const MirrorOptions& options) {
  py::dict keywords;
  for (const OptionDescription& option : option_list()) {
    keywords[to_text(option.member)] = read(options, option);
  }
  return keywords;
}

/// Names only what is not as by default: with twenty options that is what a reader looks for.
py::str repr(const MirrorOptions& options) {
  const MirrorOptions defaults;
  py::list parts;
  for (const OptionDescription& option : option_list()) {
    const py::object value = read(options, option);
    if (!value.equal(read(defaults, option))) {
      parts.append(py::str("{}={!r}").format(to_text(option.member), value));
    }
  }
  return py::str("MirrorOptions({})").format(py::str(", ").attr("join")(parts));
}

/// The help of one option as a docstring.
std::string describe(const OptionDescription& option) {
  const auto shown = py::repr(read(MirrorOptions{}, option)).cast<std::string>();
  const std::string form = option.value.empty() ? "" : fmt::format("; written as {}", option.value);
  return fmt::format("{} ({}, by default {}{}; --{} on the command line).", option.help, kind_of(option), shown,
                     form, option.name);
}

std::string class_docstring() {
  std::string text =
      "The options of a mirror run, all by keyword; each is an attribute as well.\n\n"
      "They are checked by Migrator, not here. TypeError names a keyword that does not exist or a value of the\n"
      "wrong type. Options are equal if all values are.\n\n";
  for (const OptionDescription& option : option_list()) {
    text += fmt::format("{}: {}\n", option.member, describe(option));
  }
  return text;
}

}  // namespace

void add_options(py::module_& module) {
  py::class_<MirrorOptions> options(module, "MirrorOptions", class_docstring().c_str());
  options.def(py::init([](const py::kwargs& keywords) { return from_keywords(keywords); }),
              "Takes any of the attributes as keywords.");
  for (const OptionDescription& option : option_list()) {
    // The list is static: the address stays good.
    const OptionDescription* described = &option;
    options.def_property(
        std::string(option.member).c_str(),
        [described](const MirrorOptions& self) { return read(self, *described); },
        [described](MirrorOptions& self, const py::object& value) { write(self, *described, value); },
        describe(option).c_str());
  }
  options.def("__repr__", &repr);
  options.def(
      "__eq__", [](const MirrorOptions& a, const MirrorOptions& b) { return a == b; }, py::is_operator());
  options.attr("__hash__") = py::none();
  options.def(py::pickle([](const MirrorOptions& self) { return to_keywords(self); },
                         [](const py::dict& keywords) { return from_keywords(keywords); }));

  ValueClass<OptionDescription>(module, "OptionDescription", "One option, as every door of the library has it.")
      .field(
          "name", [](const OptionDescription& o) { return std::string(o.name); },
          "Its name on the command line, without \"--\".")
      .field(
          "member", [](const OptionDescription& o) { return std::string(o.member); },
          "Its name as an attribute and keyword of MirrorOptions.")
      .field(
          "type", [](const OptionDescription& o) { return std::string(kind_of(o)); },
          "\"bool\", \"str\" or \"tuple[str, ...]\".")
      .field(
          "default", [](const OptionDescription& o) { return read(MirrorOptions{}, o); }, "Its value if not given.")
      .field(
          "value", [](const OptionDescription& o) { return std::string(o.value); },
          "What stands for the value in help, such as \"n[s|m|h|d|w]\"; empty for flags.")
      .field(
          "help", [](const OptionDescription& o) { return std::string(o.help); },
          "One sentence, without a full stop.");

  module.def(
      "option_list",
      [] {
        const std::span<const OptionDescription> all = option_list();
        return to_python(std::vector<OptionDescription>(all.begin(), all.end()));
      },
      "option_list()\n--\n\n"
      "Every option, in the order help shows them: what command lines, job files and argument specifications are\n"
      "made from.");
}

}  // namespace crossover::python

#include "crossover/options.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bindings.hpp"
#include "text.hpp"
#include "value_class.hpp"

namespace crossover::python {

namespace {

/// A struct of options as Python has it.
template <class Options>
struct Door;

template <>
struct Door<MirrorOptions> {
  static constexpr const char* name = "MirrorOptions";
  static constexpr const char* help =
      "The options of a mirror run, all by keyword; each is an attribute as well.\n\n"
      "They are checked by Migrator, not here.";
  static std::span<const OptionDescription> list() { return option_list(); }
};

template <>
struct Door<VerifyOptions> {
  static constexpr const char* name = "VerifyOptions";
  static constexpr const char* help =
      "What a comparison takes besides the options of a mirror run, all by keyword; each is an attribute as "
      "well.\n\n"
      "They are checked by Migrator.verify(), not here.";
  static std::span<const VerifyOptionDescription> list() { return verify_option_list(); }
};

template <>
struct Door<RecoverOptions> {
  static constexpr const char* name = "RecoverOptions";
  static constexpr const char* help =
      "How a replica is recovered, all by keyword; each is an attribute as well.\n\n"
      "They are checked by Replicas.recover(), not here.";
  static std::span<const RecoverOptionDescription> list() { return recover_option_list(); }
};

template <>
struct Door<PruneOptions> {
  static constexpr const char* name = "PruneOptions";
  static constexpr const char* help =
      "What stays of replicas where they are, all by keyword; each is an attribute as well.\n\n"
      "They are checked by Replicas.prune(), not here.";
  static std::span<const PruneOptionDescription> list() { return prune_option_list(); }
};

template <>
struct Door<MigrateOptions> {
  static constexpr const char* name = "MigrateOptions";
  static constexpr const char* help =
      "How guests are migrated, besides the options of a mirror run, all by keyword; each is an attribute as "
      "well.\n\n"
      "They are checked by Migrator.migrate(), not here.";
  static std::span<const MigrateOptionDescription> list() { return migrate_option_list(); }
};

/// One option, of whichever struct.
struct PythonOption {
  std::string name;
  std::string member;
  std::string type;
  py::object default_value;
  std::string value;
  std::string help;
};

template <class Options>
std::string_view kind_of(const OptionDescriptionOf<Options>& option) {
  if (std::holds_alternative<bool Options::*>(option.pointer)) return "bool";
  if (std::holds_alternative<std::string Options::*>(option.pointer)) return "str";
  return "tuple[str, ...]";
}

template <class Options>
py::object read(const Options& options, const OptionDescriptionOf<Options>& option) {
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

[[noreturn]] void refuse(std::string_view member_name, std::string_view wanted, const py::handle& value) {
  throw py::type_error(fmt::format("{} has to be {}, not {}", member_name, wanted,
                                   py::type::of(value).attr("__name__").cast<std::string>()));
}

/// Types are taken exactly: a text "no" for a flag would be true, and a text for a list would be its letters.
template <class Options>
void write(Options& options, const OptionDescriptionOf<Options>& option, const py::handle& value) {
  std::visit(
      [&](auto pointer) {
        auto& member = options.*pointer;
        using Member = std::decay_t<decltype(member)>;
        if constexpr (std::is_same_v<Member, bool>) {
          if (!py::isinstance<py::bool_>(value)) refuse(option.member, "bool", value);
          member = value.ptr() == Py_True;
        } else if constexpr (std::is_same_v<Member, std::string>) {
          if (!py::isinstance<py::str>(value)) refuse(option.member, "str", value);
          member = from_text(py::reinterpret_borrow<py::str>(value));
        } else {
          constexpr std::string_view wanted = "several str, such as a list of them";
          if (!py::isinstance<py::iterable>(value) || py::isinstance<py::str>(value)) {
            refuse(option.member, wanted, value);
          }
          Member all;
          for (const py::handle item : value) {
            if (!py::isinstance<py::str>(item)) refuse(option.member, wanted, value);
            all.push_back(from_text(py::reinterpret_borrow<py::str>(item)));
          }
          member = std::move(all);
        }
      },
      option.pointer);
}

template <class Options>
Options from_keywords(const py::dict& keywords) {
  Options options;
  const auto all = Door<Options>::list();
  for (const auto& [key, value] : keywords) {
    const auto name = key.template cast<std::string>();
    const auto option = std::find_if(all.begin(), all.end(),
                                     [&name](const OptionDescriptionOf<Options>& o) { return o.member == name; });
    if (option == all.end()) {
      throw py::type_error(fmt::format("{}() got an unexpected keyword argument '{}'", Door<Options>::name, name));
    }
    write(options, *option, value);
  }
  return options;
}

template <class Options>
py::dict to_keywords(const Options& options) {
  py::dict keywords;
  for (const auto& option : Door<Options>::list()) {
    keywords[to_text(option.member)] = read(options, option);
  }
  return keywords;
}

/// Names only what is not as by default: with twenty options that is what a reader looks for.
template <class Options>
py::str repr(const Options& options) {
  const Options defaults;
  py::list parts;
  for (const auto& option : Door<Options>::list()) {
    const py::object value = read(options, option);
    if (!value.equal(read(defaults, option))) {
      parts.append(py::str("{}={!r}").format(to_text(option.member), value));
    }
  }
  return py::str("{}({})").format(Door<Options>::name, py::str(", ").attr("join")(parts));
}

/// The help of one option as a docstring.
template <class Options>
std::string describe(const OptionDescriptionOf<Options>& option) {
  const auto shown = py::repr(read(Options{}, option)).template cast<std::string>();
  const std::string form = option.value.empty() ? "" : fmt::format("; written as {}", option.value);
  return fmt::format("{} ({}, by default {}{}; --{} on the command line).", option.help, kind_of(option), shown,
                     form, option.name);
}

template <class Options>
std::string class_docstring() {
  std::string text = Door<Options>::help;
  text +=
      " TypeError names a keyword that does not exist or a value of the\n"
      "wrong type. Options are equal if all values are.\n\n";
  for (const auto& option : Door<Options>::list()) {
    text += fmt::format("{}: {}\n", option.member, describe(option));
  }
  return text;
}

template <class Options>
void add_class(py::module_& module) {
  py::class_<Options> options(module, Door<Options>::name, class_docstring<Options>().c_str());
  options.def(py::init([](const py::kwargs& keywords) { return from_keywords<Options>(keywords); }),
              "Takes any of the attributes as keywords.");
  for (const auto& option : Door<Options>::list()) {
    // The list is static: the address stays good.
    const OptionDescriptionOf<Options>* described = &option;
    options.def_property(
        std::string(option.member).c_str(), [described](const Options& self) { return read(self, *described); },
        [described](Options& self, const py::object& value) { write(self, *described, value); },
        describe(option).c_str());
  }
  options.def("__repr__", &repr<Options>);
  options.def(
      "__eq__", [](const Options& a, const Options& b) { return a == b; }, py::is_operator());
  options.attr("__hash__") = py::none();
  options.def(py::pickle([](const Options& self) { return to_keywords(self); },
                         [](const py::dict& keywords) { return from_keywords<Options>(keywords); }));
}

template <class Options>
py::object described() {
  std::vector<PythonOption> all;
  for (const auto& option : Door<Options>::list()) {
    all.push_back({std::string(option.name), std::string(option.member), std::string(kind_of(option)),
                   read(Options{}, option), std::string(option.value), std::string(option.help)});
  }
  return to_python(all);
}

}  // namespace

void add_options(py::module_& module) {
  add_class<MirrorOptions>(module);
  add_class<VerifyOptions>(module);
  add_class<RecoverOptions>(module);
  add_class<PruneOptions>(module);
  add_class<MigrateOptions>(module);

  ValueClass<PythonOption>(module, "OptionDescription", "One option, as every door of the library has it.")
      .field("name", &PythonOption::name, "Its name on the command line, without \"--\".")
      .field("member", &PythonOption::member, "Its name as an attribute and keyword of its class.")
      .field("type", &PythonOption::type, "\"bool\", \"str\" or \"tuple[str, ...]\".")
      .field("default", &PythonOption::default_value, "Its value if not given.")
      .field("value", &PythonOption::value,
             "What stands for the value in help, such as \"n[s|m|h|d|w]\"; empty for flags.")
      .field("help", &PythonOption::help, "One sentence, without a full stop.");

  module.def("option_list", &described<MirrorOptions>,
             "option_list()\n--\n\n"
             "Every option of MirrorOptions, in the order help shows them: what command lines, job files and\n"
             "argument specifications are made from.");
  module.def("verify_option_list", &described<VerifyOptions>,
             "verify_option_list()\n--\n\nEvery option of VerifyOptions, in the same way.");
  module.def("recover_option_list", &described<RecoverOptions>,
             "recover_option_list()\n--\n\nEvery option of RecoverOptions, in the same way.");
  module.def("prune_option_list", &described<PruneOptions>,
             "prune_option_list()\n--\n\nEvery option of PruneOptions, in the same way.");
  module.def("migrate_option_list", &described<MigrateOptions>,
             "migrate_option_list()\n--\n\nEvery option of MigrateOptions, in the same way.");
}

}  // namespace crossover::python

#include "crossover/vm_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "bindings.hpp"
#include "text.hpp"
#include "value_class.hpp"

namespace crossover::python {

namespace {

constexpr std::array<std::pair<VmSectionKind, std::string_view>, 5> kind_names = {{
    {VmSectionKind::main, "main"},
    {VmSectionKind::pending, "pending"},
    {VmSectionKind::special, "special"},
    {VmSectionKind::snapshot, "snapshot"},
    {VmSectionKind::unknown, "unknown"},
}};

py::str name_of(VmSectionKind kind) {
  const auto* found =
      std::find_if(kind_names.begin(), kind_names.end(), [kind](auto& n) { return n.first == kind; });
  return to_text(found->second);
}

VmSectionKind kind_named(const py::str& text) {
  const std::string name = from_text(text);
  const auto* found =
      std::find_if(kind_names.begin(), kind_names.end(), [&name](auto& n) { return n.second == name; });
  if (found == kind_names.end()) {
    throw py::value_error(
        fmt::format("'{}' is no kind of section: main, pending, special, snapshot or unknown", name));
  }
  return found->first;
}

py::object optional_text(const std::optional<std::string>& value) {
  if (!value) return py::none();
  return to_text(*value);
}

py::list texts(const std::vector<std::string>& values) {
  py::list all;
  for (const std::string& value : values) all.append(to_text(value));
  return all;
}

VmConfig read_config(const py::object& source) {
  if (py::isinstance<py::str>(source)) return parse_vm_config(from_text(source));
  // bytes() would take a number too, and make as many zero bytes of it.
  if (PyObject_CheckBuffer(source.ptr()) == 0) throw py::type_error("bytes or str are expected");
  return parse_vm_config(
      static_cast<std::string>(py::bytes(py::reinterpret_steal<py::object>(PyBytes_FromObject(source.ptr())))));
}

py::bytes to_bytes(const VmConfig& config) {
  return config.to_bytes();
}

void add_values(py::module_& module) {
  ValueClass<VmConfigEntry>(module, "VmConfigEntry", "One \"key: value\" line of a configuration.")
      .field(
          "key", [](const VmConfigEntry& e) { return to_text(e.key); }, "\"ide2\" for a line that says \"cdrom\".")
      .field(
          "value", [](const VmConfigEntry& e) { return to_text(e.value); },
          "As PVE keeps it: white space around it gone, booleans as \"1\" and \"0\".")
      .field(
          "line", [](const VmConfigEntry& e) { return py::int_(e.line); },
          "Number of the line in the file, from 1.")
      .field("dropped", &VmConfigEntry::dropped, "PVE does not accept the line; `value` is then as written.")
      .field("newer", &VmConfigEntry::newer,
             "PVE 9.2 does not accept the line, but it names a volume that can be read, and counts: a newer PVE may "
             "know it.");

  ValueClass<VmConfigWarning>(module, "VmConfigWarning", "One line or section that PVE would warn of and drop.")
      .field(
          "line", [](const VmConfigWarning& w) { return py::int_(w.line); },
          "Number of the line in the file, from 1.")
      .field(
          "key", [](const VmConfigWarning& w) { return to_text(w.key); }, "Empty if the line has none.")
      .field(
          "reason", [](const VmConfigWarning& w) { return to_text(w.reason); },
          "PVE's text without its \"vm <id> - \".");

  ValueClass<VmConfigSection>(module, "VmConfigSection",
                              "One section of a configuration, as it was when asked for.")
      .field(
          "kind", [](const VmConfigSection& s) { return name_of(s.kind); },
          "\"main\", \"pending\", \"special\", \"snapshot\", or \"unknown\": a header that PVE does not know.")
      .field(
          "name", [](const VmConfigSection& s) { return to_text(s.name); },
          "Of the snapshot or special section, else empty.")
      .field("entries", &VmConfigSection::entries, "All lines with a key, in order, dropped and repeated ones too.")
      .field(
          "description", [](const VmConfigSection& s) { return optional_text(s.description); },
          "Decoded, lines joined by a line break; None if there is none.")
      .type()
      .def(
          "get",
          [](const VmConfigSection& self, const py::str& key) { return optional_text(self.get(from_text(key))); },
          py::arg("key"),
          "get($self, key)\n--\n\nThe value PVE would use: that of the last accepted line; None if there is none.")
      .def(
          "keys", [](const VmConfigSection& self) { return texts(self.keys()); },
          "keys($self)\n--\n\nEach key with an accepted line once, in the order of first appearance.");
}

}  // namespace

void add_vm_config(py::module_& module) {
  add_values(module);

  py::class_<VmConfig> config(
      module, "VmConfig",
      "The configuration of a VM, /etc/pve/nodes/<node>/qemu-server/<vmid>.conf, read and written without any "
      "loss.\n\n"
      "It holds the file's bytes and what PVE reads in them; changes touch only the lines they are about. Reading\n"
      "never fails: odd lines are kept and reported by `warnings`. Bytes that are no UTF-8 are lone surrogates in\n"
      "strings, as with os.fsdecode(). Two configurations are equal if their bytes are. For one thread at a time.");
  config
      .def(py::init(&read_config), py::arg("source") = py::bytes(),
           "Reads the content of such a file, bytes or str.")
      .def("to_bytes", &to_bytes,
           "to_bytes($self)\n--\n\nThe file's bytes, exactly as read where nothing was changed.")
      .def("__bytes__", &to_bytes)
      .def("digest", &VmConfig::digest,
           "digest($self)\n--\n\nSHA1 of the bytes in hex, PVE's own \"digest\" against concurrent changes.")
      .def_property_readonly(
          "warnings", [](const VmConfig& self) { return to_python(self.warnings()); },
          "What PVE would drop, in the order of the lines: a tuple of VmConfigWarning.")
      .def_property_readonly(
          "description", [](const VmConfig& self) { return optional_text(self.description()); },
          "The description (the \"#\" lines and \"description:\"), decoded; None if there is none.")
      .def_property_readonly(
          "name", [](const VmConfig& self) { return optional_text(self.name()); },
          "The VM's name; None if it has none.")
      .def(
          "display_name", [](const VmConfig& self, std::uint64_t vmid) { return to_text(self.display_name(vmid)); },
          py::arg("vmid"), "display_name($self, vmid)\n--\n\nThe name, or \"VM <id>\" as PVE's tools show it.")
      .def_property_readonly(
          "tags",
          [](const VmConfig& self) {
            py::set all;
            for (const std::string& tag : self.tags()) all.add(to_text(tag));
            return py::frozenset(all);
          },
          "The tags as a frozenset of exact strings; has_tag() compares as PVE does.")
      .def(
          "has_tag",
          [](const VmConfig& self, const py::str& tag, bool case_sensitive) {
            return self.has_tag(from_text(tag), case_sensitive);
          },
          py::arg("tag"), py::arg("case_sensitive") = false,
          "has_tag($self, tag, case_sensitive=False)\n--\n\n"
          "Whether the VM has exactly this tag. Upper and lower case are one unless `case_sensitive`, which is "
          "what\n"
          "\"tag-style: case-sensitive=1\" in datacenter.cfg asks for.");
  config
      .def(
          "get", [](const VmConfig& self, const py::str& key) { return optional_text(self.get(from_text(key))); },
          py::arg("key"),
          "get($self, key)\n--\n\n"
          "The value that counts; None if the key is absent or every line with it would be dropped. Main "
          "section\n"
          "only, as all that takes a key; \"cdrom\" and \"ide2\" are one.")
      .def(
          "flag",
          [](const VmConfig& self, const py::str& key, bool fallback) {
            return self.flag(from_text(key), fallback);
          },
          py::arg("key"), py::arg("fallback"),
          "flag($self, key, fallback)\n--\n\nA boolean key; `fallback` if it is absent.")
      .def(
          "keys", [](const VmConfig& self) { return texts(self.keys()); },
          "keys($self)\n--\n\nKeys with an accepted line, in the order of first appearance.")
      .def(
          "set",
          [](VmConfig& self, const py::str& key, const py::str& value) {
            self.set(from_text(key), from_text(value));
          },
          py::arg("key"), py::arg("value"),
          "set($self, key, value)\n--\n\n"
          "Replaces the value of the line that counts, or appends a line to the main section. Whether PVE would\n"
          "accept the value shows in `warnings`. Error (usage) if key or value cannot stand in a line.")
      .def(
          "remove", [](VmConfig& self, const py::str& key) { return self.remove(from_text(key)); }, py::arg("key"),
          "remove($self, key)\n--\n\nRemoves every line with this key from the main section; True if there was "
          "one.");
  config
      .def_property_readonly(
          "main", [](const VmConfig& self) { return self.main(); }, "The main section, a VmConfigSection.")
      .def_property_readonly(
          "sections", [](const VmConfig& self) { return to_python(self.sections()); },
          "All sections in the order of the file, the main section first: a tuple of VmConfigSection.")
      .def(
          "section",
          [](const VmConfig& self, const py::str& kind, const py::str& name) -> py::object {
            const VmConfigSection* found = self.section(kind_named(kind), from_text(name));
            if (found == nullptr) return py::none();
            return py::cast(*found);
          },
          py::arg("kind"), py::arg("name") = "",
          "section($self, kind, name='')\n--\n\n"
          "The section PVE would use: the last of that kind and name; None if there is none.")
      .def(
          "snapshot_names", [](const VmConfig& self) { return texts(self.snapshot_names()); },
          "snapshot_names($self)\n--\n\nNames of the snapshots PVE knows, each once, in the order of the file.")
      .def(
          "remove_section",
          [](VmConfig& self, const py::str& kind, const py::str& name) {
            return self.remove_section(kind_named(kind), from_text(name));
          },
          py::arg("kind"), py::arg("name") = "",
          "remove_section($self, kind, name='')\n--\n\n"
          "Removes every section of that kind and name, with its header and the blank lines in front of it; True "
          "if\n"
          "there was one. Error (usage) for the main section.")
      .def("keep_only_main", &VmConfig::keep_only_main,
           "keep_only_main($self)\n--\n\nDrops everything but the main section; True if there was anything.")
      .def(
          "main_lines", [](const VmConfig& self) { return texts(self.main_lines()); },
          "main_lines($self)\n--\n\nThe main section's lines without line endings.")
      .def(
          "replace_main_lines",
          [](VmConfig& self, const py::iterable& lines) {
            std::vector<std::string> all;
            for (const py::handle line : lines) all.push_back(from_text(line.cast<py::str>()));
            self.replace_main_lines(all);
          },
          py::arg("lines"),
          "replace_main_lines($self, lines)\n--\n\n"
          "Puts lines in place of the main section's; each keeps the line ending of the one it replaces. Error\n"
          "(usage) if they are not as many as main_lines() gave, or if one would break the file's structure.");
  config
      .def(
          "__eq__", [](const VmConfig& a, const VmConfig& b) { return a == b; }, py::is_operator())
      .def("__repr__", [](const VmConfig& self) { return py::str("VmConfig({!r})").format(to_bytes(self)); })
      .def(py::pickle(&to_bytes, [](const py::bytes& bytes) { return read_config(bytes); }));
  config.attr("__hash__") = py::none();
}

}  // namespace crossover::python

#include "crossover/sources.hpp"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.hpp"
#include "run.hpp"

namespace crossover::python {

namespace py = pybind11;

namespace {

/// As PythonMigrator: each call has an object of the library's own.
class PythonSources {
 public:
  [[nodiscard]] CleanupReport cleanup(std::uint32_t vmid, bool dry_run, const py::object& confirm,
                                      const py::object& on_event, const py::object& stop,
                                      const std::vector<std::string>& images) const {
    CleanupReport report;
    run_interruptibly(
        [&](CallingThread& caller, std::stop_token token) {
          report = Sources().cleanup(vmid, images, dry_run, confirmation<CleanupReport>(caller, confirm), caller,
                                     std::move(token));
        },
        on_event, stop);
    return report;
  }
};

}  // namespace

void add_sources(py::module_& module) {
  py::class_<PythonSources>(
      module, "Sources",
      "What a migration leaves on the cluster the guest came from. This host has to be a Proxmox VE node of that\n"
      "cluster.\n\n"
      "Threads, signals, `on_event` and `stop` are as with Migrator.")
      .def(py::init<>(), "Does nothing yet.")
      .def(
          "cleanup", &PythonSources::cleanup, py::arg("vmid"), py::arg("dry_run") = false,
          py::arg("confirm") = py::none(), py::arg("on_event") = py::none(), py::arg("stop") = py::none(),
          py::arg("images") = std::vector<std::string>(),
          "cleanup($self, vmid, dry_run=False, confirm=None, on_event=None, stop=None, images=())\n--\n\n"
          "Destroys a guest that was migrated: its configuration, the disks that its migration moved and all "
          "their\n"
          "snapshots. What was not moved stays, unless `images` names it (\"pool/image\"). Refused unless its "
          "disks\n"
          "say that its migration is through, and it is stopped, fenced, closed, no replica, and no other "
          "guest's.\n\n"
          "`confirm(guest)` is asked before anything is removed, with the CleanupReport so far, in the thread "
          "that\n"
          "called cleanup(); it returns True, or False to leave everything as it is. What it raises comes out, "
          "with\n"
          "nothing removed. None: nobody is asked.\n\n"
          "Returns a CleanupReport: what stands in the way is in there, with nothing removed. Raises Error if the\n"
          "cluster cannot be asked or has no such guest (not_found), Cancelled if `stop` ended it.");
}

}  // namespace crossover::python

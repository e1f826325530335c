#include "crossover/replicas.hpp"

#include "bindings.hpp"
#include "run.hpp"
#include "text.hpp"

namespace crossover::python {

namespace {

/// As PythonMigrator: each call has an object of the library's own.
class PythonReplicas {
 public:
  [[nodiscard]] ReplicaReport points(std::uint32_t vmid, const py::object& stop) const {
    ReplicaReport report;
    run_interruptibly(
        [&](EventSink& /*events*/, std::stop_token token) { report = Replicas().points(vmid, std::move(token)); },
        py::none(), stop);
    return report;
  }

  [[nodiscard]] RecoverReport recover(std::uint32_t vmid, const RecoverOptions& options, const py::object& on_event,
                                      const py::object& stop) const {
    const RecoverOptions copy = options;  // another thread may change it while the GIL is released
    RecoverReport report;
    run_interruptibly(
        [&](EventSink& events, std::stop_token token) {
          report = Replicas().recover(vmid, copy, events, std::move(token));
        },
        on_event, stop);
    return report;
  }

  [[nodiscard]] PruneReport prune(const py::str& vmids, const PruneOptions& options, const py::object& on_event,
                                  const py::object& stop) const {
    const std::string names = from_text(vmids);
    const PruneOptions copy = options;
    PruneReport report;
    run_interruptibly(
        [&](EventSink& events, std::stop_token token) {
          report = Replicas().prune(names, copy, events, std::move(token));
        },
        on_event, stop);
    return report;
  }
};

}  // namespace

void add_replicas(py::module_& module) {
  py::class_<PythonReplicas>(
      module, "Replicas",
      "What can be done with replicas where they are, with their source out of reach or gone. This host has to be "
      "a\n"
      "Proxmox VE node of that cluster.\n\n"
      "Threads, signals, `on_event` and `stop` are as with Migrator; events have the replica's VMID as `vmid`. "
      "Each\n"
      "call raises Error if the cluster cannot be asked or has no replica of a VMID that is named (not_found).")
      .def(py::init<>(), "Does nothing yet.")
      .def("points", &PythonReplicas::points, py::arg("vmid"), py::arg("stop") = py::none(),
           "points($self, vmid, stop=None)\n--\n\n"
           "What there is of a replica, a ReplicaReport: its recovery points, newest first, and what its head is.\n"
           "Changes nothing.")
      .def(
          "recover", &PythonReplicas::recover, py::arg("vmid"), py::arg("options") = RecoverOptions{},
          py::arg("on_event") = py::none(), py::arg("stop") = py::none(),
          "recover($self, vmid, options=RecoverOptions(), on_event=None, stop=None)\n--\n\n"
          "Makes a replica a guest of its own: rolls all disks back to its newest recovery point that is complete\n"
          "and good (or the one in `options`), and writes the configuration of that moment, unlocked. It is "
          "marked\n"
          "first, so that a source that comes back is refused until a human decides.\n\n"
          "Returns a RecoverReport. What stands in the way is in there, with nothing changed; after a failure at "
          "any\n"
          "moment the same call ends well.")
      .def("prune", &PythonReplicas::prune, py::arg("vmids"), py::arg("options"), py::arg("on_event") = py::none(),
           py::arg("stop") = py::none(),
           "prune($self, vmids, options, on_event=None, stop=None)\n--\n\n"
           "Removes recovery points that the policy does not keep, of the replicas named (\"99100,99101\") or of\n"
           "\"all\"; never the newest complete one, the newest good one, or what an unfinished transfer needs.\n\n"
           "Returns a PruneReport: a replica's failure is in there.");
}

}  // namespace crossover::python

#include "crossover/migrator.hpp"

#include "bindings.hpp"
#include "run.hpp"
#include "text.hpp"

namespace crossover::python {

namespace {

/// The library's Migrator is for one thread at a time, and here any thread may come while the GIL is released. So
/// each call has one of its own, which costs no more than reading the options.
class PythonMigrator {
 public:
  explicit PythonMigrator(MirrorOptions options) : options_(std::move(options)) { Migrator{options_}; }

  [[nodiscard]] const MirrorOptions& options() const { return options_; }

  [[nodiscard]] MirrorReport mirror(const py::object& on_event, const py::object& stop) const {
    MirrorReport report;
    run_interruptibly([&](EventSink& events,
                          std::stop_token token) { report = Migrator(options_).mirror(events, std::move(token)); },
                      on_event, stop);
    return report;
  }

  [[nodiscard]] MirrorReport migrate(const MigrateOptions& options, const py::object& confirm,
                                     const py::object& on_event, const py::object& stop) const {
    const MigrateOptions copy = options;  // another thread may change it while the GIL is released
    MirrorReport report;
    run_interruptibly(
        [&](CallingThread& caller, std::stop_token token) {
          report = Migrator(options_).migrate(copy, confirmation<GuestReport>(caller, confirm), caller,
                                              std::move(token));
        },
        on_event, stop);
    return report;
  }

  [[nodiscard]] VerifyReport verify(const VerifyOptions& options, const py::object& on_event,
                                    const py::object& stop) const {
    const VerifyOptions copy = options;
    VerifyReport report;
    run_interruptibly(
        [&](EventSink& events, std::stop_token token) {
          report = Migrator(options_).verify(copy, events, std::move(token));
        },
        on_event, stop);
    return report;
  }

  [[nodiscard]] CheckReport check(const py::object& stop) const {
    CheckReport report;
    run_interruptibly(
        [&](EventSink& /*events*/, std::stop_token token) { report = Migrator(options_).check(std::move(token)); },
        py::none(), stop);
    return report;
  }

 private:
  MirrorOptions options_;
};

}  // namespace

void add_migrator(py::module_& module) {
  py::class_<PythonMigrator>(
      module, "Migrator",
      "Mirrors guests from the cluster of this host, which has to be a Proxmox VE node, to another one.\n\n"
      "Calls can take hours. Other Python threads run meanwhile, and several threads may use one Migrator. Ctrl-C, "
      "or\n"
      "any exception from a signal handler, ends a call in the main thread: guests are thawed and unlocked, then "
      "it\n"
      "comes out (a second one does not hurry that). Python has no handler for SIGTERM by default; install one "
      "that\n"
      "raises, or sets `stop`, where a run may be ended so. The library itself installs none. A call must not be "
      "under\n"
      "way in a daemon thread when the interpreter ends.")
      .def(py::init<MirrorOptions>(), py::arg("options"),
           "Checks the options and does nothing else; later changes to `options` do not count here. Error (usage)\n"
           "names the first option that is wrong, by its name on the command line.")
      .def_property_readonly("options", &PythonMigrator::options, py::return_value_policy::copy,
                             "A copy of the MirrorOptions.")
      .def("mirror", &PythonMigrator::mirror, py::arg("on_event") = py::none(), py::arg("stop") = py::none(),
           "mirror($self, on_event=None, stop=None)\n--\n\n"
           "Surveys both clusters, plans, and mirrors each guest that is meant; with `dry_run` it stops after "
           "planning.\n\n"
           "`on_event(event)` is called with each Event, in the thread that called mirror(); the run waits for it. "
           "What\n"
           "it raises ends the run in order and comes out of mirror(). `stop` is a threading.Event, or anything "
           "with\n"
           "is_set(): once it is set the run ends soon and in order.\n\n"
           "Returns a MirrorReport: one guest's failure is in there and does not keep the others from their run. "
           "Raises\n"
           "Error if nothing could be done at all, Cancelled if `stop` ended the run.")
      .def(
          "migrate", &PythonMigrator::migrate, py::arg("options") = MigrateOptions{},
          py::arg("confirm") = py::none(), py::arg("on_event") = py::none(), py::arg("stop") = py::none(),
          "migrate($self, options=MigrateOptions(), confirm=None, on_event=None, stop=None)\n--\n\n"
          "Moves the guests that are named, one after the other: brings each one's replica up to date, shuts it "
          "down\n"
          "here and starts it there. A guest that goes wrong before it may run there runs here again. A call that "
          "was\n"
          "killed is gone on with by the next one with the same options.\n\n"
          "`confirm(guest)` is asked right before a guest is shut down, with its GuestReport so far, in the thread "
          "that\n"
          "called migrate(); it returns True, or False to leave the guest where it is. What it raises comes out, "
          "with\n"
          "that guest untouched and no further one begun. None: nobody is asked. `on_event` and `stop` are as for\n"
          "mirror().\n\n"
          "Returns a MirrorReport, with a MigrationReport for each guest. Raises Error if the options make no "
          "sense "
          "or\n"
          "nothing could be done at all, Cancelled if `stop` ended the run.")
      .def("verify", &PythonMigrator::verify, py::arg("options") = VerifyOptions{},
           py::arg("on_event") = py::none(), py::arg("stop") = py::none(),
           "verify($self, options=VerifyOptions(), on_event=None, stop=None)\n--\n\n"
           "Compares each guest's newest recovery point that both sides have (or the one in `options`) with the\n"
           "source's snapshots, by hashes that each side makes of its own images. Only `options.repair` changes\n"
           "anything. `on_event` and `stop` are as for mirror().\n\n"
           "Returns a VerifyReport: one guest's failure is in there. Raises Error if the options make no sense or\n"
           "nothing could be done at all, Cancelled if `stop` ended it.")
      .def(
          "check", &PythonMigrator::check, py::arg("stop") = py::none(),
          "check($self, stop=None)\n--\n\n"
          "Looks at everything a mirror run would need: nodes, host keys, rights, storages, free space, versions.\n"
          "Changes nothing.\n\n"
          "Returns a CheckReport: what fails is an item in it. Raises Cancelled if `stop` (see mirror()) was set.");
}

}  // namespace crossover::python

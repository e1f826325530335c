// What the Python tests need of C++: values that only a real run makes, and runs that do what a test wants.
#include <pybind11/pybind11.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "crossover/error.hpp"
#include "crossover/replica_report.hpp"
#include "crossover/report.hpp"
#include "crossover/sources.hpp"
#include "crossover/verify_report.hpp"
#include "run.hpp"

namespace {

namespace py = pybind11;
using namespace crossover;
using namespace std::chrono_literals;

MirrorReport full_report() {
  DiskReport disk;
  disk.key = "scsi0";
  disk.source_image = "ssd/vm-100-disk-0";
  disk.replica_image = "data2/vm-9100-disk-0-ssd";
  disk.base = "crossover-default-20240101T000000Z";
  disk.transferred = true;
  disk.stream_bytes = 5'000'000'000;
  disk.size_bytes = 1ULL << 40;
  disk.duration = 1500ms;

  GuestReport guest;
  guest.vmid = 100;
  guest.target_vmid = 9100;
  guest.name = "caf\xe9";  // Latin-1, as somebody may have written it
  guest.source_node = "pve01";
  guest.target_node = "pve04";
  guest.outcome = Outcome::conflict;
  guest.error_code = ErrorCode::in_use;
  guest.conflict = Conflict::image_in_use;
  guest.error = "the image is open elsewhere";
  guest.frozen_for = 250ms;
  guest.disks = {disk};
  guest.left_out = {{"ide2", "none", "a CD drive", true}};
  guest.removed = {"source ssd/vm-100-disk-0@old"};
  guest.steps = {"lock", "freeze"};
  guest.migration = MigrationReport{.outcome = MigrationOutcome::left,
                                    .findings = {"VM 100 has a medium in ide2"},
                                    .rounds = 3,
                                    .precopy_bytes = 5'000'000'000,
                                    .switch_bytes = 4096,
                                    .suspended = true,
                                    .state_bytes = 1 << 20,
                                    .was_running = true,
                                    .shutdown = 1500ms,
                                    .transfer = 700ms,
                                    .start = 2s,
                                    .left_to_do = {"run it again"}};

  MirrorReport report;
  report.job = "nightly";
  report.destination = "pve04";
  report.started = std::chrono::sys_seconds(1'700'000'000s);
  report.duration = 61'001ms;
  report.guests = {guest, GuestReport{}};
  report.totals.full_bytes = 1;
  report.containers = {{105, "pve02", "only VMs are mirrored so far"}};
  report.totals.guests_failed = 2;
  return report;
}

VerifyReport full_verify_report() {
  VerifiedDisk disk;
  disk.key = "scsi0";
  disk.source_size_bytes = 1ULL << 40;
  disk.compared_bytes = 5'000'000'000;
  disk.differing = {{4096, 8192}, {1ULL << 39, 4096}};
  disk.duration = 1500ms;

  VerifiedGuest guest;
  guest.vmid = 100;
  guest.outcome = VerifyOutcome::repaired;
  guest.error_code = ErrorCode::io;
  guest.point = "crossover-default-20240101T000000Z";
  guest.disks = {disk, VerifiedDisk{}};
  guest.warnings = {"scsi5 is not part of it"};
  guest.repair = full_report().guests.front();

  VerifyReport report;
  report.job = "nightly";
  report.sample = "5%";
  report.seed = ~std::uint64_t{0};
  report.started = std::chrono::sys_seconds(1'700'000'000s);
  report.guests = {guest, VerifiedGuest{}};
  return report;
}

ReplicaReport full_replica_report() {
  ReplicaReport report;
  report.vmid = 99100;
  report.node = "pve04";
  report.lock = "migrate";
  report.source_vmid = 100;
  report.unfinished = true;
  report.promoted = PromotedReplica{"crossover-x-20240101T000000Z", std::chrono::sys_seconds(1'700'000'000s), false};
  report.points = {{"crossover-x-20240101T000000Z",
                    std::chrono::sys_seconds(1'700'000'000s),
                    90s,
                    false,
                    "no disk",
                    true,
                    {{"data2/vm-99100-disk-0-ssd", 1ULL << 40}}}};
  return report;
}

RecoverReport full_recover_report() {
  RecoverReport report;
  report.vmid = 99100;
  report.outcome = Outcome::conflict;
  report.error_code = ErrorCode::in_use;
  report.point = "crossover-x-20240101T000000Z";
  report.steps = {"lock", "roll back"};
  report.duration = 1500ms;
  return report;
}

PruneReport full_prune_report() {
  PrunedReplica replica;
  replica.vmid = 99100;
  replica.outcome = Outcome::failed;
  replica.error_code = ErrorCode::io;
  replica.removed = {"data2/vm-99100-disk-0-ssd@crossover-x-20240101T000000Z"};
  PruneReport report;
  report.keep_remote = "daily=7";
  report.started = std::chrono::sys_seconds(1'700'000'000s);
  report.replicas = {replica, PrunedReplica{}};
  return report;
}

CleanupReport full_cleanup_report() {
  CleanupReport report;
  report.vmid = 100;
  report.node = "pve01";
  report.name = "caf\xe9";
  report.target_vmid = 9100;
  report.point = "crossover-default-20240101T000000Z";
  report.images = {"ssd/vm-100-disk-0", "ssd/vm-100-disk-1"};
  report.kept = {"ssd/vm-100-disk-7"};
  report.outcome = Outcome::conflict;
  report.error_code = ErrorCode::conflict;
  report.error = "it runs";
  report.duration = 1500ms;
  return report;
}

/// Tells `count` events and then, as every work of the library does, looks whether it was asked to stop. `after`
/// more are told on the way out, as when a guest is thawed. Returns how many were told.
int run(int count, int after, bool wait, const py::object& on_event, const py::object& stop) {
  int told = 0;
  python::run_interruptibly(
      [&](EventSink& events, const std::stop_token& token) {
        const auto tell = [&](EventKind kind) {
          Event event;
          event.kind = kind;
          event.vmid = static_cast<std::uint32_t>(told);
          ++told;
          events.on_event(event);
        };
        for (int i = 0; i < count && !token.stop_requested(); ++i) tell(EventKind::debug);
        if (wait) {
          std::mutex mutex;
          std::condition_variable_any woken;
          std::unique_lock lock(mutex);
          woken.wait_for(lock, token, 30s, [] { return false; });
        }
        for (int i = 0; i < after; ++i) tell(EventKind::thawed);
        if (token.stop_requested()) throw Cancelled{};
      },
      on_event, stop);
  return told;
}

/// Tells an event, has `confirm` asked about the guest of full_report() while another thread tells events without
/// end, and tells one more on the way out. Returns the answer.
bool ask(const py::object& confirm, const py::object& on_event, const py::object& stop) {
  const GuestReport guest = full_report().guests.front();
  bool answer = false;
  python::run_interruptibly(
      [&](python::CallingThread& caller, const std::stop_token& /*token*/) {
        struct WayOut {
          python::CallingThread& caller;
          ~WayOut() { caller.on_event({.kind = EventKind::thawed}); }
        };
        const WayOut way_out{caller};
        caller.on_event({.kind = EventKind::guest_started});
        const std::jthread telling([&caller](const std::stop_token& over) {
          while (!over.stop_requested()) caller.on_event({.kind = EventKind::debug});
        });
        answer = python::confirmation<GuestReport>(caller, confirm)(guest);
      },
      on_event, stop);
  return answer;
}

}  // namespace

PYBIND11_MODULE(crossover_test_support, module) {
  module.def("full_report", &full_report);
  module.def("full_verify_report", &full_verify_report);
  module.def("full_replica_report", &full_replica_report);
  module.def("full_recover_report", &full_recover_report);
  module.def("full_prune_report", &full_prune_report);
  module.def("full_cleanup_report", &full_cleanup_report);
  module.def("ask", &ask, py::arg("confirm") = py::none(), py::arg("on_event") = py::none(),
             py::arg("stop") = py::none());
  module.def("run", &run, py::arg("count") = 0, py::arg("after") = 0, py::arg("wait") = false,
             py::arg("on_event") = py::none(), py::arg("stop") = py::none());
  // The module's own translator is for what the module throws.
  py::register_local_exception_translator([](std::exception_ptr exception) {
    try {
      if (exception) std::rethrow_exception(exception);
    } catch (const Cancelled&) {
      PyErr_SetNone(py::module_::import("crossover").attr("Cancelled").ptr());
    }
  });
}

#include "crossover/report.hpp"

#include <nlohmann/json.hpp>

#include "bindings.hpp"
#include "crossover/events.hpp"
#include "crossover/migrator.hpp"
#include "crossover/replica_report.hpp"
#include "crossover/sources.hpp"
#include "text.hpp"
#include "value_class.hpp"

namespace crossover::python {

namespace {

constexpr const char* to_json_help =
    "to_json($self)\n--\n\nThe whole of it as one JSON object, as the command line prints it with --json.";

std::string name_of(CheckItem::Result result) {
  switch (result) {
    case CheckItem::Result::ok:
      return "ok";
    case CheckItem::Result::warning:
      return "warning";
    case CheckItem::Result::failed:
      break;
  }
  return "failed";
}

std::string event_to_json(const Event& event) {
  const nlohmann::ordered_json value{{"kind", to_string(event.kind)},
                                     {"vmid", event.vmid},
                                     {"target_vmid", event.target_vmid},
                                     {"subject", event.subject},
                                     {"host", event.host},
                                     {"text", event.text},
                                     {"full", event.full},
                                     {"bytes", event.bytes},
                                     {"elapsed_ms", event.elapsed.count()}};
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void add_event(py::module_& module) {
  ValueClass<Event>(module, "Event",
                    "One thing that happened in a run. Which attributes are set depends on `kind`.")
      .field(
          "kind", [](const Event& e) { return std::string(to_string(e.kind)); },
          "What happened: \"run_started\", \"guest_started\", \"target_checked\", \"source_locked\",\n"
          "\"source_unlocked\", \"replica_locked\", \"replica_unlocked\", \"frozen\", \"thawed\", \"not_frozen\",\n"
          "\"paused\", \"resumed\",\n"
          "\"snapshot_created\", \"transfer_started\", \"point_resumed\", \"fast_diff_refused\", "
          "\"transfer_resumed\",\n"
          "\"transfer_progress\", \"transfer_finished\",\n"
          "\"config_written\", \"left_out\", \"former_image\", \"housekeeping\", \"snapshot_removed\",\n"
          "\"verify_started\",\n"
          "\"verify_progress\", \"verify_finished\", \"step\", \"migration\", \"retrying\",\n"
          "\"guest_finished\", \"run_finished\", \"warning\" or \"debug\". Later versions may have more.")
      .field("vmid", &Event::vmid, "The source guest; 0 if it is about the whole run.")
      .field("target_vmid", &Event::target_vmid, "Its VMID on the destination; 0 if not set.")
      .field("subject", &Event::subject, "What it is about, such as \"pool/image@snapshot\".")
      .field("host", &Event::host, "The node it happened on.")
      .field("text", &Event::text, "In words: the reason, the warning, how the guest ended (\"ok\" or why not).")
      .field("full", &Event::full, "A first copy, not an incremental transfer.")
      .field("bytes", &Event::bytes, "Of a transfer: committed so far, or in the whole diff stream.")
      .field("elapsed", &Event::elapsed, "A timedelta: of the transfer, the freeze or pause, or the run.")
      .type()
      .def("to_json", &event_to_json,
           "to_json($self)\n--\n\nAs one JSON object in one line; `elapsed_ms` is in milliseconds.");
}

void add_guest_report(py::module_& module) {
  ValueClass<DiskReport>(module, "DiskReport", "One disk of one guest in a run.")
      .field("key", &DiskReport::key, "Its key in the configuration, such as \"scsi0\".")
      .field("source_image", &DiskReport::source_image, "Such as \"pool/vm-100-disk-0\".")
      .field("replica_image", &DiskReport::replica_image, "Such as \"pool/vm-99100-disk-0-ssd\".")
      .field("full", &DiskReport::full, "A first copy.")
      .field("base", &DiskReport::base, "The snapshot the diff started from; empty for a first copy.")
      .field("fast_diff", &DiskReport::fast_diff, "Changes were looked for only where the object map has some.")
      .field("fast_diff_refused", &DiskReport::fast_diff_refused, "Why not, if that was asked for.")
      .field("transferred", &DiskReport::transferred, "The diff is on the destination, flushed.")
      .field("committed", &DiskReport::committed, "And its end snapshot is there.")
      .field("stream_bytes", &DiskReport::stream_bytes, "Bytes of the diff stream that went to the destination.")
      .field("size_bytes", &DiskReport::size_bytes, "The image's size.")
      .field("duration", &DiskReport::duration, "Of the transfer, a timedelta.");

  ValueClass<LeftOut>(module, "LeftOut", "A disk or setting of a guest that its replica does not have.")
      .field("key", &LeftOut::key, "Its key in the configuration, such as \"ide2\".")
      .field("value", &LeftOut::value, "What it says on the source; never a secret.")
      .field("reason", &LeftOut::reason, "Why, in words.")
      .field("is_disk", &LeftOut::is_disk, "Data that is not replicated, not only a setting.")
      .field("excluded", &LeftOut::excluded,
             "Of data: somebody said so, with backup=0 or by detaching the disk. Other data that is left out makes\n"
             "the guest incomplete.");

  ValueClass<LeftOutContainer>(module, "LeftOutContainer",
                               "A container that would have been meant, if containers were replicated.")
      .field("vmid", &LeftOutContainer::vmid, "Its VMID.")
      .field("node", &LeftOutContainer::node, "The node it is on.")
      .field("reason", &LeftOutContainer::reason, "Why it is left out, in words.");

  ValueClass<FormerImage>(module, "FormerImage",
                          "An image that is no disk of the replica any more. It belongs to older recovery points, and\n"
                          "stays until it is removed by Replicas.prune() with former_images.")
      .field("image", &FormerImage::image, "\"pool/vm-99100-disk-1-ssd\".")
      .field("points", &FormerImage::points, "How many recovery points need it.");

  ValueClass<ResumedDisk>(module, "ResumedDisk", "One disk of a point that is resumed.")
      .field("key", &ResumedDisk::key, "Its key in the configuration, such as \"scsi0\".")
      .field("from_bytes", &ResumedDisk::from_bytes,
             "Where in the image its transfer went on; its size if nothing was left.")
      .field("stream_bytes", &ResumedDisk::stream_bytes, "Bytes of the diff stream from there on.");

  ValueClass<ResumedPoint>(module, "ResumedPoint", "A recovery point that an earlier run began and was cut in.")
      .field("recovery_point", &ResumedPoint::recovery_point, "The snapshot's name.")
      .field("complete", &ResumedPoint::complete, "It is one now.")
      .field("disks", &ResumedPoint::disks, "A tuple of ResumedDisk.");

  ValueClass<MigrationReport>(module, "MigrationReport",
                              "A guest's migration, or what there is to say of one that was asked for.")
      .field(
          "outcome", &MigrationReport::outcome,
          "\"not begun\": the guest was not touched; \"done\": it is the destination's, and fenced on the source;\n"
          "\"undone\": it went wrong, and the guest is on the source again as it was; \"left\": it went wrong "
          "where\n"
          "nothing could be decided any more, see `left_to_do`.")
      .field("findings", &MigrationReport::findings,
             "What stands in its way, all of it, one line each; then nothing was done.")
      .field("rounds", &MigrationReport::rounds, "Of mirroring before the switch.")
      .field("precopy_bytes", &MigrationReport::precopy_bytes, "Stream bytes of these.")
      .field("switch_bytes", &MigrationReport::switch_bytes,
             "Stream bytes of the transfer while the guest was down.")
      .field("suspended", &MigrationReport::suspended,
             "It was suspended and went on there, instead of being shut down and booted.")
      .field("state_bytes", &MigrationReport::state_bytes,
             "Stream bytes of its saved memory; 0: an earlier run sent it.")
      .field("was_running", &MigrationReport::was_running,
             "Before it was taken down; else it had no downtime.")
      .field("shutdown", &MigrationReport::shutdown,
             "Until it was down, suspending included, a timedelta; 0: it was.")
      .field("transfer", &MigrationReport::transfer,
             "From there until its disks were complete on the destination, a timedelta.")
      .field("start", &MigrationReport::start,
             "From there until it ran, and its agent answered if it has one; a timedelta.")
      .field("left_to_do", &MigrationReport::left_to_do, "For a human, one line each.")
      .type()
      .def_property_readonly(
          "downtime", [](const MigrationReport& migration) { return to_timedelta(migration.downtime()); },
          "How long the guest was away: `shutdown`, `transfer` and `start` together; 0 if it did not run.");

  ValueClass<GuestReport>(module, "GuestReport", "One guest of a run.")
      .field("vmid", &GuestReport::vmid, "On the source.")
      .field("target_vmid", &GuestReport::target_vmid, "On the destination.")
      .field("name", &GuestReport::name, "The guest's name.")
      .field("source_node", &GuestReport::source_node, "The node it is on.")
      .field("target_node", &GuestReport::target_node, "The node its replica is on.")
      .field(
          "outcome", &GuestReport::outcome,
          "\"ok\": a new recovery point is on the destination; \"planned\": a dry run; \"incomplete\": the same as\n"
          "one of these two, but data of the guest that nobody excluded is left out; \"conflict\": a state that\n"
          "a human has to decide, nothing was changed; \"failed\": what was begun was undone or is put right by\n"
          "the next run.")
      .field("error_code", &GuestReport::error_code, "Why it is not ok, as Error.code; None if it is.")
      .field("conflict", &GuestReport::conflict,
             "Which state a human has to decide about, such as \"no common base\", \"replica diverged\" or\n"
             "\"image in use\"; None if it is none.")
      .field("error", &GuestReport::error, "The same in one line; empty if ok.")
      .field("retryable", &GuestReport::retryable, "Whether the same run may succeed later by itself.")
      .field("recovery_point", &GuestReport::recovery_point, "The snapshot's name; empty if none was made.")
      .field("resumed", &GuestReport::resumed,
             "The ResumedPoint that had to be completed first; None if there was none.")
      .field("running", &GuestReport::running, "It ran when the snapshots were made.")
      .field("frozen", &GuestReport::frozen, "Its file systems were frozen meanwhile.")
      .field("paused", &GuestReport::paused, "It was paused meanwhile, because it could not be frozen.")
      .field("consistency", &GuestReport::consistency,
             "What that means for the point: \"frozen\", \"stopped\", \"paused: why\" or \"not frozen: why\".")
      .field("frozen_for", &GuestReport::frozen_for, "How long it was frozen or paused at most, a timedelta.")
      .field("disks", &GuestReport::disks, "A tuple of DiskReport.")
      .field("left_out", &GuestReport::left_out, "A tuple of LeftOut.")
      .field("former_images", &GuestReport::former_images, "A tuple of FormerImage.")
      .field("removed", &GuestReport::removed, "Snapshots retention removed, each \"side pool/image@snapshot\".")
      .field("warnings", &GuestReport::warnings, "One line each.")
      .field("steps", &GuestReport::steps, "What was planned, in order, one line each.")
      .field("migration", &GuestReport::migration, "The MigrationReport of a run that migrates; or None.");
}

void add_mirror_report(py::module_& module) {
  ValueClass<MirrorTotals>(module, "MirrorTotals",
                           "Counts over a run. Counters count disks, except those of freezes and guests.")
      .field("full_bytes", &MirrorTotals::full_bytes, "Stream bytes of first copies.")
      .field("incremental_bytes", &MirrorTotals::incremental_bytes, "Stream bytes of incremental transfers.")
      .field("full_ok", &MirrorTotals::full_ok, "First copies that went well.")
      .field("full_failed", &MirrorTotals::full_failed, "First copies that failed.")
      .field("incremental_ok", &MirrorTotals::incremental_ok, "Incremental transfers that went well.")
      .field("incremental_failed", &MirrorTotals::incremental_failed, "Incremental transfers that failed.")
      .field("freeze_ok", &MirrorTotals::freeze_ok, "Guests that were frozen.")
      .field("freeze_failed", &MirrorTotals::freeze_failed, "Guests that could not be frozen.")
      .field("snapshot_ok", &MirrorTotals::snapshot_ok, "Snapshots made.")
      .field("snapshot_failed", &MirrorTotals::snapshot_failed, "Snapshots that could not be made.")
      .field("guests_ok", &MirrorTotals::guests_ok, "Guests with a new recovery point.")
      .field("guests_incomplete", &MirrorTotals::guests_incomplete,
             "Guests with one that lacks data nobody excluded.")
      .field("guests_failed", &MirrorTotals::guests_failed, "Guests without.")
      .field("guests_running", &MirrorTotals::guests_running, "Guests that ran.")
      .field("guests_stopped", &MirrorTotals::guests_stopped, "Guests that did not.");

  ValueClass<MirrorReport>(module, "MirrorReport", "A whole run.")
      .field("job", &MirrorReport::job, "The job's name as given.")
      .field("destination", &MirrorReport::destination, "The host that was given.")
      .field("dry_run", &MirrorReport::dry_run, "Nothing was changed.")
      .field("started", &MirrorReport::started, "A datetime in UTC.")
      .field("duration", &MirrorReport::duration, "A timedelta.")
      .field("guests", &MirrorReport::guests, "A tuple of GuestReport, in the order of their VMIDs.")
      .field("containers", &MirrorReport::containers,
             "A tuple of LeftOutContainer: containers of the source, which are not replicated.")
      .field("totals", &MirrorReport::totals, "The MirrorTotals.")
      .type()
      .def("to_json", py::overload_cast<const MirrorReport&>(&to_json), to_json_help);
}

void add_verify_report(py::module_& module) {
  ValueClass<ByteRange>(module, "ByteRange", "Some bytes of an image.")
      .field("offset", &ByteRange::offset, "Of the first byte.")
      .field("length_bytes", &ByteRange::length_bytes, "How many there are.");

  ValueClass<VerifiedDisk>(module, "VerifiedDisk", "One disk of a recovery point that was compared.")
      .field("key", &VerifiedDisk::key, "Its key in the configuration, such as \"scsi0\".")
      .field("source_image", &VerifiedDisk::source_image, "Such as \"pool/vm-100-disk-0\".")
      .field("replica_image", &VerifiedDisk::replica_image, "Such as \"pool/vm-99100-disk-0-ssd\".")
      .field("source_size_bytes", &VerifiedDisk::source_size_bytes, "Of the source's snapshot.")
      .field("replica_size_bytes", &VerifiedDisk::replica_size_bytes, "Of the replica's.")
      .field("compared_bytes", &VerifiedDisk::compared_bytes,
             "Hashed on either side; everything else reads as zeroes on both.")
      .field("differing", &VerifiedDisk::differing,
             "A tuple of ByteRange, ascending, in units of 4 KiB (4 MiB if more than 1 GiB differs).")
      .field("duration", &VerifiedDisk::duration, "A timedelta.")
      .type()
      .def_property_readonly("is_equal", &VerifiedDisk::is_equal,
                             "What was compared is the same, and the sizes are.");

  ValueClass<VerifiedGuest>(module, "VerifiedGuest", "One guest's recovery point that was compared.")
      .field("vmid", &VerifiedGuest::vmid, "The source guest.")
      .field("target_vmid", &VerifiedGuest::target_vmid, "Its replica.")
      .field("name", &VerifiedGuest::name, "The guest's name.")
      .field(
          "outcome", &VerifiedGuest::outcome,
          "\"equal\"; \"differs\"; \"repaired\": it differed, a new recovery point has it right and the bad one\n"
          "is marked; \"conflict\": a state that a human has to decide; \"failed\".")
      .field("error_code", &VerifiedGuest::error_code,
             "Why it was not compared, or not repaired, as Error.code; or None.")
      .field("error", &VerifiedGuest::error, "The same in one line.")
      .field("point", &VerifiedGuest::point, "The snapshot's name; empty if there is none to compare.")
      .field("disks", &VerifiedGuest::disks, "A tuple of VerifiedDisk.")
      .field("warnings", &VerifiedGuest::warnings, "One line each.")
      .field("repair", &VerifiedGuest::repair, "The GuestReport of the run that repaired, or was to; or None.");

  ValueClass<VerifyReport>(module, "VerifyReport", "A whole comparison.")
      .field("job", &VerifyReport::job, "The job's name as given.")
      .field("destination", &VerifyReport::destination, "The host that was given.")
      .field("sample", &VerifyReport::sample, "Share that was compared, such as \"5%\"; empty: everything.")
      .field("seed", &VerifyReport::seed, "Of the sample.")
      .field("started", &VerifyReport::started, "A datetime in UTC.")
      .field("duration", &VerifyReport::duration, "A timedelta.")
      .field("guests", &VerifyReport::guests, "A tuple of VerifiedGuest, in the order of their VMIDs.")
      .type()
      .def("to_json", py::overload_cast<const VerifyReport&>(&to_json), to_json_help);
}

void add_replica_reports(py::module_& module) {
  ValueClass<PointDisk>(module, "PointDisk", "One disk of a recovery point.")
      .field("image", &PointDisk::image, "Such as \"pool/vm-99100-disk-0-ssd\".")
      .field("size_bytes", &PointDisk::size_bytes,
             "The image's size at that moment, not what it takes of the pool.");

  ValueClass<RecoveryPoint>(module, "RecoveryPoint", "One recovery point of a replica.")
      .field("name", &RecoveryPoint::name, "Its snapshots' name.")
      .field("time", &RecoveryPoint::time, "The moment it is of, a datetime in UTC.")
      .field("age", &RecoveryPoint::age, "At the time of the report, a timedelta.")
      .field("complete", &RecoveryPoint::complete, "Every disk and the configuration are there.")
      .field("incomplete", &RecoveryPoint::incomplete, "Why not, in one line.")
      .field("bad", &RecoveryPoint::bad, "A comparison found that it differs from the source's.")
      .field("disks", &RecoveryPoint::disks, "A tuple of PointDisk.");

  ValueClass<PromotedReplica>(module, "PromotedReplica",
                              "That a replica was made a guest of its own, or is being made one.")
      .field("point", &PromotedReplica::point, "The recovery point where it began.")
      .field("time", &PromotedReplica::time, "When; a datetime in UTC.")
      .field("done", &PromotedReplica::done, "False: a recovery was cut in the middle; recover it again.");

  ValueClass<ReplicaReport>(module, "ReplicaReport", "A replica as the cluster it is on knows it.")
      .field("vmid", &ReplicaReport::vmid, "The replica's VMID.")
      .field("node", &ReplicaReport::node, "The node that owns it.")
      .field("name", &ReplicaReport::name, "The guest's name.")
      .field("running", &ReplicaReport::running, "It runs.")
      .field("lock", &ReplicaReport::lock, "PVE's lock on it; empty: none.")
      .field("job", &ReplicaReport::job, "The job's name as given.")
      .field("source_fsid", &ReplicaReport::source_fsid, "The Ceph cluster it comes from.")
      .field("source_vmid", &ReplicaReport::source_vmid, "The guest there.")
      .field("unfinished", &ReplicaReport::unfinished,
             "The head is between two points: a transfer was cut, or is under way.")
      .field("applying", &ReplicaReport::applying,
             "The point it was to become; empty if none, or if it was taken back.")
      .field("promoted", &ReplicaReport::promoted, "A PromotedReplica, or None.")
      .field("points", &ReplicaReport::points, "A tuple of RecoveryPoint, newest first.")
      .field("former_images", &ReplicaReport::former_images, "A tuple of FormerImage.")
      .type()
      .def("to_json", py::overload_cast<const ReplicaReport&>(&to_json), to_json_help);

  ValueClass<RecoverReport>(module, "RecoverReport", "How a recovery ended.")
      .field("vmid", &RecoverReport::vmid, "The replica's VMID.")
      .field("node", &RecoverReport::node, "The node that owns it.")
      .field("name", &RecoverReport::name, "The guest's name.")
      .field("dry_run", &RecoverReport::dry_run, "Nothing was changed.")
      .field(
          "outcome", &RecoverReport::outcome,
          "\"ok\"; \"planned\": a dry run; \"conflict\": a state that a human has to decide, nothing was changed;\n"
          "\"failed\": recover it again.")
      .field("error_code", &RecoverReport::error_code, "Why it is not ok, as Error.code; or None.")
      .field("error", &RecoverReport::error, "The same in one line.")
      .field("point", &RecoverReport::point, "What it is, or was to be, recovered at.")
      .field("was_recovered", &RecoverReport::was_recovered, "It had been before: nothing was rolled back.")
      .field("started", &RecoverReport::started, "It runs.")
      .field("warnings", &RecoverReport::warnings, "One line each.")
      .field("steps", &RecoverReport::steps, "What was planned, in order, one line each.")
      .field("duration", &RecoverReport::duration, "A timedelta.")
      .type()
      .def("to_json", py::overload_cast<const RecoverReport&>(&to_json), to_json_help);

  ValueClass<PrunedReplica>(module, "PrunedReplica", "What retention did to one replica.")
      .field("vmid", &PrunedReplica::vmid, "The replica's VMID.")
      .field("node", &PrunedReplica::node, "The node that owns it.")
      .field("name", &PrunedReplica::name, "The guest's name.")
      .field("job", &PrunedReplica::job, "The job's name as given.")
      .field("outcome", &PrunedReplica::outcome, "\"ok\", \"planned\" (a dry run), \"conflict\" or \"failed\".")
      .field("error_code", &PrunedReplica::error_code, "Why it is not ok, as Error.code; or None.")
      .field("error", &PrunedReplica::error, "The same in one line.")
      .field("untouched", &PrunedReplica::untouched,
             "Why nothing is removed from it, though nothing is wrong; empty: it is pruned.")
      .field("removed", &PrunedReplica::removed,
             "Snapshots, \"pool/image@snapshot\"; in a dry run those that would be.")
      .field("trashed", &PrunedReplica::trashed,
             "Former images moved to RBD's trash, \"pool/image (id)\"; in a dry run those that would be.")
      .field("former_images", &PrunedReplica::former_images, "A tuple of FormerImage: those that stay.")
      .field("warnings", &PrunedReplica::warnings, "What could not be removed.");

  ValueClass<PruneReport>(module, "PruneReport", "A whole run of retention.")
      .field("keep_remote", &PruneReport::keep_remote, "As given.")
      .field("job", &PruneReport::job, "Only this job's replicas; empty: every job's.")
      .field("dry_run", &PruneReport::dry_run, "Nothing was changed.")
      .field("started", &PruneReport::started, "A datetime in UTC.")
      .field("duration", &PruneReport::duration, "A timedelta.")
      .field("replicas", &PruneReport::replicas, "A tuple of PrunedReplica, in the order of their VMIDs.")
      .type()
      .def("to_json", py::overload_cast<const PruneReport&>(&to_json), to_json_help);
}

void add_cleanup_report(py::module_& module) {
  ValueClass<CleanupReport>(module, "CleanupReport", "What was, or would be, removed of one guest.")
      .field("vmid", &CleanupReport::vmid, "The guest's VMID here.")
      .field("node", &CleanupReport::node, "The node that owns what is left of it.")
      .field("name", &CleanupReport::name, "The guest's name.")
      .field("target_vmid", &CleanupReport::target_vmid, "What it is now, on the other cluster.")
      .field("point", &CleanupReport::point, "The recovery point it was migrated at.")
      .field("images", &CleanupReport::images, "Every image that goes, each \"pool/image\".")
      .field("kept", &CleanupReport::kept,
             "What it names and was not migrated: \"pool/image\", or \"storage:volume\".")
      .field("dry_run", &CleanupReport::dry_run, "Nothing was changed.")
      .field("outcome", &CleanupReport::outcome, "\"ok\", \"planned\" (a dry run), \"conflict\" or \"failed\".")
      .field("error_code", &CleanupReport::error_code, "Why it is not ok, as Error.code; or None.")
      .field("error", &CleanupReport::error, "The same in one line.")
      .field("duration", &CleanupReport::duration, "A timedelta.")
      .type()
      .def("to_json", py::overload_cast<const CleanupReport&>(&to_json), to_json_help);
}

void add_check_report(py::module_& module) {
  ValueClass<CheckItem>(module, "CheckItem", "One thing a preflight looked at.")
      .field(
          "result", [](const CheckItem& i) { return name_of(i.result); }, "\"ok\", \"warning\" or \"failed\".")
      .field("subject", &CheckItem::subject, "Such as \"destination node pve04\" or \"VM 100\".")
      .field("text", &CheckItem::text, "What was found, in one line.");

  ValueClass<CheckReport>(module, "CheckReport",
                          "Everything a preflight looked at, in the order a person would ask.")
      .field("items", &CheckReport::items, "A tuple of CheckItem.")
      .type()
      .def_property_readonly("ok", &CheckReport::ok, "Nothing failed; warnings do not count.")
      .def("to_json", py::overload_cast<const CheckReport&>(&to_json), to_json_help);
}

}  // namespace

void add_reports(py::module_& module) {
  add_event(module);
  add_guest_report(module);
  add_mirror_report(module);
  add_verify_report(module);
  add_replica_reports(module);
  add_cleanup_report(module);
  add_check_report(module);
}

}  // namespace crossover::python
